// Models: every way to open one, what must be refused, and what is no model.
#include "proof.h"

#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

// Where a model has the text of a token: in the weight file, wherever that lies.
static const char *text_in(const kinglet_model *model) {
  const char *text = NULL;
  RETURNS(OK, kinglet_token_text(model, 20, &text, &(size_t){0}, &(uint32_t){0}));
  return text;
}

// Whether an address lies in a mapped file, which is no copy of it then.
static bool is_mapped(const char *address) {
  FILE *maps = fopen("/proc/self/maps", "r");
  CHECK(maps != NULL);
  char line[4096];
  bool is_found = false;
  while (fgets(line, sizeof line, maps) != NULL) {
    uintptr_t start, end;
    char name = 0;
    CHECK(sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %*s %c", &start, &end, &name) >= 2);
    is_found |= start <= (uintptr_t)address && (uintptr_t)address < end && name == '/';
  }
  fclose(maps);
  return is_found;
}

// Memory for a handle that must be refused.
static void refuse_places(const char *path) {
  kinglet_model *model = NULL;
  const size_t needed = kinglet_model_bytes();
  char *memory = take(needed + 64);
  char message[64] = "";
  RETURNS(BAD_ARGUMENT, kinglet_model_open_path(path, NULL, 0, NULL, message, sizeof message));
  CHECK(strlen(message) > 0);
  RETURNS(BUDGET_TOO_SMALL, kinglet_model_open_path(path, memory, needed - 1, &model, NULL, 0));
  RETURNS(BUDGET_TOO_SMALL, kinglet_model_open_path(path, memory, 0, &model, NULL, 0));
  RETURNS(MISALIGNED, kinglet_model_open_path(path, memory + 8, needed, &model, NULL, 0));
  RETURNS(BAD_ARGUMENT, kinglet_model_open_path(path, NULL, needed, &model, NULL, 0));
  void *misaligned = memory + 1;
  RETURNS(BAD_ARGUMENT,
          kinglet_model_open_path(path, NULL, 0, (kinglet_model **)misaligned, NULL, 0));
  CHECK(model == NULL);
  free(memory);
}

static void prove_paths(void) {
  kinglet_model *model = NULL;
  char message[320];
  RETURNS(BAD_ARGUMENT, kinglet_model_open_path(NULL, NULL, 0, &model, message, sizeof message));
  RETURNS(NOT_FOUND,
          kinglet_model_open_path("/no/such/file", NULL, 0, &model, message, sizeof message));
  CHECK(strstr(message, "/no/such/file") != NULL);
  // A short buffer has the start of the sentence, a shorter one nothing.
  RETURNS(NOT_FOUND, kinglet_model_open_path("", NULL, 0, &model, message, 5));
  CHECK(strlen(message) == 4);
  RETURNS(NOT_FOUND, kinglet_model_open_path("", NULL, 0, &model, message, 1));
  CHECK(strlen(message) == 0);
  message[0] = 'x';
  RETURNS(NOT_FOUND, kinglet_model_open_path("", NULL, 0, &model, message, 0));
  CHECK(message[0] == 'x');
  RETURNS(UNREADABLE, kinglet_model_open_path("/", NULL, 0, &model, NULL, 0));
  char *endless = take(100000);
  memset(endless, 'x', 99999);
  endless[99999] = 0;
  RETURNS(UNREADABLE, kinglet_model_open_path(endless, NULL, 0, &model, NULL, 0));
  endless[4095] = 0;
  RETURNS(UNREADABLE, kinglet_model_open_path(endless, NULL, 0, &model, NULL, 0));
  free(endless);
  CHECK(model == NULL);
  refuse_places(MODEL);
  const size_t needed = kinglet_model_bytes();
  void *memory = take(needed);
  RETURNS(OK, kinglet_model_open_path(MODEL, memory, needed, &model, message, sizeof message));
  CHECK((void *)model == memory && strlen(message) == 0);
  CHECK(is_mapped(text_in(model)));
  RETURNS(OK, kinglet_model_close(model));
  // The memory is ours, so that a closed handle can be told apart.
  RETURNS(BAD_HANDLE, kinglet_model_close(model));
  RETURNS(BAD_HANDLE, kinglet_model_verify(model));
  free(memory);
  RETURNS(OK, kinglet_model_close(NULL));
}

// A model in the middle of an open file.
static void prove_part(int fd, size_t offset, size_t bytes) {
  kinglet_model *model = NULL;
  RETURNS(OK, kinglet_model_open_fd(fd, offset, bytes, NULL, 0, &model, NULL, 0));
  CHECK(is_mapped(text_in(model)));
  RETURNS(OK, kinglet_model_verify(model));
  RETURNS(OK, kinglet_model_close(model));
}

static void prove_descriptors(void) {
  kinglet_model *model = NULL;
  size_t bytes = 0;
  void *data = read_file(MODEL, &bytes);
  // Files with the model where no page starts.
  for (size_t offset = 64; offset < 4096; offset += 1600) {
    FILE *pack = tmpfile();
    CHECK(pack != NULL && fseek(pack, (long)offset, SEEK_SET) == 0);
    CHECK(fwrite(data, 1, bytes, pack) == bytes && fflush(pack) == 0);
    prove_part(fileno(pack), offset, 0);
    fclose(pack);
  }
  // A file with the model in its middle.
  FILE *pack = tmpfile();
  CHECK(pack != NULL);
  for (int i = 0; i < 4096; i++) {
    CHECK(fputc('x', pack) == 'x');
  }
  CHECK(fwrite(data, 1, bytes, pack) == bytes && fputs("more", pack) >= 0);
  CHECK(fflush(pack) == 0);
  const int fd = fileno(pack);
  prove_part(fd, 4096, bytes);
  RETURNS(NOT_KINGLET, kinglet_model_open_fd(fd, 0, 0, NULL, 0, &model, NULL, 0));
  RETURNS(MISALIGNED, kinglet_model_open_fd(fd, 4097, bytes, NULL, 0, &model, NULL, 0));
  RETURNS(TRUNCATED, kinglet_model_open_fd(fd, 4096, bytes - 1, NULL, 0, &model, NULL, 0));
  RETURNS(UNREADABLE, kinglet_model_open_fd(fd, 4096, bytes + 5, NULL, 0, &model, NULL, 0));
  RETURNS(UNREADABLE, kinglet_model_open_fd(fd, UINT64_MAX, 0, NULL, 0, &model, NULL, 0));
  RETURNS(UNREADABLE, kinglet_model_open_fd(fd, 64, UINT64_MAX, NULL, 0, &model, NULL, 0));
  RETURNS(BAD_ARGUMENT, kinglet_model_open_fd(-1, 0, 0, NULL, 0, &model, NULL, 0));
  RETURNS(BAD_ARGUMENT, kinglet_model_open_fd(fd, 0, 0, NULL, 0, NULL, NULL, 0));
  CHECK(model == NULL);
  fclose(pack);
  RETURNS(UNREADABLE, kinglet_model_open_fd(fd, 0, 0, NULL, 0, &model, NULL, 0));
  int ends[2];
  CHECK(pipe(ends) == 0);
  CHECK(kinglet_model_open_fd(ends[0], 0, 0, NULL, 0, &model, NULL, 0) != KINGLET_STATUS_OK);
  close(ends[0]);
  close(ends[1]);
  free(data);
}

static kinglet_status open_bytes(const void *data, size_t bytes) {
  kinglet_model *model = NULL;
  const kinglet_status status =
      kinglet_model_open_memory(data, bytes, NULL, 0, &model, NULL, 0);
  CHECK((status == KINGLET_STATUS_OK) == (model != NULL));
  RETURNS(OK, kinglet_model_close(model));
  return status;
}

static void prove_bytes(void) {
  size_t bytes = 0;
  char *data = read_file(MODEL, &bytes);
  kinglet_model *model = NULL;
  RETURNS(OK, kinglet_model_open_memory(data, bytes, NULL, 0, &model, NULL, 0));
  CHECK(text_in(model) > data && text_in(model) < data + bytes && !is_mapped(data));
  RETURNS(OK, kinglet_model_close(model));
  RETURNS(OK, open_bytes(data, bytes));
  RETURNS(BAD_ARGUMENT, open_bytes(NULL, bytes));
  RETURNS(MISALIGNED, open_bytes(data + 8, bytes - 8));
  RETURNS(TRUNCATED, open_bytes(data, bytes - 1));
  RETURNS(NOT_KINGLET, open_bytes(data, 0));
  // Cut anywhere in its first part: refused, and nothing is read behind the end.
  for (size_t cut = 1; cut < 2000; cut += 7) {
    char *part = take(cut);
    memcpy(part, data, cut);
    CHECK(kinglet_model_open_memory(part, cut, NULL, 0, &model, NULL, 0) != KINGLET_STATUS_OK);
    free(part);
  }
  free(data);
}

// Files with one altered byte: refused, or a model that can be used.
static void prove_altered(void) {
  size_t bytes = 0;
  char *data = read_file(MODEL, &bytes);
  kinglet_session_options options = small_options();
  options.context = 16;
  int corrupt = 0;
  for (size_t place = 0; place < bytes; place += place < 400 ? 3 : bytes / 60) {
    data[place] ^= 0x11;
    kinglet_model *model = NULL;
    if (kinglet_model_open_memory(data, bytes, NULL, 0, &model, NULL, 0) == KINGLET_STATUS_OK) {
      // Bytes between the parts of a file belong to none.
      const kinglet_status verified = kinglet_model_verify(model);
      CHECK(verified == KINGLET_STATUS_CORRUPT || verified == KINGLET_STATUS_OK);
      corrupt += verified == KINGLET_STATUS_CORRUPT;
      kinglet_session *session = NULL;
      uint32_t token = 0;
      size_t needed = 0;
      const uint32_t prompt[] = {20, 21, 22};
      if (kinglet_session_bytes(model, &options, &needed) == KINGLET_STATUS_OK &&
          needed < 1 << 22) {
        RETURNS(OK, kinglet_session_new(model, &options, NULL, 0, &session, NULL, 0));
        if (kinglet_session_prefill(session, prompt, 3) == KINGLET_STATUS_OK) {
          RETURNS(OK, kinglet_session_next(session, &token));
          CHECK(kinglet_token_text(model, token, &(const char *){NULL}, &(size_t){0},
                                   &(uint32_t){0}) == KINGLET_STATUS_OK);
        }
        RETURNS(OK, kinglet_session_destroy(session));
      }
      RETURNS(OK, kinglet_model_close(model));
    }
    data[place] ^= 0x11;
  }
  CHECK(corrupt > 5);
  free(data);
}

// Everything that looks at a file again, whatever it returns.
static void look_at(kinglet_model *model, kinglet_session *session) {
  kinglet_model_info info = {0};
  info.struct_size = sizeof info;
  const kinglet_message message = {"user", "Hi"};
  const kinglet_generate_options options = {.struct_size = sizeof options, .max_tokens = 3};
  const char *found;
  const float *logits;
  char text[256];
  uint32_t tokens[64], kind;
  size_t count = 0;
  (void)kinglet_model_describe(model, &info);
  (void)kinglet_model_verify(model);
  (void)kinglet_chat_render(model, &message, 1, 0, text, sizeof text, &count);
  (void)kinglet_chat_tokens(model, &message, 1, 0, tokens, 64, &count);
  (void)kinglet_tokenize(model, "Once <|im_end|> 12", 18, KINGLET_TOKENIZE_CONTROL, tokens, 64,
                         &count);
  for (uint32_t token = 0; token < 400; token += 19) {
    (void)kinglet_token_text(model, token, &found, &count, &kind);
    (void)kinglet_detokenize(model, &token, 1, 0, text, sizeof text, &count);
  }
  (void)kinglet_session_bytes(model, NULL, &count);
  (void)kinglet_session_generate(session, &options, NULL, NULL, NULL);
  (void)kinglet_session_logits(session, &logits, &count);
  (void)kinglet_session_save(session, text, sizeof text, &count);
}

// Bytes that change under an open model, which nobody should do: whatever it says then, the process
// goes on, and both handles can be closed.
static void prove_altered_later(void) {
  size_t bytes = 0;
  char *data = read_file(MODEL, &bytes);
  const kinglet_session_options options = small_options();
  const size_t section = 64 * 1024;
  for (size_t place = 0; place < bytes; place += place % section < 240 ? 24 : section / 5) {
    for (int flip = 0; flip < 2; flip++) {
      kinglet_model *model = NULL;
      kinglet_session *session = NULL;
      RETURNS(OK, kinglet_model_open_memory(data, bytes, NULL, 0, &model, NULL, 0));
      RETURNS(OK, kinglet_session_new(model, &options, NULL, 0, &session, NULL, 0));
      RETURNS(OK, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
      const char before = data[place];
      data[place] ^= flip ? 0xFF : 0x01;
      look_at(model, session);
      data[place] = before;
      RETURNS(OK, kinglet_session_destroy(session));
      RETURNS(OK, kinglet_model_close(model));
    }
  }
  free(data);
}

static void prove_description(const kinglet_model *model) {
  kinglet_model_info info = {0};
  RETURNS(BAD_ARGUMENT, kinglet_model_describe(model, NULL));
  RETURNS(BAD_ARGUMENT, kinglet_model_describe(model, &info));
  info.struct_size = offsetof(kinglet_model_info, embedding_size) - 8;
  RETURNS(BAD_ARGUMENT, kinglet_model_describe(model, &info));
  info.struct_size = SIZE_MAX;
  RETURNS(BAD_ARGUMENT, kinglet_model_describe(model, &info));
  char message[320] = "";
  RETURNS(OK, kinglet_model_message(model, message, sizeof message));
  CHECK(strstr(message, "struct_size") != NULL);
  RETURNS(OK, kinglet_model_message(model, NULL, 320));
  info.struct_size = sizeof info;
  RETURNS(OK, kinglet_model_describe(model, &info));
  CHECK(info.vocabulary > 0 && info.max_context > 0 && info.has_chat_template == 1);
  CHECK(info.file_bytes > info.read_bytes_per_token && info.longest_token_bytes > 0);
  // A caller of a newer version has more room: the rest stays.
  struct {
    kinglet_model_info info;
    char behind[32];
  } newer;
  memset(&newer, 7, sizeof newer);
  newer.info.struct_size = sizeof newer;
  RETURNS(OK, kinglet_model_describe(model, &newer.info));
  CHECK(memcmp(newer.info.fingerprint, info.fingerprint, 32) == 0 && newer.behind[0] == 7);
  CHECK(newer.info.struct_size == sizeof newer);
  char misaligned[sizeof info + 8];
  memset(misaligned, 0, sizeof misaligned);
  void *place = misaligned + 1 + (uintptr_t)misaligned % 2;
  if ((uintptr_t)place % 8 != 0) {
    RETURNS(BAD_ARGUMENT, kinglet_model_describe(model, place));
  }
}

// Every function that wants a model, with what is none.
static void prove_handles(void) {
  const size_t needed = kinglet_model_bytes();
  kinglet_model *model = NULL;
  void *memory = take(needed);
  RETURNS(OK, kinglet_model_open_path(MODEL, memory, needed, &model, NULL, 0));
  kinglet_session *session = new_prompted(model);
  wrong_handles wrong = make_wrong(model, needed, session);
  kinglet_model_info info = {0};
  info.struct_size = sizeof info;
  const char *text;
  size_t count;
  uint32_t kind, token = 20;
  char out[64];
  const kinglet_message message = {"user", "Hi"};
  for (size_t i = 0; i < wrong.count; i++) {
    kinglet_model *none = wrong.handles[i];
    if (none != NULL) {
      RETURNS(BAD_HANDLE, kinglet_model_close(none));
    }
    RETURNS(BAD_HANDLE, kinglet_model_describe(none, &info));
    RETURNS(BAD_HANDLE, kinglet_model_verify(none));
    RETURNS(BAD_HANDLE, kinglet_model_message(none, out, sizeof out));
    RETURNS(BAD_HANDLE, kinglet_tokenize(none, "x", 1, 0, &token, 1, &count));
    RETURNS(BAD_HANDLE, kinglet_detokenize(none, &token, 1, 0, out, sizeof out, &count));
    RETURNS(BAD_HANDLE, kinglet_token_text(none, token, &text, &count, &kind));
    RETURNS(BAD_HANDLE, kinglet_chat_render(none, &message, 1, 0, out, sizeof out, &count));
    RETURNS(BAD_HANDLE, kinglet_chat_tokens(none, &message, 1, 0, &token, 1, &count));
    RETURNS(BAD_HANDLE, kinglet_session_bytes(none, NULL, &count));
    kinglet_session_options options = small_options();
    RETURNS(BAD_HANDLE, kinglet_session_choose_tier(none, &options, 0, 0, out, sizeof out));
    kinglet_session *made = NULL;
    RETURNS(BAD_HANDLE, kinglet_session_new(none, NULL, NULL, 0, &made, NULL, 0));
    CHECK(made == NULL);
  }
  RETURNS(BUSY, kinglet_model_close(model));
  RETURNS(OK, kinglet_session_destroy(session));
  free_wrong(&wrong);
  RETURNS(OK, kinglet_model_close(model));
  free(memory);
}

// Memory of ours has one handle after the other: those that were closed are known from then on.
static void prove_used_memory(void) {
  const size_t needed = kinglet_model_bytes();
  void *memory = take(needed);
  kinglet_model *closed[56], *model = NULL;
  for (size_t i = 0; i < 56; i++) {
    RETURNS(OK, kinglet_model_open_path(MODEL, memory, needed, &model, NULL, 0));
    CHECK((char *)model >= (char *)memory && (char *)model < (char *)memory + KINGLET_ALIGNMENT);
    CHECK(i > 0 || (void *)model == memory);
    for (size_t before = 0; before < i; before++) {
      RETURNS(BAD_HANDLE, kinglet_model_verify(closed[before]));
      RETURNS(BAD_HANDLE, kinglet_model_close(closed[before]));
    }
    // A copy is none, also as the pointer to this one would be.
    char *copied = take(needed);
    memcpy(copied, memory, needed);
    void *copy = copied + ((char *)model - (char *)memory);
    RETURNS(BAD_HANDLE, kinglet_model_close(copy));
    free(copied);
    // It can be used like the first one.
    RETURNS(OK, kinglet_session_destroy(new_prompted(model)));
    RETURNS(OK, kinglet_model_close(model));
    closed[i] = model;
  }
  // One that was left as it is, as on a board that starts anew, is none afterwards either.
  size_t length = 0;
  void *data = read_file(MODEL, &length);
  kinglet_model *left = NULL;
  RETURNS(OK, kinglet_model_open_memory(data, length, memory, needed, &left, NULL, 0));
  RETURNS(OK, kinglet_model_open_memory(data, length, memory, needed, &model, NULL, 0));
  RETURNS(BAD_HANDLE, kinglet_model_close(left));
  RETURNS(OK, kinglet_model_close(model));
  free(data);
  // A session's memory was a model's before.
  model = open_model(MODEL);
  const kinglet_session_options options = small_options();
  size_t bytes = 0;
  RETURNS(OK, kinglet_session_bytes(model, &options, &bytes));
  char *large = take(bytes);
  memcpy(large, memory, needed);
  kinglet_model *first = NULL;
  kinglet_session *session = NULL;
  RETURNS(OK, kinglet_model_open_path(MODEL, large, bytes, &first, NULL, 0));
  RETURNS(OK, kinglet_model_close(first));
  RETURNS(OK, kinglet_session_new(model, &options, large, bytes, &session, NULL, 0));
  RETURNS(BAD_HANDLE, kinglet_model_close(first));
  RETURNS(BAD_HANDLE, kinglet_session_reset((kinglet_session *)(void *)first));
  RETURNS(OK, kinglet_session_destroy(session));
  RETURNS(OK, kinglet_model_close(model));
  free(large);
  free(memory);
}

// A place for a handle must lie apart from everything else.
static void refuse_overlaps(void) {
  size_t bytes = 0;
  char *data = read_file(MODEL, &bytes);
  const size_t needed = kinglet_model_bytes();
  char *memory = take(needed);
  kinglet_model *model = NULL, **inside = (kinglet_model **)(void *)memory;
  RETURNS(BAD_ARGUMENT, kinglet_model_open_path(MODEL, memory, needed, inside, NULL, 0));
  RETURNS(BAD_ARGUMENT, kinglet_model_open_path(MODEL, memory, needed, &model, memory + 9, 1));
  RETURNS(BAD_ARGUMENT, kinglet_model_open_memory(data, bytes, data, needed, &model, NULL, 0));
  CHECK(model == NULL);
  RETURNS(OK, kinglet_model_open_memory(data, bytes, memory, needed, &model, NULL, 0));
  RETURNS(OK, kinglet_model_close(model));
  free(memory);
  free(data);
}

void prove_models(void) {
  CHECK(kinglet_model_bytes() > 0);
  prove_paths();
  prove_descriptors();
  prove_bytes();
  prove_altered();
  prove_altered_later();
  prove_used_memory();
  refuse_overlaps();
  kinglet_model *model = open_model(MODEL);
  RETURNS(OK, kinglet_model_verify(model));
  prove_description(model);
  RETURNS(OK, kinglet_model_close(model));
  prove_handles();
}
