// The library takes no memory but what it is given, and asks for nothing in the environment:
//
//     allocation MODEL
//
// Every function that takes memory of the system or gives it back, or reads the environment, is
// this program's, and counts.
#include "proof.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/types.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static atomic_int calls, questions;
static atomic_bool is_counting;

static void count(void) {
  if (atomic_load(&is_counting)) {
    atomic_fetch_add(&calls, 1);
  }
}

void *malloc(size_t bytes) { return count(), __libc_malloc(bytes); }
void *calloc(size_t number, size_t bytes) { return count(), __libc_calloc(number, bytes); }
void *realloc(void *memory, size_t bytes) { return count(), __libc_realloc(memory, bytes); }
void *memalign(size_t alignment, size_t bytes) {
  count();
  return __libc_memalign(alignment, bytes);
}
void *aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }
void free(void *memory) {
  count();
  __libc_free(memory);
}
int posix_memalign(void **memory, size_t alignment, size_t bytes) {
  *memory = memalign(alignment, bytes);
  return *memory == NULL;
}

// The function of this name in the libraries behind this program.
#define NEXT(type, name)                          \
  static type name##_behind;                      \
  count();                                        \
  if (name##_behind == NULL) {                    \
    *(void **)&name##_behind = dlsym(RTLD_NEXT, #name); \
  }

typedef void *(*map_function)(void *, size_t, int, int, int, off_t);
void *mmap(void *start, size_t bytes, int protection, int flags, int fd, off_t offset) {
  NEXT(map_function, mmap)
  return mmap_behind(start, bytes, protection, flags, fd, offset);
}
void *mmap64(void *start, size_t bytes, int protection, int flags, int fd, off_t offset) {
  NEXT(map_function, mmap64)
  return mmap64_behind(start, bytes, protection, flags, fd, offset);
}
typedef int (*unmap_function)(void *, size_t);
int munmap(void *start, size_t bytes) {
  NEXT(unmap_function, munmap)
  return munmap_behind(start, bytes);
}
typedef void *(*grow_function)(intptr_t);
void *sbrk(intptr_t bytes) {
  NEXT(grow_function, sbrk)
  return sbrk_behind(bytes);
}

char *getenv(const char *name) {
  (void)name;
  atomic_fetch_add(&questions, 1);
  return NULL;
}
char *secure_getenv(const char *name) { return getenv(name); }

static void start_counting(void) {
  atomic_store(&calls, 0);
  atomic_store(&is_counting, true);
}

static int stop_counting(void) {
  atomic_store(&is_counting, false);
  return atomic_load(&calls);
}

static int on_piece(void *user, uint32_t token, const char *text, size_t text_bytes) {
  (void)user, (void)token, (void)text, (void)text_bytes;
  return 0;
}
static int on_progress(void *user, size_t done, size_t total) {
  (void)user, (void)done, (void)total;
  return 0;
}
static void on_log(void *user, uint32_t level, const char *text, size_t text_bytes) {
  (void)user, (void)level, (void)text, (void)text_bytes;
}

static char buffer[1 << 20];
static uint32_t tokens[1024];
static void *functions;
static size_t functions_bytes;

// Tells the model of functions, and finds a call in a reply.
static void use_functions(const kinglet_model *model) {
  const kinglet_message messages[] = {{"user", "Hi"}, {"assistant", "Hello"}, {"tool", "1"}};
  const char reply[] = "<tool_call>[{\"name\": \"read\", \"arguments\": {}}]</tool_call>";
  kinglet_call call;
  size_t number = 0;
  uint32_t in_words = 0;
  RETURNS(OK, kinglet_tools_tokens(model, functions, functions_bytes, messages, 3, 0, tokens, 1024,
                                   &number));
  RETURNS(OK, kinglet_tools_calls(functions, functions_bytes, reply, sizeof reply - 1, &call, 1,
                                  &number, &in_words));
  CHECK(number == 1 && in_words == 0);
}

static void use_model(const kinglet_model *model) {
  size_t number = 0;
  uint32_t kind;
  const char *text;
  kinglet_model_info info = {.struct_size = sizeof info};
  const kinglet_message messages[] = {{"user", "Hi"}};
  RETURNS(OK, kinglet_model_describe(model, &info));
  RETURNS(OK, kinglet_model_verify(model));
  RETURNS(OK, kinglet_chat_render(model, messages, 1, 0, buffer, sizeof buffer, &number));
  RETURNS(OK, kinglet_tokenize(model, buffer, number, 1, tokens, 512, &number));
  RETURNS(OK, kinglet_chat_tokens(model, messages, 1, 0, tokens, 512, &number));
  RETURNS(OK, kinglet_detokenize(model, tokens, number, 0, buffer, sizeof buffer, &number));
  RETURNS(OK, kinglet_token_text(model, 20, &text, &number, &kind));
  RETURNS(TOKEN_OUT_OF_RANGE, kinglet_token_text(model, UINT32_MAX, &text, &number, &kind));
  RETURNS(OK, kinglet_model_message(model, buffer, sizeof buffer));
  RETURNS(OK, kinglet_session_bytes(model, NULL, &number));
  use_functions(model);
}

static void use_session(kinglet_session *session, kinglet_session *twin) {
  size_t number = 0;
  uint32_t token;
  const float *logits;
  kinglet_candidate candidates[20];
  kinglet_session_info info = {.struct_size = sizeof info};
  kinglet_sampling sampling = {.struct_size = sizeof sampling, .temperature = 0.8f, .top_k = 40};
  sampling.top_p = 0.9f;
  sampling.repetition_penalty = 1.1f;
  const char *stops[] = {"never in this text"};
  const kinglet_generate_options options = {.struct_size = sizeof options, .max_tokens = 20,
                                            .stop = stops, .stop_count = 1};
  const kinglet_generate_options of_table = {
      .struct_size = sizeof of_table, .schema = TABLE, .schema_bytes = TABLE_BYTES};
  for (int round = 0; round < 2; round++) {
    RETURNS(OK, kinglet_session_set_progress(session, on_progress, NULL));
    RETURNS(OK, kinglet_session_set_deadline(session, 1000000));
    RETURNS(OK, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
    RETURNS(OK, kinglet_session_generate(session, &options, on_piece, NULL, NULL));
    RETURNS(OK, kinglet_session_generate(session, &of_table, on_piece, NULL, NULL));
    RETURNS(OK, kinglet_session_logits(session, &logits, &number));
    RETURNS(OK, kinglet_session_top(session, candidates, 20, &number));
    RETURNS(OK, kinglet_session_next(session, &token));
    RETURNS(OK, kinglet_session_save(session, buffer, sizeof buffer, &number));
    RETURNS(OK, kinglet_session_restore(session, buffer, number));
    RETURNS(OK, kinglet_session_state_bytes(session, &number));
    RETURNS(OK, kinglet_session_fork(twin, session, PROMPT_TOKENS));
    RETURNS(OK, kinglet_session_tokens(twin, tokens, 512, &number));
    RETURNS(OK, kinglet_session_rewind(twin, 2));
    RETURNS(OK, kinglet_session_describe(twin, &info));
    RETURNS(OK, kinglet_session_cancel(twin));
    RETURNS(INTERRUPTED, kinglet_session_next(twin, &token));
    RETURNS(PROMPT_TOO_LONG, kinglet_session_prefill(twin, tokens, 512));
    RETURNS(OK, kinglet_session_message(twin, buffer, sizeof buffer));
    RETURNS(OK, kinglet_session_reset(session));
    RETURNS(OK, kinglet_session_set_sampling(session, &sampling));
  }
}

// From the first call of the process to the last, in memory of the caller's: nothing.
static void prove_callers_memory(const void *data, size_t bytes) {
  static _Alignas(KINGLET_ALIGNMENT) char places[3][4 << 20];
  kinglet_model *model = NULL;
  kinglet_session *sessions[2] = {NULL};
  kinglet_session_options options = small_options();
  options.flags = KINGLET_SESSION_SPECULATE;
  const kinglet_log_sink sink = {sizeof sink, on_log, NULL, KINGLET_LOG_DEBUG, 0};
  start_counting();
  RETURNS(OK, kinglet_log_to(&sink));
  CHECK(kinglet_model_bytes() <= sizeof places[0]);
  RETURNS(OK, kinglet_model_open_memory(data, bytes, places[0], sizeof places[0], &model, buffer,
                                        sizeof buffer));
  for (int i = 0; i < 2; i++) {
    RETURNS(OK, kinglet_session_new(model, &options, places[i + 1], sizeof places[0], &sessions[i],
                                    buffer, sizeof buffer));
  }
  use_model(model);
  use_session(sessions[0], sessions[1]);
  RETURNS(OK, kinglet_session_destroy(sessions[0]));
  RETURNS(OK, kinglet_session_destroy(sessions[1]));
  RETURNS(OK, kinglet_model_close(model));
  RETURNS(OK, kinglet_log_to(NULL));
  const int counted = stop_counting();
  printf("in the caller's memory, from the first call to the last: %d\n", counted);
  CHECK(counted == 0);
}

// In memory and on threads of the library's: nothing between creation and destruction.
static void prove_own_memory(void) {
  kinglet_session_options options = small_options();
  options.threads = 2;
  start_counting();
  kinglet_model *model = open_model(MODEL);
  kinglet_session *session = new_session(model, &options), *twin = new_session(model, &options);
  const int taken = stop_counting();
  start_counting();
  use_model(model);
  use_session(session, twin);
  const int counted = stop_counting();
  RETURNS(OK, kinglet_session_destroy(session));
  RETURNS(OK, kinglet_session_destroy(twin));
  RETURNS(OK, kinglet_model_close(model));
  printf("in its own memory: %d to make, %d to use\n", taken, counted);
  // Also the proof that counting works.
  CHECK(taken > 0 && counted == 0);
}

int main(int argc, char **argv) {
  CHECK(argc == 3);
  MODEL = argv[1];
  functions = read_file(argv[2], &functions_bytes);
  size_t bytes = 0;
  void *data = read_file(MODEL, &bytes);
  prove_callers_memory(data, bytes);
  free(data);
  prove_own_memory();
  free(functions);
  CHECK(atomic_load(&questions) == 0);
  CHECK(getenv("PATH") == NULL && atomic_load(&questions) == 1);
  return 0;
}
