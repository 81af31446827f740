#!/usr/bin/env python3
"""Asks a server 10,000 times, and checks that its memory stays what it was.

    tests/serve/soak.py MODEL [--kinglet target/release/kinglet] [--requests 10000] [--clients 4]

MODEL is what `kinglet serve` takes; a small model of the tests' goldens will do. Requests are of all
kinds: conversations and completions, streamed or not, with shapes and functions, wrong ones, and
clients that leave. Exit code 1: anonymous memory grew by more than 1 MiB after the first tenth, or a
request was not answered as it should be.
"""

import argparse
import http.client
import json
import random
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MOST_GROWTH_BYTES = 1 << 20
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
SCHEMA = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}


def request(number: int) -> tuple[str, dict, int]:
    """The path and body of a request, and the status that it must get."""
    chance = random.Random(number)
    words = "one two three " * chance.randint(1, 12)
    chat = {
        "messages": [{"role": "user", "content": words}],
        "max_tokens": chance.randint(1, 12),
        "seed": number,
        "stream": chance.random() < 0.5,
    }
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    tools = [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}]
    tokens = [chance.randrange(20, 600) for _ in range(chance.randint(1, 90))]
    kinds = [
        (CHAT, chat, 200),
        (CHAT, {**chat, "response_format": shape, "max_tokens": 20}, 200),
        (CHAT, {**chat, "tools": tools, "tool_choice": "required", "max_tokens": 40}, 200),
        (CHAT, {**chat, "logprobs": True, "top_logprobs": 5, "n": 2}, 200),
        (CHAT, {**chat, "temperature": 9}, 400),
        (COMPLETIONS, {"prompt": tokens, "max_tokens": 4, "echo": True, "logprobs": 1}, 200),
        ("/tokenize", {"content": words}, 200),
    ]
    return chance.choices(kinds, weights=[6, 1, 1, 2, 1, 3, 1])[0]


class Client:
    """Asks on connections that it keeps as long as the server does."""

    def __init__(self, address: str):
        self.address = address
        self.connection = None

    def ask(self, number: int) -> None:
        path, body, status = request(number)
        headers = {"Content-Type": "application/json"}
        leaves = number % 50 == 49
        for is_last in (False, True):
            self.connection = self.connection or http.client.HTTPConnection(self.address, timeout=120)
            try:
                self.connection.request("POST", path, json.dumps(body), headers)
                if leaves:
                    self.connection.close()
                    self.connection = None
                    return
                answer = self.connection.getresponse()
                answer.read()
            except (http.client.HTTPException, ConnectionError):
                # The server closes connections after a while, and after what was wrong.
                self.connection = None
                if is_last:
                    raise
                continue
            assert answer.status == status, f"{path} {body}: {answer.status}"
            return


def metric(address: str, name: str) -> int:
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    return next(int(line.split()[1]) for line in page.splitlines() if line.startswith(name + " "))


def ask_all(address: str, numbers: range, clients: int) -> None:
    failures = []

    def work(first: int) -> None:
        client = Client(address)
        try:
            for number in numbers[first::clients]:
                client.ask(number)
        except Exception as failure:  # noqa: BLE001: a thread must not fail in silence
            failures.append(failure)

    threads = [threading.Thread(target=work, args=[first]) for first in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--kinglet", default=str(ROOT / "target/release/kinglet"))
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as store:
        listen = ["--listen", "127.0.0.1:0", "--prefix-store", store, "--prefix-store-bytes", "4M"]
        command = [args.kinglet, "serve", args.model, "-q", *listen]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            address = process.stdout.readline().removeprefix("listening on http://").strip()
            assert address, "the server does not start"
            tenth = args.requests // 10
            ask_all(address, range(tenth), args.clients)
            before = metric(address, "kinglet_anonymous_bytes")
            ask_all(address, range(tenth, args.requests), args.clients)
            after = metric(address, "kinglet_anonymous_bytes")
            kept = metric(address, "kinglet_kept_total")
            restored = metric(address, "kinglet_restored_tokens_total")
        finally:
            process.terminate()
            assert process.wait(60) == 0, "the server ends in order"
    print(f"anonymous memory: {before:,} bytes after {tenth:,} requests,")
    print(f"                  {after:,} bytes after {args.requests:,}")
    print(f"texts kept on disk: {kept:,}; tokens that came from there: {restored:,}")
    if after > before + MOST_GROWTH_BYTES:
        sys.exit("memory grows")


main()
