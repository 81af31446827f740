#!/usr/bin/env python3
"""Writes the documents that tests/report.rs makes pages of: bench.json and plan.json, here.

    tests/report/record.py target/debug/kinglet 135m.q4.kinglet 360m.q4.kinglet

Speeds are measured on this machine. Power and temperature are simulated from its load, since few
machines that run tests have sensors: a board that takes 3 W idle and 8 W busy, and warms up.
"""

import json
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


def busy_and_idle():
    fields = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, idle


class Board:
    """A tree of system files whose sensors follow the load of this machine."""

    def __init__(self, root):
        self.root = Path(root)
        (self.root / "proc").symlink_to("/proc")
        self.power = self.root / "sys/class/hwmon/hwmon0/power1_input"
        self.heat = self.root / "sys/class/thermal/thermal_zone0/temp"
        for file, name, text in ((self.power, "name", "ina226"), (self.heat, "type", "cpu-thermal")):
            file.parent.mkdir(parents=True)
            (file.parent / name).write_text(text + "\n")
        self.celsius = 41.0
        self.step(0.0, 0.0)
        self.stopped = threading.Event()
        threading.Thread(target=self.follow, daemon=True).start()

    def step(self, load, seconds):
        watts = 3.0 + 5.0 * load
        self.celsius += (38.0 + 5.0 * watts - self.celsius) * seconds / 25.0
        for file, value in ((self.power, watts * 1e6), (self.heat, self.celsius * 1e3)):
            new = file.with_suffix(".new")
            new.write_text(f"{value:.0f}\n")
            os.replace(new, file)

    def follow(self):
        before = busy_and_idle()
        while not self.stopped.wait(0.1):
            now = busy_and_idle()
            busy, idle = now[0] - before[0], now[1] - before[1]
            before = now
            self.step(busy / max(busy + idle, 1), 0.1)


def documents(kinglet, args, root):
    environment = dict(os.environ, KINGLET_ROOT=str(root))
    done = subprocess.run([kinglet, "-q", *args], env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def main():
    kinglet, *models = sys.argv[1:]
    tests = []
    with tempfile.TemporaryDirectory() as root:
        board = Board(root)
        by_depth = ["-p", "128", "-n", "32", "-d", "0,256,512,1024", "-r", "2"]
        tests += documents(kinglet, ["bench", *models, *by_depth, "-o", "json"], root)
        power = ["--power", "hwmon:ina226", "--power-seconds", "5", "--sustain", "16s", "-r", "2"]
        for shape in (["-p", "256", "-n", "0"], ["-p", "0", "-n", "32"]):
            args = ["bench", *models, *shape, *power, "-o", "json"]
            tests += documents(kinglet, args, root)
            time.sleep(8)
        board.stopped.set()
    for test in tests:
        test["model_filename"] = Path(test["model_filename"]).name
        for samples in ("samples_ns", "samples_ts"):
            test[samples] = test[samples][:SAMPLES]
    (HERE / "bench.json").write_text(json.dumps(tests, indent=1) + "\n")
    plans = []
    for model in models:
        for context in ("1024", "4096"):
            args = ["plan", model, "--board", "pi-zero-2w", "--ctx", context, "--json"]
            plan = documents(kinglet, args, "/")
            plan["model"] = Path(plan["model"]).name
            plans.append(plan)
    (HERE / "plan.json").write_text(json.dumps(plans, indent=1) + "\n")


if __name__ == "__main__":
    main()
