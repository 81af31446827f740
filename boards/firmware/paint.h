// What an untouched word of the stack holds; for C and assembly.
#define STACK_PAINT 0x5ac0ffee
