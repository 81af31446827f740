"""Replies as they are generated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator, Optional

from . import _errors as errors
from ._call import Call, Request
from ._piece import Piece, Result
from ._worker import Worker

if TYPE_CHECKING:
    from ._session import Session


class Generation(Iterator[Piece]):
    """A reply in the making: an iterator of its pieces.

    Nothing is computed before the first piece is asked for, and nothing while no piece is. The
    session is in use from the first piece on until the iterator is exhausted, left or closed; a
    `for` loop that is left closes it where nothing else refers to it, `with` closes it always. The
    text then has exactly the tokens that were read.
    """

    def __init__(self, session: Session, request: Request) -> None:
        self._session = session
        self._call = Call(request, session.model.info.vocabulary)
        self._worker: Optional[Worker[Piece]] = None
        self._is_ended = False

    def __iter__(self) -> Generation:
        return self

    def __next__(self) -> Piece:
        if self._is_ended:
            raise StopIteration
        if self._worker is None:
            self._worker = self._session._begin(self._call.run)
        try:
            return self._worker.take()
        except BaseException:
            # Ctrl-C as well: what was begun ends.
            self.close()
            raise

    def read(self) -> str:
        """The text of all pieces that are left."""
        return "".join(piece.text for piece in self)

    @property
    def result(self) -> Result:
        """What was done. `BusyError` before the end, and when generating failed."""
        if self._call.result is None:
            raise errors.error(errors.BUSY, "the generation has not ended, or has failed")
        return self._call.result

    def close(self) -> None:
        """Ends the generation and waits for that, which is at most one step of the model."""
        self._is_ended = True
        if self._worker is not None:
            self._worker.stop()

    def __enter__(self) -> Generation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_worker", None) is not None:
            self.close()
