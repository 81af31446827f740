// Several texts of one session: chosen by number, copied, and going on in one pass.
#include "proof.h"

#define TEXTS 3
#define TOKENS 18

typedef struct {
  uint32_t tokens[TEXTS][TOKENS + 1];
  size_t counts[TEXTS];
  // The reply that ends when it has as many tokens.
  size_t ending, stop_at;
  kinglet_session *cancels;
} listener;

static int listen(void *user, size_t reply, uint32_t token, const char *text, size_t text_bytes) {
  listener *own = user;
  CHECK(reply < TEXTS && (text != NULL || text_bytes == 0));
  if (token == KINGLET_NO_TOKEN) {
    return 0;
  }
  CHECK(own->counts[reply] < TOKENS + 1);
  own->tokens[reply][own->counts[reply]++] = token;
  const bool ends = reply == own->ending && own->counts[reply] == own->stop_at;
  if (ends && own->cancels != NULL) {
    RETURNS(OK, kinglet_session_cancel(own->cancels));
    return 0;
  }
  return ends;
}

static kinglet_session_options options_of(uint32_t texts) {
  kinglet_session_options options = small_options();
  options.texts = texts;
  options.flags = KINGLET_SESSION_SPECULATE;
  return options;
}

// Gives every text another part of the prompt, and sampling of its own.
static void begin(kinglet_session *session, uint32_t first, uint32_t texts) {
  for (uint32_t text = 0; text < texts; ++text) {
    RETURNS(OK, kinglet_session_select(session, text));
    RETURNS(OK, kinglet_session_reset(session));
    RETURNS(OK, kinglet_session_prefill(session, PROMPT + first + text, 5));
    kinglet_sampling sampling = {.struct_size = sizeof sampling, .seed = first + text};
    sampling.temperature = 0.4f * (float)(first + text);
    RETURNS(OK, kinglet_session_set_sampling(session, &sampling));
  }
}

static kinglet_generate_options endless(void) {
  kinglet_generate_options options = {.struct_size = sizeof options, .max_tokens = TOKENS};
  options.flags = KINGLET_GENERATE_IGNORE_END;
  return options;
}

// Each text is what it is in a session of its own.
static void prove_sameness(const kinglet_model *model, kinglet_session *session) {
  const kinglet_generate_options go = endless();
  kinglet_generation told[TEXTS];
  kinglet_reply replies[TEXTS];
  for (uint32_t i = 0; i < TEXTS; ++i) {
    told[i] = (kinglet_generation){.struct_size = sizeof told[i]};
    // Replies in another order than texts.
    replies[i] = (kinglet_reply){.text = TEXTS - 1 - i, .options = &go, .generation = &told[i]};
  }
  listener together = {0};
  begin(session, 0, TEXTS);
  RETURNS(OK, kinglet_session_generate_all(session, replies, TEXTS, listen, &together));
  for (uint32_t i = 0; i < TEXTS; ++i) {
    CHECK(told[i].tokens == TOKENS && told[i].stop_reason == KINGLET_STOP_MAX_TOKENS);
    const uint32_t text = replies[i].text;
    const kinglet_session_options options = options_of(0);
    kinglet_session *alone = new_session(model, &options);
    begin(alone, text, 1);
    uint32_t tokens[TOKENS];
    kinglet_generation own;
    CHECK(generate_tokens(alone, tokens, TOKENS, &own) == TOKENS);
    CHECK(memcmp(tokens, together.tokens[i], sizeof tokens) == 0);
    // Both go on with the same random numbers.
    uint32_t here = 0, there = 0;
    RETURNS(OK, kinglet_session_select(session, text));
    RETURNS(OK, kinglet_session_next(session, &here));
    RETURNS(OK, kinglet_session_next(alone, &there));
    CHECK(here == there);
    RETURNS(OK, kinglet_session_destroy(alone));
  }
}

static void prove_ends(kinglet_session *session) {
  const kinglet_generate_options go = endless();
  kinglet_generation told[2] = {{.struct_size = sizeof *told}, {.struct_size = sizeof *told}};
  const kinglet_reply replies[2] = {{.text = 0, .options = &go, .generation = &told[0]},
                                    {.text = 2, .options = &go, .generation = &told[1]}};
  // The callback ends one reply, and the other goes on.
  begin(session, 0, TEXTS);
  listener one = {.ending = 0, .stop_at = 3};
  RETURNS(OK, kinglet_session_generate_all(session, replies, 2, listen, &one));
  CHECK(told[0].stop_reason == KINGLET_STOP_CALLBACK && told[0].tokens == 3);
  CHECK(told[1].stop_reason == KINGLET_STOP_MAX_TOKENS && told[1].tokens == TOKENS);
  // A cancellation ends both.
  begin(session, 0, TEXTS);
  listener all = {.ending = 1, .stop_at = 4, .cancels = session};
  RETURNS(OK, kinglet_session_generate_all(session, replies, 2, listen, &all));
  CHECK(told[0].stop_reason == KINGLET_STOP_CANCELLED && told[0].tokens < TOKENS);
  CHECK(told[1].stop_reason == KINGLET_STOP_CANCELLED && told[1].tokens < TOKENS);
}

static void prove_copies(kinglet_session *session) {
  uint32_t tokens[64];
  size_t count = 0;
  begin(session, 0, TEXTS);
  RETURNS(OK, kinglet_session_select(session, 1));
  RETURNS(OK, kinglet_session_copy_text(session, 2, 4));
  RETURNS(OK, kinglet_session_tokens(session, tokens, 64, &count));
  CHECK(count == 4 && memcmp(tokens, PROMPT + 2, 4 * sizeof *tokens) == 0);
  RETURNS(BAD_ARGUMENT, kinglet_session_copy_text(session, 2, 6));
  RETURNS(BAD_ARGUMENT, kinglet_session_copy_text(session, TEXTS, 1));
  RETURNS(BAD_ARGUMENT, kinglet_session_copy_text(session, UINT32_MAX, SIZE_MAX));
  // A copy of itself is a rewinding.
  RETURNS(OK, kinglet_session_copy_text(session, 1, 3));
  RETURNS(OK, kinglet_session_tokens(session, tokens, 64, &count));
  CHECK(count == 3);
  kinglet_session_info info = {.struct_size = sizeof info};
  RETURNS(OK, kinglet_session_describe(session, &info));
  CHECK(info.texts == TEXTS && info.text == 1 && info.tokens == 3);
}

static void refuse(const kinglet_model *model, kinglet_session *session) {
  RETURNS(BAD_ARGUMENT, kinglet_session_select(session, TEXTS));
  RETURNS(BAD_ARGUMENT, kinglet_session_select(session, UINT32_MAX));
  RETURNS(BAD_HANDLE, kinglet_session_select(NULL, 0));
  begin(session, 0, TEXTS);
  kinglet_reply replies[TEXTS + 1] = {{.text = 0}, {.text = 1}, {.text = 2}, {.text = 3}};
  RETURNS(BAD_ARGUMENT, kinglet_session_generate_all(session, replies, TEXTS + 1, NULL, NULL));
  RETURNS(BAD_ARGUMENT, kinglet_session_generate_all(session, replies + 3, 1, NULL, NULL));
  RETURNS(BAD_ARGUMENT, kinglet_session_generate_all(session, replies, 0, NULL, NULL));
  RETURNS(BAD_ARGUMENT, kinglet_session_generate_all(session, NULL, 1, NULL, NULL));
  RETURNS(BAD_ARGUMENT, kinglet_session_generate_all(session, replies, SIZE_MAX, NULL, NULL));
  RETURNS(BAD_HANDLE, kinglet_session_generate_all(NULL, replies, 1, NULL, NULL));
  RETURNS(BAD_HANDLE, kinglet_session_copy_text(NULL, 0, 0));
  replies[1].text = 0;
  RETURNS(BAD_ARGUMENT, kinglet_session_generate_all(session, replies, 2, NULL, NULL));
  replies[1].text = 1;
  replies[1].reserved = 1;
  RETURNS(BAD_ARGUMENT, kinglet_session_generate_all(session, replies, 2, NULL, NULL));
  replies[1].reserved = 0;
  kinglet_generate_options wrong = endless();
  wrong.flags = 4;
  replies[1].options = &wrong;
  RETURNS(BAD_ARGUMENT, kinglet_session_generate_all(session, replies, 2, NULL, NULL));
  replies[1].options = NULL;
  kinglet_generation told = {.struct_size = 1};
  replies[1].generation = &told;
  RETURNS(BAD_ARGUMENT, kinglet_session_generate_all(session, replies, 2, NULL, NULL));
  // What is written lies apart from everything else.
  kinglet_generation twice = {.struct_size = sizeof twice};
  replies[0].generation = replies[1].generation = &twice;
  RETURNS(BAD_ARGUMENT, kinglet_session_generate_all(session, replies, 2, NULL, NULL));
  union {
    kinglet_generate_options options;
    kinglet_generation generation;
  } both = {.options = endless()};
  replies[0].generation = &both.generation;
  replies[1].generation = NULL;
  replies[1].options = &both.options;
  RETURNS(BAD_ARGUMENT, kinglet_session_generate_all(session, replies, 2, NULL, NULL));
  CHECK(both.options.max_tokens == TOKENS);
  replies[0].generation = NULL;
  replies[1].options = NULL;
  RETURNS(OK, kinglet_session_select(session, 1));
  RETURNS(OK, kinglet_session_reset(session));
  RETURNS(BAD_ARGUMENT, kinglet_session_generate_all(session, replies, 2, NULL, NULL));

  kinglet_session_options options = options_of(KINGLET_MAX_TEXTS + 1);
  size_t bytes = 0;
  RETURNS(BAD_ARGUMENT, kinglet_session_bytes(model, &options, &bytes));
  options = options_of(1);
  options.reserved_texts = 1;
  RETURNS(BAD_ARGUMENT, kinglet_session_bytes(model, &options, &bytes));
  // Each text takes memory.
  size_t more = 0;
  options = options_of(1);
  RETURNS(OK, kinglet_session_bytes(model, &options, &bytes));
  options = options_of(KINGLET_MAX_TEXTS);
  RETURNS(OK, kinglet_session_bytes(model, &options, &more));
  CHECK(more > bytes);
}

void prove_texts(void) {
  kinglet_model *model = open_model(MODEL);
  const kinglet_session_options options = options_of(TEXTS);
  kinglet_session *session = new_session(model, &options);
  prove_sameness(model, session);
  prove_ends(session);
  prove_copies(session);
  refuse(model, session);
  RETURNS(OK, kinglet_session_destroy(session));
  RETURNS(OK, kinglet_model_close(model));
}
