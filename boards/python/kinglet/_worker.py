"""Work on a thread of its own, whose results others take one at a time."""

from __future__ import annotations

import atexit
import os
import threading
import traceback
from queue import Empty, SimpleQueue
from typing import Any, Callable, Generic, NamedTuple, Optional, TypeVar, Union

T = TypeVar("T")

# How long the main thread waits at most before it looks for signals.
WAKE_SECONDS = 0.2


class _End(NamedTuple):
    """The work is done, or failed."""

    error: Optional[BaseException]


class Worker(Generic[T]):
    """Does `work` on a thread, which calls `released` at its end in any case.

    The library gives the pieces of a reply to a callback. An iterator needs them one by one, and
    the library's stepwise functions have neither stop strings nor schemas. So the callback runs on
    this thread and waits with each piece until the next one is asked for: a text never has more
    than its reader has seen. Signals such as Ctrl-C reach the main thread, which waits here and
    not in the library.
    """

    def __init__(self, work: Callable[[Worker[T]], None], released: Callable[[], None]) -> None:
        self.is_left: bool = False
        self._released = released
        # Whoever pops this decides: the thread that the work is done, `stop` that it never is.
        self._unclaimed = [work]
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._given: SimpleQueue[Union[T, _End]] = SimpleQueue()
        self._is_started = False
        self._is_over = False
        self._process = os.getpid()
        self._thread: Optional[int] = None

    def _run(self) -> None:
        try:
            work = self._unclaimed.pop()
        except IndexError:
            return
        self._thread = threading.get_ident()
        error: Optional[BaseException] = None
        try:
            work(self)
        except BaseException as failure:
            error = failure
            # What failed may be kept for long, and must not keep the session's memory.
            traceback.clear_frames(failure.__traceback__)
        # Before the end is told: whoever was told finds the session free, and its memory too.
        del work
        self._finish(error)
        _live.discard(self)

    def _finish(self, error: Optional[BaseException]) -> None:
        self._released()
        self._is_over = True
        self._given.put(_End(error))

    def hand_on(self, item: T) -> bool:
        """Gives an item to the reader and waits; returns whether to go on. On the thread."""
        # The library hands on what is left of a text also when it was told to end.
        if self.is_left:
            return False
        self._given.put(item)
        return self._asked.get()

    def take(self) -> T:
        """The next item. At the end `StopIteration`, or what the work failed with."""
        if self._is_started:
            self._asked.put(True)
        else:
            self._is_started = True
            _live.add(self)
            threading.Thread(target=self._run, name="kinglet", daemon=True).start()
        item = self._receive()
        if isinstance(item, _End):
            # For every other reader.
            self._given.put(item)
            raise item.error or StopIteration
        return item

    def _receive(self) -> Union[T, _End]:
        # A signal that comes right before the main thread waits does not end its waiting: Python
        # sees it when the thread wakes up.
        while True:
            try:
                return self._given.get(timeout=WAKE_SECONDS)
            except Empty:
                continue

    def stop(self) -> None:
        """Ends the work where it looks next, and waits for that."""
        self.is_left = True
        if self._is_over:
            return
        self._asked.put(False)
        try:
            self._unclaimed.pop()
        except IndexError:
            pass
        else:
            self._finish(None)
            _live.discard(self)
        # A fork has no such thread, and a callback cannot wait for itself.
        if self._process == os.getpid() and self._thread != threading.get_ident():
            while not isinstance(item := self._receive(), _End):
                pass
            self._given.put(item)


_live: set[Worker[Any]] = set()


def _stop_all() -> None:
    """No thread may be within the library when the interpreter ends: Python would end it there."""
    for worker in list(_live):
        worker.stop()


atexit.register(_stop_all)
