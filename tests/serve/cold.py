#!/usr/bin/env python3
"""Measures how long the first token takes from a socket behind which no server runs yet.

    tests/serve/cold.py MODEL [--kinglet target/release/kinglet] [--runs 20]

The script holds the socket as systemd does, starts `kinglet serve` once a client has connected, and
stops the time from the connection to the first event with text. The weights are in the page cache. A
second table has the same with a system prompt of several hundred tokens that `--prefix-store` has
kept. Exit code 1: a server did not answer.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
USER = {"role": "user", "content": "What is the capital of France?"}
SYSTEM = {"role": "system", "content": "You answer in one short sentence, politely. " * 60}


def start(kinglet: str, model: str, listener: socket.socket, store: str) -> subprocess.Popen:
    """A server that gets the socket as systemd would hand it over."""
    script = 'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@" 3<&0 </dev/null'
    command = [kinglet, "serve", model, "-q", "--prefix-store", store]
    out = subprocess.DEVNULL
    return subprocess.Popen(["sh", "-c", script, "sh", *command], stdin=listener.fileno(), stdout=out)


def first_token(client: socket.socket, messages: list[dict]) -> None:
    """Asks and reads until the first piece of text."""
    ask = {"messages": messages, "max_tokens": 8, "stream": True, "temperature": 0}
    body = json.dumps(ask).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    got = b""
    while b'"content":"' not in got:
        more = client.recv(1 << 16)
        assert more, f"no token came: {got.decode()}"
        got += more


def measure(args, messages: list[dict], store: str) -> tuple[float, float]:
    """Milliseconds from the connection to the token, and from a second request to its token."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.perf_counter()
        with socket.create_connection(listener.getsockname()) as client:
            server = start(args.kinglet, args.model, listener, store)
            try:
                client.settimeout(60)
                first_token(client, messages)
                cold = time.perf_counter() - began
                with socket.create_connection(listener.getsockname()) as again:
                    again.settimeout(60)
                    began = time.perf_counter()
                    first_token(again, [*messages[:-1], {**USER, "content": "And of Italy?"}])
                    warm = time.perf_counter() - began
            finally:
                server.terminate()
                assert server.wait(60) == 0, "the server ends in order"
    return 1000 * cold, 1000 * warm


def table(args, name: str, messages: list[dict], store: str) -> None:
    times = [measure(args, messages, store) for _ in range(args.runs)]
    cold, warm = ([time[which] for time in times] for which in (0, 1))
    print(f"{name}: median {statistics.median(cold):.0f} ms, best {min(cold):.0f} ms, worst "
          f"{max(cold):.0f} ms; of a server that runs {statistics.median(warm):.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--kinglet", default=str(ROOT / "target/release/kinglet"))
    parser.add_argument("--runs", type=int, default=20)
    args = parser.parse_args()
    # Into the page cache.
    for path in (args.kinglet, args.model):
        if os.path.exists(path):
            Path(path).read_bytes()
    with tempfile.TemporaryDirectory() as empty:
        cold, _ = measure(args, [SYSTEM, USER], empty)
        print(f"a system prompt that is not kept: {cold:.0f} ms")
    with tempfile.TemporaryDirectory() as store:
        table(args, "a short prompt", [USER], store)
        measure(args, [SYSTEM, USER], store)
        table(args, "a system prompt that is kept", [SYSTEM, USER], store)


try:
    main()
except AssertionError as failure:
    sys.exit(str(failure))
