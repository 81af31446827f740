// Signed models: opened by path, descriptor and memory, and what must be refused.
#include "proof.h"

// The public key that has signed SIGNED_MODEL, as version 7 of "bird", and another one.
#define KEY "RWRMRnxKeFH07NQaiYnoqbSphZF/8G46tBYPQ4SoJIVhnISrHAdyrrxF"
#define OTHER_KEY "RWQCgG3dP+j0SzzfgvDVQ5KWq5IG0FlROwcZGBgkI2MDyMvIIRs5qMe3"

static kinglet_trust trust_in(const char *key, uint64_t least_version) {
  kinglet_trust trust = {0};
  trust.struct_size = sizeof trust;
  trust.key = key;
  trust.least_version = least_version;
  return trust;
}

// Opens bytes of ours, and closes them again.
static kinglet_status open_bytes(const void *data, size_t bytes, const kinglet_trust *trust) {
  kinglet_model *model = NULL;
  char message[320] = "";
  const kinglet_status status = kinglet_model_open_signed_memory(data, bytes, trust, NULL, 0,
                                                                 &model, message, sizeof message);
  CHECK((status == KINGLET_STATUS_OK) == (model != NULL));
  CHECK((status == KINGLET_STATUS_OK) == (strlen(message) == 0));
  RETURNS(OK, kinglet_model_close(model));
  return status;
}

static void check_description(const kinglet_model *model) {
  kinglet_signature_info info = {0};
  RETURNS(BAD_ARGUMENT, kinglet_model_describe_signature(model, NULL));
  RETURNS(BAD_ARGUMENT, kinglet_model_describe_signature(model, &info));
  info.struct_size = sizeof info;
  RETURNS(OK, kinglet_model_describe_signature(model, &info));
  CHECK(info.version == 7 && info.key_id == UINT64_C(0xECF451784A7C464C));
  CHECK(strcmp(info.model_id, "bird") == 0);
}

static void prove_ways(void) {
  kinglet_model *model = NULL;
  const kinglet_trust trust = trust_in("untrusted comment: any\n" KEY "\n", 7);
  RETURNS(OK, kinglet_model_open_signed_path(SIGNED_MODEL, &trust, NULL, 0, &model, NULL, 0));
  check_description(model);
  RETURNS(OK, kinglet_session_destroy(new_prompted(model)));
  RETURNS(OK, kinglet_model_close(model));
  RETURNS(NOT_FOUND, kinglet_model_open_signed_path("/no/such/file", &trust, NULL, 0, &model,
                                                    NULL, 0));
  FILE *file = fopen(SIGNED_MODEL, "rb");
  CHECK(file != NULL);
  const int fd = fileno(file);
  RETURNS(OK, kinglet_model_open_signed_fd(fd, 0, 0, &trust, NULL, 0, &model, NULL, 0));
  check_description(model);
  RETURNS(OK, kinglet_model_close(model));
  RETURNS(BAD_ARGUMENT,
          kinglet_model_open_signed_fd(-1, 0, 0, &trust, NULL, 0, &model, NULL, 0));
  fclose(file);
  // In memory of ours, which is known when it was closed.
  size_t bytes = 0;
  void *data = read_file(SIGNED_MODEL, &bytes);
  const size_t needed = kinglet_model_bytes();
  void *memory = take(needed);
  RETURNS(OK, kinglet_model_open_signed_memory(data, bytes, &trust, memory, needed, &model, NULL,
                                               0));
  check_description(model);
  RETURNS(OK, kinglet_model_close(model));
  kinglet_signature_info info = {0};
  info.struct_size = sizeof info;
  RETURNS(BAD_HANDLE, kinglet_model_describe_signature(model, &info));
  RETURNS(BAD_HANDLE, kinglet_model_describe_signature(NULL, &info));
  // Whoever did not ask is told nothing, whatever the file says.
  RETURNS(OK, kinglet_model_open_memory(data, bytes, memory, needed, &model, NULL, 0));
  RETURNS(NOT_SIGNED, kinglet_model_describe_signature(model, &info));
  RETURNS(OK, kinglet_model_close(model));
  free(memory);
  free(data);
}

static void refuse_files(void) {
  size_t bytes = 0;
  char *data = read_file(SIGNED_MODEL, &bytes);
  kinglet_trust trust = trust_in(KEY, 7);
  trust.model_id = "bird";
  RETURNS(OK, open_bytes(data, bytes, &trust));
  trust.least_version = 8;
  RETURNS(REPLAYED, open_bytes(data, bytes, &trust));
  trust.least_version = UINT64_MAX;
  RETURNS(REPLAYED, open_bytes(data, bytes, &trust));
  trust.least_version = 0;
  trust.model_id = "bat";
  RETURNS(REPLAYED, open_bytes(data, bytes, &trust));
  trust = trust_in(OTHER_KEY, 0);
  RETURNS(WRONG_SIGNATURE, open_bytes(data, bytes, &trust));
  // Every byte of header, table and signature, and some of everything behind them.
  trust = trust_in(KEY, 0);
  for (size_t place = 8; place < 2048 + 160; place += place < 64 + 5 * 64 ? 1 : 8) {
    data[place] ^= 0x20;
    const kinglet_status status = open_bytes(data, bytes, &trust);
    const bool is_gap = place >= 64 + 5 * 64 && place < 2048;
    CHECK(is_gap == (status == KINGLET_STATUS_OK));
    data[place] ^= 0x20;
  }
  data[bytes - 1] ^= 1;
  RETURNS(CORRUPT, open_bytes(data, bytes, &trust));
  trust.flags = KINGLET_TRUST_SKIP_WEIGHTS;
  RETURNS(OK, open_bytes(data, bytes, &trust));
  data[bytes - 1] ^= 1;
  memset(data + 2048, 0, 160);
  RETURNS(NOT_SIGNED, open_bytes(data, bytes, &trust));
  // Cut anywhere in its first page: refused, and nothing is read behind the end.
  for (size_t cut = 0; cut < 2300; cut += 53) {
    char *part = take(cut);
    memcpy(part, data, cut);
    CHECK(open_bytes(part, cut, &trust) != KINGLET_STATUS_OK);
    free(part);
  }
  free(data);
}

static void refuse_arguments(void) {
  size_t bytes = 0;
  char *data = read_file(SIGNED_MODEL, &bytes);
  RETURNS(BAD_ARGUMENT, open_bytes(data, bytes, NULL));
  const char *keys[] = {NULL, "", "RWQ", "\xff", KEY KEY, KEY "\n" "more"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    const kinglet_trust trust = trust_in(keys[i], 0);
    RETURNS(BAD_ARGUMENT, open_bytes(data, bytes, &trust));
  }
  kinglet_trust trust = trust_in(KEY, 0);
  trust.model_id = "";
  RETURNS(REPLAYED, open_bytes(data, bytes, &trust));
  trust.model_id = "\xff";
  RETURNS(BAD_ARGUMENT, open_bytes(data, bytes, &trust));
  trust = trust_in(KEY, 0);
  trust.flags = 2;
  RETURNS(BAD_ARGUMENT, open_bytes(data, bytes, &trust));
  trust = trust_in(KEY, 0);
  trust.reserved = 1;
  RETURNS(BAD_ARGUMENT, open_bytes(data, bytes, &trust));
  trust = trust_in(KEY, 0);
  trust.struct_size = 8;
  RETURNS(BAD_ARGUMENT, open_bytes(data, bytes, &trust));
  trust = trust_in(KEY, 0);
  // The place for the handle, and the handle, may not be what says whom to trust.
  kinglet_model *model = NULL;
  void *inside = &trust;
  RETURNS(BAD_ARGUMENT,
          kinglet_model_open_signed_memory(data, bytes, &trust, NULL, 0, inside, NULL, 0));
  RETURNS(BAD_ARGUMENT, kinglet_model_open_signed_memory(data, bytes, &trust, NULL, 0, &model,
                                                         inside, sizeof trust));
  // The sentence about that has gone there.
  trust = trust_in(KEY, 0);
  RETURNS(OK, open_bytes(data, bytes, &trust));
  free(data);
}

void prove_signed(void) {
  prove_ways();
  refuse_files();
  refuse_arguments();
}
