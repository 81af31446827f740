// The Raspberry Pi 3: PL011 serial line on pin 8 of the header, cycle counter, power.
#include "../board.h"

#include "../console.h"

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

#define GPFSEL1 REGISTER(0x3f200004)

#define UART_DR REGISTER(0x3f201000)
#define UART_FR REGISTER(0x3f201018)
#define UART_IBRD REGISTER(0x3f201024)
#define UART_FBRD REGISTER(0x3f201028)
#define UART_LCRH REGISTER(0x3f20102c)
#define UART_CR REGISTER(0x3f201030)
#define UART_BUSY (1u << 3)
#define UART_FULL (1u << 5)

#define PM_RSTC REGISTER(0x3f10001c)
#define PM_RSTS REGISTER(0x3f100020)
#define PM_WDOG REGISTER(0x3f100024)
#define PM_PASSWORD 0x5a000000u

const char board_name[] = "Raspberry Pi 3";

// Above the image, and below what the graphics processor keeps for itself.
const void *const board_model_address = (const void *)0x10000000;
const size_t board_model_room = 0x2b000000;

// 115200 baud, 8 bits, no parity, from the 48 MHz that the firmware gives the line.
static void start_uart(void) {
  while (UART_FR & UART_BUSY) {
  }
  UART_CR = 0;
  // Pin 14 is the line's output: its function 0.
  GPFSEL1 = (GPFSEL1 & ~(7u << 12)) | 4u << 12;
  UART_IBRD = 26;
  UART_FBRD = 3;
  UART_LCRH = 3u << 5 | 1u << 4;
  UART_CR = 1u << 8 | 1u << 0;
}

// Counts cycles in 64 bits, at this level.
static void start_cycles(void) {
  __asm__ volatile("msr pmccfiltr_el0, xzr");
  __asm__ volatile("msr pmcntenset_el0, %0" ::"r"(UINT64_C(1) << 31));
  __asm__ volatile("msr pmcr_el0, %0" ::"r"(UINT64_C(1) << 6 | 1 << 2 | 1 << 0));
  __asm__ volatile("isb");
}

void board_start(void) {
  start_uart();
  start_cycles();
}

void board_put(char byte) {
  while (UART_FR & UART_FULL) {
  }
  UART_DR = (unsigned char)byte;
}

uint64_t board_cycles(void) {
  uint64_t cycles;
  __asm__ volatile("isb\n\tmrs %0, pmccntr_el0" : "=r"(cycles)::"memory");
  return cycles;
}

// Restarts into partition 63, which stands for "stay off", once the last byte is out.
_Noreturn void board_stop(void) {
  while (UART_FR & UART_BUSY) {
  }
  PM_RSTS = PM_PASSWORD | PM_RSTS | 0x555;
  PM_WDOG = PM_PASSWORD | 10;
  PM_RSTC = PM_PASSWORD | (PM_RSTC & ~0x30u) | 0x20;
  for (;;) {
    __asm__ volatile("wfe");
  }
}

// Where exceptions end: their cause, the instruction, and the address that it was about.
_Noreturn void board_fault(uint64_t syndrome, uint64_t instruction, uint64_t address) {
  print("failed: exception ");
  print_hex(syndrome);
  print(" at ");
  print_hex(instruction);
  print(", address ");
  print_hex(address);
  print("\n");
  board_stop();
}
