#!/usr/bin/env python3
"""Quantizes a GGUF file with `llama-cpp-python`: `llama_quantize.py IN.gguf OUT.gguf Q4_0`."""

import ctypes
import sys

import llama_cpp


def main() -> None:
    source, target, kind = sys.argv[1:]
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    parameters.allow_requantize = True
    pointer = ctypes.byref(parameters)
    if llama_cpp.llama_model_quantize(source.encode(), target.encode(), pointer) != 0:
        sys.exit(f"llama.cpp cannot make {kind} from {source}")


main()
