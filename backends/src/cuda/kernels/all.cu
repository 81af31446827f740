// Every kernel, as one translation unit.

#include "attention.cu"
#include "embed.cu"
#include "head.cu"
#include "norm.cu"
#if __CUDA_ARCH__ >= 800
#include "tensor.cu"
#endif
