"""The C library: where it is found, and the types of its functions."""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import POINTER, c_char_p, c_int32, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import Any

from . import _layout as layout

# What the library is called on this system: see boards/c/install.
NAME = {
    "win32": "kinglet.dll",
    "darwin": f"libkinglet.{layout.ABI_VERSION}.dylib",
}.get(sys.platform, f"libkinglet.so.{layout.ABI_VERSION}")

_Sizes = POINTER(c_size_t)
_Numbers = POINTER(c_uint32)
_Floats = POINTER(ctypes.c_float)
_Handle = POINTER(c_void_p)
_Messages = POINTER(layout.Message)
_Options = POINTER(layout.SessionOptions)
_Replies = POINTER(layout.Reply)

# The arguments of functions that return a status. Handles are plain addresses.
_FUNCTIONS = {
    "model_open_path": (c_char_p, c_void_p, c_size_t, _Handle, c_char_p, c_size_t),
    "model_open_signed_path": (
        c_char_p,
        POINTER(layout.Trust),
        c_void_p,
        c_size_t,
        _Handle,
        c_char_p,
        c_size_t,
    ),
    "model_describe_signature": (c_void_p, POINTER(layout.SignatureInfo)),
    "model_close": (c_void_p,),
    "model_describe": (c_void_p, POINTER(layout.ModelInfo)),
    "model_verify": (c_void_p,),
    "model_message": (c_void_p, c_char_p, c_size_t),
    "tokenize": (c_void_p, c_char_p, c_size_t, c_uint32, _Numbers, c_size_t, _Sizes),
    "detokenize": (c_void_p, _Numbers, c_size_t, c_uint32, c_char_p, c_size_t, _Sizes),
    "token_text": (c_void_p, c_uint32, _Handle, _Sizes, _Numbers),
    "chat_render": (c_void_p, _Messages, c_size_t, c_uint32, c_char_p, c_size_t, _Sizes),
    "chat_tokens": (c_void_p, _Messages, c_size_t, c_uint32, _Numbers, c_size_t, _Sizes),
    "tools_tokens": (
        c_void_p,
        c_char_p,
        c_size_t,
        _Messages,
        c_size_t,
        c_uint32,
        _Numbers,
        c_size_t,
        _Sizes,
    ),
    "tools_calls": (
        c_char_p,
        c_size_t,
        c_char_p,
        c_size_t,
        POINTER(layout.Call),
        c_size_t,
        _Sizes,
        _Numbers,
    ),
    "session_choose_tier": (c_void_p, _Options, c_uint32, c_uint32, c_char_p, c_size_t),
    "session_new": (c_void_p, _Options, c_void_p, c_size_t, _Handle, c_char_p, c_size_t),
    "session_destroy": (c_void_p,),
    "session_select": (c_void_p, c_uint32),
    "session_describe": (c_void_p, POINTER(layout.SessionInfo)),
    "session_message": (c_void_p, c_char_p, c_size_t),
    "session_cancel": (c_void_p,),
    "session_set_sampling": (c_void_p, POINTER(layout.Sampling)),
    "session_set_deadline": (c_void_p, c_uint32),
    "session_set_progress": (c_void_p, layout.OnProgress, c_void_p),
    "session_prefill": (c_void_p, _Numbers, c_size_t),
    "session_logits": (c_void_p, POINTER(_Floats), _Sizes),
    "session_embed": (c_void_p, _Numbers, c_size_t, c_uint32, _Floats, c_size_t),
    "session_top": (c_void_p, POINTER(layout.Candidate), c_size_t, _Sizes),
    "session_generate_all": (c_void_p, _Replies, c_size_t, layout.OnReplyPiece, c_void_p),
    "session_reset": (c_void_p,),
    "session_rewind": (c_void_p, c_size_t),
    "session_fork": (c_void_p, c_void_p, c_size_t),
    "session_tokens": (c_void_p, _Numbers, c_size_t, _Sizes),
    "session_state_bytes": (c_void_p, _Sizes),
    "session_save": (c_void_p, c_void_p, c_size_t, _Sizes),
    "session_restore": (c_void_p, c_char_p, c_size_t),
}


def _load() -> ctypes.CDLL:
    """The library that `KINGLET_LIBRARY` names, else the wheel's, else the system's.

    A `CDLL` gives the interpreter to other threads during each call.
    """
    own = Path(__file__).parent / NAME
    name = os.environ.get("KINGLET_LIBRARY") or (str(own) if own.exists() else NAME)
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        raise ImportError(
            f"Kinglet's C library {name} cannot be loaded here: {error}. Install the wheel for "
            "this machine, or name the library in KINGLET_LIBRARY"
        ) from error
    # Interfaces only grow: an older library of the same version lacks a function.
    try:
        for function, arguments in _FUNCTIONS.items():
            _declare(library, function, c_int32, arguments)
        _declare(library, "version", c_char_p, ())
        _declare(library, "status_text", c_char_p, (c_int32,))
    except AttributeError as error:
        raise ImportError(
            f"{name} is none of Kinglet, or older than this package: {error}. Install a newer one"
        ) from error
    return library


def _declare(library: ctypes.CDLL, name: str, result: Any, arguments: tuple[Any, ...]) -> None:
    function = getattr(library, f"kinglet_{name}")
    function.restype, function.argtypes = result, arguments


library = _load()


def version() -> str:
    """The version of the library, such as "0.1.0"."""
    return str(library.kinglet_version().decode())
