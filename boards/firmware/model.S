// The weight file that the image holds; MODEL is its path.
    .section .model, "a"
    .balign 64
    .global model_start
model_start:
    .incbin MODEL
    .global model_end
model_end:
