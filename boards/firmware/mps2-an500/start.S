// From reset to main() on a Cortex-M7.
#include "../paint.h"

    .syntax unified
    .thumb

    .section .vectors, "a"
    .word   stack_end
    .word   _start
    .rept   14
    .word   board_fault
    .endr

    .text
    .global _start
    .thumb_func
    .type   _start, %function
_start:
    // The floating-point unit is for everyone.
    ldr     r0, =0xe000ed88         // CPACR
    ldr     r1, [r0]
    orr     r1, r1, #0xf << 20
    str     r1, [r0]
    dsb
    isb

    ldr     r0, =data_start
    ldr     r1, =data_end
    ldr     r2, =data_image
    b       2f
1:  ldr     r3, [r2], #4
    str     r3, [r0], #4
2:  cmp     r0, r1
    blo     1b
    ldr     r0, =bss_start
    ldr     r1, =bss_end
    movs    r3, #0
3:  str     r3, [r0], #4
    cmp     r0, r1
    blo     3b
    ldr     r0, =stack_start
    ldr     r1, =stack_end
    ldr     r3, =STACK_PAINT
4:  str     r3, [r0], #4
    cmp     r0, r1
    blo     4b

    bl      board_start
    bl      main
    bl      board_stop
