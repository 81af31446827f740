#!/usr/bin/env python3
"""Measures how long `kinglet convert` takes, calibration included, and the memory that it needs.

    tests/bench/conversion.py                          4 bits, 135M and 360M, half an hour
    tests/bench/conversion.py --sizes 1.7b --calibrate notes.txt

SmolLM2-135M-Instruct as it was published, the others with random weights of their shapes.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

import record
from parts import Table
from prepare import FOLDER, MADE, PUBLISHED, Workshop, build_kinglet, chosen_from, say

GIGABYTE = 1e9
SIZES = [PUBLISHED, *(size for size in MADE if size != "rescaled")]


def converted(kinglet: Path, source: Path, kind: str, calibration: list[str]) -> tuple[float, int]:
    """Seconds and bytes of resident memory, the mapped model included, with nothing kept from
    before."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        output = Path(folder) / "model.kinglet"
        command = [kinglet, "-q", "convert", source, "-o", output, "--type", kind, *calibration]
        start = time.monotonic()
        process = subprocess.Popen(
            command, env={**os.environ, "KINGLET_HOME": folder}, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit(f"failed: {command}")
        return time.monotonic() - start, usage.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=chosen_from(SIZES), default=[PUBLISHED, "360m"])
    parser.add_argument("--type", default="q4")
    parser.add_argument("--calibrate", help="as of `kinglet convert`, instead of its default")
    parser.add_argument("--kinglet", type=Path, help="an executable instead of a new build")
    parser.add_argument("--record", metavar="NAME", help="add the figures to records/NAME.csv")
    args = parser.parse_args()
    kinglet = (args.kinglet or build_kinglet()).resolve()
    calibration = ["--calibrate", args.calibrate] if args.calibrate else []
    workshop = Workshop(FOLDER)
    lines, samples = [], {}
    for size in args.sizes:
        source = workshop.checkpoint(size)
        say(f"converting {size} to {args.type}")
        seconds, memory = converted(kinglet, source, args.type, calibration)
        samples[size] = {"seconds": seconds, "peak_bytes": memory}
        weights = "published" if size == PUBLISHED else "random weights of its shape"
        about = {"model": size.upper(), "weights": weights, "type": args.type}
        time_taken = {"test": "time", "value": f"{seconds / 60:.1f}", "unit": "minutes"}
        peak = {"value": f"{memory / GIGABYTE:.2f}", "unit": "GB"}
        lines.append({**about, **time_taken})
        lines.append({**about, "test": "peak of resident memory", **peak})
    rows = ["model", "weights", "type"]
    title = f"Conversion to {args.type}"
    print(Table(title, rows, ["test", "unit"], lines, samples).markdown())
    if args.record:
        record.append(args.record, lines)


main()
