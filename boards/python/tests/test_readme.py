"""What the documentation shows works as it stands there."""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any

import kinglet
from support import MODEL, ROOT, SCHEMA, SIGNED, TOOLS


class Documentation(unittest.TestCase):
    def test_the_readme_runs_from_top_to_bottom(self) -> None:
        readme = (ROOT / "boards/python/README.md").read_text()
        snippets = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
        self.assertGreater(len(snippets), 5)
        names: dict[str, Any] = {}
        before, said = os.getcwd(), io.StringIO()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(said):
            os.chdir(folder)
            try:
                Path("smollm2-135m-instruct.kinglet").symlink_to(MODEL)
                shutil.copy(SCHEMA, "order.kschema")
                shutil.copy(TOOLS, "functions.ktools")
                Path("signed.kinglet").symlink_to(SIGNED)
                shutil.copy(ROOT / "tests/keys/fleet.pub", "fleet.pub")
                for snippet in snippets:
                    exec(compile(snippet, "README.md", "exec"), names)
            finally:
                os.chdir(before)
        self.assertIn(names["order"]["item"], ("tea", "coffee"))
        self.assertIn("MAX_TOKENS", said.getvalue())
        self.assertEqual(names["second"].tokens, names["tokens"])
        names["model"].close()

    def test_every_class_of_failures_is_in_the_table(self) -> None:
        readme = (ROOT / "boards/python/README.md").read_text()
        for name in kinglet.__all__:
            value = getattr(kinglet, name)
            if isinstance(value, type) and issubclass(value, kinglet.KingletError):
                parents = [kind.__name__ for kind in value.__bases__[1:]]
                also = f"`{parents[0]}`" if parents else ""
                self.assertRegex(readme, rf"\| `{name}` \| ?{also} \| ")

    def test_docstrings_run(self) -> None:
        failures, tries = doctest.testmod(kinglet, extraglobs={"MODEL": MODEL})
        self.assertEqual(failures, 0)
        self.assertGreater(tries, 1)

    def test_everything_public_is_documented(self) -> None:
        for name in kinglet.__all__:
            value = getattr(kinglet, name)
            if isinstance(value, type):
                self.assertTrue(value.__doc__, name)
                own = [key for key in vars(value) if not key.startswith("_")]
                for key in own:
                    member = getattr(value, key)
                    if callable(member):
                        self.assertTrue(member.__doc__, f"{name}.{key}")
            self.assertNotRegex(str(value.__doc__), r"^\w+\(.*\)$", name)


if __name__ == "__main__":
    unittest.main()
