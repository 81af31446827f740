// Streams a model's reply to one message:
//
//     cc -std=c11 reply.c $(pkg-config --cflags --libs kinglet) -o reply
//     ./reply smollm2-135m-instruct.kinglet "What is a kinglet?"
#include <kinglet.h>
#include <stdio.h>
#include <stdlib.h>

static int on_piece(void *user, uint32_t token, const char *text, size_t text_bytes) {
  (void)user;
  (void)token;
  fwrite(text, 1, text_bytes, stdout);
  return fflush(stdout);
}

static void check(kinglet_status status, const char *what, const char *message) {
  if (status != KINGLET_STATUS_OK) {
    fprintf(stderr, "%s: %s: %s\n", what, kinglet_status_text(status), message);
    exit(1);
  }
}

// The tokens of the conversation as the model's template writes it. Control tokens that are spelled
// out in the question stay text.
static uint32_t *prompt_tokens(const kinglet_model *model, const char *question, size_t *count) {
  const kinglet_message messages[] = {{"user", question}};
  const uint32_t flags = KINGLET_CHAT_REPLY_NEXT;
  size_t room = 0;
  kinglet_status status = kinglet_chat_tokens(model, messages, 1, flags, NULL, 0, &room);
  if (status != KINGLET_STATUS_BUFFER_TOO_SMALL) {
    check(status, "chat template", "");
  }
  uint32_t *tokens = malloc(room * sizeof *tokens);
  if (tokens == NULL) {
    exit(1);
  }
  status = kinglet_chat_tokens(model, messages, 1, flags, tokens, room, count);
  check(status, "chat template", "");
  return tokens;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s MODEL MESSAGE\n", argv[0]);
    return 2;
  }
  char message[320] = "";
  kinglet_model *model = NULL;
  check(kinglet_model_open_path(argv[1], NULL, 0, &model, message, sizeof message), argv[1],
        message);

  // The session's memory is ours: what is needed is known before it is taken.
  kinglet_session_options options = {0};
  options.struct_size = sizeof options;
  options.threads = 2;
  size_t bytes = 0;
  check(kinglet_session_bytes(model, &options, &bytes), "plan", "");
  void *memory = aligned_alloc(KINGLET_ALIGNMENT, bytes);
  if (memory == NULL) {
    return 1;
  }
  kinglet_session *session = NULL;
  check(kinglet_session_new(model, &options, memory, bytes, &session, message, sizeof message),
        "session", message);

  size_t count = 0;
  uint32_t *tokens = prompt_tokens(model, argv[2], &count);
  kinglet_status status = kinglet_session_prefill(session, tokens, count);
  if (status == KINGLET_STATUS_OK) {
    kinglet_generate_options generate = {0};
    generate.struct_size = sizeof generate;
    generate.max_tokens = 128;
    status = kinglet_session_generate(session, &generate, on_piece, NULL, NULL);
  }
  kinglet_session_message(session, message, sizeof message);
  check(status, "reply", message);
  putchar('\n');

  free(tokens);
  kinglet_session_destroy(session);
  free(memory);
  return kinglet_model_close(model);
}
