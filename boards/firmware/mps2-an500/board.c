// Arm's MPS2 board with a Cortex-M7 (application note 500): CMSDK serial line and timer.
#include "../board.h"

#include "../console.h"

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

#define TIMER_CTRL REGISTER(0x40000000)
#define TIMER_VALUE REGISTER(0x40000004)
#define TIMER_RELOAD REGISTER(0x40000008)

#define UART_DATA REGISTER(0x40004000)
#define UART_STATE REGISTER(0x40004004)
#define UART_CTRL REGISTER(0x40004008)
#define UART_BAUDDIV REGISTER(0x40004010)
#define UART_FULL (1u << 0)

// The processor's system control block.
#define CCR REGISTER(0xe000ed14)
#define CCSIDR REGISTER(0xe000ed80)
#define CSSELR REGISTER(0xe000ed84)
#define ICIALLU REGISTER(0xe000ef50)
#define DCISW REGISTER(0xe000ef60)
#define CFSR REGISTER(0xe000ed28)
#define BFAR REGISTER(0xe000ed38)

const char board_name[] = "MPS2 with a Cortex-M7";

const void *const board_model_address = NULL;
const size_t board_model_room = 0;

static void barrier(void) {
  __asm__ volatile("dsb\n\tisb" ::: "memory");
}

// Both caches hold anything after a reset: line by line, by set and way, they forget it.
static void start_caches(void) {
  CSSELR = 0;
  barrier();
  uint32_t sets = (CCSIDR >> 13 & 0x7fff) + 1;
  uint32_t ways = (CCSIDR >> 3 & 0x3ff) + 1;
  for (uint32_t set = 0; set < sets; set++) {
    for (uint32_t way = 0; way < ways; way++) {
      DCISW = way << 30 | set << 5;
    }
  }
  ICIALLU = 0;
  barrier();
  CCR |= 1u << 17 | 1u << 16;
  barrier();
}

void board_start(void) {
  start_caches();
  // 115200 baud from the processor's 25 MHz.
  UART_BAUDDIV = 217;
  UART_CTRL = 1;
  // Counts the same clock down, from the largest number and again.
  TIMER_RELOAD = UINT32_MAX;
  TIMER_VALUE = UINT32_MAX;
  TIMER_CTRL = 1;
}

void board_put(char byte) {
  while (UART_STATE & UART_FULL) {
  }
  UART_DATA = (unsigned char)byte;
}

// Right when it is called every 171 seconds, before the timer has come round.
uint64_t board_cycles(void) {
  static uint32_t last = UINT32_MAX;
  static uint64_t cycles;
  uint32_t now = TIMER_VALUE;
  cycles += last - now;
  last = now;
  return cycles;
}

// Asks the debugger, or the emulator, to end the program; without one the processor faults here.
_Noreturn void board_stop(void) {
  register uint32_t operation __asm__("r0") = 0x18;  // SYS_EXIT
  register uint32_t reason __asm__("r1") = 0x20026;  // the application has ended
  __asm__ volatile("bkpt 0xab" ::"r"(operation), "r"(reason) : "memory");
  for (;;) {
    __asm__ volatile("wfe");
  }
}

// Where exceptions end: there is nothing to interrupt the program.
_Noreturn void board_fault(void) {
  print("failed: exception ");
  print_hex(CFSR);
  print(", address ");
  print_hex(BFAR);
  print("\n");
  for (;;) {
    __asm__ volatile("wfe");
  }
}
