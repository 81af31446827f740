"""What a reply consists of, and what is told about it at its end."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple, Optional

from . import _layout as layout


class Candidate(NamedTuple):
    """A token, and the natural logarithm of its probability."""

    token: int
    logprob: float


class Piece(NamedTuple):
    """A step of a reply."""

    text: str
    """Whole characters; empty while one, or a possible stop string, is incomplete."""
    token: Optional[int]
    """The token; `None` for text that comes behind the last one."""
    logprob: Optional[float] = None
    """The natural logarithm of the token's probability, where `logprobs` asks for it."""
    top: tuple[Candidate, ...] = ()
    """The most probable tokens in this place, best first, as many as `logprobs` says."""


class StopReason(IntEnum):
    """Why a reply ended."""

    MAX_TOKENS = layout.STOP_MAX_TOKENS
    """As many tokens as asked for."""
    END_OF_TEXT = layout.STOP_END_OF_TEXT
    """The model ended its reply."""
    STOP_STRING = layout.STOP_STRING
    """A stop string appeared. Its tokens stay in the session's text."""
    CONTEXT_FULL = layout.STOP_CONTEXT_FULL
    """The context is full; rewind or reset makes room. There was none for the last token."""
    LEFT = layout.STOP_CALLBACK
    """The iterator was left or closed."""
    CANCELLED = layout.STOP_CANCELLED
    """`Session.cancel` was called."""
    DEADLINE = layout.STOP_DEADLINE
    """The deadline passed."""
    COMPLETE = layout.STOP_COMPLETE
    """The schema or constraint lets nothing follow. With these, any other reason than this one and
    `END_OF_TEXT` has cut the reply."""


class Result(NamedTuple):
    """What a generation did."""

    stop_reason: StopReason
    tokens: int
    """Tokens generated, without the one that ends a reply."""
    steps: int
    """Steps through the model; each reads the weights once."""
    drafted: int
    """Tokens that were guessed."""
    accepted: int
    """Guesses that came true; each saved a step."""
    forced: int
    """Tokens that a schema or constraint forced; each saved a step."""
    slides: int
    """How often the context was full and the text went on."""
