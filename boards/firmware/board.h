// What a board gives to the program, and what its linker script says of the image.
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

// What the board is called.
extern const char board_name[];

// Where a bootloader may put a weight file, and the bytes that are free there; null and 0 where
// nothing can be loaded.
extern const void *const board_model_address;
extern const size_t board_model_room;

// Sends a byte over the serial line.
void board_put(char byte);

// Cycles of the processor's clock since any moment.
uint64_t board_cycles(void);

// Ends the program: switches the board off, and ends an emulator.
_Noreturn void board_stop(void);

// The library's code and constants, as far as they were linked.
extern const char library_text_start[], library_text_end[];
extern const char library_rodata_start[], library_rodata_end[];

// The weight file in the image.
extern const char model_start[], model_end[];

// The table in the image, where it was built with one.
extern const char table_start[], table_end[];

// Memory for the session.
extern char session_start[], session_end[];

// The stack, which the start code has filled with STACK_PAINT.
extern uint32_t stack_start[], stack_end[];

#endif
