"""The calls of the library that make replies."""

from __future__ import annotations

import ctypes
import time
from ctypes import byref
from typing import Any, Optional, Sequence

from . import _errors as errors
from . import _layout as layout
from ._handles import SessionHandle
from ._library import library
from ._piece import Piece, Result
from ._reply import Reply, Request
from ._values import tokens
from ._worker import Worker

Pieces = Worker[tuple[int, Piece]]
"""Gets the pieces of all replies, each with the number of its reply."""


class Call:
    """The calls of the library for some requests, each to another text of a session."""

    def __init__(
        self, requests: Sequence[Request], vocabulary: int, deadline_seconds: Optional[float]
    ) -> None:
        self.replies: list[Reply] = [Reply(request, vocabulary) for request in requests]
        self.deadline: Optional[int] = None
        if deadline_seconds is not None:
            self.deadline = _milliseconds(deadline_seconds)
        self.results: Optional[list[Result]] = None

    def run(self, handle: SessionHandle, pieces: Pieces) -> None:
        """Reads the prompts and generates, on the thread of `pieces`."""
        start = time.monotonic()
        try:
            for number, reply in enumerate(self.replies):
                handle.check(library.kinglet_session_select(handle.address, number))
                self._set_deadline(handle, start)
                _prepare(handle, reply, pieces)
            self._set_deadline(handle, start)
            self._generate(handle, pieces)
        finally:
            # The session keeps both for later calls.
            library.kinglet_session_select(handle.address, 0)
            library.kinglet_session_set_deadline(handle.address, 0)

    def _set_deadline(self, handle: SessionHandle, start: float) -> None:
        left = 0
        if self.deadline is not None:
            # 0 would be no deadline.
            left = max(1, self.deadline - int((time.monotonic() - start) * 1000))
        handle.check(library.kinglet_session_set_deadline(handle.address, left))

    def _generate(self, handle: SessionHandle, pieces: Pieces) -> None:
        failures: list[BaseException] = []

        def on_piece(_user: Any, number: int, token: int, start: Any, size: int) -> int:
            try:
                words = ctypes.string_at(start, size).decode() if size else ""
                piece = self.replies[number].piece(token, words)
                return 0 if pieces.hand_on((number, piece)) else 1
            except BaseException as failure:
                failures.append(failure)
                return 1

        replies = (layout.Reply * len(self.replies))()
        for number, reply in enumerate(self.replies):
            replies[number] = reply.to_c(number)
        status = library.kinglet_session_generate_all(
            handle.address, replies, len(replies), layout.OnReplyPiece(on_piece), None
        )
        failures += [reply.error for reply in self.replies if reply.error is not None]
        if failures:
            raise failures[0]
        handle.check(status)
        self.results = [reply.result() for reply in self.replies]


def _prepare(handle: SessionHandle, reply: Reply, worker: Pieces) -> None:
    """Gives the selected text what a reply begins with."""
    if reply.sampling is not None:
        handle.check(library.kinglet_session_set_sampling(handle.address, byref(reply.sampling)))
    prompt = reply.prompt
    if reply.is_whole:
        prompt = keep_common(handle, prompt) or None
    if prompt is not None:
        prefill(handle, prompt, worker)


def _milliseconds(seconds: float) -> int:
    if not 0 < seconds <= 4294967:
        raise errors.error(
            errors.BAD_ARGUMENT, f"the deadline is {seconds} s: give a number above 0, to 4294967"
        )
    return max(1, round(seconds * 1000))


def read_tokens(handle: SessionHandle) -> ctypes.Array[ctypes.c_uint32]:
    """The tokens of a session's text."""
    count, none = ctypes.c_size_t(), (ctypes.c_uint32 * 0)()
    status = library.kinglet_session_tokens(handle.address, none, 0, byref(count))
    if status != errors.BUFFER_TOO_SMALL:
        handle.check(status)
    found = (ctypes.c_uint32 * count.value)()
    status = library.kinglet_session_tokens(handle.address, found, len(found), byref(count))
    handle.check(status)
    return found


def keep_common(handle: SessionHandle, prompt: Any) -> Any:
    """Rewinds the text to what it has in common with a prompt, and returns the prompt's rest."""
    common = 0
    for have, wanted in zip(read_tokens(handle), prompt):
        if have != wanted:
            break
        common += 1
    handle.check(library.kinglet_session_rewind(handle.address, common))
    return tokens(prompt[common:])


def prefill(handle: SessionHandle, prompt: Any, worker: Worker[Any]) -> None:
    """Appends a prompt to the text, on the worker's thread, which can be stopped meanwhile."""
    on_progress = layout.OnProgress(lambda *_: int(worker.is_left))
    handle.check(library.kinglet_session_set_progress(handle.address, on_progress, None))
    try:
        handle.check(library.kinglet_session_prefill(handle.address, prompt, len(prompt)))
    finally:
        library.kinglet_session_set_progress(handle.address, layout.OnProgress(), None)
