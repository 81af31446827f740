// The weight file that the image holds, and the table if there is one; MODEL and TABLE are their
// paths.
    .section .model, "a"
    .balign 64
    .global model_start
model_start:
    .incbin MODEL
    .global model_end
model_end:

#ifdef TABLE
    .section .rodata.table, "a"
    .global table_start
table_start:
    .incbin TABLE
    .global table_end
table_end:
#endif
