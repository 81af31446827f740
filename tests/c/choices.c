// Prompts, logits and how tokens are chosen.
#include "proof.h"

#include <math.h>

static void refuse_sampling(kinglet_session *session) {
  kinglet_sampling sampling = {0};
  RETURNS(BAD_ARGUMENT, kinglet_session_set_sampling(session, &sampling));
  const kinglet_sampling right = {.struct_size = sizeof sampling};
#define REFUSED(name, field, value)                                \
  sampling = right;                                                \
  sampling.field = (value);                                        \
  RETURNS(name, kinglet_session_set_sampling(session, &sampling))
  REFUSED(BAD_ARGUMENT, reserved, 1);
  REFUSED(BAD_ARGUMENT, temperature, -1.0f);
  REFUSED(BAD_ARGUMENT, temperature, NAN);
  REFUSED(BAD_ARGUMENT, temperature, INFINITY);
  REFUSED(BAD_ARGUMENT, top_p, 1.5f);
  REFUSED(BAD_ARGUMENT, top_p, NAN);
  REFUSED(BAD_ARGUMENT, min_p, -0.5f);
  REFUSED(BAD_ARGUMENT, repetition_penalty, -2.0f);
  REFUSED(BAD_ARGUMENT, repetition_penalty, NAN);
  REFUSED(BAD_ARGUMENT, logit_bias_count, 1);
#undef REFUSED
  kinglet_logit_bias bias[KINGLET_MAX_LOGIT_BIAS + 1] = {{0, 0.0f}};
  sampling = right;
  sampling.logit_bias = bias;
  sampling.logit_bias_count = KINGLET_MAX_LOGIT_BIAS + 1;
  RETURNS(BAD_ARGUMENT, kinglet_session_set_sampling(session, &sampling));
  sampling.logit_bias_count = KINGLET_MAX_LOGIT_BIAS;
  RETURNS(OK, kinglet_session_set_sampling(session, &sampling));
  bias[5].bias = NAN;
  RETURNS(BAD_ARGUMENT, kinglet_session_set_sampling(session, &sampling));
  bias[5] = (kinglet_logit_bias){UINT32_MAX, 1.0f};
  RETURNS(TOKEN_OUT_OF_RANGE, kinglet_session_set_sampling(session, &sampling));
  RETURNS(OK, kinglet_session_set_sampling(session, NULL));
}

static void prove_bias(kinglet_session *session) {
  const kinglet_logit_bias bias[] = {{77, 1000.0f}};
  kinglet_sampling sampling = {.struct_size = sizeof sampling};
  sampling.logit_bias = bias;
  sampling.logit_bias_count = 1;
  RETURNS(OK, kinglet_session_set_sampling(session, &sampling));
  uint32_t token = 0;
  for (int i = 0; i < 3; i++) {
    RETURNS(OK, kinglet_session_next(session, &token));
    CHECK(token == 77);
  }
  RETURNS(OK, kinglet_session_set_sampling(session, NULL));
}

// Equal seeds choose equally, whatever else was chosen before.
static void prove_seeds(kinglet_session *session) {
  kinglet_sampling sampling = {.struct_size = sizeof sampling};
  sampling.temperature = 1.0f;
  sampling.top_k = 40;
  sampling.top_p = 0.95f;
  sampling.min_p = 0.01f;
  sampling.repetition_penalty = 1.1f;
  uint32_t tokens[2][20];
  for (int run = 0; run < 2; run++) {
    sampling.seed = 5;
    RETURNS(OK, kinglet_session_set_sampling(session, &sampling));
    RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));
    for (int i = 0; i < 20; i++) {
      RETURNS(OK, kinglet_session_next(session, &tokens[run][i]));
    }
  }
  CHECK(memcmp(tokens[0], tokens[1], sizeof tokens[0]) == 0);
  RETURNS(OK, kinglet_session_set_sampling(session, NULL));
}

static void prove_logits(kinglet_session *session) {
  const float *logits = NULL;
  size_t count = 0, found = 0;
  RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));
  RETURNS(OK, kinglet_session_logits(session, &logits, &count));
  CHECK(count > 100);
  size_t best = 0;
  for (size_t i = 0; i < count; i++) {
    best = logits[i] > logits[best] ? i : best;
  }
  kinglet_candidate top[10];
  RETURNS(OK, kinglet_session_top(session, top, 10, &found));
  CHECK(found == 10 && top[0].token == best);
  double sum = 0;
  for (size_t i = 0; i < found; i++) {
    CHECK(i == 0 || top[i].log_probability <= top[i - 1].log_probability);
    sum += exp(top[i].log_probability);
  }
  CHECK(sum > 0 && sum < 1.0001);
  kinglet_candidate *all = calloc(count + 5, sizeof *all);
  RETURNS(OK, kinglet_session_top(session, all, count + 5, &found));
  CHECK(found == count);
  // Each is its logit less the logarithm of what all add up to.
  double total = 0;
  for (size_t i = 0; i < count; i++) {
    total += exp((double)logits[i] - logits[best]);
  }
  for (size_t i = 0; i < found; i++) {
    const double expected = (double)logits[all[i].token] - logits[best] - log(total);
    CHECK(fabs(all[i].log_probability - expected) < 1e-4);
  }
  free(all);
  uint32_t token = 0;
  RETURNS(OK, kinglet_session_next(session, &token));
  CHECK(token == best);
  RETURNS(OK, kinglet_session_top(session, NULL, 0, &found));
  CHECK(found == 0);
  RETURNS(BAD_ARGUMENT, kinglet_session_logits(session, NULL, &count));
  RETURNS(BAD_ARGUMENT, kinglet_session_logits(session, &logits, NULL));
  RETURNS(BAD_ARGUMENT, kinglet_session_top(session, NULL, 3, &found));
  RETURNS(BAD_ARGUMENT, kinglet_session_top(session, top, 3, NULL));
  RETURNS(BAD_ARGUMENT, kinglet_session_top(session, top, SIZE_MAX, &found));
  RETURNS(BAD_ARGUMENT, kinglet_session_next(session, NULL));
}

// Logits stay through calls that compute nothing, and no longer.
static void prove_stay_of_logits(kinglet_session *session) {
  const float *logits = NULL;
  size_t count = 0, found = 0;
  uint32_t tokens[64];
  char message[64];
  RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));
  RETURNS(OK, kinglet_session_logits(session, &logits, &count));
  float *copy = take(count * sizeof *copy);
  memcpy(copy, logits, count * sizeof *copy);
  kinglet_session_info info = {.struct_size = sizeof info};
  kinglet_candidate top[3];
  RETURNS(OK, kinglet_session_describe(session, &info));
  RETURNS(OK, kinglet_session_message(session, message, sizeof message));
  RETURNS(OK, kinglet_session_tokens(session, tokens, 64, &found));
  RETURNS(OK, kinglet_session_top(session, top, 3, &found));
  RETURNS(OK, kinglet_session_cancel(session));
  CHECK(memcmp(copy, logits, count * sizeof *copy) == 0);
  RETURNS(INTERRUPTED, kinglet_session_next(session, tokens));
  // The second token needs a step of its own, which computes where they were.
  RETURNS(OK, kinglet_session_next(session, tokens));
  RETURNS(OK, kinglet_session_next(session, tokens));
  CHECK(memcmp(copy, logits, count * sizeof *copy) != 0);
  // What was copied is what a session says that reads them anew.
  RETURNS(OK, kinglet_session_rewind(session, PROMPT_TOKENS));
  RETURNS(OK, kinglet_session_logits(session, &logits, &count));
  CHECK(memcmp(copy, logits, count * sizeof *copy) == 0);
  free(copy);
}

static uint32_t tokens_of(const kinglet_session *session) {
  kinglet_session_info info = {0};
  info.struct_size = sizeof info;
  RETURNS(OK, kinglet_session_describe(session, &info));
  return info.tokens;
}

typedef struct {
  size_t calls, stop_at;
} progress;

static int on_progress(void *user, size_t done, size_t total) {
  progress *own = user;
  CHECK(done == own->calls * 8 && done < total);
  return ++own->calls == own->stop_at;
}

static void prove_prompts(kinglet_session *session) {
  uint32_t tokens[65];
  for (uint32_t i = 0; i < 65; i++) {
    tokens[i] = 20 + i;
  }
  const float *logits;
  size_t count;
  uint32_t token;
  RETURNS(OK, kinglet_session_reset(session));
  // An empty text has nothing behind it.
  RETURNS(BAD_ARGUMENT, kinglet_session_next(session, &token));
  CHECK(token == KINGLET_NO_TOKEN);
  RETURNS(BAD_ARGUMENT, kinglet_session_logits(session, &logits, &count));
  RETURNS(BAD_ARGUMENT, kinglet_session_top(session, NULL, 0, &count));
  RETURNS(BAD_ARGUMENT, kinglet_session_generate(session, NULL, NULL, NULL, NULL));
  RETURNS(BAD_ARGUMENT, kinglet_session_prefill(session, NULL, 0));
  RETURNS(BAD_ARGUMENT, kinglet_session_prefill(session, NULL, 5));
  RETURNS(BAD_ARGUMENT, kinglet_session_prefill(session, tokens, SIZE_MAX));
  RETURNS(PROMPT_TOO_LONG, kinglet_session_prefill(session, tokens, 65));
  const uint32_t wrong[] = {20, 21, UINT32_MAX};
  RETURNS(TOKEN_OUT_OF_RANGE, kinglet_session_prefill(session, wrong, 3));
  CHECK(tokens_of(session) == 0);
  progress own = {0, 0};
  RETURNS(OK, kinglet_session_set_progress(session, on_progress, &own));
  RETURNS(OK, kinglet_session_prefill(session, tokens, 20));
  CHECK(own.calls == 3 && tokens_of(session) == 20);
  RETURNS(OK, kinglet_session_reset(session));
  own = (progress){0, 2};
  RETURNS(INTERRUPTED, kinglet_session_prefill(session, tokens, 20));
  CHECK(tokens_of(session) == 8);
  RETURNS(OK, kinglet_session_set_progress(session, NULL, NULL));
  RETURNS(OK, kinglet_session_prefill(session, tokens + 8, 56));
  CHECK(tokens_of(session) == 64);
  RETURNS(CONTEXT_FULL, kinglet_session_next(session, &token));
  RETURNS(PROMPT_TOO_LONG, kinglet_session_prefill(session, tokens, 1));
  RETURNS(OK, kinglet_session_logits(session, &logits, &count));
}

void prove_choices(void) {
  kinglet_model *model = open_model(MODEL);
  kinglet_session *session = new_prompted(model);
  refuse_sampling(session);
  prove_bias(session);
  prove_seeds(session);
  prove_logits(session);
  prove_stay_of_logits(session);
  prove_prompts(session);
  RETURNS(OK, kinglet_session_destroy(session));
  RETURNS(OK, kinglet_model_close(model));
}
