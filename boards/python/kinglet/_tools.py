"""Functions that a model can call: the calls of a reply."""

from __future__ import annotations

import ctypes
import json
from ctypes import byref
from typing import Any, NamedTuple, Optional

from . import _errors as errors
from . import _layout as layout
from ._library import library


class ToolCall(NamedTuple):
    """A call of a function."""

    name: str
    arguments: dict[str, Any]
    """What it is called with; it fits the function's schema."""


def table(tools: bytes) -> bytes:
    """A table of functions, before the library looks at it."""
    if not isinstance(tools, bytes):
        raise TypeError("tools are no bytes: give a table of `kinglet compile-schema --tools`")
    return tools


def read_calls(tools: bytes, reply: str) -> Optional[list[ToolCall]]:
    """The calls of a reply that was generated with `schema=tools`; None for a reply in words.

    A reply that says by an empty list that no function helps has no calls. `ArgumentError` 404 for
    a reply that ends within a call, because it was cut.
    """
    given, written = table(tools), reply.encode()
    found = (layout.Call * 4)()
    count, in_words = ctypes.c_size_t(), ctypes.c_uint32()
    while True:
        status = library.kinglet_tools_calls(
            given,
            len(given),
            written,
            len(written),
            found,
            len(found),
            byref(count),
            byref(in_words),
        )
        if status != errors.BUFFER_TOO_SMALL:
            break
        found = (layout.Call * count.value)()
    if status == errors.BAD_ARGUMENT:
        raise errors.error(status, "the reply ends within a call: allow it more tokens")
    if status != errors.OK:
        raise errors.error(status)
    return None if in_words.value else [_call(call) for call in found[: count.value]]


def _call(call: layout.Call) -> ToolCall:
    """A call, copied out of the reply that it lies in."""
    name = ctypes.string_at(call.name, call.name_bytes).decode()
    return ToolCall(name, json.loads(ctypes.string_at(call.arguments, call.arguments_bytes)))
