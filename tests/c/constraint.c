// Constraints: functions of the caller's that say what a reply may be.
#include "proof.h"

// Replies of two tokens in turn, with a forced one behind every third.
typedef struct {
  uint32_t even, odd, forced, taken, most;
  size_t asked, asked_alone, count;
  uint32_t tokens[64];
} pattern;

static uint32_t wanted(const pattern *own) { return own->taken % 2 ? own->odd : own->even; }

static size_t filter(void *user, uint32_t *tokens, size_t count) {
  pattern *own = user;
  CHECK(count > 0);
  ++own->asked;
  own->asked_alone += count == 1;
  for (size_t i = 0; i < count; ++i) {
    if (tokens[i] == wanted(own)) {
      tokens[0] = tokens[i];
      return 1;
    }
  }
  return 0;
}

static int advance(void *user, uint32_t token) {
  pattern *own = user;
  CHECK(token == wanted(own) || token == own->forced);
  ++own->taken;
  return 0;
}

static uint32_t forced(void *user) {
  const pattern *own = user;
  return own->taken % 3 == 2 ? own->forced : KINGLET_NO_TOKEN;
}

static int is_complete(void *user) {
  const pattern *own = user;
  return own->taken == own->most;
}

static int listen(void *user, uint32_t token, const char *text, size_t text_bytes) {
  pattern *own = user;
  (void)text;
  (void)text_bytes;
  if (token != KINGLET_NO_TOKEN) own->tokens[own->count++] = token;
  return 0;
}

static void prove_shape(kinglet_session *session) {
  pattern own = {.even = 40, .odd = 77, .forced = 5, .most = 11};
  kinglet_constraint constraint = {.struct_size = sizeof constraint,
                                   .user = &own,
                                   .filter = filter,
                                   .advance = advance,
                                   .forced = forced,
                                   .is_complete = is_complete};
  kinglet_generate_options options = {.struct_size = sizeof options, .constraint = &constraint};
  kinglet_generation told = {.struct_size = sizeof told};
  RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));
  RETURNS(OK, kinglet_session_generate(session, &options, listen, &own, &told));
  CHECK(told.stop_reason == KINGLET_STOP_COMPLETE && told.tokens == 11 && own.count == 11);
  for (uint32_t i = 0; i < 11; ++i) {
    CHECK(own.tokens[i] == (i % 3 == 2 ? 5 : i % 2 ? 77 : 40));
  }
  CHECK(told.forced == 3 && told.steps <= 8);
  CHECK(own.asked_alone >= 8 && own.asked <= 3 * own.asked_alone);
  // Without a way to be complete, the tokens at most end it.
  own = (pattern){.even = 40, .odd = 77, .forced = 5};
  constraint.is_complete = NULL;
  options.max_tokens = 4;
  RETURNS(OK, kinglet_session_generate(session, &options, listen, &own, &told));
  CHECK(told.stop_reason == KINGLET_STOP_MAX_TOKENS && own.count == 4);
}

static size_t too_many(void *user, uint32_t *tokens, size_t count) {
  (void)user;
  (void)tokens;
  return count + 1;
}

static size_t others(void *user, uint32_t *tokens, size_t count) {
  (void)user;
  memset(tokens, 0xFE, count * sizeof *tokens);
  return count;
}

static size_t nothing(void *user, uint32_t *tokens, size_t count) {
  (void)user;
  (void)tokens;
  (void)count;
  return 0;
}

static int give_up(void *user, uint32_t token) {
  (void)user;
  (void)token;
  return 1;
}

static uint32_t no_token_of_the_model(void *user) {
  (void)user;
  return KINGLET_NO_TOKEN - 1;
}

static void refuse(kinglet_session *session) {
  pattern own = {.even = 40, .odd = 77, .forced = 5, .most = 11};
  const kinglet_constraint right = {
      .struct_size = sizeof right, .user = &own, .filter = filter, .advance = advance};
  kinglet_constraint constraint;
  kinglet_generate_options options = {.struct_size = sizeof options, .constraint = &constraint};
#define REFUSED(name, field, value)                                                         \
  constraint = right;                                                                       \
  constraint.field = (value);                                                               \
  RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));                              \
  RETURNS(name, kinglet_session_generate(session, &options, listen, &own, NULL))
  REFUSED(BAD_ARGUMENT, filter, NULL);
  REFUSED(BAD_ARGUMENT, advance, NULL);
  REFUSED(BAD_ARGUMENT, struct_size, 8);
  REFUSED(BAD_ARGUMENT, filter, too_many);
  REFUSED(BAD_ARGUMENT, filter, others);
  REFUSED(BAD_GRAMMAR, filter, nothing);
  REFUSED(BAD_GRAMMAR, advance, give_up);
  REFUSED(TOKEN_OUT_OF_RANGE, forced, no_token_of_the_model);
#undef REFUSED
  constraint = right;
  options.flags = KINGLET_GENERATE_IGNORE_END;
  RETURNS(BAD_ARGUMENT, kinglet_session_generate(session, &options, NULL, NULL, NULL));
}

void prove_constraints(void) {
  kinglet_model *model = open_model(MODEL);
  kinglet_session *session = new_prompted(model);
  prove_shape(session);
  refuse(session);
  prove_shape(session);
  RETURNS(OK, kinglet_session_destroy(session));
  RETURNS(OK, kinglet_model_close(model));
}
