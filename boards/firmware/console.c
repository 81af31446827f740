#include "console.h"

#include "board.h"

void print_bytes(const char *text, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) {
    if (text[i] == '\n') {
      board_put('\r');
    }
    board_put(text[i]);
  }
}

void print(const char *text) {
  size_t bytes = 0;
  while (text[bytes] != 0) {
    bytes++;
  }
  print_bytes(text, bytes);
}

static void print_in_base(uint64_t number, unsigned base) {
  char digits[20];
  size_t first = sizeof digits;
  do {
    digits[--first] = "0123456789abcdef"[number % base];
    number /= base;
  } while (number != 0);
  print_bytes(digits + first, sizeof digits - first);
}

void print_number(uint64_t number) {
  print_in_base(number, 10);
}

void print_hex(uint64_t number) {
  print("0x");
  print_in_base(number, 16);
}

void print_figure(const char *name, uint64_t number) {
  print(name);
  print(": ");
  print_number(number);
  print("\n");
}
