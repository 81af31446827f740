"""Conversations as the library takes them."""

from __future__ import annotations

import ctypes
from typing import Mapping, Sequence

from . import _layout as layout
from ._errors import BAD_ARGUMENT, error
from ._values import text

Message = Mapping[str, str]
"""A turn: `{"role": "system", "user" or "assistant", "content": what was said}`.

Where there are functions that the model can call, what one returned has the role `tool`.
"""


def messages(conversation: Sequence[Message]) -> ctypes.Array[layout.Message]:
    """The turns, none of which may have anything that the library would leave out."""
    if isinstance(conversation, (str, Mapping)):
        raise TypeError("the conversation is a single value: give a list of messages")
    turns = (layout.Message * len(conversation))()
    for turn, message in zip(turns, conversation):
        if set(message) != {"role", "content"}:
            found = ", ".join(sorted(message))
            raise error(BAD_ARGUMENT, f"a message has {found}: give it role and content")
        turn.role = text(message["role"], "a role")
        turn.content = text(message["content"], "a content")
    return turns
