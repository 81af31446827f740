// Texts of sessions: rewound, forked, saved and restored.
#include "proof.h"

static void prove_text(kinglet_session *session) {
  uint32_t tokens[64];
  size_t count = 0;
  RETURNS(OK, kinglet_session_tokens(session, tokens, 64, &count));
  CHECK(count == PROMPT_TOKENS && memcmp(tokens, PROMPT, sizeof PROMPT) == 0);
  tokens[0] = 7;
  RETURNS(BUFFER_TOO_SMALL, kinglet_session_tokens(session, tokens, PROMPT_TOKENS - 1, &count));
  CHECK(count == PROMPT_TOKENS && tokens[0] == 7);
  RETURNS(BUFFER_TOO_SMALL, kinglet_session_tokens(session, NULL, 0, &count));
  RETURNS(BAD_ARGUMENT, kinglet_session_tokens(session, NULL, 64, &count));
  RETURNS(BAD_ARGUMENT, kinglet_session_tokens(session, tokens, 64, NULL));
  RETURNS(BAD_ARGUMENT, kinglet_session_rewind(session, PROMPT_TOKENS + 1));
  RETURNS(BAD_ARGUMENT, kinglet_session_rewind(session, SIZE_MAX));
  // Behind a prefix everything is as behind a prompt that was never longer.
  uint32_t first = 0, again = 0;
  RETURNS(OK, kinglet_session_rewind(session, 5));
  RETURNS(OK, kinglet_session_next(session, &first));
  RETURNS(OK, kinglet_session_reset(session));
  RETURNS(OK, kinglet_session_prefill(session, PROMPT, 5));
  RETURNS(OK, kinglet_session_next(session, &again));
  CHECK(first == again);
  RETURNS(OK, kinglet_session_rewind(session, 6));
  RETURNS(OK, kinglet_session_reset(session));
  RETURNS(OK, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
}

static void prove_forks(const kinglet_model *model, kinglet_session *session) {
  kinglet_session_options options = small_options();
  kinglet_session *twin = new_session(model, &options);
  uint32_t own[20], twins[20];
  kinglet_generation told;
  RETURNS(OK, kinglet_session_fork(twin, session, PROMPT_TOKENS));
  CHECK(generate_tokens(session, own, 20, &told) == 20);
  CHECK(generate_tokens(twin, twins, 20, &told) == 20);
  CHECK(memcmp(own, twins, sizeof own) == 0);
  // Also of a token that was chosen just now.
  RETURNS(OK, kinglet_session_fork(twin, session, PROMPT_TOKENS + 20));
  RETURNS(OK, kinglet_session_next(session, own));
  RETURNS(OK, kinglet_session_next(twin, twins));
  CHECK(own[0] == twins[0]);
  RETURNS(OK, kinglet_session_fork(twin, session, 0));
  RETURNS(BAD_ARGUMENT, kinglet_session_fork(twin, session, 60));
  RETURNS(BAD_ARGUMENT, kinglet_session_fork(twin, session, SIZE_MAX));
  RETURNS(BUSY, kinglet_session_fork(session, session, 3));
  RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));
  RETURNS(OK, kinglet_session_destroy(twin));
  options.context = 8;
  twin = new_session(model, &options);
  RETURNS(CONTEXT_FULL, kinglet_session_fork(twin, session, 9));
  RETURNS(OK, kinglet_session_fork(twin, session, 8));
  RETURNS(OK, kinglet_session_destroy(twin));
  options = small_options();
  options.kv = KINGLET_KV_F16;
  twin = new_session(model, &options);
  RETURNS(STATE_MISMATCH, kinglet_session_fork(twin, session, 3));
  RETURNS(OK, kinglet_session_destroy(twin));
  kinglet_model *other = open_model(OTHER_MODEL);
  twin = new_session(other, NULL);
  RETURNS(STATE_MISMATCH, kinglet_session_fork(twin, session, 3));
  RETURNS(OK, kinglet_session_destroy(twin));
  RETURNS(OK, kinglet_model_close(other));
}

static void *save(kinglet_session *session, size_t *bytes) {
  size_t needed = 0;
  RETURNS(OK, kinglet_session_state_bytes(session, &needed));
  char *state = take(needed);
  RETURNS(BUFFER_TOO_SMALL, kinglet_session_save(session, state, needed - 1, bytes));
  CHECK(*bytes == 0 && (unsigned char)state[0] == 0xA5);
  RETURNS(BUFFER_TOO_SMALL, kinglet_session_save(session, NULL, 0, bytes));
  RETURNS(BAD_ARGUMENT, kinglet_session_save(session, NULL, needed, bytes));
  RETURNS(BAD_ARGUMENT, kinglet_session_save(session, state, needed, NULL));
  RETURNS(BAD_ARGUMENT, kinglet_session_state_bytes(session, NULL));
  RETURNS(OK, kinglet_session_save(session, state, needed, bytes));
  CHECK(*bytes == needed);
  return state;
}

static void refuse_state(kinglet_status expected, const kinglet_model *model,
                         const kinglet_session_options *options, const void *state, size_t bytes) {
  kinglet_session *session = new_session(model, options);
  const kinglet_status status = kinglet_session_restore(session, state, bytes);
  check_status(expected, status, "kinglet_session_restore", __FILE__, __LINE__);
  RETURNS(OK, kinglet_session_destroy(session));
}

static void refuse_states(const kinglet_model *model, kinglet_session *session, char *state,
                          size_t bytes) {
  kinglet_session_options options = small_options();
  options.context = 65;
  refuse_state(KINGLET_STATUS_STATE_MISMATCH, model, &options, state, bytes);
  options = small_options();
  options.kv = KINGLET_KV_F16;
  refuse_state(KINGLET_STATUS_STATE_MISMATCH, model, &options, state, bytes);
  options = small_options();
  kinglet_model *other = open_model(OTHER_MODEL);
  refuse_state(KINGLET_STATUS_STATE_MISMATCH, other, &options, state, bytes);
  RETURNS(OK, kinglet_model_close(other));
  RETURNS(BAD_ARGUMENT, kinglet_session_restore(session, NULL, bytes));
  // A text of its own, which altered states must leave as it is.
  uint32_t before[64], after[64];
  size_t count = 0;
  RETURNS(OK, kinglet_session_rewind(session, 4));
  RETURNS(OK, kinglet_session_tokens(session, before, 64, &count));
  for (size_t cut = 0; cut < bytes; cut += cut < 200 ? 9 : bytes / 30) {
    RETURNS(TRUNCATED, kinglet_session_restore(session, state, cut));
  }
  for (size_t place = 0; place < bytes; place += place < 200 ? 1 : bytes / 50) {
    state[place] ^= 0x40;
    const kinglet_status status = kinglet_session_restore(session, state, bytes);
    CHECK(status == KINGLET_STATUS_CORRUPT || status == KINGLET_STATUS_STATE_MISMATCH ||
          status == KINGLET_STATUS_UNKNOWN_VERSION || status == KINGLET_STATUS_TRUNCATED);
    state[place] ^= 0x40;
  }
  RETURNS(OK, kinglet_session_tokens(session, after, 64, &count));
  CHECK(count == 4 && memcmp(before, after, 4 * sizeof *before) == 0);
}

static void prove_saving(const kinglet_model *model, kinglet_session *session) {
  kinglet_sampling sampling = {.struct_size = sizeof sampling, .seed = 9};
  sampling.temperature = 0.9f;
  RETURNS(OK, kinglet_session_set_sampling(session, &sampling));
  uint32_t own[20], restored[20];
  kinglet_generation told;
  generate_tokens(session, own, 7, &told);
  size_t bytes = 0;
  char *state = save(session, &bytes);
  generate_tokens(session, own, 20, &told);
  // In another session, with the same sampling, it goes on in the same way, from any address.
  const kinglet_session_options options = small_options();
  kinglet_session *other = new_session(model, &options);
  RETURNS(OK, kinglet_session_set_sampling(other, &sampling));
  char *shifted = take(bytes + 1);
  memcpy(shifted + 1, state, bytes);
  RETURNS(OK, kinglet_session_restore(other, shifted + 1, bytes));
  free(shifted);
  generate_tokens(other, restored, 20, &told);
  CHECK(memcmp(own, restored, sizeof own) == 0);
  RETURNS(OK, kinglet_session_destroy(other));
  refuse_states(model, session, state, bytes);
  RETURNS(OK, kinglet_session_restore(session, state, bytes));
  generate_tokens(session, restored, 20, &told);
  CHECK(memcmp(own, restored, sizeof own) == 0);
  // An empty text can be saved as well.
  RETURNS(OK, kinglet_session_reset(session));
  free(state);
  state = save(session, &bytes);
  RETURNS(OK, kinglet_session_restore(session, state, bytes));
  free(state);
}

// What a session reads and writes must lie apart from each other, and from its own memory.
static void prove_overlaps(const kinglet_model *model) {
  const kinglet_session_options options = small_options();
  size_t needed = 0, bytes = 0;
  RETURNS(OK, kinglet_session_bytes(model, &options, &needed));
  char *memory = take(needed);
  kinglet_session *session = NULL;
  RETURNS(OK, kinglet_session_new(model, &options, memory, needed, &session, NULL, 0));
  RETURNS(OK, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
  char *state = save(session, &bytes);
  size_t *inside = (size_t *)(void *)state, count = 0;
  RETURNS(BAD_ARGUMENT, kinglet_session_save(session, state, bytes, inside));
  RETURNS(BAD_ARGUMENT, kinglet_session_tokens(session, (uint32_t *)inside, 64, inside));
  RETURNS(BAD_ARGUMENT, kinglet_session_top(session, (kinglet_candidate *)inside, 9, inside));
  // The handle's first bytes, its last ones, and the last ones of all.
  const size_t places[] = {0, 512, needed - 8};
  for (size_t i = 0; i < 3; i++) {
    char *own = memory + places[i];
    size_t *number = (size_t *)(void *)own;
    uint32_t *tokens = (uint32_t *)(void *)own;
    RETURNS(BAD_ARGUMENT, kinglet_session_save(session, own, 1, &count));
    RETURNS(BAD_ARGUMENT, kinglet_session_save(session, state, bytes, number));
    RETURNS(BAD_ARGUMENT, kinglet_session_restore(session, own, 1));
    RETURNS(BAD_ARGUMENT, kinglet_session_tokens(session, tokens, 1, &count));
    RETURNS(BAD_ARGUMENT, kinglet_session_top(session, (kinglet_candidate *)number, 1, &count));
    RETURNS(BAD_ARGUMENT, kinglet_session_prefill(session, tokens, 1));
  }
  RETURNS(OK, kinglet_session_restore(session, state, bytes));
  RETURNS(OK, kinglet_session_next(session, &(uint32_t){0}));
  RETURNS(OK, kinglet_session_destroy(session));
  free(state);
  free(memory);
}

void prove_states(void) {
  kinglet_model *model = open_model(MODEL);
  kinglet_session *session = new_prompted(model);
  prove_text(session);
  prove_forks(model, session);
  prove_saving(model, session);
  prove_overlaps(model);
  RETURNS(OK, kinglet_session_destroy(session));
  RETURNS(OK, kinglet_model_close(model));
}
