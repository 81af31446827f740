"""Failures: the library's numbers as exceptions."""

from __future__ import annotations

import ctypes
from typing import Any, Callable

from ._library import library

# Statuses that the package itself looks at or raises.
OK = 0
INTERRUPTED = 108
BAD_ARGUMENT = 404
TOKEN_OUT_OF_RANGE = 406
BUSY = 407
BUFFER_TOO_SMALL = 408
BAD_HANDLE = 411

# Bytes of a sentence about a failure; the library cuts what is longer.
MESSAGE_BYTES = 1024


class KingletError(Exception):
    """Something failed. `code` is the number of `enum kinglet_status` in `kinglet.h`.

    1xx is the world around, 2xx the weight file, 3xx a checkpoint, 4xx what was asked for, 5xx
    this machine, and 6xx a fault of Kinglet's own.
    """

    code: int

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __str__(self) -> str:
        return f"{self.args[0]} (error {self.code})"

    def __reduce__(self) -> tuple[Callable[..., KingletError], tuple[Any, ...]]:
        return type(self), (self.code, self.args[0])


class NotFoundError(KingletError, FileNotFoundError):
    """A file does not exist: 101."""


class CancelledError(KingletError):
    """`Session.cancel` ended the reading of a prompt: 108."""


class ArgumentError(KingletError, ValueError):
    """What was asked for makes no sense or does not fit: 4xx, but for the classes below."""


class BudgetError(KingletError, MemoryError):
    """The memory budget is smaller than what the session needs: 403."""


class BusyError(KingletError, RuntimeError):
    """A session is in use, on another thread or by a generation that has not ended: 407."""


class DeadlineError(KingletError, TimeoutError):
    """The deadline passed while a prompt was read: 410."""


class ClosedError(KingletError, ValueError):
    """A model or session was closed, or belongs to the parent of this process: 411."""


_CLASSES: dict[int, type[KingletError]] = {
    101: NotFoundError,
    INTERRUPTED: CancelledError,
    403: BudgetError,
    BUSY: BusyError,
    410: DeadlineError,
    BAD_HANDLE: ClosedError,
}


def error(code: int, message: str = "") -> KingletError:
    """The exception for a status. Without a message it has the library's words for the status."""
    kind = _CLASSES.get(code, ArgumentError if 400 <= code < 500 else KingletError)
    return kind(code, message or str(library.kinglet_status_text(code).decode()))


def message_buffer() -> ctypes.Array[ctypes.c_char]:
    """Room for a sentence about a failure."""
    return ctypes.create_string_buffer(MESSAGE_BYTES)


def check(status: int, sentence: Callable[[], bytes]) -> None:
    """Raises what a status says, with the library's sentence about it."""
    if status != OK:
        # It may be cut within a character.
        raise error(status, sentence().decode(errors="replace"))
