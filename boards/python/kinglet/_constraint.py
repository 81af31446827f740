"""What a reply may be, decided by Python."""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from typing import Any, Callable, Iterable, Optional, TypeVar

from . import _layout as layout
from ._values import unsigned

T = TypeVar("T")


class Constraint(ABC):
    """Decides which tokens a reply may have. Subclass it; each object is for one reply.

    A token is drawn as without a constraint, then `filter` is asked about it; only where it is
    refused is `filter` asked about many, and another one is drawn among those that it leaves. The
    probabilities are exactly those of the tokens that may come. All methods are called on a thread
    of the generation's, and what they raise ends it and is raised to whoever reads it.
    """

    @abstractmethod
    def filter(self, tokens: list[int]) -> Iterable[int]:
        """Those of `tokens` that may come next. A token that ends a reply may come where the
        reply may end."""

    @abstractmethod
    def advance(self, token: int) -> None:
        """Takes the next token of the reply: one that may come, and never one that ends it."""

    def forced(self) -> Optional[int]:
        """The token that must come next, where there is only one and it is known. Saves a step."""
        return None

    def is_complete(self) -> bool:
        """Whether nothing can follow. Otherwise a reply ends where the model ends it."""
        return False


class Callbacks:
    """A constraint as the library takes it, and what its methods raised."""

    def __init__(self, constraint: Constraint) -> None:
        self.constraint = constraint
        self.error: Optional[BaseException] = None
        self.struct = layout.sized(
            layout.Constraint(
                filter=layout.FilterTokens(self._filter),
                advance=layout.AdvanceBy(self._advance),
                forced=layout.ForcedToken(self._forced),
                is_complete=layout.IsComplete(self._is_complete),
            )
        )

    def _guard(self, work: Callable[[], T], otherwise: T) -> T:
        """What the work returns. Nothing may be raised through the library."""
        if self.error is None:
            try:
                return work()
            except BaseException as error:
                self.error = error
        return otherwise

    def _filter(self, _user: Any, tokens: Any, count: int) -> int:
        def work() -> int:
            numbers = (ctypes.c_uint32 * count).from_address(ctypes.addressof(tokens.contents))
            given = list(numbers)
            wanted = set(self.constraint.filter(given[:]))
            kept = [token for token in given if token in wanted]
            numbers[:] = kept + [token for token in given if token not in wanted]
            return len(kept)

        return self._guard(work, 0)

    def _advance(self, _user: Any, token: int) -> int:
        def work() -> int:
            self.constraint.advance(token)
            return 0

        return self._guard(work, 1)

    def _forced(self, _user: Any) -> int:
        def work() -> int:
            token = self.constraint.forced()
            return layout.NO_TOKEN if token is None else unsigned(token, "a forced token")

        return self._guard(work, layout.NO_TOKEN)

    def _is_complete(self, _user: Any) -> int:
        # A failure ends the reply here already.
        return self._guard(lambda: int(bool(self.constraint.is_complete())), 1)
