// Where the system has no memory left, there is a status, and the process goes on:
//
//     shortage MODEL
//
// From some call on, or that one alone, every function that takes memory of the system fails: from
// the first, from the second, and so on until none is left.
#include "proof.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

// Calls that succeed before those that fail, and how many fail then.
static atomic_long good = LONG_MAX, bad;

static bool fails(void) {
  if (atomic_fetch_sub(&good, 1) > 0 || atomic_fetch_sub(&bad, 1) <= 0) {
    return false;
  }
  errno = ENOMEM;
  return true;
}

void *malloc(size_t bytes) { return fails() ? NULL : __libc_malloc(bytes); }
void *calloc(size_t number, size_t bytes) {
  return fails() ? NULL : __libc_calloc(number, bytes);
}
void *realloc(void *memory, size_t bytes) {
  return fails() ? NULL : __libc_realloc(memory, bytes);
}
void *memalign(size_t alignment, size_t bytes) {
  return fails() ? NULL : __libc_memalign(alignment, bytes);
}
void *aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }
int posix_memalign(void **memory, size_t alignment, size_t bytes) {
  *memory = memalign(alignment, bytes);
  return *memory == NULL ? ENOMEM : 0;
}

static bool is_expected(kinglet_status status) {
  return status == KINGLET_STATUS_OK || status == KINGLET_STATUS_RESOURCE ||
         status == KINGLET_STATUS_UNREADABLE;
}

// A model that is used by two sessions with threads, as far as memory goes; how many were made.
static int use(FILE *file) {
  kinglet_model *model = NULL, *twin = NULL, *none = NULL;
  kinglet_session *sessions[2] = {NULL};
  kinglet_session_options options = small_options();
  options.threads = 4;
  options.flags = KINGLET_SESSION_PIN_THREADS;
  char message[320];
  int made = 0;
  CHECK(is_expected(
      kinglet_model_open_path(MODEL, NULL, 0, &model, message, sizeof message)));
  CHECK(is_expected(kinglet_model_open_fd(fileno(file), 0, 0, NULL, 0, &twin, NULL, 0)));
  const kinglet_status missing =
      kinglet_model_open_path("/no/such/file", NULL, 0, &none, message, sizeof message);
  CHECK(missing == KINGLET_STATUS_NOT_FOUND || missing == KINGLET_STATUS_RESOURCE);
  for (int i = 0; i < 2 && model != NULL; i++) {
    CHECK(is_expected(kinglet_session_new(model, &options, NULL, 0, &sessions[i], message,
                                          sizeof message)));
    if (sessions[i] != NULL) {
      RETURNS(OK, kinglet_session_prefill(sessions[i], PROMPT, PROMPT_TOKENS));
      RETURNS(OK, kinglet_session_next(sessions[i], &(uint32_t){0}));
      made++;
    }
  }
  for (int i = 0; i < 2; i++) {
    RETURNS(OK, kinglet_session_destroy(sessions[i]));
  }
  RETURNS(OK, kinglet_model_close(twin));
  RETURNS(OK, kinglet_model_close(model));
  return made;
}

// Takes memory away behind more and more calls; returns with how many nothing was missed.
static long run_short(FILE *file, long missing) {
  for (long calls = 0;; calls++) {
    atomic_store(&bad, missing);
    atomic_store(&good, calls);
    const int made = use(file);
    const bool is_short = atomic_load(&bad) < missing;
    atomic_store(&good, LONG_MAX);
    if (!is_short) {
      CHECK(made == 2);
      return calls;
    }
    // With memory again, everything works again.
    CHECK(use(file) == 2);
  }
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  MODEL = argv[1];
  FILE *file = fopen(MODEL, "rb");
  CHECK(file != NULL && use(file) == 2);
  const long calls = run_short(file, LONG_MAX);
  printf("none from one of %ld calls on, and one of %ld missing\n", calls, run_short(file, 1));
  CHECK(calls > 20);
  fclose(file);
  return 0;
}
