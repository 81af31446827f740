// From the first instruction to main() on a Cortex-A53: EL1, vector registers, MMU and caches.
#include "../paint.h"

// SCTLR_EL1: the bits that are always 1; MMU, data cache, instruction cache.
#define SCTLR_RES1 0x30d00800
#define SCTLR_ON (SCTLR_RES1 | 1 << 0 | 1 << 2 | 1 << 12)

// MAIR_EL1: attribute 0 is memory that is cached and written back, 1 device registers.
#define MAIR 0x00ff
// TCR_EL1: 4 GiB in pages of 4 KiB; tables are read through the caches; nothing through TTBR1.
#define TCR (32 << 0 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23)

// Descriptors of tables: a block, which counts as accessed; shareable and cached, or a device's,
// from which no instruction is ever fetched.
#define BLOCK (1 << 0 | 1 << 10)
#define MEMORY (BLOCK | 3 << 8 | 0 << 2)
#define DEVICE (BLOCK | 1 << 2 | 3 << 53)
#define TABLE 3

#define BLOCK_BYTES 0x200000
#define PERIPHERALS 0x3f000000
#define LOCAL_PERIPHERALS 0x40000000

    .section .text.start, "ax"
    .global _start
_start:
    // One core works, the others sleep.
    mrs     x0, mpidr_el1
    tst     x0, #0xff
    b.ne    sleep
    msr     daifset, #0xf
    mrs     x0, currentel
    cmp     x0, #2 << 2
    b.lo    at_el1
    b.eq    at_el2

    // EL3, when the firmware's own start code was left out: the core takes part in coherency, and
    // below is a 64-bit EL2 without security, where nothing traps.
    mov     x0, #1 << 6
    msr     s3_1_c15_c2_1, x0       // CPUECTLR_EL1.SMPEN
    mov     x0, #0x531              // RW, HCE, the bits that are 1, NS
    msr     scr_el3, x0
    msr     cptr_el3, xzr
    mov     x0, #0x3c9              // EL2 with its own stack, interrupts masked
    msr     spsr_el3, x0
    adr     x0, at_el2
    msr     elr_el3, x0
    eret

at_el2:
    mov     x0, #1 << 31            // EL1 is 64-bit, and not virtual
    msr     hcr_el2, x0
    mov     x0, #0x33ff             // vector registers do not trap
    msr     cptr_el2, x0
    mrs     x0, pmcr_el0
    ubfx    x0, x0, #11, #5         // EL1 has all counters of events
    msr     mdcr_el2, x0
    ldr     x0, =SCTLR_RES1
    msr     sctlr_el1, x0
    mov     x0, #0x3c5              // EL1 with its own stack, interrupts masked
    msr     spsr_el2, x0
    adr     x0, at_el1
    msr     elr_el2, x0
    eret

at_el1:
    msr     spsel, #1
    ldr     x0, =stack_end
    mov     sp, x0
    ldr     x0, =vectors
    msr     vbar_el1, x0
    mov     x0, #3 << 20            // vector registers are for everyone
    msr     cpacr_el1, x0

    ldr     x0, =MAIR
    msr     mair_el1, x0
    ldr     x0, =TCR
    msr     tcr_el1, x0
    ldr     x0, =first_table
    msr     ttbr0_el1, x0
    tlbi    vmalle1
    ic      iallu
    dsb     sy
    isb
    ldr     x0, =SCTLR_ON
    msr     sctlr_el1, x0
    isb

    ldr     x0, =bss_start
    ldr     x1, =bss_end
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b
    ldr     x0, =stack_start
    ldr     x1, =stack_end
    ldr     w2, =STACK_PAINT
2:  stp     w2, w2, [x0], #8
    cmp     x0, x1
    b.lo    2b

    bl      board_start
    bl      main
    bl      board_stop
sleep:
    wfe
    b       sleep

// Every exception is a fault: there is nothing to interrupt the program.
    .macro  vector
    .balign 128
    mrs     x0, esr_el1
    mrs     x1, elr_el1
    mrs     x2, far_el1
    b       board_fault
    .endm

    .balign 2048
vectors:
    .rept   16
    vector
    .endr

// Addresses are what they were: memory, then the peripherals at its end and behind it. The tables
// are part of the image, so that nothing has to be written before the caches are on.
    .section .rodata.tables, "a"
    .balign 4096
second_table:
    .set    address, 0
    .rept   PERIPHERALS / BLOCK_BYTES
    .quad   address + MEMORY
    .set    address, address + BLOCK_BYTES
    .endr
    .rept   (LOCAL_PERIPHERALS - PERIPHERALS) / BLOCK_BYTES
    .quad   address + DEVICE
    .set    address, address + BLOCK_BYTES
    .endr
    .balign 64
first_table:
    .quad   second_table + TABLE
    .quad   LOCAL_PERIPHERALS + DEVICE
    .quad   0, 0
