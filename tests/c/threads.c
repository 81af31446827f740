// Threads: who is refused, who may cancel, and whose threads do the work.
#include "proof.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

static kinglet_session *used;

static void refuse_all(kinglet_session *session) {
  uint32_t token = 20;
  size_t count = 0;
  const float *logits;
  char state[8];
  kinglet_session_info info = {.struct_size = sizeof info};
  RETURNS(BUSY, kinglet_session_describe(session, &info));
  RETURNS(BUSY, kinglet_session_set_sampling(session, NULL));
  RETURNS(BUSY, kinglet_session_set_deadline(session, 0));
  RETURNS(BUSY, kinglet_session_set_progress(session, NULL, NULL));
  RETURNS(BUSY, kinglet_session_prefill(session, &token, 1));
  RETURNS(BUSY, kinglet_session_next(session, &token));
  RETURNS(BUSY, kinglet_session_generate(session, NULL, NULL, NULL, NULL));
  RETURNS(BUSY, kinglet_session_logits(session, &logits, &count));
  RETURNS(BUSY, kinglet_session_top(session, NULL, 0, &count));
  RETURNS(BUSY, kinglet_session_tokens(session, &token, 1, &count));
  RETURNS(BUSY, kinglet_session_reset(session));
  RETURNS(BUSY, kinglet_session_rewind(session, 0));
  RETURNS(BUSY, kinglet_session_fork(session, session, 0));
  RETURNS(BUSY, kinglet_session_state_bytes(session, &count));
  RETURNS(BUSY, kinglet_session_save(session, state, sizeof state, &count));
  RETURNS(BUSY, kinglet_session_restore(session, state, sizeof state));
  RETURNS(BUSY, kinglet_session_destroy(session));
}

static void *refuse_on_thread(void *user) {
  refuse_all(user);
  // Reading the last sentence is allowed.
  char message[320];
  RETURNS(OK, kinglet_session_message(user, message, sizeof message));
  return NULL;
}

static int refuse_in_callback(void *user, uint32_t token, const char *text, size_t text_bytes) {
  (void)token, (void)text, (void)text_bytes;
  // Twice: a refusal must not let the next one in.
  refuse_all(used);
  refuse_all(used);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, refuse_on_thread, used) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  RETURNS(BUSY, kinglet_model_close(user));
  return 0;
}

static int refuse_in_progress(void *user, size_t done, size_t total) {
  (void)user, (void)done, (void)total;
  refuse_all(used);
  return 0;
}

static void prove_refusals(kinglet_model *model) {
  used = new_prompted(model);
  const kinglet_generate_options options = {
      .struct_size = sizeof options, .max_tokens = 3, .flags = KINGLET_GENERATE_IGNORE_END};
  RETURNS(OK, kinglet_session_generate(used, &options, refuse_in_callback, model, NULL));
  RETURNS(OK, kinglet_session_set_progress(used, refuse_in_progress, NULL));
  RETURNS(OK, kinglet_session_prefill(used, PROMPT, PROMPT_TOKENS));
  RETURNS(OK, kinglet_session_destroy(used));
}

static void on_signal(int number) {
  (void)number;
  RETURNS(OK, kinglet_session_cancel(used));
}

static void *cancel(void *user) {
  const struct timespec pause = {0, 2000000};
  nanosleep(&pause, NULL);
  RETURNS(OK, kinglet_session_cancel(user));
  return NULL;
}

static void *signal_thread(void *user) {
  const struct timespec pause = {0, 2000000};
  nanosleep(&pause, NULL);
  CHECK(pthread_kill(*(pthread_t *)user, SIGUSR1) == 0);
  return NULL;
}

// Generates until cancelled; without it for ever.
static void generate_until_cancelled(void) {
  kinglet_generation told = {.struct_size = sizeof told};
  const kinglet_generate_options options = {.struct_size = sizeof options,
                                            .flags = KINGLET_GENERATE_IGNORE_END};
  do {
    RETURNS(OK, kinglet_session_rewind(used, PROMPT_TOKENS));
    RETURNS(OK, kinglet_session_generate(used, &options, NULL, NULL, &told));
  } while (told.stop_reason == KINGLET_STOP_CONTEXT_FULL);
  CHECK(told.stop_reason == KINGLET_STOP_CANCELLED);
}

static void prove_cancellation(const kinglet_model *model) {
  used = new_prompted(model);
  pthread_t thread, self = pthread_self();
  CHECK(pthread_create(&thread, NULL, cancel, used) == 0);
  generate_until_cancelled();
  CHECK(pthread_join(thread, NULL) == 0);
  struct sigaction action = {0}, before;
  action.sa_handler = on_signal;
  CHECK(sigaction(SIGUSR1, &action, &before) == 0);
  // Nobody has changed what signals do.
  CHECK(before.sa_handler == SIG_DFL);
  CHECK(pthread_create(&thread, NULL, signal_thread, &self) == 0);
  generate_until_cancelled();
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(sigaction(SIGUSR1, &before, NULL) == 0);
  RETURNS(OK, kinglet_session_destroy(used));
}

typedef struct {
  size_t parts;
  kinglet_run_part run;
  void *context;
  atomic_size_t next, passes;
} pass;

static void *run_some(void *user) {
  pass *own = user;
  for (size_t part; (part = atomic_fetch_add(&own->next, 1)) < own->parts;) {
    own->run(own->context, part);
  }
  return NULL;
}

// Every pass on two threads of ours.
static void run_on_threads(void *user, size_t parts, kinglet_run_part run, void *context) {
  pass *own = user;
  own->parts = parts;
  own->run = run;
  own->context = context;
  atomic_store(&own->next, 0);
  atomic_fetch_add(&own->passes, 1);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, run_some, own) == 0);
  run_some(own);
  CHECK(pthread_join(thread, NULL) == 0);
}

// What must not be: parts twice, unknown ones, and the rest not at all.
static void run_wrongly(void *user, size_t parts, kinglet_run_part run, void *context) {
  (void)user;
  run(context, parts);
  run(context, SIZE_MAX);
  run(context, parts - 1);
  run(context, parts - 1);
}

// Waits until the process has so many threads: one that was joined may be listed a moment longer.
static void expect_threads(int expected) {
  const struct timespec pause = {0, 1000000};
  int count = -1;
  for (int i = 0; i < 5000 && count != expected; i++) {
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    count = -2;  // the folder itself and its parent
    while (readdir(tasks) != NULL) {
      count++;
    }
    closedir(tasks);
    if (count != expected) {
      nanosleep(&pause, NULL);
    }
  }
  CHECK(count == expected);
}

static void prove_workers(const kinglet_model *model) {
  uint32_t alone[12], together[12];
  kinglet_generation told;
  kinglet_session_options options = small_options();
  kinglet_session *session = new_prompted(model);
  generate_tokens(session, alone, 12, &told);
  expect_threads(1);
  RETURNS(OK, kinglet_session_destroy(session));
  pass own = {0};
  const kinglet_run_parts crews[] = {NULL, run_on_threads, run_wrongly};
  for (size_t crew = 0; crew < 3; crew++) {
    options.threads = 2;
    options.run_parts = crews[crew];
    options.run_parts_user = &own;
    session = new_session(model, &options);
    // The library makes them only where nobody else brings them.
    expect_threads(crews[crew] == NULL ? 2 : 1);
    RETURNS(OK, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
    generate_tokens(session, together, 12, &told);
    CHECK(memcmp(alone, together, sizeof alone) == 0);
    RETURNS(OK, kinglet_session_destroy(session));
  }
  CHECK(atomic_load(&own.passes) > 0);
}

void prove_threads(void) {
  kinglet_model *model = open_model(MODEL);
  prove_refusals(model);
  prove_cancellation(model);
  prove_workers(model);
  RETURNS(OK, kinglet_model_close(model));
}
