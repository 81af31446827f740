#!/usr/bin/env python3
"""Runs a model in a control group that may take exactly the budget, pages of files included.

    tests/bench/budget.py target/release/kinglet MODEL.kinglet --budget 112000000

The program and the model are copied and dropped from the page cache first, so that all that they
read counts for the group. The budget is kept when the process ends by itself with as many tokens as
were asked for, and takes no major fault from the text's beginning to its end: no page was read twice.
Swapping would be such faults, too. Prints what was found. Exit code 1: the budget is not kept; 77: this user
may not make a control group.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import record

GROUPS = Path("/sys/fs/cgroup")
# Faults are counted whenever so much text has come; the first time, the warm-up is over.
TEXT_BYTES = 200


class Group:
    """A control group of Linux, of its second version where memory is controlled by that."""

    def __init__(self, budget: int):
        controllers = GROUPS / "cgroup.controllers"
        is_second = controllers.exists() and "memory" in controllers.read_text().split()
        limit, self.peak = ("memory.limit_in_bytes", "memory.max_usage_in_bytes")
        parent = GROUPS / "memory"
        if is_second:
            parent, limit, self.peak = GROUPS, "memory.max", "memory.peak"
        self.folder = parent / f"kinglet-{os.getpid()}"
        self.folder.mkdir()
        try:
            (self.folder / limit).write_text(str(budget))
        except OSError:
            self.folder.rmdir()
            raise

    def enter(self) -> None:
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def peak_bytes(self) -> int:
        """0 where the kernel does not tell, as before Linux 5.19."""
        path = self.folder / self.peak
        return int(path.read_text()) if path.exists() else 0


def fresh_copy(path: Path, folder: Path) -> Path:
    """A copy of which no page is in the page cache."""
    copy = folder / path.name
    shutil.copy(path, copy)
    with copy.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return copy


def major_faults(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[9])


def measure(options: argparse.Namespace, folder: Path) -> dict:
    program, model = (fresh_copy(path, folder) for path in (options.kinglet, options.model))
    command = [program, "run", model, "-p", "Once upon a time", "--ignore-eos"]
    command += ["-n", str(options.tokens), "--ctx", str(options.ctx)]
    command += ["--memory-budget", str(options.budget)]
    try:
        within = Group(options.budget)
    except OSError as error:
        print(f"no right to a control group: {error}", file=sys.stderr)
        sys.exit(77)
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, preexec_fn=within.enter)
    except subprocess.SubprocessError as error:
        within.folder.rmdir()
        print(f"no right to enter a control group: {error}", file=sys.stderr)
        sys.exit(77)
    try:
        faults = []
        while process.stdout.read(TEXT_BYTES):
            faults.append(major_faults(process.pid))
        notes = process.stderr.read().decode(errors="replace")
        process.wait()
    finally:
        process.kill()
        process.wait()
        peak = within.peak_bytes()
        within.folder.rmdir()
    speed = re.search(r"decode (\d+) tokens, ([\d.]+) tokens/s", notes)
    if process.returncode != 0 or not speed:
        sys.exit(f"exit code {process.returncode}\n{notes}")
    return {
        "budget_bytes": options.budget,
        "peak_bytes": peak,
        "tokens": int(speed[1]),
        "tokens_per_second": float(speed[2]),
        "major_faults_before": faults[0],
        # The last count is taken when the text has ended and the process has other things to do.
        "major_faults_after": faults[-2] - faults[0],
    }


def main() -> None:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("kinglet", type=Path)
    parser.add_argument("model", type=Path, metavar="MODEL.kinglet")
    parser.add_argument("--budget", type=int, required=True, metavar="BYTES")
    parser.add_argument("--ctx", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--record", metavar="MODEL", help="add to budgets.csv under this name")
    parser.add_argument("--machine", help="what the record calls the machine")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.model.parent) as folder:
        found = measure(options, Path(folder))
    print(json.dumps(found))
    if options.record:
        units = {
            "peak_bytes": "bytes",
            "major_faults_before": "count",
            "major_faults_after": "count",
        }
        about = {"model": options.record, "budget": str(options.budget), "context": str(options.ctx)}
        lines = [
            {**about, "test": name, "value": str(found[name]), "unit": unit}
            for name, unit in units.items()
        ]
        record.append("budgets", lines, options.machine)
    kept = found["major_faults_after"] == 0 and found["tokens"] == options.tokens
    sys.exit(0 if kept and found["peak_bytes"] <= options.budget else 1)


main()
