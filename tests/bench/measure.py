"""Runs two programs alternately, so that what disturbs one disturbs the other."""

import os
import statistics
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Callable


@dataclass
class Pair:
    """Figures of the same thing, taken in turns."""

    kinglet: list[float] = field(default_factory=list)
    llama: list[float] = field(default_factory=list)

    def add(self, kinglet: Callable[[], float], llama: Callable[[], float]) -> None:
        """One more round; who goes first changes from round to round."""
        if len(self.kinglet) % 2 == 0:
            self.kinglet.append(kinglet())
            self.llama.append(llama())
        else:
            self.llama.append(llama())
            self.kinglet.append(kinglet())

    def medians(self) -> tuple[float, float]:
        return statistics.median(self.kinglet), statistics.median(self.llama)

    def ratio(self) -> float:
        """The median over the rounds of Kinglet's figure over llama.cpp's."""
        return statistics.median(k / l for k, l in zip(self.kinglet, self.llama))


@contextmanager
def busy_neighbours():
    """A process on every processor that does nothing but compute."""
    processors = len(os.sched_getaffinity(0))
    spin = [sys.executable, "-c", "while True: pass"]
    spinners = [subprocess.Popen(spin) for _ in range(processors)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()
