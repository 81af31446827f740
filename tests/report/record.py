#!/usr/bin/env python3
"""Writes the documents that tests/report.rs makes pages of: bench.json and plan.json, here.

    tests/report/record.py target/debug/kinglet 135m.q4.kinglet 360m.q4.kinglet

Speeds are measured on this machine. Power and temperature are simulated, since few machines that
run tests have sensors: a board that takes 3 W, and 2.5 W for each busy thread of the command.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Enough for every field to be seen.
SAMPLES = 3
# Seconds between two states of the sensors. Ticks of processor time are a tenth of that.
STEP = 0.1


def processor_seconds(process):
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Board:
    """A tree of system files whose sensors follow how busy the command is."""

    def __init__(self, root):
        self.root = Path(root)
        (self.root / "proc").symlink_to("/proc")
        self.power = self.root / "sys/class/hwmon/hwmon0/power1_input"
        self.heat = self.root / "sys/class/thermal/thermal_zone0/temp"
        for file, name, text in ((self.power, "name", "ina226"), (self.heat, "type", "cpu-thermal")):
            file.parent.mkdir(parents=True)
            (file.parent / name).write_text(text + "\n")
        self.celsius = 41.0
        self.steps = 0
        self.step(0.0, 0.0)

    def step(self, load, seconds):
        self.steps += 1
        watts = 3.0 + 2.5 * load + 0.05 * math.sin(self.steps)
        self.celsius += (38.0 + 5.0 * watts - self.celsius) * seconds / 25.0
        for file, value in ((self.power, watts * 1e6), (self.heat, self.celsius * 1e3)):
            new = file.with_suffix(".new")
            new.write_text(f"{value:.0f}\n")
            os.replace(new, file)

    def follow(self, process):
        """Until the process ends."""
        before, then = 0.0, time.monotonic()
        while process.poll() is None:
            time.sleep(STEP)
            try:
                used, now = processor_seconds(process.pid), time.monotonic()
            except (FileNotFoundError, ProcessLookupError, IndexError):
                break
            self.step(min((used - before) / (now - then), os.cpu_count()), now - then)
            before, then = used, now


def documents(kinglet, args, root, board=None):
    command = [kinglet, "-q", *args]
    environment = dict(os.environ, KINGLET_ROOT=str(root))
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    if board:
        threading.Thread(target=board.follow, args=[process], daemon=True).start()
    output = process.communicate()[0]
    assert process.returncode == 0, command
    return json.loads(output)


def write(name, documents):
    """A list with a document on each line."""
    lines = ",\n".join(json.dumps(document) for document in documents)
    (HERE / name).write_text(f"[\n{lines}\n]\n")


def main():
    kinglet, *models = sys.argv[1:]
    with tempfile.TemporaryDirectory() as root:
        board = Board(root)
        by_depth = ["-p", "128", "-n", "32", "-d", "0,256,512,1024", "-r", "3", "-o", "json"]
        tests = documents(kinglet, ["bench", *models, *by_depth], root)
        power = ["--power", "hwmon:ina226", "--power-seconds", "8", "--sustain", "16s", "-r", "3"]
        args = ["bench", *models, "-p", "256", "-n", "32", *power, "-o", "json"]
        tests += documents(kinglet, args, root, board)
    for test in tests:
        test["model_filename"] = Path(test["model_filename"]).name
        for samples in ("samples_ns", "samples_ts"):
            test[samples] = test[samples][:SAMPLES]
    write("bench.json", tests)
    plans = []
    for model in models:
        for context in ("1024", "4096"):
            args = ["plan", model, "--board", "pi-zero-2w", "--ctx", context, "--json"]
            plan = documents(kinglet, args, "/")
            plan["model"] = Path(plan["model"]).name
            plans.append(plan)
    write("plan.json", plans)


if __name__ == "__main__":
    main()
