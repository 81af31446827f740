// Generates with the processor's kernels and with CUDA, and prints what each session says it is:
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
  RETURNS(OK, kinglet_session_destroy(session));
  free(memory);
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s MODEL\n", argv[0]);
    return 2;
  }
  kinglet_model *model = open_model(argv[1]);
  tell(model, NULL);
  tell(model, "cuda");
  RETURNS(OK, kinglet_model_close(model));
  return 0;
}
