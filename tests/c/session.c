// Sessions: what they need, how they are made, and what is no session.
#include "proof.h"

static void refuse_options(const kinglet_model *model) {
  size_t bytes = 1;
  kinglet_session_options options = small_options();
  options.struct_size = 0;
  RETURNS(BAD_ARGUMENT, kinglet_session_bytes(model, &options, &bytes));
  options.struct_size = 5000;
  RETURNS(BAD_ARGUMENT, kinglet_session_bytes(model, &options, &bytes));
  CHECK(bytes == 0);
  options = small_options();
  options.context = 513;
  CHECK(kinglet_session_bytes(model, &options, &bytes) != KINGLET_STATUS_OK);
  options.context = UINT32_MAX;
  CHECK(kinglet_session_bytes(model, &options, &bytes) != KINGLET_STATUS_OK);
  options = small_options();
  options.batch = UINT32_MAX;
  CHECK(kinglet_session_bytes(model, &options, &bytes) != KINGLET_STATUS_OK);
  options = small_options();
  options.threads = UINT32_MAX;
  CHECK(kinglet_session_bytes(model, &options, &bytes) != KINGLET_STATUS_OK);
  options = small_options();
  options.kv = 2;
  RETURNS(BAD_ARGUMENT, kinglet_session_bytes(model, &options, &bytes));
  options = small_options();
  options.flags = 4;
  RETURNS(BAD_ARGUMENT, kinglet_session_bytes(model, &options, &bytes));
  options = small_options();
  options.reserved = 1;
  RETURNS(BAD_ARGUMENT, kinglet_session_bytes(model, &options, &bytes));
  options = small_options();
  options.memory_budget_bytes = 4096;
  RETURNS(BUDGET_TOO_SMALL, kinglet_session_bytes(model, &options, &bytes));
  CHECK(bytes == 0);
  options = small_options();
  options.tier = "sse9";
  RETURNS(BAD_ARGUMENT, kinglet_session_bytes(model, &options, &bytes));
  options.tier = "\xFF";
  RETURNS(BAD_ARGUMENT, kinglet_session_bytes(model, &options, &bytes));
#if defined(__x86_64__)
  options.tier = "neon";
#else
  options.tier = "avx2";
#endif
  RETURNS(TIER_UNAVAILABLE, kinglet_session_bytes(model, &options, &bytes));
  options = small_options();
  RETURNS(BAD_ARGUMENT, kinglet_session_bytes(model, &options, NULL));
  const void *misaligned = (const char *)&options + 1;
  RETURNS(BAD_ARGUMENT, kinglet_session_bytes(model, misaligned, &bytes));
}

// What is refused leaves the options as they are; a tier that is named is not looked for elsewhere.
static void prove_tiers(const kinglet_model *model) {
  char reason[64] = "";
  kinglet_session_options options = small_options();
#define REFUSED(name, to, bytes)                                                        \
  RETURNS(name, kinglet_session_choose_tier(model, &options, 0, 0, (to), (bytes)));     \
  CHECK(reason[0] == 0)
  options.tier = "sse9";
  REFUSED(BAD_ARGUMENT, reason, sizeof reason);
  CHECK(strcmp(options.tier, "sse9") == 0);
  options.tier = "scalar";
  options.context = UINT32_MAX;
  REFUSED(BAD_ARGUMENT, reason, sizeof reason);
  options.context = 64;
  options.flags = 4;
  REFUSED(BAD_ARGUMENT, reason, sizeof reason);
  options = small_options();
  options.memory_budget_bytes = 4096;
  REFUSED(BUDGET_TOO_SMALL, reason, sizeof reason);
  CHECK(options.tier == NULL);
  options = small_options();
  options.tier = "scalar";
  REFUSED(BAD_ARGUMENT, (char *)&options + 8, 4);
  REFUSED(BAD_ARGUMENT, reason, SIZE_MAX);
  options.struct_size = 8;
  REFUSED(BAD_ARGUMENT, reason, sizeof reason);
#undef REFUSED
  RETURNS(BAD_ARGUMENT, kinglet_session_choose_tier(model, NULL, 0, 0, reason, sizeof reason));
  options = small_options();
  options.tier = "scalar";
  RETURNS(OK, kinglet_session_choose_tier(model, &options, 1, 0, NULL, 0));
  RETURNS(OK, kinglet_session_choose_tier(model, &options, 0, 1, reason, sizeof reason));
  CHECK(strcmp(options.tier, "scalar") == 0 && strcmp(reason, "scalar was asked for") == 0);
}

// A budget for file and session chooses the context, or keeps the one that is named.
static void prove_budgets(const kinglet_model *model) {
  kinglet_model_info about = {.struct_size = sizeof about};
  RETURNS(OK, kinglet_model_describe(model, &about));
  kinglet_session_options options = small_options();
  const size_t stacks = (options.threads ? options.threads : 1) * (size_t)32768;
  size_t bytes = 0, less = 0;
  options.context = 128;
  RETURNS(OK, kinglet_session_bytes(model, &options, &bytes));
  options.memory_budget_bytes = about.file_bytes + bytes + stacks;
  RETURNS(OK, kinglet_session_bytes(model, &options, &less));
  CHECK(less == bytes);
  options.memory_budget_bytes--;
  RETURNS(BUDGET_TOO_SMALL, kinglet_session_bytes(model, &options, &less));
  // One byte less than 128 positions take: the next smaller context is 64.
  options.context = 0;
  kinglet_session *session = NULL;
  RETURNS(OK, kinglet_session_new(model, &options, NULL, 0, &session, NULL, 0));
  kinglet_session_info info = {.struct_size = sizeof info};
  RETURNS(OK, kinglet_session_describe(session, &info));
  CHECK(info.context == 64);
  RETURNS(OK, kinglet_session_destroy(session));
}

// An embedding has a length of 1, and is what it was before.
static void prove_embeddings(const kinglet_model *model) {
  kinglet_model_info about = {.struct_size = sizeof about};
  RETURNS(OK, kinglet_model_describe(model, &about));
  const size_t size = about.embedding_size;
  CHECK(size > 0 && size <= 256 && about.reserved == 0);
  const kinglet_session_options options = small_options();
  kinglet_session *session = new_session(model, &options);
  float first[257], again[257];
  first[size] = 42.0f;
  RETURNS(OK, kinglet_session_embed(session, PROMPT, PROMPT_TOKENS, KINGLET_POOL_MEAN, first, size));
  CHECK(first[size] == 42.0f);
  float squares = 0;
  for (size_t i = 0; i < size; i++) {
    squares += first[i] * first[i];
  }
  CHECK(squares > 0.9999f && squares < 1.0001f);
  RETURNS(OK, kinglet_session_embed(session, PROMPT, PROMPT_TOKENS, KINGLET_POOL_LAST, again, 257));
  CHECK(memcmp(first, again, size * sizeof *first) != 0);
  RETURNS(OK, kinglet_session_embed(session, PROMPT, PROMPT_TOKENS, KINGLET_POOL_MEAN, again, 257));
  CHECK(memcmp(first, again, size * sizeof *first) == 0);
  RETURNS(BUFFER_TOO_SMALL,
          kinglet_session_embed(session, PROMPT, PROMPT_TOKENS, KINGLET_POOL_MEAN, again, size - 1));
  RETURNS(BAD_ARGUMENT, kinglet_session_embed(session, PROMPT, 0, KINGLET_POOL_MEAN, again, size));
  RETURNS(BAD_ARGUMENT, kinglet_session_embed(session, PROMPT, PROMPT_TOKENS, 2, again, size));
  RETURNS(BAD_ARGUMENT, kinglet_session_embed(session, NULL, 2, KINGLET_POOL_MEAN, again, size));
  RETURNS(BAD_ARGUMENT,
          kinglet_session_embed(session, PROMPT, PROMPT_TOKENS, KINGLET_POOL_MEAN, NULL, size));
  const uint32_t outside = about.vocabulary;
  RETURNS(TOKEN_OUT_OF_RANGE,
          kinglet_session_embed(session, &outside, 1, KINGLET_POOL_MEAN, again, size));
  RETURNS(OK, kinglet_session_destroy(session));
}

// Options of a newer version: what this library does not know must be zero.
static void prove_versions(const kinglet_model *model) {
  size_t bytes = 0, same = 0;
  struct {
    kinglet_session_options options;
    uint32_t added[4];
  } newer = {small_options(), {0}};
  RETURNS(OK, kinglet_session_bytes(model, &newer.options, &bytes));
  newer.options.struct_size = sizeof newer;
  RETURNS(OK, kinglet_session_bytes(model, &newer.options, &same));
  CHECK(same == bytes);
  newer.added[3] = 1;
  RETURNS(BAD_ARGUMENT, kinglet_session_bytes(model, &newer.options, &same));
}

static void refuse_places(const kinglet_model *model) {
  const kinglet_session_options options = small_options();
  size_t needed = 0;
  RETURNS(OK, kinglet_session_bytes(model, &options, &needed));
  char *memory = take(needed + 64), message[320] = "";
  kinglet_session *session = NULL;
  RETURNS(BUDGET_TOO_SMALL, kinglet_session_new(model, &options, memory, needed - 1, &session,
                                                message, sizeof message));
  CHECK(strlen(message) > 0);
  RETURNS(MISALIGNED, kinglet_session_new(model, &options, memory + 32, needed, &session, NULL, 0));
  RETURNS(BAD_ARGUMENT, kinglet_session_new(model, &options, NULL, 1, &session, NULL, 0));
  RETURNS(BAD_ARGUMENT, kinglet_session_new(model, &options, memory, needed, NULL, NULL, 0));
  CHECK(session == NULL);
  RETURNS(OK, kinglet_session_new(model, &options, memory, needed, &session, message,
                                  sizeof message));
  CHECK((void *)session == memory && strlen(message) == 0);
  RETURNS(OK, kinglet_session_destroy(session));
  RETURNS(BAD_HANDLE, kinglet_session_destroy(session));
  RETURNS(BAD_HANDLE, kinglet_session_reset(session));
  free(memory);
  RETURNS(OK, kinglet_session_destroy(NULL));
}

static void prove_description(const kinglet_model *model) {
  kinglet_session_options options = small_options();
  options.threads = 2;
  options.kv = KINGLET_KV_F16;
  options.flags = KINGLET_SESSION_PIN_THREADS;
  options.tier = "scalar";
  size_t needed = 0;
  RETURNS(OK, kinglet_session_bytes(model, &options, &needed));
  kinglet_session *session = new_session(model, &options);
  kinglet_session_info info = {0};
  RETURNS(BAD_ARGUMENT, kinglet_session_describe(session, &info));
  RETURNS(BAD_ARGUMENT, kinglet_session_describe(session, NULL));
  info.struct_size = sizeof info;
  RETURNS(OK, kinglet_session_describe(session, &info));
  CHECK(info.bytes == needed && info.tokens == 0 && info.context == 64 && info.batch == 8);
  CHECK(info.threads == 2 && strcmp(info.tier, "scalar") == 0);
  RETURNS(OK, kinglet_session_destroy(session));
  // Without options there are defaults.
  session = new_session(model, NULL);
  RETURNS(OK, kinglet_session_describe(session, &info));
  CHECK(info.context == 512 && info.threads == 1);
  char message[320] = "";
  RETURNS(BAD_ARGUMENT, kinglet_session_prefill(session, NULL, 0));
  RETURNS(OK, kinglet_session_message(session, message, sizeof message));
  CHECK(strstr(message, "empty") != NULL);
  RETURNS(OK, kinglet_session_message(session, NULL, 0));
  RETURNS(OK, kinglet_session_destroy(session));
}

static kinglet_status do_with(size_t function, kinglet_session *session) {
  kinglet_session_info info = {0};
  info.struct_size = sizeof info;
  char text[64] = "";
  uint32_t token = 20;
  size_t count = 0;
  const float *logits;
  kinglet_candidate candidate;
  switch (function) {
    case 0: return kinglet_session_describe(session, &info);
    case 1: return kinglet_session_message(session, text, sizeof text);
    case 2: return kinglet_session_cancel(session);
    case 3: return kinglet_session_set_sampling(session, NULL);
    case 4: return kinglet_session_set_deadline(session, 0);
    case 5: return kinglet_session_set_progress(session, NULL, NULL);
    case 6: return kinglet_session_prefill(session, &token, 1);
    case 7: return kinglet_session_next(session, &token);
    case 8: return kinglet_session_generate(session, NULL, NULL, NULL, NULL);
    case 9: return kinglet_session_logits(session, &logits, &count);
    case 10: return kinglet_session_top(session, &candidate, 1, &count);
    case 11: return kinglet_session_reset(session);
    case 12: return kinglet_session_rewind(session, 0);
    case 13: return kinglet_session_tokens(session, &token, 1, &count);
    case 14: return kinglet_session_state_bytes(session, &count);
    case 15: return kinglet_session_save(session, text, sizeof text, &count);
    case 16: return kinglet_session_restore(session, text, 0);
    case 17: return kinglet_session_fork(session, session, 0);
    default: return session == NULL ? KINGLET_STATUS_BAD_HANDLE : kinglet_session_destroy(session);
  }
}

// Memory that had a session gets others: the one that was closed is none, whatever comes after it.
static void prove_used_memory(const kinglet_model *model, const kinglet_session_options *options,
                              char *memory, size_t bytes, kinglet_session *closed) {
  kinglet_session *others[55];
  for (size_t i = 0; i < 55; i++) {
    RETURNS(OK, kinglet_session_new(model, options, memory, bytes, &others[i], NULL, 0));
    for (size_t function = 0; function < 19; function++) {
      RETURNS(BAD_HANDLE, do_with(function, closed));
      if (i > 0) {
        RETURNS(BAD_HANDLE, do_with(function, others[i - 1]));
      }
    }
    RETURNS(BAD_HANDLE, kinglet_session_fork(others[i], closed, 0));
    RETURNS(OK, kinglet_session_prefill(others[i], PROMPT, PROMPT_TOKENS));
    RETURNS(OK, kinglet_session_destroy(others[i]));
  }
}

// Where a session is made must lie apart from everything else.
static void refuse_overlaps(const kinglet_session_options *options, size_t needed) {
  const size_t model_bytes = kinglet_model_bytes();
  const size_t before = (model_bytes + 63) / 64 * 64;
  char *memory = take(before + needed);
  kinglet_model *model = NULL;
  RETURNS(OK, kinglet_model_open_path(MODEL, memory, model_bytes, &model, NULL, 0));
  kinglet_session *session = NULL;
  RETURNS(BAD_ARGUMENT,
          kinglet_session_new(model, options, memory, needed, &session, NULL, 0));
  char *behind = memory + before;
  void *inside = behind;
  RETURNS(BAD_ARGUMENT, kinglet_session_new(model, options, behind, needed,
                                            (kinglet_session **)inside, NULL, 0));
  RETURNS(BAD_ARGUMENT,
          kinglet_session_new(model, options, behind, needed, &session, behind + 100, 9));
  CHECK(session == NULL);
  RETURNS(OK, kinglet_session_new(model, options, behind, needed, &session, NULL, 0));
  RETURNS(OK, kinglet_session_destroy(session));
  RETURNS(OK, kinglet_model_close(model));
  free(memory);
}

// Every function that wants a session, with what is none.
static void prove_handles(kinglet_model *model) {
  const kinglet_session_options options = small_options();
  size_t needed = 0;
  RETURNS(OK, kinglet_session_bytes(model, &options, &needed));
  void *memory = take(needed);
  kinglet_session *session = NULL;
  RETURNS(OK, kinglet_session_new(model, &options, memory, needed, &session, NULL, 0));
  wrong_handles wrong = make_wrong(session, needed, model);
  for (size_t i = 0; i < wrong.count; i++) {
    for (size_t function = 0; function < 19; function++) {
      RETURNS(BAD_HANDLE, do_with(function, wrong.handles[i]));
    }
    RETURNS(BAD_HANDLE, kinglet_session_fork(session, wrong.handles[i], 0));
  }
  RETURNS(OK, kinglet_session_destroy(session));
  free_wrong(&wrong);
  for (size_t function = 0; function < 19; function++) {
    RETURNS(BAD_HANDLE, do_with(function, session));
  }
  prove_used_memory(model, &options, memory, needed, session);
  refuse_overlaps(&options, needed);
  free(memory);
}

void prove_sessions(void) {
  kinglet_model *model = open_model(MODEL);
  refuse_options(model);
  prove_tiers(model);
  prove_budgets(model);
  prove_embeddings(model);
  prove_versions(model);
  refuse_places(model);
  prove_description(model);
  prove_handles(model);
  RETURNS(OK, kinglet_model_close(model));
}
