// A model's reply without an operating system: no allocator, no files, no C library. Everything
// comes from kinglet.h; memory is static, and the reply goes over a serial line.
#include "board.h"
#include "console.h"
#include "paint.h"

#include <kinglet.h>

#define PROMPT "def print_hello_world():"
#define REPLY_TOKENS 16
#define CONTEXT 256
#define BATCH 16

static _Alignas(KINGLET_ALIGNMENT) char model_memory[2048];

// The start of a weight file, see quant/FORMAT.md.
struct file_header {
  char magic[8];
  uint32_t version;
  uint32_t sections;
  uint64_t bytes;
};

// Ends the program when something failed, after a line that says what.
static void check(kinglet_status status, const char *what, const char *message) {
  if (status != KINGLET_STATUS_OK) {
    print("failed: ");
    print(what);
    print(": ");
    print(kinglet_status_text(status));
    print(": ");
    print(message);
    print("\n");
    board_stop();
  }
}

// How long the weight file is that a bootloader has put into memory; 0 when there is none.
static size_t loaded_bytes(void) {
  static const char magic[8] = "KINGLET\n";
  const struct file_header *header = board_model_address;
  if (board_model_room < sizeof *header) {
    return 0;
  }
  for (size_t i = 0; i < sizeof magic; i++) {
    if (header->magic[i] != magic[i]) {
      return 0;
    }
  }
  return header->bytes <= board_model_room ? (size_t)header->bytes : 0;
}

#ifdef KEY
// Opens only what KEY has signed. A board that takes updates keeps the newest version that has
// worked, where nobody can lower it, and gives it as least_version.
static kinglet_status open_model(const void *file, size_t bytes, kinglet_model **model,
                                 char *message, size_t message_bytes) {
  kinglet_trust trust = {0};
  trust.struct_size = sizeof trust;
  trust.key = KEY;
  trust.least_version = LEAST_VERSION;
  return kinglet_model_open_signed_memory(file, bytes, &trust, model_memory, sizeof model_memory,
                                          model, message, message_bytes);
}

// Says what the signature vouches for.
static void print_signature(const kinglet_model *model) {
  kinglet_signature_info info = {0};
  info.struct_size = sizeof info;
  check(kinglet_model_describe_signature(model, &info), "signature", "");
  print("signed: ");
  print(info.model_id);
  print(", version ");
  print_number(info.version);
  print("\n");
}
#else
static kinglet_status open_model(const void *file, size_t bytes, kinglet_model **model,
                                 char *message, size_t message_bytes) {
  return kinglet_model_open_memory(file, bytes, model_memory, sizeof model_memory, model, message,
                                   message_bytes);
}
#endif

// The model in memory if a whole one is there, else the one in the image.
static kinglet_model *choose_model(void) {
  kinglet_model *model = NULL;
  char message[256] = "";
  size_t bytes = loaded_bytes();
  if (bytes > 0) {
    print("model: at ");
    print_hex((uintptr_t)board_model_address);
    print(", ");
    print_number(bytes);
    print(" bytes");
    kinglet_status status =
        open_model(board_model_address, bytes, &model, message, sizeof message);
    if (status == KINGLET_STATUS_OK) {
      // What came over a line or from a card may have been altered on the way.
      status = kinglet_model_verify(model);
      kinglet_model_message(model, message, sizeof message);
    }
    if (status == KINGLET_STATUS_OK) {
      print("\n");
      return model;
    }
    print(": refused: ");
    print(message);
    print("\n");
    kinglet_model_close(model);
  }
  bytes = (size_t)(model_end - model_start);
  check(open_model(model_start, bytes, &model, message, sizeof message), "model", message);
  print("model: in the image, ");
  print_number(bytes);
  print(" bytes\n");
  return model;
}

static kinglet_session *new_session(const kinglet_model *model) {
  kinglet_session_options options = {0};
  options.struct_size = sizeof options;
  options.context = CONTEXT;
  options.batch = BATCH;
  char message[256] = "";
  size_t bytes = 0;
  check(kinglet_session_bytes(model, &options, &bytes), "session", message);
  print_figure("session bytes", bytes);
  kinglet_session *session = NULL;
  size_t room = (size_t)(session_end - session_start);
  check(kinglet_session_new(model, &options, session_start, room, &session, message,
                            sizeof message),
        "session", message);
  kinglet_session_info info = {0};
  info.struct_size = sizeof info;
  check(kinglet_session_describe(session, &info), "session", message);
  print("tier: ");
  print(info.tier);
  print("\n");
  return session;
}

// Bytes of the stack that were used at any time until now.
static size_t stack_bytes(void) {
  const uint32_t *word = stack_start;
  while (word < stack_end && *word == STACK_PAINT) {
    word++;
  }
  return (size_t)(stack_end - word) * sizeof *word;
}

static void prefill(kinglet_session *session, const kinglet_model *model) {
  uint32_t tokens[sizeof PROMPT];
  size_t count = 0;
  kinglet_status status =
      kinglet_tokenize(model, PROMPT, sizeof PROMPT - 1, 0, tokens, sizeof PROMPT, &count);
  check(status, "prompt", "");
  uint64_t start = board_cycles();
  check(kinglet_session_prefill(session, tokens, count), "prompt", "");
  uint64_t cycles = board_cycles() - start;
  print_figure("prompt tokens", count);
  print_figure("cycles for each token of the prompt", cycles / count);
}

// Writes the text as it comes, then what it was made of.
static void reply(kinglet_session *session, const kinglet_model *model) {
  uint32_t tokens[REPLY_TOKENS];
  uint64_t cycles = 0;
  print("text: " PROMPT);
  for (size_t i = 0; i < REPLY_TOKENS; i++) {
    uint64_t start = board_cycles();
    check(kinglet_session_next(session, &tokens[i]), "reply", "");
    cycles += board_cycles() - start;
    const char *text = NULL;
    size_t bytes = 0;
    uint32_t kind = 0;
    check(kinglet_token_text(model, tokens[i], &text, &bytes, &kind), "reply", "");
    // As in a reply that is streamed, control tokens have no text.
    if ((kind & KINGLET_TOKEN_CONTROL) == 0) {
      print_bytes(text, bytes);
    }
  }
  print("\ntokens:");
  for (size_t i = 0; i < REPLY_TOKENS; i++) {
    print(" ");
    print_number(tokens[i]);
  }
  print("\n");
  print_figure("cycles for each token of the reply", cycles / REPLY_TOKENS);
}

#ifdef TABLE
static int write_piece(void *user, uint32_t token, const char *text, size_t text_bytes) {
  (void)user;
  (void)token;
  print_bytes(text, text_bytes);
  return 0;
}

// Goes on with a reply that follows the table of a JSON schema.
static void reply_of_table(kinglet_session *session) {
  kinglet_generate_options options = {0};
  options.struct_size = sizeof options;
  options.schema = table_start;
  options.schema_bytes = (size_t)(table_end - table_start);
  kinglet_generation told = {0};
  told.struct_size = sizeof told;
  print("table: ");
  check(kinglet_session_generate(session, &options, write_piece, NULL, &told), "table", "");
  print("\n");
  print_figure("forced tokens", told.forced);
  // Any other reason than these two has cut the JSON.
  if (told.stop_reason != KINGLET_STOP_COMPLETE &&
      told.stop_reason != KINGLET_STOP_END_OF_TEXT) {
    print("failed: the reply was cut\n");
    board_stop();
  }
}
#endif

int main(void) {
  print("Kinglet ");
  print(kinglet_version());
  print(" on ");
  print(board_name);
  print("\n");
  kinglet_model *model = choose_model();
#ifdef KEY
  print_signature(model);
#endif
  kinglet_session *session = new_session(model);
  prefill(session, model);
  reply(session, model);
#ifdef TABLE
  reply_of_table(session);
#endif
  size_t text_bytes = (size_t)(library_text_end - library_text_start);
  size_t rodata_bytes = (size_t)(library_rodata_end - library_rodata_start);
  print_figure("library bytes", text_bytes + rodata_bytes);
  check(kinglet_session_destroy(session), "session", "");
  check(kinglet_model_close(model), "model", "");
  print_figure("stack bytes", stack_bytes());
  print("done\n");
  board_stop();
}
