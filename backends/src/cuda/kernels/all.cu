// Every kernel, as one translation unit.

#include "attention.cu"
#include "embed.cu"
#include "head.cu"
#include "norm.cu"
