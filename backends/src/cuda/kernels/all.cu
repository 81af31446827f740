// Every kernel that all devices have the instructions for, as one translation unit.

#include "attention.cu"
#include "embed.cu"
#include "head.cu"
#include "norm.cu"
