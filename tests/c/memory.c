// Memory of the caller's: too little of it, step by step until it is enough, and not a byte beyond.
#include "proof.h"

#include <sys/mman.h>
#include <unistd.h>

// What a session says in memory that ends where the next page cannot be touched.
static void fill_to_the_end(const kinglet_model *model, const kinglet_session_options *options,
                            size_t needed) {
  uint32_t own[20], given[20];
  kinglet_generation told;
  kinglet_session *session = new_session(model, options);
  RETURNS(OK, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
  generate_tokens(session, own, 20, &told);
  RETURNS(OK, kinglet_session_destroy(session));
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t pages = (needed + page - 1) / page * page;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
  char *start = mmap(NULL, pages + page, PROT_READ | PROT_WRITE, flags, -1, 0);
  CHECK(start != MAP_FAILED && mprotect(start + pages, page, PROT_NONE) == 0);
  CHECK(needed % KINGLET_ALIGNMENT == 0);
  char *memory = start + pages - needed;
  memset(start, 0xA5, pages);
  RETURNS(OK, kinglet_session_new(model, options, memory, needed, &session, NULL, 0));
  RETURNS(OK, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
  generate_tokens(session, given, 20, &told);
  RETURNS(OK, kinglet_session_destroy(session));
  CHECK(memcmp(own, given, sizeof own) == 0);
  while (memory-- > start) {
    CHECK((unsigned char)*memory == 0xA5);
  }
  CHECK(munmap(start, pages + page) == 0);
}

static void refuse(const kinglet_model *model, const kinglet_session_options *options,
                   char *memory, size_t bytes) {
  kinglet_session *session = NULL;
  RETURNS(BUDGET_TOO_SMALL,
          kinglet_session_new(model, options, memory, bytes, &session, NULL, 0));
  CHECK(session == NULL);
}

static void grow(const kinglet_model *model, const kinglet_session_options *options) {
  size_t needed = 0;
  RETURNS(OK, kinglet_session_bytes(model, options, &needed));
  char *memory = take(needed);
  const size_t near = needed - 2048;
  for (size_t bytes = 0; bytes < needed; bytes += bytes < near ? STEP : 1) {
    refuse(model, options, memory, bytes);
  }
  // Who is refused leaves no trace.
  for (size_t place = 0; place < needed; place++) {
    CHECK((unsigned char)memory[place] == 0xA5);
  }
  kinglet_session *session = NULL;
  RETURNS(OK, kinglet_session_new(model, options, memory, needed, &session, NULL, 0));
  RETURNS(OK, kinglet_session_destroy(session));
  free(memory);
  fill_to_the_end(model, options, needed);
}

static void grow_model(void) {
  const size_t needed = kinglet_model_bytes();
  size_t bytes = 0;
  void *data = read_file(MODEL, &bytes);
  kinglet_model *model = NULL;
  for (size_t given = 0; given < needed; given++) {
    void *memory = take(given);
    RETURNS(BUDGET_TOO_SMALL,
            kinglet_model_open_memory(data, bytes, memory, given, &model, NULL, 0));
    CHECK(model == NULL);
    free(memory);
  }
  void *memory = take(needed);
  RETURNS(OK, kinglet_model_open_memory(data, bytes, memory, needed, &model, NULL, 0));
  RETURNS(OK, kinglet_model_close(model));
  free(memory);
  free(data);
}

void prove_memory(void) {
  grow_model();
  kinglet_model *model = open_model(MODEL);
  kinglet_session_options options = small_options();
  grow(model, &options);
  options.kv = KINGLET_KV_F16;
  options.batch = 1;
  grow(model, &options);
  options.batch = 16;
  options.threads = 3;
  options.flags = KINGLET_SESSION_SPECULATE;
  grow(model, &options);
  RETURNS(OK, kinglet_model_close(model));
}
