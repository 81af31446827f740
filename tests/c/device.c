// Generates with the processor's kernels and with CUDA, and prints what each session says it is;
// then has the library choose between the two:
//
//     device MODEL
//
// tests/c_device.rs runs it on a stand-in for NVIDIA's driver, and without any driver.
#include "proof.h"

#define TOKENS 8

static void tell(const kinglet_model *model, const char *tier) {
  kinglet_session_options options = small_options();
  options.tier = tier;
  size_t needed = 0;
  char message[320] = "";
  kinglet_status status = kinglet_session_bytes(model, &options, &needed);
  if (status != KINGLET_STATUS_OK) {
    printf("%s %u\n", tier, (unsigned)status);
    kinglet_session *none;
    CHECK(kinglet_session_new(model, &options, NULL, 0, &none, message, sizeof message) == status);
    CHECK(none == NULL && message[0] != 0);
    return;
  }
  void *memory = take(needed);
  kinglet_session *session = NULL;
  RETURNS(OK, kinglet_session_new(model, &options, memory, needed, &session, NULL, 0));
  kinglet_session_info info = {0};
  info.struct_size = sizeof info;
  RETURNS(OK, kinglet_session_describe(session, &info));
  CHECK(info.bytes == needed);
  RETURNS(OK, kinglet_session_prefill(session, PROMPT, PROMPT_TOKENS));
  uint32_t tokens[TOKENS];
  kinglet_generation told;
  size_t count = generate_tokens(session, tokens, TOKENS, &told);
  printf("%s %zu:", info.tier, info.device_bytes);
  for (size_t i = 0; i < count; i++) {
    printf(" %u", (unsigned)tokens[i]);
  }
  putchar('\n');
  float embedding[256];
  RETURNS(OK, kinglet_session_embed(session, PROMPT, PROMPT_TOKENS, KINGLET_POOL_MEAN, embedding,
                                    256));
  RETURNS(OK, kinglet_session_destroy(session));
  free(memory);
}

// Times that a clock tells one after the other: a trial looks before and behind the prompt and
// behind the new tokens, of the device and then of the processor.
typedef struct {
  uint64_t times[6];
  size_t looks;
} script;

static uint64_t read_script(void *user) {
  script *own = user;
  CHECK(own->looks < 6);
  return own->times[own->looks++];
}

// Has a tier chosen for a context, which the session then has, and prints it and the reason.
static void choose(const kinglet_model *model, uint32_t context, script own, uint32_t prompt,
                   uint32_t new_tokens) {
  kinglet_session_options options = small_options();
  options.context = context;
  options.flags = KINGLET_SESSION_PIN_THREADS;
  options.clock = read_script;
  options.clock_user = &own;
  char reason[512];
  RETURNS(OK, kinglet_session_choose_tier(model, &options, prompt, new_tokens, reason,
                                          sizeof reason));
  CHECK(options.flags == KINGLET_SESSION_PIN_THREADS && (own.looks == 6 || own.looks == 0));
  printf("%s; ", options.tier == NULL ? "null" : options.tier);
  kinglet_session *session = new_session(model, &options);
  kinglet_session_info info = {0};
  info.struct_size = sizeof info;
  RETURNS(OK, kinglet_session_describe(session, &info));
  printf("%s; %s\n", info.tier, reason);
  RETURNS(OK, kinglet_session_destroy(session));
}

// As kinglet.h shows it.
static void choose_as_documented(const kinglet_model *model) {
  kinglet_session_options options = {.struct_size = sizeof options};
  char reason[256];
  size_t bytes;
  kinglet_session_choose_tier(model, &options, 0, 0, reason, sizeof reason);
  fprintf(stderr, "%s\n", reason);
  kinglet_session_bytes(model, &options, &bytes);
  CHECK(bytes > 0);
}

// A tier that is named stays, and a cut reason ends.
static void choose_named(const kinglet_model *model) {
  kinglet_session_options options = small_options();
  options.tier = "scalar";
  char reason[12] = "";
  RETURNS(OK, kinglet_session_choose_tier(model, &options, 0, 0, reason, sizeof reason));
  CHECK(strcmp(options.tier, "scalar") == 0);
  printf("%s; %s\n", options.tier, reason);
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s MODEL\n", argv[0]);
    return 2;
  }
  kinglet_model *model = open_model(argv[1]);
  tell(model, NULL);
  tell(model, "cuda");
  const script faster = {{0, 32, 36, 0, 320, 360}, 0}, mixed = {{0, 32, 432, 0, 320, 360}, 0};
  choose(model, 64, faster, 0, 0);
  choose(model, 64, mixed, 1000, 10);
  choose(model, 64, mixed, 10, 1000);
  choose(model, 512, faster, 0, 0);
  choose_named(model);
  choose_as_documented(model);
  RETURNS(OK, kinglet_model_close(model));
  return 0;
}
