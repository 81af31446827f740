#!/usr/bin/env python3
"""Checks that `ray_batch.py` answers a file with two workers on this machine.

    boards/python/examples/check_ray.py MODEL.kinglet WHEEL

MODEL needs a chat template; a small one of the tests' goldens will do. Ray, 80 MB, and the wheel are
installed into target/python/ray. Exit code 1: something is not as `ray_batch.py` promises.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
VENV = ROOT / "target/python/ray"
PACKAGE = "ray==2.60.0"
LINES = 40
MAX_TOKENS = 48


def prepare(wheel: str) -> None:
    """Goes on in an interpreter that has Ray and the wheel."""
    python = VENV / "bin/python"
    if Path(sys.prefix) == VENV:
        return
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    pip = [python, "-m", "pip", "-q", "install"]
    subprocess.run([*pip, "--force-reinstall", "--no-deps", wheel], check=True)
    subprocess.run([*pip, PACKAGE], check=True)
    sys.exit(subprocess.run([python, *sys.argv]).returncode)


def questions() -> list[dict[str, Any]]:
    """Lines of both kinds."""
    lines: list[dict[str, Any]] = []
    for number in range(LINES):
        content = f"What is {number} and {number}?"
        line = {"messages": [{"role": "user", "content": content}]}
        lines.append({"id": number, **(line if number % 2 else {"prompt": content})})
    return lines


def expected(model: str, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What one session in this process answers, one line after the other."""
    import kinglet

    found = []
    with kinglet.Session(kinglet.Model(model)) as session:
        for line in lines:
            session.reset()
            if "messages" in line:
                reply = session.chat(line["messages"], max_tokens=MAX_TOKENS)
            else:
                reply = session.generate(line["prompt"], max_tokens=MAX_TOKENS)
            text, result = reply.read(), reply.result
            reason = result.stop_reason.name
            found.append({**line, "reply": text, "stop_reason": reason, "tokens": result.tokens})
    return found


def run(model: str, folder: Path, kills: bool) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The answers of two workers, of which one may be killed; and how many each has given."""
    script = Path(__file__).with_name("ray_batch.py")
    answers = folder / "answers.jsonl"
    command = [sys.executable, script, model, folder / "questions.jsonl", answers]
    command += ["--workers", "2", "--max-tokens", str(MAX_TOKENS)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    if kills:
        kill_worker(model)
    _, said = process.communicate()
    assert process.returncode == 0, said
    found = [json.loads(line) for line in answers.read_text().splitlines()]
    counts = {name: int(count) for name, count in re.findall(r"(\S+): (\d+) answers", said)}
    return sorted(found, key=lambda line: int(line["id"])), counts


def kill_worker(model: str) -> None:
    """Kills a worker as soon as it has the model."""
    while True:
        time.sleep(0.01)
        for name in Path("/proc").glob("[0-9]*"):
            try:
                is_worker = b"ray::Worker" in (name / "cmdline").read_bytes()
                if is_worker and model in (name / "maps").read_text():
                    os.kill(int(name.name), signal.SIGKILL)
                    return
            except OSError:
                continue


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    model, wheel = (os.path.realpath(argument) for argument in sys.argv[1:])
    prepare(wheel)
    lines = questions()
    wanted = expected(model, lines)
    # These get an error, and those beside them an answer.
    for line in (
        {"prompt": "too long " * 100_000},
        {"messages": [{"role": "parrot", "content": ""}]},
    ):
        lines.insert(5, {"id": len(lines), **line})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for kills in (False, True):
            found, counts = run(model, folder, kills)
            assert found[:LINES] == wanted, "the answers are others than one session's"
            assert [line["code"] for line in found[LINES:]] == [401, 404], found[LINES:]
            assert sum(counts.values()) == len(lines), counts
            assert len(counts) >= 2, f"one worker has done all: {counts}"
            what = "of which one was killed: " if kills else ""
            print(f"two workers, {what}{len(found)} answers, {sorted(counts.values())} of each")


if __name__ == "__main__":
    main()
