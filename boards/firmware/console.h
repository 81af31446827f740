// Text over the board's serial line.
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stddef.h>
#include <stdint.h>

void print(const char *text);
void print_bytes(const char *text, size_t bytes);
void print_number(uint64_t number);
void print_hex(uint64_t number);

// One line of the report.
void print_figure(const char *name, uint64_t number);

#endif
