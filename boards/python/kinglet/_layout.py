"""Numbers, structs and callbacks of `kinglet.h`, as ctypes has them.

`tests/test_layout.py` holds all of them against the recorded interface of the C library.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    c_char,
    c_char_p,
    c_float,
    c_int32,
    c_size_t,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import TypeVar

S = TypeVar("S", bound=ctypes.Structure)


def sized(struct: S) -> S:
    """A struct that says its size, as those of the library do that may grow."""
    struct.struct_size = ctypes.sizeof(struct)
    return struct


ABI_VERSION = 1
NO_TOKEN = 4294967295
KV_INT8 = 0
KV_F16 = 1
SESSION_SPECULATE = 2
TRUST_SKIP_WEIGHTS = 1
TOKENIZE_CONTROL = 1
DETOKENIZE_SKIP_CONTROL = 1
TOKEN_END = 1
TOKEN_CONTROL = 2
CHAT_REPLY_NEXT = 1
POOL_MEAN = 0
POOL_LAST = 1
GENERATE_IGNORE_END = 1
GENERATE_SLIDE = 2
STOP_MAX_TOKENS = 1
STOP_END_OF_TEXT = 2
STOP_STRING = 3
STOP_CONTEXT_FULL = 4
STOP_CALLBACK = 5
STOP_CANCELLED = 6
STOP_DEADLINE = 7
STOP_COMPLETE = 8

OnProgress = CFUNCTYPE(c_int32, c_void_p, c_size_t, c_size_t)
OnReplyPiece = CFUNCTYPE(c_int32, c_void_p, c_size_t, c_uint32, c_void_p, c_size_t)
FilterTokens = CFUNCTYPE(c_size_t, c_void_p, POINTER(c_uint32), c_size_t)
AdvanceBy = CFUNCTYPE(c_int32, c_void_p, c_uint32)
ForcedToken = CFUNCTYPE(c_uint32, c_void_p)
IsComplete = CFUNCTYPE(c_int32, c_void_p)


class ModelInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("file_bytes", c_size_t),
        ("read_bytes_per_token", c_size_t),
        ("vocabulary", c_uint32),
        ("max_context", c_uint32),
        ("longest_token_bytes", c_uint32),
        ("has_chat_template", c_uint32),
        ("fingerprint", c_uint8 * 32),
        ("embedding_size", c_uint32),
        ("reserved", c_uint32),
    ]


class Trust(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("key", c_char_p),
        ("model_id", c_char_p),
        ("reserved", c_size_t),
        ("least_version", c_uint64),
        ("flags", c_uint32),
        ("reserved_flags", c_uint32),
    ]


class SignatureInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("reserved", c_size_t),
        ("version", c_uint64),
        ("key_id", c_uint64),
        ("model_id", c_char * 72),
    ]


class Call(ctypes.Structure):
    # Addresses: as `c_char_p` their bytes would be copied up to a zero that is not there.
    _fields_ = [
        ("name", c_void_p),
        ("name_bytes", c_size_t),
        ("arguments", c_void_p),
        ("arguments_bytes", c_size_t),
    ]


class Message(ctypes.Structure):
    _fields_ = [("role", c_char_p), ("content", c_char_p)]


class SessionOptions(ctypes.Structure):
    # The hooks of `run_parts` and `clock` are not used, and stay null.
    _fields_ = [
        ("struct_size", c_size_t),
        ("context", c_uint32),
        ("batch", c_uint32),
        ("threads", c_uint32),
        ("kv", c_uint32),
        ("flags", c_uint32),
        ("reserved", c_uint32),
        ("tier", c_char_p),
        ("run_parts", c_void_p),
        ("run_parts_user", c_void_p),
        ("clock", c_void_p),
        ("clock_user", c_void_p),
        ("texts", c_uint32),
        ("reserved_texts", c_uint32),
        ("memory_budget_bytes", c_size_t),
    ]


class SessionInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("bytes", c_size_t),
        ("tokens", c_uint32),
        ("context", c_uint32),
        ("batch", c_uint32),
        ("threads", c_uint32),
        ("tier", c_char * 16),
        ("texts", c_uint32),
        ("text", c_uint32),
        ("device_bytes", c_size_t),
    ]


class LogitBias(ctypes.Structure):
    _fields_ = [("token", c_uint32), ("bias", c_float)]


class Sampling(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("logit_bias", POINTER(LogitBias)),
        ("logit_bias_count", c_size_t),
        ("reserved", c_size_t),
        ("seed", c_uint64),
        ("repetition_penalty", c_float),
        ("repetition_window", c_uint32),
        ("temperature", c_float),
        ("top_k", c_uint32),
        ("top_p", c_float),
        ("min_p", c_float),
        ("presence_penalty", c_float),
        ("frequency_penalty", c_float),
        ("penalizes_prompt", c_uint32),
        ("reserved_penalties", c_uint32),
    ]


class Candidate(ctypes.Structure):
    _fields_ = [("token", c_uint32), ("log_probability", c_float)]


class Constraint(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("user", c_void_p),
        ("filter", FilterTokens),
        ("advance", AdvanceBy),
        ("forced", ForcedToken),
        ("is_complete", IsComplete),
    ]


class GenerateOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("max_tokens", c_uint32),
        ("flags", c_uint32),
        ("stop", POINTER(c_char_p)),
        ("stop_count", c_size_t),
        ("constraint", POINTER(Constraint)),
        ("candidates", POINTER(Candidate)),
        ("candidate_capacity", c_size_t),
        ("top_count", c_uint32),
        ("reserved", c_uint32),
        ("schema", c_char_p),
        ("schema_bytes", c_size_t),
    ]


class Generation(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("tokens", c_uint32),
        ("stop_reason", c_uint32),
        ("steps", c_uint32),
        ("drafted", c_uint32),
        ("accepted", c_uint32),
        ("reserved", c_uint32),
        ("slides", c_uint32),
        ("reserved_slides", c_uint32),
        ("forced", c_uint32),
        ("reserved_forced", c_uint32),
    ]


class Reply(ctypes.Structure):
    _fields_ = [
        ("text", c_uint32),
        ("reserved", c_uint32),
        ("options", POINTER(GenerateOptions)),
        ("generation", POINTER(Generation)),
    ]
