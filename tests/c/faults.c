// A fault of the library's own, which no input leads to: what a session knows about itself is
// overwritten here, as a stray pointer of the program's could.
#include "proof.h"

#define LENGTH 37

static void count_fault(void *user, uint32_t level, const char *text, size_t text_bytes) {
  CHECK(level == KINGLET_LOG_ERROR);
  CHECK(memmem(text, text_bytes, "panicked", 8) != NULL);
  ++*(int *)user;
}

// Every number in the handle that could be the length of the text becomes a large one.
// valgrind.supp lets it look at bytes that the library has never written.
__attribute__((noinline)) static void break_session(kinglet_session *session) {
  char *handle = (char *)session;
  int found = 0;
  for (size_t place = 0; place < 4096; place += sizeof(size_t)) {
    size_t number;
    memcpy(&number, handle + place, sizeof number);
    if (number == LENGTH) {
      number = SIZE_MAX / 2;
      memcpy(handle + place, &number, sizeof number);
      found++;
    }
  }
  CHECK(found > 0);
}

static kinglet_status choose_next(kinglet_session *session) {
  return kinglet_session_next(session, &(uint32_t){0});
}

static kinglet_status generate(kinglet_session *session) {
  return kinglet_session_generate(session, NULL, NULL, NULL, NULL);
}

static void prove_fault(kinglet_status (*run)(kinglet_session *)) {
  kinglet_model *model = open_model(MODEL);
  kinglet_session_options options = small_options();
  options.flags = KINGLET_SESSION_SPECULATE;
  size_t needed = 0;
  RETURNS(OK, kinglet_session_bytes(model, &options, &needed));
  CHECK(needed > 4096);
  void *memory = take(needed);
  kinglet_session *session = NULL;
  RETURNS(OK, kinglet_session_new(model, &options, memory, needed, &session, NULL, 0));
  uint32_t tokens[LENGTH];
  for (uint32_t i = 0; i < LENGTH; i++) {
    tokens[i] = 20 + i;
  }
  RETURNS(OK, kinglet_session_prefill(session, tokens, LENGTH));
  break_session(session);
  // Silent, unless there is a log.
  int lines = 0;
  const kinglet_log_sink sink = {sizeof sink, count_fault, &lines, KINGLET_LOG_ERROR, 0};
  RETURNS(OK, kinglet_log_to(&sink));
  RETURNS(INTERNAL, run(session));
  CHECK(lines == 1);
  RETURNS(OK, kinglet_log_to(NULL));
  // From then on it can only be destroyed.
  RETURNS(INTERNAL, kinglet_session_reset(session));
  RETURNS(INTERNAL, kinglet_session_tokens(session, tokens, LENGTH, &(size_t){0}));
  char message[320] = "";
  RETURNS(OK, kinglet_session_message(session, message, sizeof message));
  CHECK(strstr(message, "destroy") != NULL);
  RETURNS(OK, kinglet_session_cancel(session));
  RETURNS(OK, kinglet_session_destroy(session));
  free(memory);
  RETURNS(OK, kinglet_model_close(model));
}

void prove_faults(void) {
  prove_fault(choose_next);
  prove_fault(generate);
}
