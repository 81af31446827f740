"""A reply as the library takes it, and what it tells about it."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple, Optional, Sequence

from . import _errors as errors
from . import _layout as layout
from ._constraint import Callbacks, Constraint
from ._piece import Candidate, Piece, Result, StopReason
from ._sampling import Sampling
from ._values import text, tokens, unsigned


class Request(NamedTuple):
    """What a text is to be continued with."""

    prompt: Optional[Sequence[int]] = None
    """Tokens to append before, if any."""
    is_whole: bool = False
    """Whether the prompt is the whole text, whose beginning may be there already."""
    max_tokens: int = 0
    sampling: Optional[Sampling] = None
    stop: Sequence[str] = ()
    schema: Optional[bytes] = None
    constraint: Optional[Constraint] = None
    logprobs: Optional[int] = None
    ignore_end: bool = False
    slide: bool = False


class Reply:
    """A request, with the memory that the library needs for it."""

    def __init__(self, request: Request, vocabulary: int) -> None:
        self.is_whole = request.is_whole
        self.prompt = None if request.prompt is None else tokens(request.prompt)
        self.sampling = None if request.sampling is None else request.sampling._to_c()
        self._callbacks = None if request.constraint is None else Callbacks(request.constraint)
        self._candidates = _candidates(request.logprobs, vocabulary)
        self._options = self._options_of(request)
        self._told = layout.sized(layout.Generation())

    def _options_of(self, request: Request) -> layout.GenerateOptions:
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
        if self._candidates is not None:
            options.candidates = self._candidates
            options.candidate_capacity = len(self._candidates)
        if self._callbacks is not None:
            options.constraint = ctypes.pointer(self._callbacks.struct)
        return layout.sized(options)

    def to_c(self, number: int) -> layout.Reply:
        """The reply to the text of this number, as the library takes it."""
        options, told = ctypes.pointer(self._options), ctypes.pointer(self._told)
        return layout.Reply(text=number, options=options, generation=told)

    @property
    def error(self) -> Optional[BaseException]:
        """What the constraint has raised."""
        return None if self._callbacks is None else self._callbacks.error

    def piece(self, token: int, words: str) -> Piece:
        """A piece, with the probabilities that the library has told for its token."""
        if token == layout.NO_TOKEN:
            return Piece(words, None)
        if self._candidates is None:
            return Piece(words, token)
        top = self._candidates[1 : 1 + self._options.top_count]
        top = tuple(candidate(entry) for entry in top if entry.token != layout.NO_TOKEN)
        return Piece(words, token, self._candidates[0].log_probability, top)

    def result(self) -> Result:
        """What was done; at the end."""
        told = self._told
        return Result(
            StopReason(told.stop_reason),
            told.tokens,
            told.steps,
            told.drafted,
            told.accepted,
            told.forced,
            told.slides,
        )


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
