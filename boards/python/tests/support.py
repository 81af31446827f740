"""What the tests share: the model that they run, and sessions of it."""

from __future__ import annotations

import os
import unittest
from pathlib import Path
from typing import Any

import kinglet

ROOT = Path(__file__).resolve().parents[3]
MODEL = os.path.realpath(os.environ["KINGLET_TEST_MODEL"])
"""`tests/goldens/models/gqa3-head64`, converted to q8: a random model that writes nonsense."""
SIGNED = os.environ["KINGLET_TEST_SIGNED"]
"""The same, signed as version 7 of `bird` by the key `tests/keys/fleet.pub`."""
SCHEMA = Path(os.environ["KINGLET_TEST_SCHEMA"])
"""The table of `order.json`."""
TOOLS = Path(os.environ["KINGLET_TEST_TOOLS"])
"""The table of the functions of `functions.json`."""

USER = {"role": "user", "content": "What is a kinglet?"}
PROMPT = "The capital of France is"


class Case(unittest.TestCase):
    """A test with a model."""

    def setUp(self) -> None:
        self.model = kinglet.Model(MODEL)
        self.addCleanup(self.model.close)

    def session(self, **options: Any) -> kinglet.Session:
        return kinglet.Session(self.model, **{"threads": 1, **options})

    def assert_code(self, code: int, kind: type[BaseException], work: Any, *given: Any) -> str:
        """Asserts that work fails with this number and class; what it says."""
        with self.assertRaises(kind) as caught:
            work(*given)
        assert isinstance(caught.exception, kinglet.KingletError)
        self.assertEqual(caught.exception.code, code)
        self.assertIn(f"(error {code})", str(caught.exception))
        return str(caught.exception)
