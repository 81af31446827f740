// Functions that a model can call: conversations with them, replies that call, and their calls.
#include "proof.h"

#define FLAGS KINGLET_CHAT_REPLY_NEXT

static const char TWO[] =
    "<tool_call>[{\"name\": \"set\", \"arguments\": {\"on\": true}}, "
    "{\"name\": \"read\", \"arguments\": {}}]</tool_call>";

// The table of the functions `set`, which wants a boolean, and `read`.
typedef struct {
  char *bytes;
  size_t count;
} table;

static bool is_text(const char *text, size_t bytes, const char *expected) {
  return bytes == strlen(expected) && memcmp(text, expected, bytes) == 0;
}

// The functions stand in the system message, results in one turn of the user's; control tokens that
// somebody has typed stay text.
static void prove_conversation(const kinglet_model *model, table own) {
  const kinglet_message messages[] = {{"system", "Be brief."}, {"user", "Hi<|im_end|>"},
                                      {"assistant", TWO},      {"tool", "done"},
                                      {"tool", "12<|im_end|>"}};
  static uint32_t tokens[4096];
  static char text[4096];
  size_t room = 0, count = 0, bytes = 0, controls = 0;
  RETURNS(BUFFER_TOO_SMALL,
          kinglet_tools_tokens(model, own.bytes, own.count, messages, 5, FLAGS, NULL, 0, &room));
  RETURNS(BUFFER_TOO_SMALL, kinglet_tools_tokens(model, own.bytes, own.count, messages, 5, FLAGS,
                                                 tokens, room - 1, &count));
  CHECK(count == room && room <= 4096);
  RETURNS(OK, kinglet_tools_tokens(model, own.bytes, own.count, messages, 5, FLAGS, tokens, room,
                                   &count));
  for (size_t i = 0; i < count; i++) {
    const char *spelled = NULL;
    uint32_t kind = 0;
    RETURNS(OK, kinglet_token_text(model, tokens[i], &spelled, &bytes, &kind));
    controls += (kind & KINGLET_TOKEN_CONTROL) != 0;
  }
  CHECK(controls == 2 * 4 + 1);
  RETURNS(OK, kinglet_detokenize(model, tokens, count, 0, text, sizeof text - 1, &bytes));
  text[bytes] = 0;
  CHECK(strstr(text, "<|im_start|>system\nBe brief.\n\nYou can call functions.") == text);
  CHECK(strstr(text, "<tool_response>done</tool_response>\n"
                     "<tool_response>12<|im_end|></tool_response><|im_end|>") != NULL);
  // Without a system message of its own the conversation begins with that of the functions.
  RETURNS(OK, kinglet_tools_tokens(model, own.bytes, own.count, NULL, 0, 0, tokens, 4096, &count));
  RETURNS(OK, kinglet_detokenize(model, tokens, count, 0, text, sizeof text, &bytes));
  CHECK(count > 0 && memcmp(text, "<|im_start|>system\nYou can call", 31) == 0);
}

static void refuse_conversations(const kinglet_model *model, table own) {
  const kinglet_message messages[] = {{"user", "Hi"}}, stranger[] = {{"function", "Hi"}};
  uint32_t tokens[2048];
  size_t count = 0;
#define REFUSED(name, table, bytes, messages, number, flags, tokens, room, count)              \
  RETURNS(name, kinglet_tools_tokens(model, table, bytes, messages, number, flags, tokens, room, \
                                     count))
  REFUSED(NOT_KINGLET, NULL, 0, messages, 1, 0, tokens, 2048, &count);
  REFUSED(NOT_KINGLET, TABLE, TABLE_BYTES, messages, 1, 0, tokens, 2048, &count);
  REFUSED(BAD_ARGUMENT, NULL, 9, messages, 1, 0, tokens, 2048, &count);
  REFUSED(BAD_ARGUMENT, own.bytes, SIZE_MAX, messages, 1, 0, tokens, 2048, &count);
  REFUSED(CORRUPT, own.bytes, own.count - 4, messages, 1, 0, tokens, 2048, &count);
  REFUSED(BAD_ARGUMENT, own.bytes, own.count, stranger, 1, 0, tokens, 2048, &count);
  REFUSED(BAD_ARGUMENT, own.bytes, own.count, NULL, 1, 0, tokens, 2048, &count);
  REFUSED(BAD_ARGUMENT, own.bytes, own.count, messages, 1, 2, tokens, 2048, &count);
  REFUSED(BAD_ARGUMENT, own.bytes, own.count, messages, 1, 0, NULL, 2048, &count);
  REFUSED(BAD_ARGUMENT, own.bytes, own.count, messages, 1, 0, tokens, 2048, NULL);
  // What is written to must lie apart from the table.
  uint32_t *inside = (uint32_t *)(void *)own.bytes;
  REFUSED(BAD_ARGUMENT, own.bytes, own.count, messages, 1, 0, inside, 64, &count);
  REFUSED(BAD_ARGUMENT, own.bytes, own.count, messages, 1, 0, tokens, 2048, (size_t *)inside);
#undef REFUSED
  RETURNS(BAD_HANDLE, kinglet_tools_tokens(NULL, own.bytes, own.count, messages, 1, 0, tokens, 2048,
                                           &count));
}

static void prove_calls(table own) {
  kinglet_call calls[2];
  size_t count = 9;
  uint32_t in_words = 9;
#define CALLS_OF(name, text, length, calls, room)                                            \
  RETURNS(name, kinglet_tools_calls(own.bytes, own.count, text, length, calls, room, &count, \
                                    &in_words))
  CALLS_OF(OK, TWO, strlen(TWO), calls, 2);
  CHECK(count == 2 && in_words == 0);
  CHECK(is_text(calls[0].name, calls[0].name_bytes, "set"));
  CHECK(is_text(calls[0].arguments, calls[0].arguments_bytes, "{\"on\": true}"));
  CHECK(is_text(calls[1].name, calls[1].name_bytes, "read"));
  CHECK(is_text(calls[1].arguments, calls[1].arguments_bytes, "{}"));
  CHECK(calls[0].name > TWO && calls[1].arguments < TWO + sizeof TWO);
  CALLS_OF(BUFFER_TOO_SMALL, TWO, strlen(TWO), NULL, 0);
  CHECK(count == 2 && in_words == 0);
  CALLS_OF(BUFFER_TOO_SMALL, TWO, strlen(TWO), calls, 1);
  CALLS_OF(OK, "Hello", 5, calls, 2);
  CHECK(count == 0 && in_words == 1);
  CALLS_OF(OK, NULL, 0, NULL, 0);
  CHECK(count == 0 && in_words == 1);
  CALLS_OF(OK, "<tool_call>[]</tool_call>", 25, NULL, 0);
  CHECK(count == 0 && in_words == 0);
  // Wherever it was cut.
  for (size_t bytes = 1; bytes < strlen(TWO); bytes++) {
    char *cut = take(bytes);
    memcpy(cut, TWO, bytes);
    CALLS_OF(BAD_ARGUMENT, cut, bytes, calls, 2);
    CHECK(count == 0 && in_words == 0);
    free(cut);
  }
  CALLS_OF(BAD_ARGUMENT, "\xFF", 1, calls, 2);
  CALLS_OF(BAD_ARGUMENT, NULL, 5, calls, 2);
  CALLS_OF(BAD_ARGUMENT, TWO, SIZE_MAX, calls, 2);
  CALLS_OF(BAD_ARGUMENT, TWO, strlen(TWO), NULL, 2);
  CALLS_OF(BAD_ARGUMENT, TWO, strlen(TWO), calls, SIZE_MAX);
  CALLS_OF(BAD_ARGUMENT, (char *)calls, sizeof calls, calls, 2);
  CALLS_OF(BAD_ARGUMENT, TWO, strlen(TWO), (kinglet_call *)(void *)own.bytes, 2);
#undef CALLS_OF
  RETURNS(NOT_KINGLET, kinglet_tools_calls(TABLE, TABLE_BYTES, "", 0, NULL, 0, &count, &in_words));
  RETURNS(BAD_ARGUMENT,
          kinglet_tools_calls(own.bytes, own.count, "", 0, NULL, 0, NULL, &in_words));
  RETURNS(BAD_ARGUMENT, kinglet_tools_calls(own.bytes, own.count, "", 0, NULL, 0, &count, NULL));
}

// A model of random weights, whose replies must call, calls these functions rightly.
static void prove_replies_that_call(kinglet_session *session, table own) {
  kinglet_generate_options options = {.struct_size = sizeof options, .max_tokens = 150};
  kinglet_generation told = {.struct_size = sizeof told};
  kinglet_call calls[8];
  size_t called = 0, count = 0;
  uint32_t in_words = 0;
  options.schema = own.bytes;
  options.schema_bytes = own.count;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    const kinglet_sampling sampling = {
        .struct_size = sizeof sampling, .temperature = 1.5f, .seed = seed};
    words heard = {.bytes = 0};
    RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));
    RETURNS(OK, kinglet_session_set_sampling(session, &sampling));
    RETURNS(OK, kinglet_session_generate(session, &options, hear, &heard, &told));
    const kinglet_status status = kinglet_tools_calls(own.bytes, own.count, heard.text, heard.bytes,
                                                      calls, 8, &count, &in_words);
    if (told.stop_reason == KINGLET_STOP_MAX_TOKENS) {
      CHECK(status == KINGLET_STATUS_BAD_ARGUMENT);
      continue;
    }
    CHECK(told.stop_reason == KINGLET_STOP_COMPLETE && told.forced > 0);
    CHECK(status == KINGLET_STATUS_OK && in_words == 0 && count > 0);
    for (size_t i = 0; i < count; i++) {
      const kinglet_call call = calls[i];
      CHECK(is_text(call.name, call.name_bytes, "set")
                ? is_text(call.arguments, call.arguments_bytes, "{\"on\": true}") ||
                      is_text(call.arguments, call.arguments_bytes, "{\"on\": false}")
                : is_text(call.name, call.name_bytes, "read") &&
                      is_text(call.arguments, call.arguments_bytes, "{}"));
    }
    called += count;
  }
  CHECK(called > 0);
}

void prove_tools(void) {
  table own;
  own.bytes = read_file(TOOLS, &own.count);
  kinglet_model *model = open_model(MODEL);
  prove_conversation(model, own);
  refuse_conversations(model, own);
  prove_conversation(model, own);
  prove_calls(own);
  kinglet_session_options options = small_options();
  options.context = 256;
  kinglet_session *session = new_session(model, &options);
  RETURNS(OK, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
  prove_replies_that_call(session, own);
  RETURNS(OK, kinglet_session_destroy(session));
  RETURNS(OK, kinglet_model_close(model));
  free(own.bytes);
}
