#!/usr/bin/env python3
"""Compares `kinglet serve` with llama.cpp's server on this machine and prints a table of Markdown.

    tests/bench/serve.py                                   everything; takes about 30 minutes
    tests/bench/serve.py --clients 1,4 --rounds 3
    tests/bench/serve.py --record serve

llama.cpp is the version in the package llama-cpp-python, whose server is built for this machine
under target/bench-llama, which takes ten minutes of two processors once. Both get
SmolLM2-135M-Instruct, q4 beside Q4_0, two threads, and as many slots as there are clients, each
with 2,048 positions. In every round each program starts anew, answers one request, and then all
clients at once; who goes first alternates. A client sends a prompt of its own of 96 words to
/v1/completions and streams 128 tokens, from this machine, with what processors the servers leave.
At temperature 0 small models repeat themselves, so that Kinglet's guesses often come true; at 1,
which is what clients of the OpenAI protocol get unless they say otherwise, they hardly do. Prompts
are taken at which neither program ends its reply before. Reported are medians over the rounds:

- first token: from a request to its first text, the median of the clients
- streamed: tokens per second of all clients, while all of them receive tokens
- whole: the replies' tokens per second, from the requests to the end of the last reply
- memory: the largest resident memory of the server, pages of the model's file included
"""

import argparse
import itertools
import json
import statistics
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Iterator

import record
from measure import Pair
from parts import PROGRAMS, Line, Table
from prepare import FOLDER, HERE, PUBLISHED, Workshop, build_kinglet, say

PAIR = ("q4", "Q4_0")
CONTEXT = 2048
PROMPT_WORDS = 96
CANDIDATES = 40
TOKENS = 128
SEED = 1
PORTS = {"Kinglet": 18177, "llama.cpp": 18178}
# What is measured: the unit, digits, and whether more is better.
TESTS = {
    "first token": ("ms", 0, False),
    "streamed": ("tokens/s", 0, True),
    "whole": ("tokens/s", 0, True),
    "memory": ("MB", 0, False),
}


@dataclass(frozen=True)
class Server:
    """One of the two programs."""

    command: list[str]
    port: int

    @contextmanager
    def running(self) -> Iterator[int]:
        """The server's process, once it answers."""
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(self.command, stdin=quiet, stdout=quiet, stderr=quiet)
        try:
            self.wait(process)
            yield process.pid
        finally:
            process.terminate()
            process.wait(60)

    def wait(self, process: subprocess.Popen) -> None:
        while process.poll() is None:
            try:
                connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit(f"the server ends by itself: {self.command}")


@dataclass
class Client(threading.Thread):
    """One request, and when what of its reply came."""

    port: int
    prompt: str
    temperature: float
    barrier: threading.Barrier
    asked: float = 0.0
    lines: list[tuple[float, bytes]] = field(default_factory=list)
    texts: list[float] = field(default_factory=list)
    tokens: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        body = {
            "prompt": self.prompt, "max_tokens": TOKENS, "stream": True,
            "temperature": self.temperature, "top_p": 1, "seed": SEED,
            "stream_options": {"include_usage": True},
        }  # fmt: skip
        connection = HTTPConnection("127.0.0.1", self.port, timeout=600)
        self.barrier.wait()
        self.asked = time.perf_counter()
        head = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/completions", json.dumps(body), head)
        response = connection.getresponse()
        # What the lines say is looked at later: here it would slow down the server.
        for line in response:
            self.lines.append((time.perf_counter(), line))

    def understand(self) -> bool:
        """Looks at the reply; whether it is whole."""
        for when, line in self.lines:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line.removeprefix(b"data: "))
            if any(choice["text"] for choice in event["choices"]):
                self.texts.append(when)
            if event.get("usage"):
                self.tokens = event["usage"]["completion_tokens"]
        return self.tokens == TOKENS


def candidates() -> list[str]:
    """Prompts that begin differently."""
    words = (HERE / "article.txt").read_text(encoding="utf-8").split()
    twice = words + words
    starts = range(0, len(words), len(words) // CANDIDATES)
    return [" ".join(twice[start : start + PROMPT_WORDS]) for start in starts]


def suitable(servers: tuple["Server", "Server"], temperature: float, number: int) -> list[str]:
    """So many prompts whose replies are whole with both programs."""
    kinglet, llama = servers
    with kinglet.running(), llama.running():
        whole = (
            prompt
            for prompt in candidates()
            if all(ask(server, [prompt], temperature)[0].understand() for server in servers)
        )
        prompts = list(itertools.islice(whole, number))
    if len(prompts) < number:
        raise SystemExit(f"only {len(prompts)} prompts have whole replies: give it a longer text")
    return prompts


def ask(server: Server, prompts: list[str], temperature: float) -> list[Client]:
    """All prompts at once."""
    barrier = threading.Barrier(len(prompts))
    clients = [Client(server.port, prompt, temperature, barrier) for prompt in prompts]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return clients


def figures(server: Server, prompts: list[str], temperature: float) -> dict[str, float]:
    """What one start of a server gives."""
    with server.running() as pid:
        ask(server, ["A request that is not counted, since it is the first one"], temperature)
        found = ask(server, prompts, temperature)
        peak = next(
            int(line.split()[1]) * 1024
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith("VmHWM:")
        )
    if not all([client.understand() for client in found]):
        say("  a reply ended early, as it did not alone")
    start = min(client.asked for client in found)
    end = max(client.texts[-1] for client in found)
    # All clients receive tokens between these times.
    first, last = max(c.texts[0] for c in found), min(c.texts[-1] for c in found)
    if last <= first:
        raise SystemExit("the replies do not overlap: they need more tokens")
    streamed = sum(
        client.tokens * sum(first < when <= last for when in client.texts) / len(client.texts)
        for client in found
    )
    waits = [client.texts[0] - client.asked for client in found]
    return {
        "first token": statistics.median(waits) * 1e3,
        "streamed": streamed / (last - first),
        "whole": sum(client.tokens for client in found) / (end - start),
        "memory": peak / 1e6,
    }


def kinglet_server(program: Path, model: Path, slots: int, threads: int) -> Server:
    port = PORTS["Kinglet"]
    flags = ["--slots", slots, "--ctx", CONTEXT, "--threads", threads]
    command = [program, "serve", model, "--listen", f"127.0.0.1:{port}", *flags]
    return Server([str(part) for part in command], port)


def llama_server(program: Path, model: Path, slots: int, threads: int) -> Server:
    port = PORTS["llama.cpp"]
    # Its cache of prompts would take memory that nothing here gives back.
    flags = ["-np", slots, "-c", CONTEXT * slots, "-t", threads, "--cache-ram", 0]
    command = [program, "-m", model, "--host", "127.0.0.1", "--port", port, *flags]
    return Server([str(part) for part in command], port)


def measure(
    servers: dict[int, tuple[Server, Server]], prompts: list[str], temperature: float, rounds: int
) -> dict[int, dict[str, Pair]]:
    """For each number of clients, the samples of every test."""
    found = {clients: {test: Pair() for test in TESTS} for clients in servers}
    for number in range(rounds):
        for clients, pair in servers.items():
            say(f"  temperature {temperature:g}, round {number + 1} of {rounds}: {clients} clients")
            order = (0, 1) if number % 2 == 0 else (1, 0)
            taken = {i: figures(pair[i], prompts[:clients], temperature) for i in order}
            for test, samples in found[clients].items():
                samples.kinglet.append(taken[0][test])
                samples.llama.append(taken[1][test])
    return found


def lines_of(
    found: dict[int, dict[str, Pair]], temperature: float, threads: int
) -> list[Line]:
    lines = []
    about = {"model": "135M", "pair": " / ".join(PAIR), "threads": str(threads)}
    about["temperature"] = f"{temperature:g}"
    for clients, tests in found.items():
        for test, pair in tests.items():
            unit, digits, _ = TESTS[test]
            of = {**about, "clients": str(clients), "test": test}
            for program, median in zip(PROGRAMS, pair.medians()):
                value = f"{median:.{digits}f}"
                lines.append({**of, "program": program, "value": value, "unit": unit})
            ratio = f"{pair.ratio():.2f}"
            lines.append({**of, "program": "ratio", "value": ratio, "unit": "ratio"})
    return lines


def verdict(found: dict[int, dict[str, Pair]], temperature: float) -> list[str]:
    """What is not as the project wants it: ahead everywhere, four clients twice as fast as one."""
    behind = [
        f"{test} with {clients} clients: {pair.ratio():.2f}"
        for clients, tests in found.items()
        for test, pair in tests.items()
        if (pair.ratio() <= 1.0) == TESTS[test][2]
    ]
    if {1, 4} <= found.keys():
        streams = {n: found[n]["streamed"].medians()[0] for n in (1, 4)}
        if streams[4] < 2.0 * streams[1]:
            behind.append(f"four clients stream {streams[4] / streams[1]:.2f} times what one does")
    return [f"temperature {temperature:g}: {line}" for line in behind]


def arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    def floats(text: str) -> list[float]:
        return [float(part) for part in text.split(",")]

    parser.add_argument("--clients", type=numbers, default=[1, 2, 4, 8], help="1,2,4,8")
    parser.add_argument("--temperatures", type=floats, default=[0.0, 1.0], help="0,1")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kinglet", type=Path, help="an executable instead of a new build")
    parser.add_argument("--llama-server", type=Path, help="an executable instead of a build")
    parser.add_argument("--record", metavar="NAME", help="add the figures to records/NAME.csv")
    parser.add_argument("--machine", help="what the record calls the machine")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    workshop = Workshop(FOLDER)
    kinglet = (args.kinglet or build_kinglet()).resolve()
    llama = (args.llama_server or workshop.llama_server()).resolve()
    ours = workshop.converted(PUBLISHED, PAIR[0], kinglet, "--calibrate", "none")
    theirs = workshop.quantized(PUBLISHED, PAIR[1], llama.parent / "llama-quantize")
    servers = {
        clients: (
            kinglet_server(kinglet, ours, clients, args.threads),
            llama_server(llama, theirs, clients, args.threads),
        )
        for clients in args.clients
    }
    lines, complaints = [], []
    for temperature in args.temperatures:
        say(f"choosing prompts for temperature {temperature:g}")
        prompts = suitable(servers[min(servers)], temperature, max(servers))
        found = measure(servers, prompts, temperature, args.rounds)
        lines += lines_of(found, temperature, args.threads)
        complaints += verdict(found, temperature)
    rows = ["temperature", "clients", "program"]
    print(Table("Servers", rows, ["test", "unit"], lines, {}).markdown())
    print(*complaints, sep="\n")
    if args.record:
        record.append(args.record, lines, args.machine)


if __name__ == "__main__":
    main()
