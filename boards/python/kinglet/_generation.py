"""Replies as they are generated."""

from __future__ import annotations

from typing import Callable, Iterator, Optional, TypeVar

from . import _errors as errors
from ._call import Call, Pieces
from ._handles import SessionHandle
from ._piece import Piece, Result

R = TypeVar("R", bound="_Running")

Begin = Callable[[Callable[[SessionHandle, Pieces], None]], Pieces]
"""Starts work on a session's thread, which is alone with the session until it ends."""


class _Running:
    """Replies in the making. The session is in use from the first piece on until the end."""

    def __init__(self, call: Call, begin: Begin) -> None:
        self._call = call
        self._begin = begin
        self._worker: Optional[Pieces] = None
        self._is_ended = False

    def _next(self) -> tuple[int, Piece]:
        if self._is_ended:
            raise StopIteration
        if self._worker is None:
            self._worker = self._begin(self._call.run)
        try:
            return self._worker.take()
        except BaseException:
            # Ctrl-C as well: what was begun ends.
            self.close()
            raise

    def _results(self) -> list[Result]:
        if self._call.results is None:
            raise errors.error(errors.BUSY, "the generation has not ended, or has failed")
        return self._call.results

    def close(self) -> None:
        """Ends the generation and waits for that, which is at most one step of the model."""
        self._is_ended = True
        if self._worker is not None:
            self._worker.stop()

    def __enter__(self: R) -> R:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_worker", None) is not None:
            self.close()


class Generation(_Running, Iterator[Piece]):
    """A reply in the making: an iterator of its pieces.

    Nothing is computed before the first piece is asked for, and nothing while no piece is. The
    session is in use from the first piece on until the iterator is exhausted, left or closed; a
    `for` loop that is left closes it where nothing else refers to it, `with` closes it always. The
    text then has exactly the tokens that were read.
    """

    def __iter__(self) -> Generation:
        return self

    def __next__(self) -> Piece:
        return self._next()[1]

    def read(self) -> str:
        """The text of all pieces that are left."""
        return "".join(piece.text for piece in self)

    @property
    def result(self) -> Result:
        """What was done. `BusyError` before the end, and when generating failed."""
        return self._results()[0]


class Generations(_Running, Iterator[tuple[int, Piece]]):
    """Several replies in the making: an iterator of their pieces, each with its prompt's place.

    Pieces of different replies come mixed, as they are ready. The rest is as for `Generation`, but
    where the iterator is left, texts can have one token more than was read.
    """

    def __iter__(self) -> Generations:
        return self

    def __next__(self) -> tuple[int, Piece]:
        return self._next()

    def read(self) -> list[str]:
        """The text of all pieces that are left, for each reply."""
        texts = [""] * len(self._call.replies)
        for number, piece in self:
            texts[number] += piece.text
        return texts

    @property
    def results(self) -> list[Result]:
        """What was done for each. `BusyError` before the end, and when generating failed."""
        return self._results()
