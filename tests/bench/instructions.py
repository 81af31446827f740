#!/usr/bin/env python3
"""Counts the instructions that a token takes on ARM's cores, under emulation.

    tests/bench/instructions.py MODEL.kinglet...

For each core and model a row of millions of instructions per token: decode, the mean of 8 tokens
behind a short text, and prefill, that of a prompt of 64. One thread; the numbers are the same in
every run. Builds the release's program for arm64 unless `--kinglet` names one. Needs a C compiler,
qemu-user 7 or 8, binutils and libc6-arm64-cross.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from emulated import prepare

CORES = ["cortex-a53", "cortex-a76", "max"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL.kinglet")
    parser.add_argument("--kinglet", type=Path, help="a program for arm64 instead of a new build")
    parser.add_argument("--cores", default=",".join(CORES), help="as QEMU calls them")
    args = parser.parse_args()
    emulator = prepare(args.kinglet)
    runs = [(core, model) for core in args.cores.split(",") for model in args.models]
    print("| core | tier | model | decode | prefill |")
    print("|---|---|---|---|---|")
    with ThreadPoolExecutor(2) as pool:
        costs = pool.map(lambda run: emulator.cost(*run), runs)
        for (core, model), cost in zip(runs, costs):
            decode, prefill = (sum(part.values()) / 1e6 for part in (cost.decode, cost.prefill))
            print(f"| {core} | `{cost.tier}` | {model.stem} | {decode:.1f} | {prefill:.1f} |")


main()
