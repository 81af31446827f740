"""The calls of the library that make a reply."""

from __future__ import annotations

import ctypes
import time
from ctypes import byref
from typing import Any, NamedTuple, Optional, Sequence

from . import _errors as errors
from . import _layout as layout
from ._constraint import Callbacks, Constraint
from ._handles import SessionHandle
from ._library import library
from ._piece import Candidate, Piece, Result, StopReason
from ._sampling import Sampling
from ._values import text, tokens, unsigned
from ._worker import Worker


class Request(NamedTuple):
    """What a session is asked to generate."""

    prompt: Optional[Sequence[int]] = None
    """Tokens to append before, if any."""
    is_conversation: bool = False
    """Whether the prompt is the whole text, whose beginning may be there already."""
    max_tokens: int = 0
    sampling: Optional[Sampling] = None
    stop: Sequence[str] = ()
    schema: Optional[bytes] = None
    constraint: Optional[Constraint] = None
    logprobs: Optional[int] = None
    ignore_end: bool = False
    slide: bool = False
    deadline_seconds: Optional[float] = None


class Call:
    """The calls of the library for a request, and what they tell."""

    def __init__(self, request: Request, vocabulary: int) -> None:
        self.request = request
        self.result: Optional[Result] = None
        self.prompt = None if request.prompt is None else tokens(request.prompt)
        self.sampling = None if request.sampling is None else request.sampling._to_c()
        self.callbacks = None if request.constraint is None else Callbacks(request.constraint)
        self.candidates = _candidates(request.logprobs, vocabulary)
        seconds = request.deadline_seconds
        self.deadline = None if seconds is None else _milliseconds(seconds)
        self.options = self._options()

    def _options(self) -> layout.GenerateOptions:
        request = self.request
        if isinstance(request.stop, str):
            raise TypeError("stop is a str: give a sequence of them")
        if not isinstance(request.schema, (bytes, type(None))):
            raise TypeError("schema is no bytes: give a table of `kinglet compile-schema`")
        stop = [text(string, "a stop string") for string in request.stop]
        flags = layout.GENERATE_IGNORE_END if request.ignore_end else 0
        flags |= layout.GENERATE_SLIDE if request.slide else 0
        options = layout.GenerateOptions(
            max_tokens=unsigned(request.max_tokens, "max_tokens"),
            flags=flags,
            stop=(ctypes.c_char_p * len(stop))(*stop),
            stop_count=len(stop),
            top_count=request.logprobs or 0,
            schema=request.schema,
            schema_bytes=len(request.schema or b""),
        )
        if self.candidates is not None:
            options.candidates = self.candidates
            options.candidate_capacity = len(self.candidates)
        if self.callbacks is not None:
            options.constraint = ctypes.pointer(self.callbacks.struct)
        return layout.sized(options)

    def run(self, handle: SessionHandle, worker: Worker[Piece]) -> None:
        """Reads the prompt and generates, on the worker's thread."""
        start = time.monotonic()
        if self.sampling is not None:
            handle.check(library.kinglet_session_set_sampling(handle.address, byref(self.sampling)))
        self._set_deadline(handle, start)
        prompt = self.prompt
        if self.request.is_conversation:
            prompt = keep_common(handle, prompt) or None
        if prompt is not None:
            prefill(handle, prompt, worker)
        self._set_deadline(handle, start)
        self._generate(handle, worker)

    def _set_deadline(self, handle: SessionHandle, start: float) -> None:
        left = 0
        if self.deadline is not None:
            # 0 would be no deadline.
            left = max(1, self.deadline - int((time.monotonic() - start) * 1000))
        handle.check(library.kinglet_session_set_deadline(handle.address, left))

    def _generate(self, handle: SessionHandle, worker: Worker[Piece]) -> None:
        failures: list[BaseException] = []

        def on_piece(_user: Any, token: int, start: Any, size: int) -> int:
            try:
                words = ctypes.string_at(start, size).decode() if size else ""
                return 0 if worker.hand_on(self._piece(token, words)) else 1
            except BaseException as failure:
                failures.append(failure)
                return 1

        told = layout.sized(layout.Generation())
        status = library.kinglet_session_generate(
            handle.address, byref(self.options), layout.OnPiece(on_piece), None, byref(told)
        )
        if self.callbacks is not None and self.callbacks.error is not None:
            failures.append(self.callbacks.error)
        if failures:
            raise failures[0]
        handle.check(status)
        self.result = Result(
            StopReason(told.stop_reason),
            told.tokens,
            told.steps,
            told.drafted,
            told.accepted,
            told.forced,
            told.slides,
        )

    def _piece(self, token: int, words: str) -> Piece:
        if token == layout.NO_TOKEN:
            return Piece(words, None)
        if self.candidates is None:
            return Piece(words, token)
        top = self.candidates[1 : 1 + self.options.top_count]
        top = tuple(candidate(entry) for entry in top if entry.token != layout.NO_TOKEN)
        return Piece(words, token, self.candidates[0].log_probability, top)


def candidate(entry: layout.Candidate) -> Candidate:
    """A candidate of the library's as one of this package."""
    return Candidate(entry.token, entry.log_probability)


def _candidates(count: Optional[int], vocabulary: int) -> Any:
    """Room for the probabilities of `count` tokens and the chosen one, and to compute them in."""
    if count is None:
        return None
    # More than the vocabulary has are filled up with no tokens; nobody needs memory for them.
    if unsigned(count, "logprobs") > vocabulary:
        raise errors.error(
            errors.BAD_ARGUMENT, f"logprobs is {count}: the vocabulary has {vocabulary} tokens"
        )
    return (layout.Candidate * (vocabulary + 2 * (1 + count)))()


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
