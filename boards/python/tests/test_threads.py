"""Threads of Python: others go on meanwhile, and nobody uses a session twice."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
import unittest
from contextlib import contextmanager
from typing import Any, Callable, Iterator
from unittest import mock

import kinglet
from kinglet import StopReason, _library
from kinglet._worker import Worker
from support import PROMPT, Case


@contextmanager
def counting() -> Iterator[Callable[[], int]]:
    """A thread that counts whenever it gets the interpreter, which nobody gives away unless it
    waits; the count so far."""
    count, is_over = [0], threading.Event()

    def work() -> None:
        while not is_over.is_set():
            count[0] += 1
            time.sleep(0)

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=work)
    sys.setswitchinterval(1000)
    thread.start()
    try:
        yield lambda: count[0]
    finally:
        is_over.set()
        sys.setswitchinterval(interval)
        thread.join()


class Interpreter(Case):
    def goes_on(self, work: Callable[[], object], tries: int = 1000) -> bool:
        """Whether another thread runs within a call. It may be slow to wake up: many tries."""
        for _ in range(tries):
            before = self.count()
            work()
            if self.count() != before:
                return True
        return False

    def test_other_threads_go_on_within_calls(self) -> None:
        session = self.session()
        tokens = self.model.encode(PROMPT) * 40
        keeps = ctypes.PyDLL(_library.library._name).kinglet_session_embed
        keeps.argtypes = _library.library.kinglet_session_embed.argtypes
        given, found = (ctypes.c_uint32 * 400)(*tokens), (ctypes.c_float * 96)()
        handle = session._use()
        with counting() as self.count:
            self.assertTrue(self.goes_on(lambda: session.embed(tokens[:400])))
            self.assertTrue(self.goes_on(self.model.verify))
            self.assertTrue(self.goes_on(session.save))
            # A call that keeps the interpreter is noticed.
            embed = lambda: keeps(handle.address, given, 400, 0, found, 96)  # noqa: E731
            self.assertFalse(self.goes_on(embed, tries=20))


class Sharing(Case):
    def test_texts_on_threads_are_what_they_are_alone(self) -> None:
        prompts = [f"{PROMPT} {number}" for number in range(4)]

        def read(prompt: str, texts: dict[str, str]) -> None:
            with kinglet.Session(self.model, threads=1) as session:
                texts[prompt] = session.generate(prompt, max_tokens=80, ignore_end=True).read()

        alone: dict[str, str] = {}
        together: dict[str, str] = {}
        for prompt in prompts:
            read(prompt, alone)
        run([lambda prompt=prompt: read(prompt, together) for prompt in prompts])
        self.assertEqual(together, alone)

    def test_a_second_thread_is_refused(self) -> None:
        session = self.session()
        reply = session.generate(PROMPT, ignore_end=True)
        next(reply)
        codes: list[int] = []

        def use() -> None:
            try:
                session.rewind(0)
            except kinglet.BusyError as error:
                codes.append(error.code)

        run([use] * 3)
        self.assertEqual(codes, [407] * 3)

    def test_several_threads_can_read_one_reply(self) -> None:
        alone = self.session().generate(PROMPT, max_tokens=100, ignore_end=True)
        tokens = sorted(str(piece.token) for piece in alone)
        reply = self.session().generate(PROMPT, max_tokens=100, ignore_end=True)
        found = [str(next(reply).token)]
        run([lambda: found.extend(str(piece.token) for piece in reply)] * 3)
        self.assertEqual(sorted(found), tokens)

    def test_another_thread_cancels(self) -> None:
        session = self.session()
        reply = session.generate(PROMPT, max_tokens=0, ignore_end=True, slide=True)
        next(reply)
        thread = threading.Thread(target=session.cancel)
        thread.start()
        reply.read()
        thread.join()
        self.assertEqual(reply.result.stop_reason, StopReason.CANCELLED)

    def test_another_thread_closes(self) -> None:
        for owner in (self.model, self.session()):
            model = kinglet.Model(self.model._path)
            session = kinglet.Session(model, threads=2)
            reply = session.generate(PROMPT, max_tokens=0, ignore_end=True, slide=True)
            next(reply)
            thread = threading.Thread(target=(model if owner is self.model else session).close)
            thread.start()
            reply.read()
            thread.join()
            self.assertEqual(reply.result.stop_reason, StopReason.LEFT)
            self.assert_code(411, ValueError, session.reset)
            model.close()

    def test_closing_ends_what_is_just_beginning(self) -> None:
        session = self.session()

        def close(*given: Any) -> Worker[Any]:
            session.close()
            return Worker(*given)

        with mock.patch("kinglet._session.Worker", close):
            self.assert_code(411, ValueError, session.generate(PROMPT).read)
            self.assertTrue(session._lock.acquire(blocking=False))

    def test_closing_waits_for_nobody_and_frees_nothing_in_use(self) -> None:
        prompt = self.model.encode(PROMPT) * 40
        for _ in range(20):
            model = kinglet.Model(self.model._path)
            session = kinglet.Session(model, threads=1)
            failures: list[int] = []

            def use() -> None:
                try:
                    while True:
                        model.decode(model.encode(PROMPT))
                        session.embed(prompt[:300])
                except kinglet.ClosedError as error:
                    failures.append(error.code)

            threads = [threading.Thread(target=use)]
            for thread in threads:
                thread.start()
            model.close()
            for thread in threads:
                thread.join()
            self.assertEqual(failures, [411])


def run(works: Any) -> None:
    """Does all of this on threads of their own."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    unittest.main()
