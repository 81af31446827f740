// Two sessions on two threads say what each says alone, and memory does not grow:
//
//     endurance MODEL TOKENS
#include "proof.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

// Pages that the C library may touch for itself.
#define SLACK_PAGES 64
// Tokens of the text that a new one begins with, when the context is full.
#define KEPT 16

// Pages of the process: all, or those in memory.
typedef struct {
  long all, resident;
} pages;

static pages pages_now(void) {
  pages now = {0, 0};
  FILE *file = fopen("/proc/self/statm", "r");
  CHECK(file != NULL && fscanf(file, "%ld %ld", &now.all, &now.resident) == 2);
  fclose(file);
  return now;
}

typedef struct {
  const kinglet_model *model;
  kinglet_session *session;
  uint64_t seed;
  uint32_t *tokens;
  size_t count, wanted;
} speaker;

static int collect(void *user, uint32_t token, const char *text, size_t text_bytes) {
  (void)text, (void)text_bytes;
  speaker *own = user;
  if (token != KINGLET_NO_TOKEN) {
    own->tokens[own->count++] = token;
  }
  return 0;
}

// A text of `wanted` tokens: when the context is full, a new one goes on behind the last tokens.
static void *speak(void *user) {
  speaker *own = user;
  kinglet_sampling sampling = {.struct_size = sizeof sampling, .seed = own->seed};
  sampling.temperature = 0.8f;
  sampling.top_p = 0.95f;
  kinglet_generate_options options = {.struct_size = sizeof options};
  options.flags = KINGLET_GENERATE_IGNORE_END;
  own->count = 0;
  RETURNS(OK, kinglet_session_set_sampling(own->session, &sampling));
  RETURNS(OK, kinglet_session_reset(own->session));
  RETURNS(OK, kinglet_session_prefill(own->session, PROMPT, PROMPT_TOKENS));
  while (own->count < own->wanted) {
    options.max_tokens = (uint32_t)(own->wanted - own->count);
    RETURNS(OK, kinglet_session_generate(own->session, &options, collect, own, NULL));
    RETURNS(OK, kinglet_session_reset(own->session));
    CHECK(own->count >= KEPT);
    RETURNS(OK, kinglet_session_prefill(own->session, own->tokens + own->count - KEPT, KEPT));
  }
  CHECK(own->count == own->wanted);
  return NULL;
}

static void speak_together(speaker *speakers) {
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) {
    CHECK(pthread_create(&threads[i], NULL, speak, &speakers[i]) == 0);
  }
  for (int i = 0; i < 2; i++) {
    CHECK(pthread_join(threads[i], NULL) == 0);
  }
}

static void prove_sameness(const kinglet_model *model, size_t wanted) {
  kinglet_session_options options = small_options();
  options.context = 256;
  speaker speakers[2];
  uint32_t *alone[2];
  for (int i = 0; i < 2; i++) {
    options.flags = i == 0 ? KINGLET_SESSION_SPECULATE : 0;
    speakers[i] = (speaker){model, new_session(model, &options), 7 + (uint64_t)i, NULL, 0, wanted};
    alone[i] = speakers[i].tokens = calloc(wanted, sizeof *alone[i]);
    speak(&speakers[i]);
    speakers[i].tokens = calloc(wanted, sizeof *alone[i]);
    memset(speakers[i].tokens, 0xFF, wanted * sizeof *alone[i]);
    speakers[i].wanted = 1000;
  }
  CHECK(memcmp(alone[0], alone[1], wanted * sizeof *alone[0]) != 0);
  // Twice to warm up: the C library has memory of its own for threads, and keeps it.
  speak_together(speakers);
  speak_together(speakers);
  const pages before = pages_now();
  speakers[0].wanted = speakers[1].wanted = wanted;
  speak_together(speakers);
  const pages after = pages_now();
  for (int i = 0; i < 2; i++) {
    CHECK(memcmp(alone[i], speakers[i].tokens, wanted * sizeof *alone[i]) == 0);
    free(alone[i]);
    free(speakers[i].tokens);
    RETURNS(OK, kinglet_session_destroy(speakers[i].session));
  }
  printf("2 x %zu tokens: %ld pages resident before, %ld after\n", wanted, before.resident,
         after.resident);
  CHECK(after.resident <= before.resident + SLACK_PAGES);
  CHECK(after.all <= before.all + SLACK_PAGES);
}

// What is made and ended again leaves nothing behind, mappings and threads included.
static void prove_cleanness(void) {
  static _Alignas(KINGLET_ALIGNMENT) char own_place[KINGLET_ALIGNMENT];
  kinglet_session_options options = small_options();
  pages before = {0, 0};
  for (int round = 0; round < 300; round++) {
    if (round == 20) {
      before = pages_now();
    }
    kinglet_model *model = open_model(MODEL), *none = NULL;
    kinglet_session *refused = NULL;
    options.threads = 1 + (uint32_t)round % 3;
    kinglet_session *session = new_session(model, &options);
    RETURNS(OK, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
    RETURNS(BUDGET_TOO_SMALL,
            kinglet_session_new(model, &options, own_place, 0, &refused, NULL, 0));
    RETURNS(NOT_KINGLET, kinglet_model_open_path("/proc/self/exe", NULL, 0, &none, NULL, 0));
    RETURNS(OK, kinglet_session_destroy(session));
    RETURNS(OK, kinglet_model_close(model));
  }
  const pages after = pages_now();
  printf("280 models and sessions: %ld pages before, %ld after\n", before.all, after.all);
  CHECK(after.resident <= before.resident + SLACK_PAGES);
  CHECK(after.all <= before.all + SLACK_PAGES);
}

// Where there is no memory for all threads that are asked for, there is a status, and no waiting
// for those that were never started.
static void prove_exhaustion(void) {
  kinglet_model *model = open_model(MODEL);
  kinglet_session_options options = small_options();
  kinglet_session *session = NULL;
  size_t needed = 0;
  options.threads = 16;
  RETURNS(OK, kinglet_session_bytes(model, &options, &needed));
  void *memory = take(needed);
  struct rlimit before, less;
  CHECK(getrlimit(RLIMIT_AS, &before) == 0);
  less = before;
  less.rlim_cur = (rlim_t)(pages_now().all * sysconf(_SC_PAGESIZE)) + (8 << 20);
  alarm(100);
  CHECK(setrlimit(RLIMIT_AS, &less) == 0);
  RETURNS(RESOURCE, kinglet_session_new(model, &options, memory, needed, &session, NULL, 0));
  CHECK(session == NULL && setrlimit(RLIMIT_AS, &before) == 0);
  RETURNS(OK, kinglet_session_new(model, &options, memory, needed, &session, NULL, 0));
  alarm(0);
  RETURNS(OK, kinglet_session_destroy(session));
  RETURNS(OK, kinglet_model_close(model));
  free(memory);
}

int main(int argc, char **argv) {
  CHECK(argc == 3);
  MODEL = argv[1];
  kinglet_model *model = open_model(MODEL);
  prove_sameness(model, strtoul(argv[2], NULL, 10));
  RETURNS(OK, kinglet_model_close(model));
  prove_cleanness();
  prove_exhaustion();
  return 0;
}
