"""Memory and threads: given back, whatever is closed or forgotten first, and at the end."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import unittest
from pathlib import Path
from unittest import mock

import kinglet
import kinglet._layout
import kinglet._worker
from support import MODEL, PROMPT, Case

# A program that hangs fails; how long it takes otherwise tells nothing.
PATIENCE_SECONDS = 120


def is_mapped() -> bool:
    """Whether this process has the model's file in its memory."""
    return MODEL in Path("/proc/self/maps").read_text()


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Runs a program that has a model and a session."""
    start = f"import kinglet, os, signal, sys, threading\nmodel = kinglet.Model({MODEL!r})\n"
    start += "session = kinglet.Session(model, threads=2)\n"
    # Whoever runs the tests in the background may have it ignored.
    start += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-X", "dev", "-c", start + textwrap.dedent(program)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)


class Memory(unittest.TestCase):
    def setUp(self) -> None:
        gc.collect()
        self.assertFalse(is_mapped())
        self.threads = len(os.listdir("/proc/self/task"))

    def tearDown(self) -> None:
        self.assertFalse(is_mapped())
        # A thread that has told its end may still be about to go.
        end = time.monotonic() + PATIENCE_SECONDS
        while len(os.listdir("/proc/self/task")) > self.threads and time.monotonic() < end:
            time.sleep(0.001)
        self.assertEqual(len(os.listdir("/proc/self/task")), self.threads)

    def test_closing_a_model_closes_its_sessions(self) -> None:
        model = kinglet.Model(MODEL)
        session = kinglet.Session(model, threads=2)
        next(session.generate(PROMPT))
        self.assertTrue(is_mapped())
        for _ in range(2):
            model.close()
        self.assertFalse(is_mapped())
        for use in (session.reset, session.save, session.cancel, lambda: session.info):
            with self.assertRaises(kinglet.ClosedError):
                use()
        with self.assertRaises(kinglet.ClosedError):
            session.generate(PROMPT)
        with self.assertRaises(kinglet.ClosedError):
            kinglet.Session(model)
        session.close()
        self.assertIn("closed", repr(session))

    def test_a_waiting_reply_ends_with_its_model(self) -> None:
        model = kinglet.Model(MODEL)
        reply = kinglet.Session(model, threads=2).generate(PROMPT, ignore_end=True)
        next(reply)
        model.close()
        self.assertFalse(is_mapped())
        self.assertEqual(list(reply), [])
        self.assertEqual(reply.result.stop_reason, kinglet.StopReason.LEFT)

    def test_a_callback_can_close_what_calls_it(self) -> None:
        model = kinglet.Model(MODEL)
        reply = kinglet.Session(model, threads=2).generate(PROMPT, constraint=Closes(model))
        self.assertEqual(len(list(reply)), 0)
        self.assertEqual(reply.result.stop_reason, kinglet.StopReason.LEFT)

    def test_contexts_close(self) -> None:
        with kinglet.Model(MODEL) as model, kinglet.Session(model) as session:
            with session.generate(PROMPT) as reply:
                next(reply)
        with self.assertRaises(kinglet.ClosedError):
            session.reset()

    def test_what_is_forgotten_is_given_back(self) -> None:
        kinglet.Session(kinglet.Model(MODEL)).generate(PROMPT, max_tokens=5).read()
        self.assertFalse(is_mapped())
        reply = kinglet.Session(kinglet.Model(MODEL)).generate(PROMPT)
        next(reply)
        del reply
        gc.collect()

    def test_cycles_are_given_back(self) -> None:
        for _ in range(20):
            model = kinglet.Model(MODEL)
            session = kinglet.Session(model, threads=2)
            reply = session.generate(PROMPT)
            next(reply)
            vars(model)["cycle"] = [model, session, reply]
            handle = session._use()
            vars(handle)["cycle"] = handle.model
            vars(handle.model)["cycle"] = handle
            del model, session, reply, handle
            # The first time ends the reply's thread, which has kept the session.
            gc.collect()
            gc.collect()
            self.assertFalse(is_mapped())

    def test_failures_keep_nothing(self) -> None:
        model = kinglet.Model(MODEL)
        session = kinglet.Session(model)
        reply = session.generate([5] * 600)
        with self.assertRaises(kinglet.ArgumentError):
            reply.read()
        model.close()
        self.assertFalse(is_mapped())

    def test_many_sessions_take_no_more_than_one(self) -> None:
        model = kinglet.Model(MODEL)
        sizes = []
        for round in range(200):
            with kinglet.Session(model, threads=2) as session:
                session.generate(PROMPT, max_tokens=5, logprobs=2).read()
            if round in (50, 199):
                gc.collect()
                sizes.append(int(Path("/proc/self/statm").read_text().split()[1]))
        model.close()
        # Pages of 4 KiB: a session has 90 of them.
        self.assertLess(sizes[1] - sizes[0], 2000)


class Closes(kinglet.Constraint):
    """Allows everything, and closes the model with the first token."""

    def __init__(self, model: kinglet.Model) -> None:
        self.model = model

    def filter(self, tokens: list[int]) -> list[int]:
        return [token for token in tokens if token > 20]

    def advance(self, token: int) -> None:
        self.model.close()


class Ends(unittest.TestCase):
    def assert_ends(self, program: str) -> str:
        done = run(program)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        return done.stdout

    def test_a_program_ends_in_the_middle_of_a_reply(self) -> None:
        self.assert_ends("reply = session.generate('a', ignore_end=True)\nnext(reply)")
        self.assert_ends("reply = session.generate('a', ignore_end=True)\nnext(reply)\nsys.exit()")
        # Another thread reads without an end.
        self.assert_ends(
            """
            reply = session.generate("a", max_tokens=0, ignore_end=True, slide=True)
            next(reply)
            threading.Thread(target=reply.read, daemon=True).start()
            """
        )

    def test_an_error_ends_a_program(self) -> None:
        done = run("reply = session.generate('a')\nnext(reply)\n1 / 0")
        self.assertEqual(done.returncode, 1)
        self.assertTrue(done.stderr.endswith("ZeroDivisionError: division by zero\n"), done.stderr)

    def test_whatever_goes_first_at_the_end(self) -> None:
        self.assert_ends("sys.modules['kept'] = [session, model]\nsys.model = model")
        self.assert_ends(
            "import atexit\natexit.register(model.close)\nsession.generate('a').read()"
        )

    def test_a_fork_cannot_use_a_session_of_its_parent(self) -> None:
        said = self.assert_ends(
            """
            import warnings
            warnings.simplefilter("ignore")
            reply = session.generate("a", ignore_end=True)
            next(reply)
            child = os.fork()
            if child == 0:
                try:
                    session.save()
                except kinglet.ClosedError as error:
                    print(error.code, model.decode(model.encode("bird")))
                # Neither closing nor forgetting waits for threads that are not here.
                session.close()
                del session, reply
                with kinglet.Session(model, threads=2) as session:
                    print(len(session.generate("a", max_tokens=5, ignore_end=True).read()) > 0)
                sys.exit(0)
            print(os.waitpid(child, 0)[1], next(reply).token is not None)
            """
        )
        self.assertEqual(said, "411 bird\nTrue\n0 True\n")


class Loading(unittest.TestCase):
    def test_a_wrong_library_is_said_in_words(self) -> None:
        for library, words in (
            ("no/such.so", "cannot be loaded here"),
            ("libc.so.6", "is none of Kinglet, or older than this package"),
        ):
            environment = {**os.environ, "KINGLET_LIBRARY": library}
            command = [sys.executable, "-c", "import kinglet"]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, f"ImportError: .*{words}")


class Interrupts(Case):
    def setUp(self) -> None:
        super().setUp()
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)

    def test_ctrl_c_ends_a_reply(self) -> None:
        done = run(
            """
            class Presses(kinglet.Constraint):
                count = 0
                def filter(self, tokens):
                    return [token for token in tokens if token > 20]
                def advance(self, token):
                    self.count += 1
                    if self.count == 5:
                        os.kill(os.getpid(), signal.SIGINT)
            try:
                for piece in session.generate("a", max_tokens=0, slide=True, constraint=Presses()):
                    pass
            except KeyboardInterrupt:
                print("interrupted")
            print(len(list(session.generate(max_tokens=3, ignore_end=True))))
            """
        )
        self.assertEqual((done.returncode, done.stdout), (0, "interrupted\n3\n"), done)

    def test_ctrl_c_ends_the_reading_of_a_prompt(self) -> None:
        session = self.session(batch=1)
        OnProgress = kinglet._layout.OnProgress
        workers: list[kinglet._worker.Worker[object]] = []

        def press(function: object = None) -> object:
            def work(_: object, done: int, total: int) -> int:
                if done == 3:
                    os.kill(os.getpid(), signal.SIGINT)
                    # The main thread wakes up and leaves.
                    (worker,) = kinglet._worker._live
                    workers.append(worker)
                    end = time.monotonic() + PATIENCE_SECONDS
                    while not worker.is_left and time.monotonic() < end:
                        time.sleep(0.001)
                return int(function())  # type: ignore[operator]

            return OnProgress(work) if function else OnProgress()

        for read in (session.prefill, lambda prompt: session.generate(prompt).read()):
            session.reset()
            with mock.patch("kinglet._layout.OnProgress", press):
                with self.assertRaises(KeyboardInterrupt):
                    read([5] * 400)
            self.assertEqual(len(session.tokens), 3)
        self.assertEqual(len(workers), 2)


if __name__ == "__main__":
    unittest.main()
