"""Sessions: what they need, what they keep, and what they make of texts."""

from __future__ import annotations

import json
import platform
import tempfile
import unittest
from pathlib import Path
from typing import Iterable

import kinglet
from kinglet import Sampling
from kinglet._cpus import default_threads
from support import PROMPT, ROOT, Case


class Options(Case):
    def test_options_reach_the_library(self) -> None:
        session = self.session(context=100, batch=8, threads=2, tier="scalar")
        info = session.info
        self.assertEqual((info.context, info.batch, info.threads), (100, 8, 2))
        self.assertEqual((info.tier, info.tokens, info.device_bytes), ("scalar", 0, 0))
        self.assertGreater(self.session(kv="f16").info.bytes, self.session().info.bytes)
        self.assertGreater(self.session().info.bytes, self.session(speculate=False).info.bytes)

    def test_a_budget_chooses_the_context_or_refuses(self) -> None:
        whole = self.session(speculate=False)
        needed = whole.info.bytes + self.model.info.file_bytes + (32 << 10)
        self.assertEqual(whole.info.context, 512)
        small = self.session(speculate=False, memory_budget_bytes=needed - 20_000)
        self.assertLess(small.info.context, 512)
        for context in (None, 512):
            work = lambda: self.session(context=context, memory_budget_bytes=100_000)  # noqa: E731
            self.assert_code(403, MemoryError, work)

    def test_wrong_options_are_refused(self) -> None:
        for name, wrong in (
            ("context", 513),
            ("context", 0),
            ("context", -1),
            ("context", (1 << 32) + 64),
            ("threads", 1 << 20),
            ("batch", 1 << 31),
            ("kv", "q4"),
            ("tier", "a\0b"),
            ("memory_budget_bytes", -1),
        ):
            with self.assertRaises(ValueError, msg=f"{name}={wrong!r}"):
                self.session(**{name: wrong})
        self.assert_code(404, ValueError, lambda: self.session(tier="abacus"))
        foreign = "neon" if platform.machine() == "x86_64" else "avx2"
        self.assert_code(501, kinglet.KingletError, lambda: self.session(tier=foreign))

    def test_the_library_chooses_a_tier_and_says_why(self) -> None:
        session = self.session(tier="auto", expected_tokens=(8, 8))
        self.assertIn(session.info.tier, session.tier_reason)
        self.assertEqual(self.session().tier_reason, "")

    def test_threads_are_as_many_as_fast_processors(self) -> None:
        self.assertIn(default_threads(), range(1, 9))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for cpu, capacity in enumerate((485, 485, 1024, 1000, 1024, 800)):
                (folder / f"cpu{cpu}").mkdir()
                (folder / f"cpu{cpu}/cpu_capacity").write_text(f"{capacity}\n")
            self.assertEqual(default_threads(set(range(6)), folder), 3)
            self.assertEqual(default_threads({0, 1}, folder), 2)
            (folder / "cpu0/cpu_capacity").unlink()
            # Where not every capacity is known, all count as equal.
            self.assertEqual(default_threads(set(range(6)), folder), 6)
            self.assertEqual(default_threads(set(range(100)), folder), 8)


class States(Case):
    def test_a_saved_text_goes_on_as_it_would_have(self) -> None:
        sampling = Sampling(temperature=1.5, seed=3)
        session, other = self.session(), self.session()
        session.generate(PROMPT, max_tokens=10, sampling=sampling, ignore_end=True).read()
        state = session.save()
        rest = session.generate(max_tokens=20, ignore_end=True).read()
        other.set_sampling(sampling)
        other.restore(state)
        self.assertEqual(other.generate(max_tokens=20, ignore_end=True).read(), rest)
        self.assertEqual(other.tokens, session.tokens)

    def test_wrong_states_are_refused(self) -> None:
        session = self.session()
        session.prefill(PROMPT)
        state, tokens = session.save(), session.tokens
        for code, wrong in ((203, state[:-1]), (203, b""), (204, state[:-1] + b"\xff")):
            self.assert_code(code, kinglet.KingletError, session.restore, wrong)
        self.assert_code(409, ValueError, self.session(kv="f16").restore, state)
        self.assertEqual(session.tokens, tokens)

    def test_a_text_can_be_rewound_and_forked(self) -> None:
        session, other = self.session(), self.session()
        first = session.generate(PROMPT, max_tokens=20, ignore_end=True).read()
        count = len(self.model.encode(PROMPT))
        other.fork(session, count)
        self.assertEqual(other.generate(max_tokens=20, ignore_end=True).read(), first)
        session.rewind(count)
        self.assertEqual(session.generate(max_tokens=20, ignore_end=True).read(), first)
        other.reset()
        self.assertEqual(other.tokens, [])
        other.fork(session)
        self.assertEqual(other.tokens, session.tokens)
        self.assert_code(404, ValueError, session.rewind, 500)
        self.assert_code(404, ValueError, session.rewind, (1 << 32) + 1)
        self.assert_code(404, ValueError, other.fork, session, 500)
        self.assert_code(409, ValueError, self.session(kv="f16").fork, session)
        self.assert_code(407, RuntimeError, session.fork, session)

    def test_an_empty_text_has_no_logits(self) -> None:
        session = self.session()
        self.assert_code(404, ValueError, session.logits)
        self.assert_code(404, ValueError, session.top, 3)


class Embeddings(Case):
    def test_embeddings_are_those_of_transformers(self) -> None:
        goldens = json.loads((ROOT / "tests/goldens/embeddings.json").read_text())
        cases = goldens["gqa3-head64"]
        session = self.session(kv="f16")
        for case in cases:
            for pooling in ("mean", "last"):
                found = session.embed(case["tokens"], pooling=pooling)
                self.assertEqual(len(found), self.model.info.embedding_size)
                self.assertAlmostEqual(sum(x * x for x in found), 1.0, delta=1e-5)
                # The weights have 8 bits here.
                self.assertGreater(product(found, case[pooling]), 0.995)
                others = [product(found, other[pooling]) for other in cases if other is not case]
                self.assertLess(max(others), 0.9)
        self.assertEqual(session.tokens, cases[-1]["tokens"])

    def test_texts_are_told_apart(self) -> None:
        session = self.session()
        self.assertEqual(session.embed(PROMPT), session.embed(self.model.encode(PROMPT)))
        self.assertNotEqual(session.embed(PROMPT), session.embed("kinglet"))
        self.assert_code(404, ValueError, session.embed, "")
        self.assert_code(404, ValueError, lambda: session.embed(PROMPT, pooling="max"))
        self.assert_code(401, ValueError, session.embed, [5] * 513)


def product(one: Iterable[float], other: Iterable[float]) -> float:
    return sum(x * y for x, y in zip(one, other))


if __name__ == "__main__":
    unittest.main()
