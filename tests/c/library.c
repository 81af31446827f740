// Versions, texts of statuses, and the log.
#include "proof.h"

static void prove_versions(void) {
  CHECK(kinglet_abi_version() == KINGLET_ABI_VERSION);
  CHECK(strlen(kinglet_version()) >= strlen("0.0.0"));
  CHECK(strcmp(kinglet_status_text(KINGLET_STATUS_OK), "success") == 0);
  const char *unknown = kinglet_status_text(-1);
  CHECK(strcmp(kinglet_status_text(KINGLET_STATUS_BUSY), unknown) != 0);
  for (int status = -3; status < 1000; status++) {
    CHECK(strlen(kinglet_status_text(status)) > 0);
  }
  CHECK(strcmp(kinglet_status_text(INT32_MAX), unknown) == 0);
  CHECK(strcmp(kinglet_status_text(INT32_MIN), unknown) == 0);
}

static void count_line(void *user, uint32_t level, const char *text, size_t text_bytes) {
  CHECK(level >= KINGLET_LOG_ERROR && level <= KINGLET_LOG_DEBUG);
  CHECK(text_bytes > 0 && memchr(text, 0, text_bytes) == NULL);
  ++*(int *)user;
}

static void prove_log(void) {
  int lines = 0;
  // What has no function, size or level is refused, and nothing is kept of it.
  kinglet_log_sink wrong = {0};
  RETURNS(BAD_ARGUMENT, kinglet_log_to(&wrong));
  wrong.struct_size = sizeof wrong;
  RETURNS(BAD_ARGUMENT, kinglet_log_to(&wrong));
  wrong.on_log = count_line;
  RETURNS(BAD_ARGUMENT, kinglet_log_to(&wrong));
  wrong.level = KINGLET_LOG_DEBUG + 1;
  RETURNS(BAD_ARGUMENT, kinglet_log_to(&wrong));
  wrong.level = KINGLET_LOG_DEBUG;
  wrong.reserved = 1;
  RETURNS(BAD_ARGUMENT, kinglet_log_to(&wrong));
  wrong.reserved = 0;
  RETURNS(BAD_ARGUMENT, kinglet_log_to((const kinglet_log_sink *)((const char *)&wrong + 1)));
  RETURNS(OK, kinglet_model_close(open_model(MODEL)));

  kinglet_log_sink sink = {sizeof sink, count_line, &lines, KINGLET_LOG_INFO, 0};
  RETURNS(OK, kinglet_log_to(&sink));
  RETURNS(OK, kinglet_model_close(open_model(MODEL)));
  const int heard = lines;
  CHECK(heard > 0);
  kinglet_log_sink errors = {sizeof errors, count_line, &lines, KINGLET_LOG_ERROR, 0};
  RETURNS(OK, kinglet_log_to(&errors));
  RETURNS(OK, kinglet_model_close(open_model(MODEL)));
  RETURNS(OK, kinglet_log_to(NULL));
  RETURNS(OK, kinglet_model_close(open_model(MODEL)));
  CHECK(lines == heard);
}

void prove_library(void) {
  prove_versions();
  prove_log();
}
