"""What is known about boards: the profiles of `boards/machine/profiles`."""

import tomllib
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "boards/machine/profiles"
# Cores whose capacity is lower are left to other work.
FAST_CAPACITY = 1024 * 7 // 8
MOST_THREADS = 8


class Profile:
    def __init__(self, name: str):
        self.facts = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
        clusters = self.facts["cores"]
        self.cores = next(c for c in clusters if c["capacity"] >= FAST_CAPACITY)
        self.memory = self.facts["memory"]
        self.gpu = self.facts.get("gpu", {})

    def threads(self) -> int:
        """Those that a session has unless told otherwise."""
        return min(self.cores["count"], MOST_THREADS)

    def is_checked(self, section: str, fact: str) -> bool:
        """Whether a fact has a source."""
        table = self.facts[section]
        return "source" in table and fact not in table.get("unverified", [])
