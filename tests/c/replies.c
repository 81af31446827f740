// Replies: how they are streamed, and everything that can end one.
#include "proof.h"

#include <time.h>

typedef struct {
  char text[4096];
  size_t bytes, tokens, calls, stop_at;
  kinglet_session *cancels;
} listener;

static int listen(void *user, uint32_t token, const char *text, size_t text_bytes) {
  listener *own = user;
  CHECK(own->bytes + text_bytes < sizeof own->text);
  memcpy(own->text + own->bytes, text, text_bytes);
  own->bytes += text_bytes;
  own->tokens += token != KINGLET_NO_TOKEN;
  if (++own->calls == own->stop_at && own->cancels != NULL) {
    RETURNS(OK, kinglet_session_cancel(own->cancels));
    return 0;
  }
  return own->calls == own->stop_at;
}

// Back to the prompt, then a reply to a listener; returns why it ended.
static uint32_t reply(kinglet_session *session, const kinglet_generate_options *options,
                      listener *own, kinglet_generation *told) {
  const kinglet_generation none = {.struct_size = sizeof none};
  *told = none;
  own->bytes = own->tokens = own->calls = 0;
  RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));
  RETURNS(OK, kinglet_session_generate(session, options, listen, own, told));
  CHECK(own->tokens == told->tokens && told->steps + told->accepted + 1 >= told->tokens);
  return told->stop_reason;
}

static kinglet_generate_options endless(uint32_t max_tokens) {
  kinglet_generate_options options = {.struct_size = sizeof options};
  options.max_tokens = max_tokens;
  options.flags = KINGLET_GENERATE_IGNORE_END;
  return options;
}

static void refuse_options(kinglet_session *session) {
  const char *stops[KINGLET_MAX_STOP + 1] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
  const char *empty[] = {""}, *broken[] = {"\xFF"}, *missing[] = {NULL};
  char letters[66];
  memset(letters, 'x', 65);
  letters[65] = 0;
  const char *longest[] = {letters};
  const kinglet_generate_options right = {.struct_size = sizeof right, .max_tokens = 1};
#define REFUSED(array, count)                                                                 \
  options = right;                                                                            \
  options.stop = (array);                                                                     \
  options.stop_count = (count);                                                               \
  RETURNS(BAD_ARGUMENT, kinglet_session_generate(session, &options, NULL, NULL, NULL))
  kinglet_generate_options options;
  REFUSED(stops, KINGLET_MAX_STOP + 1);
  REFUSED(stops, SIZE_MAX);
  REFUSED(NULL, 1);
  REFUSED(empty, 1);
  REFUSED(broken, 1);
  REFUSED(missing, 1);
  REFUSED(longest, 1);
#undef REFUSED
  options = right;
  options.flags = 4;
  RETURNS(BAD_ARGUMENT, kinglet_session_generate(session, &options, NULL, NULL, NULL));
  options.struct_size = 1;
  RETURNS(BAD_ARGUMENT, kinglet_session_generate(session, &options, NULL, NULL, NULL));
  kinglet_generation told = {0};
  RETURNS(BAD_ARGUMENT, kinglet_session_generate(session, &right, NULL, NULL, &told));
  // The struct as it was in the first version.
  told.struct_size = 16;
  told.steps = 99;
  RETURNS(OK, kinglet_session_generate(session, &right, NULL, NULL, &told));
  CHECK(told.tokens == 1 && told.stop_reason == KINGLET_STOP_MAX_TOKENS && told.steps == 99);
}

typedef struct {
  kinglet_session *session;
  const kinglet_candidate *told;
  kinglet_candidate top[3];
  size_t tokens;
} counter;

// What is told of a token is what all logits said before it, which the call before left here.
static int compare_told(void *user, uint32_t token, const char *text, size_t text_bytes) {
  counter *own = user;
  (void)text, (void)text_bytes;
  if (token == KINGLET_NO_TOKEN) {
    return 0;
  }
  CHECK(own->told[0].token == token && memcmp(own->told + 1, own->top, sizeof own->top) == 0);
  // The most probable token was taken.
  CHECK(memcmp(own->told, own->top, sizeof *own->top) == 0);
  own->tokens++;
  return 0;
}

// Probabilities are those of kinglet_session_top, one token at a time; what is wrong is refused.
static void prove_probabilities(kinglet_session *session, uint32_t vocabulary) {
  kinglet_generate_options options = endless(1);
  options.top_count = 3;
  options.candidate_capacity = vocabulary + 2 * (1 + options.top_count);
  RETURNS(BAD_ARGUMENT, kinglet_session_generate(session, &options, NULL, NULL, NULL));
  options.candidates = take(options.candidate_capacity * sizeof *options.candidates);
  counter own = {.session = session, .told = options.candidates};
  RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));
  for (size_t i = 0; i < 9; i++) {
    size_t found = 0;
    RETURNS(OK, kinglet_session_top(session, own.top, 3, &found));
    RETURNS(OK, kinglet_session_generate(session, &options, compare_told, &own, NULL));
    CHECK(found == 3 && own.tokens == i + 1);
  }
#define REFUSED(name, field, value)                                                 \
  wrong = options;                                                                  \
  wrong.field = (value);                                                            \
  RETURNS(name, kinglet_session_generate(session, &wrong, compare_told, &own, NULL))
  kinglet_generate_options wrong;
  REFUSED(BUFFER_TOO_SMALL, candidate_capacity, options.candidate_capacity - 1);
  REFUSED(BUFFER_TOO_SMALL, top_count, 4);
  REFUSED(BUFFER_TOO_SMALL, top_count, UINT32_MAX);
  REFUSED(BAD_ARGUMENT, candidate_capacity, SIZE_MAX);
  REFUSED(BAD_ARGUMENT, reserved, 1);
  REFUSED(BAD_ARGUMENT, candidates, (void *)session);
  REFUSED(BAD_ARGUMENT, candidates, (void *)((char *)options.candidates + 1));
#undef REFUSED
  CHECK(own.tokens == 9);
  free(options.candidates);
}

static void prove_text(kinglet_session *session) {
  kinglet_generate_options options = endless(20);
  kinglet_generation told;
  listener whole = {0};
  CHECK(reply(session, &options, &whole, &told) == KINGLET_STOP_MAX_TOKENS && told.tokens == 20);
  CHECK(whole.bytes > 10);
  // Cut at the first stop string, of which nothing is handed out.
  char first[3] = {whole.text[6], whole.text[7], 0};
  if ((first[0] & 0x80) == 0 && (first[1] & 0x80) == 0) {
    const char *stops[] = {"never in this text", first};
    options.stop = stops;
    options.stop_count = 2;
    listener cut = {0};
    CHECK(reply(session, &options, &cut, &told) == KINGLET_STOP_STRING);
    const char *found = strstr(whole.text, first);
    CHECK(found != NULL && cut.bytes == (size_t)(found - whole.text));
    CHECK(memcmp(cut.text, whole.text, cut.bytes) == 0);
    options.stop_count = 0;
  }
  listener stopped = {.stop_at = 3};
  CHECK(reply(session, &options, &stopped, &told) == KINGLET_STOP_CALLBACK && stopped.calls == 3);
  listener cancelled = {.stop_at = 3, .cancels = session};
  CHECK(reply(session, &options, &cancelled, &told) == KINGLET_STOP_CANCELLED);
  CHECK(told.tokens < 20 && told.tokens > 0);
}

static void prove_end(kinglet_session *session) {
  // The token that ends a reply becomes the most probable one.
  const kinglet_logit_bias bias[] = {{2, 1000.0f}};
  const kinglet_sampling sampling = {
      .struct_size = sizeof sampling, .logit_bias = bias, .logit_bias_count = 1};
  RETURNS(OK, kinglet_session_set_sampling(session, &sampling));
  kinglet_generate_options options = {.struct_size = sizeof options, .max_tokens = 5};
  kinglet_generation told;
  kinglet_session_info info = {.struct_size = sizeof info};
  listener own = {0};
  CHECK(reply(session, &options, &own, &told) == KINGLET_STOP_END_OF_TEXT);
  CHECK(told.tokens == 0 && own.calls == 0);
  RETURNS(OK, kinglet_session_describe(session, &info));
  CHECK(info.tokens == PROMPT_TOKENS);
  options.flags = KINGLET_GENERATE_IGNORE_END;
  CHECK(reply(session, &options, &own, &told) == KINGLET_STOP_MAX_TOKENS && told.tokens == 5);
  RETURNS(OK, kinglet_session_set_sampling(session, NULL));
}

static void prove_full_context(kinglet_session *session) {
  uint32_t tokens[70], next[70], token = 0;
  kinglet_generation told;
  const size_t room = 64 - PROMPT_TOKENS;
  RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));
  for (size_t i = 0; i < room; i++) {
    RETURNS(OK, kinglet_session_next(session, &next[i]));
  }
  RETURNS(CONTEXT_FULL, kinglet_session_next(session, &token));
  RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));
  // The last one is handed out, though the text has no room for it.
  CHECK(generate_tokens(session, tokens, 70, &told) == room + 1);
  CHECK(told.stop_reason == KINGLET_STOP_CONTEXT_FULL);
  CHECK(memcmp(tokens, next, room * sizeof *next) == 0);
  size_t count = 0;
  RETURNS(OK, kinglet_session_tokens(session, next, 64, &count));
  CHECK(count == 64 && next[63] == tokens[room - 1]);
  CHECK(generate_tokens(session, next, 70, &told) == 1 && next[0] == tokens[room]);
  CHECK(told.stop_reason == KINGLET_STOP_CONTEXT_FULL);
}

// A text that goes on keeps its first tokens, its last ones, and the session's memory.
static void prove_slide(kinglet_session *session) {
  listener own = {0};
  kinglet_generation told;
  kinglet_generate_options options = endless(200);
  CHECK(reply(session, &options, &own, &told) == KINGLET_STOP_CONTEXT_FULL && told.slides == 0);
  options.flags |= KINGLET_GENERATE_SLIDE;
  CHECK(reply(session, &options, &own, &told) == KINGLET_STOP_MAX_TOKENS);
  CHECK(told.tokens == 200 && told.slides >= 5 && told.reserved_slides == 0 && told.forced == 0);
  uint32_t left[64];
  size_t count = 0;
  RETURNS(OK, kinglet_session_tokens(session, left, 64, &count));
  CHECK(count <= 64 && memcmp(left, PROMPT, 4 * sizeof *left) == 0);
  // What came after the prompt is gone, so the prompt is given anew.
  RETURNS(OK, kinglet_session_reset(session));
  RETURNS(OK, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
}

static void prove_cancellation(kinglet_session *session) {
  kinglet_generate_options options = endless(5);
  kinglet_generation told;
  listener own = {0};
  uint32_t token;
  RETURNS(OK, kinglet_session_cancel(session));
  CHECK(reply(session, &options, &own, &told) == KINGLET_STOP_CANCELLED && told.tokens == 0);
  // It ended that one, not the next.
  CHECK(reply(session, &options, &own, &told) == KINGLET_STOP_MAX_TOKENS);
  RETURNS(OK, kinglet_session_cancel(session));
  RETURNS(INTERRUPTED, kinglet_session_prefill(session, PROMPT, 3));
  RETURNS(OK, kinglet_session_cancel(session));
  RETURNS(INTERRUPTED, kinglet_session_next(session, &token));
  RETURNS(OK, kinglet_session_next(session, &token));
}

static uint64_t tick(void *user) { return ++*(uint64_t *)user; }

static int dawdle(void *user, uint32_t token, const char *text, size_t text_bytes) {
  (void)token, (void)text, (void)text_bytes;
  const struct timespec pause = {0, 3000000};
  nanosleep(&pause, NULL);
  ++*(int *)user;
  return 0;
}

static void prove_deadlines(const kinglet_model *model) {
  uint64_t now = 1000;
  kinglet_session_options options = small_options();
  options.clock = tick;
  options.clock_user = &now;
  kinglet_session *session = new_session(model, &options);
  RETURNS(OK, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
  RETURNS(OK, kinglet_session_set_deadline(session, 6));
  listener own = {0};
  kinglet_generation told;
  const kinglet_generate_options generate = endless(40);
  CHECK(reply(session, &generate, &own, &told) == KINGLET_STOP_DEADLINE && told.tokens == 5);
  RETURNS(OK, kinglet_session_set_deadline(session, 2));
  uint32_t tokens[40] = {0};
  RETURNS(DEADLINE_PASSED, kinglet_session_prefill(session, tokens, 40));
  RETURNS(OK, kinglet_session_set_deadline(session, UINT32_MAX));
  CHECK(reply(session, &generate, &own, &told) == KINGLET_STOP_MAX_TOKENS);
  RETURNS(OK, kinglet_session_destroy(session));
  // The operating system's clock.
  session = new_prompted(model);
  RETURNS(OK, kinglet_session_set_deadline(session, 1));
  int calls = 0;
  told.struct_size = sizeof told;
  RETURNS(OK, kinglet_session_generate(session, &generate, dawdle, &calls, &told));
  CHECK(told.stop_reason == KINGLET_STOP_DEADLINE && calls <= 1);
  RETURNS(OK, kinglet_session_destroy(session));
}

// Guessing ahead changes the number of steps and nothing else.
static void prove_speculation(const kinglet_model *model, float temperature) {
  kinglet_session_options options = small_options();
  options.context = 256;
  kinglet_sampling sampling = {.struct_size = sizeof sampling};
  sampling.temperature = temperature;
  uint32_t tokens[2][400], behind[2];
  kinglet_generation told[2];
  size_t counts[2];
  kinglet_session_info info = {.struct_size = sizeof info};
  for (int ahead = 0; ahead < 2; ahead++) {
    options.flags = ahead ? KINGLET_SESSION_SPECULATE : 0;
    kinglet_session *session = new_session(model, &options);
    RETURNS(OK, kinglet_session_set_sampling(session, &sampling));
    RETURNS(OK, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
    size_t count = generate_tokens(session, tokens[ahead], 100, &told[ahead]);
    // In between others can look at the session, and go on with it.
    kinglet_candidate best;
    size_t found = 0;
    RETURNS(OK, kinglet_session_top(session, &best, 1, &found));
    RETURNS(OK, kinglet_session_next(session, &tokens[ahead][count++]));
    count += generate_tokens(session, tokens[ahead] + count, 290, &told[ahead]);
    CHECK(told[ahead].stop_reason == KINGLET_STOP_CONTEXT_FULL);
    RETURNS(OK, kinglet_session_rewind(session, 200));
    RETURNS(OK, kinglet_session_next(session, &behind[ahead]));
    RETURNS(OK, kinglet_session_describe(session, &info));
    RETURNS(OK, kinglet_session_destroy(session));
    counts[ahead] = count;
  }
  CHECK(counts[0] == 256 - PROMPT_TOKENS + 1 && counts[1] == counts[0]);
  CHECK(memcmp(tokens[0], tokens[1], counts[0] * sizeof **tokens) == 0);
  CHECK(behind[0] == behind[1]);
  CHECK(told[0].drafted == 0 && told[0].accepted == 0 && told[0].steps == told[0].tokens);
  CHECK(told[1].steps + told[1].accepted == told[0].steps);
  CHECK(told[1].accepted <= told[1].drafted);
  // Where a further token of a batch costs as much as the first, nothing is guessed.
  const bool guesses = temperature == 0 && strcmp(info.tier, "scalar") != 0;
  CHECK(!guesses || told[1].accepted > 50);
}

void prove_replies(void) {
  kinglet_model *model = open_model(MODEL);
  kinglet_session *session = new_prompted(model);
  kinglet_model_info info = {.struct_size = sizeof info};
  RETURNS(OK, kinglet_model_describe(model, &info));
  refuse_options(session);
  prove_probabilities(session, info.vocabulary);
  prove_text(session);
  prove_end(session);
  prove_full_context(session);
  prove_slide(session);
  prove_cancellation(session);
  RETURNS(OK, kinglet_session_destroy(session));
  prove_deadlines(model);
  prove_speculation(model, 0.0f);
  prove_speculation(model, 0.3f);
  RETURNS(OK, kinglet_model_close(model));
}
