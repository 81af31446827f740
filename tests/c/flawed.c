// Does what the tools of tests/c_proof.rs must find:
//
//     flawed leak|overrun|overflow
#include <limits.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
  volatile char *memory = malloc(16);
  const char *flaw = argc == 2 ? argv[1] : "";
  if (memory == NULL) {
    return 1;
  }
  if (strcmp(flaw, "leak") == 0) {
    memory = NULL;
  }
  if (strcmp(flaw, "overrun") == 0) {
    memory[14 + argc] = 1;
  }
  if (strcmp(flaw, "overflow") == 0) {
    volatile int large = INT_MAX;
    large += argc;
  }
  free((void *)memory);
  return 0;
}
