// Lets a model call functions of the program, and tells it what they returned:
//
//     kinglet compile-schema --tools functions.json -o functions.ktools
//     cc -std=c11 calls.c $(pkg-config --cflags --libs kinglet) -o calls
//     ./calls smollm2-1.7b-instruct.kinglet functions.ktools "Light in the kitchen, please."
//
// Firmware has the table as an array in flash, and all memory here is static.
#include <kinglet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 2048, MOST_CALLS = 4 };

typedef struct {
  char text[4096];
  size_t bytes;
} reply;

static char table[1 << 16];
static size_t table_bytes;

static int on_piece(void *user, uint32_t token, const char *text, size_t text_bytes) {
  reply *own = user;
  (void)token;
  if (own->bytes + text_bytes >= sizeof own->text) {
    return 1;
  }
  memcpy(own->text + own->bytes, text, text_bytes);
  own->bytes += text_bytes;
  own->text[own->bytes] = 0;
  return 0;
}

static void check(kinglet_status status, const char *what) {
  if (status != KINGLET_STATUS_OK) {
    fprintf(stderr, "%s: %s\n", what, kinglet_status_text(status));
    exit(1);
  }
}

// The model's reply to a conversation: words, or calls where it may call. What the session has
// computed of the conversation before is kept.
static void answer(const kinglet_model *model, kinglet_session *session,
                   const kinglet_message *messages, size_t message_count, int may_call,
                   reply *own) {
  static uint32_t tokens[4 * CONTEXT], known[CONTEXT];
  size_t count = 0, known_count = 0, common = 0;
  check(kinglet_tools_tokens(model, table, table_bytes, messages, message_count,
                             KINGLET_CHAT_REPLY_NEXT, tokens, 4 * CONTEXT, &count),
        "conversation");
  check(kinglet_session_tokens(session, known, CONTEXT, &known_count), "session");
  while (common < known_count && common + 1 < count && tokens[common] == known[common]) {
    common++;
  }
  check(kinglet_session_rewind(session, common), "session");
  check(kinglet_session_prefill(session, tokens + common, count - common), "conversation");
  kinglet_generate_options options = {0};
  options.struct_size = sizeof options;
  options.max_tokens = 128;
  options.schema = may_call ? table : NULL;
  options.schema_bytes = may_call ? table_bytes : 0;
  own->bytes = 0;
  own->text[0] = 0;
  check(kinglet_session_generate(session, &options, on_piece, own, NULL), "reply");
}

// Does what the model asks for: a program compares the name, and reads the arguments as JSON.
static const char *do_call(kinglet_call call) {
  printf("%.*s(%.*s)\n", (int)call.name_bytes, call.name, (int)call.arguments_bytes,
         call.arguments);
  return "done";
}

int main(int argc, char **argv) {
  FILE *file = argc == 4 ? fopen(argv[2], "rb") : NULL;
  if (file == NULL) {
    fprintf(stderr, "usage: %s MODEL TABLE MESSAGE\n", argv[0]);
    return 2;
  }
  table_bytes = fread(table, 1, sizeof table, file);
  fclose(file);
  kinglet_model *model = NULL;
  kinglet_session *session = NULL;
  kinglet_session_options options = {0};
  options.struct_size = sizeof options;
  check(kinglet_model_open_path(argv[1], NULL, 0, &model, NULL, 0), argv[1]);
  check(kinglet_session_new(model, &options, NULL, 0, &session, NULL, 0), "session");

  static reply called, said;
  kinglet_message messages[2 + MOST_CALLS] = {{"user", argv[3]}, {"assistant", called.text}};
  answer(model, session, messages, 1, 1, &called);
  kinglet_call calls[MOST_CALLS];
  size_t count = 0;
  uint32_t in_words = 0;
  check(kinglet_tools_calls(table, table_bytes, called.text, called.bytes, calls, MOST_CALLS,
                            &count, &in_words),
        "calls");
  for (size_t i = 0; i < count; i++) {
    messages[2 + i].role = "tool";
    messages[2 + i].content = do_call(calls[i]);
  }
  if (count > 0) {
    answer(model, session, messages, 2 + count, 0, &said);
  }
  puts(in_words ? called.text : said.text);
  kinglet_session_destroy(session);
  return kinglet_model_close(model);
}
