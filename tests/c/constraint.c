// What a reply may be: by functions of the caller's, and by tables.
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

static bool is_one_of(const words *heard, const char *const *texts) {
  while (*texts != NULL && strcmp(*texts, heard->text) != 0) ++texts;
  return *texts != NULL;
}

// Replies of a table, at any address, are its texts.
static void prove_table(kinglet_session *session) {
  static const char *const ends[] = {"12", "true", NULL}, *const goes_on[] = {"1", NULL};
  char *memory = take(TABLE_BYTES + 8);
  kinglet_generate_options options = {.struct_size = sizeof options, .max_tokens = 10};
  kinglet_generation told = {.struct_size = sizeof told};
  uint32_t forced = 0;
  for (uint64_t seed = 0; seed < 24; ++seed) {
    const kinglet_sampling sampling = {
        .struct_size = sizeof sampling, .temperature = 1.5f, .seed = seed};
    char *place = memory + seed % 8;
    memcpy(place, TABLE, TABLE_BYTES);
    options.schema = place;
    options.schema_bytes = TABLE_BYTES;
    words heard = {.bytes = 0};
    RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));
    RETURNS(OK, kinglet_session_set_sampling(session, &sampling));
    RETURNS(OK, kinglet_session_generate(session, &options, hear, &heard, &told));
    CHECK(heard.bytes < 16);
    CHECK(told.stop_reason == KINGLET_STOP_COMPLETE
              ? is_one_of(&heard, ends)
              : told.stop_reason == KINGLET_STOP_END_OF_TEXT && is_one_of(&heard, goes_on));
    forced += told.forced;
  }
  CHECK(forced > 0);
  free(memory);
  RETURNS(OK, kinglet_session_set_sampling(session, NULL));
}

static void refuse_tables(kinglet_session *session) {
  unsigned char table[TABLE_BYTES];
  const kinglet_constraint constraint = {
      .struct_size = sizeof constraint, .filter = nothing, .advance = give_up};
  kinglet_generate_options options = {.struct_size = sizeof options};
#define TABLE_GIVES(name, at, value)                                       \
  memcpy(table, TABLE, sizeof table);                                      \
  table[at] = (value);                                                     \
  options.schema = table;                                                  \
  options.schema_bytes = sizeof table;                                     \
  RETURNS(name, kinglet_session_generate(session, &options, NULL, NULL, NULL))
  TABLE_GIVES(NOT_KINGLET, 0, 'k');
  TABLE_GIVES(UNKNOWN_VERSION, 8, 9);
  TABLE_GIVES(TRUNCATED, 16, 7);
  TABLE_GIVES(CORRUPT, 16, 5);
  TABLE_GIVES(CORRUPT, 24, 7);
#undef TABLE_GIVES
  options.schema_bytes = 0;
  RETURNS(NOT_KINGLET, kinglet_session_generate(session, &options, NULL, NULL, NULL));
  options.schema_bytes = SIZE_MAX;
  RETURNS(BAD_ARGUMENT, kinglet_session_generate(session, &options, NULL, NULL, NULL));
  options.schema = NULL;
  options.schema_bytes = TABLE_BYTES;
  RETURNS(BAD_ARGUMENT, kinglet_session_generate(session, &options, NULL, NULL, NULL));
  options.schema = TABLE;
  options.constraint = &constraint;
  RETURNS(BAD_ARGUMENT, kinglet_session_generate(session, &options, NULL, NULL, NULL));
  options.constraint = NULL;
  options.flags = KINGLET_GENERATE_IGNORE_END;
  RETURNS(BAD_ARGUMENT, kinglet_session_generate(session, &options, NULL, NULL, NULL));
  options.flags = 0;
  union {
    kinglet_generation told;
    unsigned char table[TABLE_BYTES];
  } both;
  memcpy(both.table, TABLE, TABLE_BYTES);
  both.told.struct_size = sizeof both.told;
  options.schema = both.table;
  RETURNS(BAD_ARGUMENT, kinglet_session_generate(session, &options, NULL, NULL, &both.told));
}

void prove_constraints(void) {
  kinglet_model *model = open_model(MODEL);
  kinglet_session *session = new_prompted(model);
  prove_shape(session);
  refuse(session);
  prove_shape(session);
  prove_table(session);
  refuse_tables(session);
  prove_table(session);
  RETURNS(OK, kinglet_session_destroy(session));
  RETURNS(OK, kinglet_model_close(model));
}
