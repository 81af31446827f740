// Checks, models and sessions.
#include "proof.h"

#include <pthread.h>

const char *MODEL, *OTHER_MODEL, *SIGNED_MODEL, *TOOLS;
size_t STEP = 1;
const unsigned char TABLE[TABLE_BYTES] = {
    0x4B, 0x53, 0x43, 0x48, 0x45, 0x4D, 0x41, 0x0A, 0x01, 0x00, 0x00, 0x00,
    0x06, 0x00, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x02, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x80, 0x04, 0x00, 0x00, 0x00,
    0x04, 0x00, 0x00, 0x80, 0x05, 0x00, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00,
    0x31, 0x31, 0x01, 0x00, 0x74, 0x74, 0x02, 0x00, 0x32, 0x32, 0x03, 0x00,
    0x72, 0x72, 0x04, 0x00, 0x75, 0x75, 0x05, 0x00, 0x65, 0x65, 0x03, 0x00};
const uint32_t PROMPT[PROMPT_TOKENS] = {40, 41, 42, 43, 44, 45, 40, 41, 42, 43, 44, 45};

void check(bool holds, const char *what, const char *file, int line) {
  if (!holds) {
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    exit(1);
  }
}

void check_status(kinglet_status expected, kinglet_status status, const char *call,
                  const char *file, int line) {
  if (status != expected) {
    fprintf(stderr, "%s:%d: %s is %d (%s) instead of %d (%s)\n", file, line, call, (int)status,
            kinglet_status_text(status), (int)expected, kinglet_status_text(expected));
    exit(1);
  }
}

void *take(size_t bytes) {
  void *memory = NULL;
  CHECK(posix_memalign(&memory, KINGLET_ALIGNMENT, bytes > 0 ? bytes : 1) == 0);
  // What it holds before must not matter.
  memset(memory, 0xA5, bytes);
  return memory;
}

void *read_file(const char *path, size_t *bytes) {
  FILE *file = fopen(path, "rb");
  CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
  *bytes = (size_t)ftell(file);
  void *memory = take(*bytes);
  rewind(file);
  CHECK(fread(memory, 1, *bytes, file) == *bytes);
  fclose(file);
  return memory;
}

kinglet_model *open_model(const char *path) {
  kinglet_model *model = NULL;
  RETURNS(OK, kinglet_model_open_path(path, NULL, 0, &model, NULL, 0));
  return model;
}

kinglet_session *new_session(const kinglet_model *model, const kinglet_session_options *options) {
  kinglet_session *session = NULL;
  RETURNS(OK, kinglet_session_new(model, options, NULL, 0, &session, NULL, 0));
  return session;
}

kinglet_session_options small_options(void) {
  kinglet_session_options options = {0};
  options.struct_size = sizeof options;
  options.context = 64;
  options.batch = 8;
  return options;
}

kinglet_session *new_prompted(const kinglet_model *model) {
  const kinglet_session_options options = small_options();
  kinglet_session *session = new_session(model, &options);
  RETURNS(OK, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
  return session;
}

typedef struct {
  uint32_t *tokens;
  size_t count;
} collector;

static int collect(void *user, uint32_t token, const char *text, size_t text_bytes) {
  (void)text;
  (void)text_bytes;
  collector *own = user;
  if (token != KINGLET_NO_TOKEN) {
    own->tokens[own->count++] = token;
  }
  return 0;
}

size_t generate_tokens(kinglet_session *session, uint32_t *tokens, size_t capacity,
                       kinglet_generation *told) {
  kinglet_generate_options options = {0};
  options.struct_size = sizeof options;
  options.max_tokens = (uint32_t)capacity;
  options.flags = KINGLET_GENERATE_IGNORE_END;
  told->struct_size = sizeof *told;
  collector own = {tokens, 0};
  RETURNS(OK, kinglet_session_generate(session, &options, collect, &own, told));
  CHECK(own.count == told->tokens);
  return own.count;
}

int hear(void *words_so_far, uint32_t token, const char *text, size_t text_bytes) {
  words *heard = words_so_far;
  (void)token;
  CHECK(heard->bytes + text_bytes < sizeof heard->text);
  memcpy(heard->text + heard->bytes, text, text_bytes);
  heard->bytes += text_bytes;
  heard->text[heard->bytes] = 0;
  return 0;
}

wrong_handles make_wrong(void *open, size_t bytes, void *of_other_kind) {
  // No more than the tag is looked at: where a foreign pointer may point to a handle, there is one
  // word, and nowhere else is anything read.
  wrong_handles wrong = {{NULL}, 0, take(sizeof(size_t)), take(bytes)};
  memcpy(wrong.copied, open, bytes);
  void *all[] = {NULL, wrong.copied, of_other_kind, (void *)1, (void *)8, (void *)63};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    wrong.handles[wrong.count++] = all[i];
  }
  // Offsets below the alignment: behind it lies what a handle holds, which may never have been
  // written.
  for (size_t offset = 0; offset + 1 < KINGLET_ALIGNMENT; offset += 3) {
    wrong.handles[wrong.count++] = wrong.foreign + offset;
    wrong.handles[wrong.count++] = (char *)open + offset + 1;
  }
  // What the allocator gives, of which only a part may be looked at.
  static _Alignas(16) char part[16];
  wrong.handles[wrong.count++] = part + 8;
  CHECK(wrong.count <= sizeof wrong.handles / sizeof *wrong.handles);
  return wrong;
}

void free_wrong(wrong_handles *wrong) {
  free(wrong->foreign);
  free(wrong->copied);
}

void run_on_stack(size_t bytes, void *(*work)(void *user), void *user) {
  pthread_attr_t small;
  pthread_t thread;
  CHECK(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, bytes) == 0);
  CHECK(pthread_create(&thread, &small, work, user) == 0);
  CHECK(pthread_join(thread, NULL) == 0 && pthread_attr_destroy(&small) == 0);
}
