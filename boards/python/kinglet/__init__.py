"""Kinglet, an embedded runtime for SmolLM models, in this process.

>>> import kinglet
>>> with kinglet.Model(MODEL) as model, kinglet.Session(model) as session:
...     for piece in session.generate("The capital of France is", max_tokens=8):
...         text = piece.text

Everything that waits for the library lets other threads of Python run meanwhile.
"""

from ._constraint import Constraint
from ._errors import (
    ArgumentError,
    BudgetError,
    BusyError,
    CancelledError,
    ClosedError,
    DeadlineError,
    KingletError,
    NotFoundError,
)
from ._generation import Generation, Generations
from ._library import version
from ._messages import Message
from ._model import Model, ModelInfo, Signature, TokenInfo
from ._piece import Candidate, Piece, Result, StopReason
from ._sampling import Sampling
from ._session import Prompt, Session, SessionInfo
from ._tools import ToolCall, read_calls
from ._trust import Trust

__version__: str = version()

__all__ = [
    "ArgumentError",
    "BudgetError",
    "BusyError",
    "CancelledError",
    "Candidate",
    "ClosedError",
    "Constraint",
    "DeadlineError",
    "Generation",
    "Generations",
    "KingletError",
    "Message",
    "Model",
    "ModelInfo",
    "NotFoundError",
    "Piece",
    "Prompt",
    "Result",
    "Sampling",
    "Session",
    "SessionInfo",
    "Signature",
    "StopReason",
    "TokenInfo",
    "ToolCall",
    "Trust",
    "read_calls",
    "version",
]
