// Calls every function of the C library, rightly and wrongly:
//
//     proof MODEL OTHER_MODEL SIGNED_MODEL TOOLS STEP
//
// Run under AddressSanitizer and valgrind by tests/c_proof.rs.
#include "proof.h"

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: %s MODEL OTHER_MODEL SIGNED_MODEL TOOLS STEP\n", argv[0]);
    return 2;
  }
  MODEL = argv[1];
  OTHER_MODEL = argv[2];
  SIGNED_MODEL = argv[3];
  TOOLS = argv[4];
  STEP = strtoul(argv[5], NULL, 10);
  prove_library();
  prove_models();
  prove_signed();
  prove_tokens();
  prove_sessions();
  prove_choices();
  prove_replies();
  prove_constraints();
  prove_tools();
  prove_states();
  prove_texts();
  prove_threads();
  prove_faults();
  prove_memory();
  prove_answers();
  puts("proved");
  return 0;
}
