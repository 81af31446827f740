"""Kinglet and llama.cpp as programs that are timed from outside."""

import json
import os
import resource
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

# Seven tokens of SmolLM2's vocabulary.
SHORT_PROMPT = "The capital of France is the city"
# About 1900 tokens, for a context that is filled.
LONG_PROMPT = "The quick brown fox jumps over the lazy dog. " * 190
CONTEXT = 2048


@dataclass(frozen=True)
class Test:
    """What a run of either bench times, so often: `prompt` or `generated` tokens at a depth."""

    prompt: int = 0
    generated: int = 0
    depth: int = 0
    threads: int = 2
    repetitions: int = 1

    def flags(self) -> list[str]:
        shape = ["-p", self.prompt, "-n", self.generated, "-d", self.depth, "-t", self.threads]
        return [str(part) for part in [*shape, "-r", self.repetitions, "-o", "json"]]


@dataclass(frozen=True)
class Program:
    """One of the two, with a model."""

    model: Path

    def bench(self, test: Test) -> dict:
        """The document of one test."""
        done = subprocess.run(
            [*self.bench_command(), *test.flags()],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        return json.loads(done.stdout)[0]

    def speed(self, test: Test) -> float:
        """Tokens per second."""
        return self.bench(test)["avg_ts"]

    def first_byte(self, threads: int) -> float:
        """Seconds from the start of the process to its first byte of text."""
        command = self.text_command(SHORT_PROMPT, 4, threads)
        start = time.perf_counter()
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        ) as process:
            process.stdout.read(1)
            seconds = time.perf_counter() - start
            process.stdout.read()
        require_success(process.returncode, command)
        return seconds

    def peak_bytes(self, threads: int) -> int:
        """The largest resident memory of a run that fills most of the context."""
        command = self.text_command(LONG_PROMPT, 64, threads)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        require_success(process.returncode, command)
        # Linux counts the memory of whoever starts a process as that process's own.
        assert usage.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return usage.ru_maxrss * 1024


def require_success(code: int, command: list[str]) -> None:
    if code != 0:
        raise subprocess.CalledProcessError(code, command)


@dataclass(frozen=True)
class Kinglet(Program):
    """`kinglet`, its cache of keys and values in int8."""

    executable: Path
    flags: list[str] = field(default_factory=list)

    def bench_command(self) -> list[str]:
        return [str(self.executable), "-q", "bench", str(self.model), *self.flags]

    def text_command(self, prompt: str, tokens: int, threads: int) -> list[str]:
        sampling = ["--temp", "0", "--ignore-eos", "-n", str(tokens), "-p", prompt]
        session = ["--threads", str(threads), "--ctx", str(CONTEXT)]
        return [str(self.executable), "-q", "run", str(self.model), *session, *sampling]


@dataclass(frozen=True)
class Llama(Program):
    """llama.cpp's `llama-bench` and `llama-completion`."""

    folder: Path
    flags: list[str] = field(default_factory=list)

    def bench_command(self) -> list[str]:
        return [str(self.folder / "llama-bench"), "-m", str(self.model), *self.flags]

    def text_command(self, prompt: str, tokens: int, threads: int) -> list[str]:
        # Without its warm-up pass, which would only delay the first token.
        plain = ["-no-cnv", "--no-display-prompt", "--no-warmup"]
        sampling = ["--temp", "0", "--ignore-eos", "-n", str(tokens), "-p", prompt]
        session = ["-t", str(threads), "-c", str(CONTEXT)]
        model = ["-m", str(self.model)]
        return [str(self.folder / "llama-completion"), *model, *session, *plain, *sampling]
