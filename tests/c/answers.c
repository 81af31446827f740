// What people ask about kinglet.h: each answer that it gives is shown here or in another proof.
#include "proof.h"

#include <sys/wait.h>
#include <unistd.h>

static uint32_t text_length(kinglet_session *session) {
  kinglet_session_info info = {.struct_size = sizeof info};
  RETURNS(OK, kinglet_session_describe(session, &info));
  return info.tokens;
}

// A cancellation that nobody was there for ends the next call, once, and changes nothing else.
static void prove_late_cancellations(const kinglet_model *model) {
  kinglet_session *session = new_prompted(model);
  uint32_t token = 0, expected = 0;
  RETURNS(OK, kinglet_session_next(session, &expected));
  for (int call = 0; call < 3; call++) {
    RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));
    RETURNS(OK, kinglet_session_cancel(session));
    RETURNS(OK, kinglet_session_cancel(session));
    kinglet_generation told = {.struct_size = sizeof told};
    if (call == 0) {
      RETURNS(INTERRUPTED, kinglet_session_next(session, &token));
    } else if (call == 1) {
      RETURNS(INTERRUPTED, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
    } else {
      RETURNS(OK, kinglet_session_generate(session, NULL, NULL, NULL, &told));
      CHECK(told.stop_reason == KINGLET_STOP_CANCELLED && told.tokens == 0);
    }
    CHECK(text_length(session) == PROMPT_TOKENS);
    RETURNS(OK, kinglet_session_next(session, &token));
    CHECK(token == expected);
  }
  RETURNS(OK, kinglet_session_destroy(session));
}

// A reply needs no new prompt after these: what it goes on from is computed where it is missing.
static void prove_replies_at_once(const kinglet_model *model) {
  kinglet_session *session = new_prompted(model);
  kinglet_session_options options = small_options();
  kinglet_session *twin = new_session(model, &options);
  kinglet_generation told;
  uint32_t expected[8], tokens[8];
  size_t bytes = 0;
  CHECK(generate_tokens(session, expected, 8, &told) == 8);
  RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));
  CHECK(generate_tokens(session, tokens, 8, &told) == 8);
  CHECK(memcmp(tokens, expected, sizeof expected) == 0);
  RETURNS(OK, kinglet_session_fork(twin, session, PROMPT_TOKENS));
  CHECK(generate_tokens(twin, tokens, 8, &told) == 8);
  CHECK(memcmp(tokens, expected, sizeof expected) == 0);
  // A saved state may lie anywhere.
  RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));
  RETURNS(OK, kinglet_session_state_bytes(session, &bytes));
  char *state = malloc(bytes + 1);
  CHECK(state != NULL);
  RETURNS(OK, kinglet_session_save(session, state + 1, bytes, &bytes));
  RETURNS(OK, kinglet_session_restore(twin, state + 1, bytes));
  free(state);
  CHECK(generate_tokens(twin, tokens, 8, &told) == 8);
  CHECK(memcmp(tokens, expected, sizeof expected) == 0);
  // There is nothing to go on from.
  RETURNS(OK, kinglet_session_rewind(twin, 0));
  RETURNS(BAD_ARGUMENT, kinglet_session_generate(twin, NULL, NULL, NULL, NULL));
  RETURNS(BAD_ARGUMENT, kinglet_session_next(twin, tokens));
  RETURNS(OK, kinglet_session_destroy(twin));
  RETURNS(OK, kinglet_session_destroy(session));
}

// Pieces are whole characters, which bytes of single tokens need not be.
static int32_t append_text(void *user, uint32_t token, const char *text, size_t text_bytes) {
  (void)token;
  CHECK(strlen(user) + text_bytes < 400);
  strncat(user, text, text_bytes);
  return 0;
}

// The next turn of a conversation: its tokens begin with those of the text, and the rest is new.
static void prove_conversations_go_on(const kinglet_model *model) {
  kinglet_session_options options = small_options();
  options.context = 512;
  kinglet_session *session = new_session(model, &options);
  kinglet_message messages[3] = {{"user", "Hi"}, {"assistant", NULL}, {"user", "And now?"}};
  uint32_t tokens[512], text[512];
  size_t count = 0, length = 0;
  const uint32_t flags = KINGLET_CHAT_REPLY_NEXT;
  RETURNS(OK, kinglet_chat_tokens(model, messages, 1, flags, tokens, 512, &count));
  RETURNS(OK, kinglet_session_prefill(session, tokens, count));
  const size_t first = count;
  char reply[400] = "";
  kinglet_generate_options generate = {0};
  generate.struct_size = sizeof generate;
  generate.max_tokens = 6;
  RETURNS(OK, kinglet_session_generate(session, &generate, append_text, reply, NULL));
  RETURNS(OK, kinglet_session_tokens(session, text, 512, &length));
  messages[1].content = reply;
  RETURNS(OK, kinglet_chat_tokens(model, messages, 3, flags, tokens, 512, &count));
  size_t common = 0;
  while (common < length && common < count && tokens[common] == text[common]) {
    common++;
  }
  CHECK(common >= first && common < count);
  RETURNS(OK, kinglet_session_rewind(session, common));
  RETURNS(OK, kinglet_session_prefill(session, tokens + common, count - common));
  // It is what the whole conversation gives.
  uint32_t next = 0, again = 0;
  RETURNS(OK, kinglet_session_next(session, &next));
  RETURNS(OK, kinglet_session_reset(session));
  RETURNS(OK, kinglet_session_prefill(session, tokens, count));
  RETURNS(OK, kinglet_session_next(session, &again));
  CHECK(next == again);
  RETURNS(OK, kinglet_session_destroy(session));
}

// A null buffer of no capacity asks for the size.
static void prove_size_queries(const kinglet_model *model) {
  const kinglet_message messages[] = {{"user", "Hi"}};
  const uint32_t tokens[] = {20, 21, 22};
  size_t count = 0, bytes = 0;
  RETURNS(BUFFER_TOO_SMALL, kinglet_tokenize(model, "a b", 3, 0, NULL, 0, &count));
  CHECK(count >= 3);
  RETURNS(BUFFER_TOO_SMALL, kinglet_detokenize(model, tokens, 3, 0, NULL, 0, &bytes));
  CHECK(bytes > 0);
  RETURNS(BUFFER_TOO_SMALL, kinglet_chat_render(model, messages, 1, 0, NULL, 0, &bytes));
  CHECK(bytes > 0);
  RETURNS(BUFFER_TOO_SMALL, kinglet_chat_tokens(model, messages, 1, 0, NULL, 0, &count));
  CHECK(count > 0);
  kinglet_session *session = new_prompted(model);
  RETURNS(BUFFER_TOO_SMALL, kinglet_session_tokens(session, NULL, 0, &count));
  CHECK(count == PROMPT_TOKENS);
  // A prompt of no tokens is a mistake, and changes nothing.
  RETURNS(BAD_ARGUMENT, kinglet_session_prefill(session, NULL, 0));
  RETURNS(BAD_ARGUMENT, kinglet_session_prefill(session, PROMPT, 0));
  CHECK(text_length(session) == PROMPT_TOKENS);
  RETURNS(OK, kinglet_session_destroy(session));
}

// What is longer than this library knows: the rest of memory, and of structs that it fills.
static void prove_longer(const kinglet_model *model) {
  const kinglet_session_options options = small_options();
  size_t needed = 0;
  RETURNS(OK, kinglet_session_bytes(model, &options, &needed));
  char *memory = take(needed + 100);
  memset(memory + needed, 7, 100);
  kinglet_session *session = NULL;
  RETURNS(OK, kinglet_session_new(model, &options, memory, needed + 100, &session, NULL, 0));
  struct {
    kinglet_session_info info;
    unsigned char added[16];
  } longer;
  memset(&longer, 9, sizeof longer);
  longer.info.struct_size = sizeof longer;
  RETURNS(OK, kinglet_session_describe(session, &longer.info));
  CHECK(longer.info.bytes == needed);
  for (size_t i = 0; i < sizeof longer.added; i++) {
    CHECK(longer.added[i] == 9);
  }
  RETURNS(OK, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
  RETURNS(OK, kinglet_session_destroy(session));
  for (size_t i = 0; i < 100; i++) {
    CHECK(memory[needed + i] == 7);
  }
  free(memory);
}

static int32_t see_text(void *user, uint32_t token, const char *text, size_t text_bytes) {
  (void)token;
  CHECK(text != NULL);
  *(size_t *)user += text_bytes;
  return 0;
}

static void *do_everything(void *user) {
  const kinglet_model *model = user;
  kinglet_session_options options = small_options();
  options.flags = KINGLET_SESSION_SPECULATE;
  options.texts = 2;
  kinglet_session *session = NULL;
  char message[64], text[64];
  RETURNS(OK, kinglet_session_new(model, &options, NULL, 0, &session, message, sizeof message));
  const kinglet_message messages[] = {{"user", "Hi"}};
  uint32_t tokens[256];
  size_t count = 0, bytes = 0;
  RETURNS(OK,
          kinglet_chat_tokens(model, messages, 1, KINGLET_CHAT_REPLY_NEXT, tokens, 256, &count));
  RETURNS(OK, kinglet_tokenize(model, "One, two.", 9, 0, tokens, 256, &count));
  RETURNS(OK, kinglet_detokenize(model, tokens, count, 0, text, sizeof text, &bytes));
  RETURNS(OK, kinglet_session_prefill(session, tokens, count));
  kinglet_sampling sampling = {0};
  sampling.struct_size = sizeof sampling;
  sampling.temperature = 1.0f;
  sampling.top_p = 0.9f;
  sampling.repetition_penalty = 1.1f;
  RETURNS(OK, kinglet_session_set_sampling(session, &sampling));
  kinglet_generate_options generate = {0};
  generate.struct_size = sizeof generate;
  generate.max_tokens = 6;
  generate.schema = TABLE;
  generate.schema_bytes = TABLE_BYTES;
  size_t seen = 0;
  RETURNS(OK, kinglet_session_generate(session, &generate, see_text, &seen, NULL));
  RETURNS(OK, kinglet_session_select(session, 1));
  RETURNS(OK, kinglet_session_copy_text(session, 0, 2));
  RETURNS(OK, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
  generate.schema = NULL;
  generate.schema_bytes = 0;
  generate.flags = KINGLET_GENERATE_IGNORE_END;
  const kinglet_reply replies[] = {{0, 0, &generate, NULL}, {1, 0, &generate, NULL}};
  RETURNS(OK, kinglet_session_generate_all(session, replies, 2, NULL, NULL));
  RETURNS(OK, kinglet_session_state_bytes(session, &bytes));
  void *state = malloc(bytes);
  CHECK(state != NULL);
  RETURNS(OK, kinglet_session_save(session, state, bytes, &bytes));
  RETURNS(OK, kinglet_session_restore(session, state, bytes));
  free(state);
  RETURNS(OK, kinglet_session_destroy(session));
  return NULL;
}

// A child has copies of models and of sessions without threads of the library's.
static void prove_children(const kinglet_model *model) {
  kinglet_session *session = new_prompted(model);
  uint32_t token = 0, expected = 0;
  RETURNS(OK, kinglet_session_next(session, &expected));
  RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    bool is_same = kinglet_session_next(session, &token) == KINGLET_STATUS_OK && token == expected;
    kinglet_session_options options = small_options();
    options.threads = 2;
    kinglet_session *own = NULL;
    is_same = is_same && kinglet_session_new(model, &options, NULL, 0, &own, NULL, 0) == 0 &&
              kinglet_session_prefill(own, PROMPT, PROMPT_TOKENS) == KINGLET_STATUS_OK &&
              kinglet_session_next(own, &token) == KINGLET_STATUS_OK && token == expected &&
              kinglet_session_destroy(own) == KINGLET_STATUS_OK;
    _exit(is_same ? 0 : 1);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  RETURNS(OK, kinglet_session_next(session, &token));
  CHECK(token == expected);
  RETURNS(OK, kinglet_session_destroy(session));
}

void prove_answers(void) {
  kinglet_model *model = open_model(MODEL);
  prove_late_cancellations(model);
  prove_replies_at_once(model);
  prove_conversations_go_on(model);
  prove_size_queries(model);
  prove_longer(model);
  // As little of the stack as the header says is enough.
  run_on_stack(32 << 10, do_everything, model);
  prove_children(model);
  RETURNS(OK, kinglet_model_close(model));
}
