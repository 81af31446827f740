#!/usr/bin/env python3
"""Decode speed of several texts in one pass, over that of one text, in alternating runs.

    tests/bench/texts.py target/release/kinglet MODEL.kinglet --threads 2 --record texts

Each text generates 128 tokens at a context below 256. Reported are the medians over the rounds.
"""

import argparse
import json
import statistics
import subprocess

import record
from parts import Table

TEXTS = [1, 2, 4, 8]


def speed(options: argparse.Namespace, texts: int) -> float:
    """Tokens per second of all texts together."""
    command = [options.kinglet, "bench", options.model, "-p", "0", "-n", "128", "-r", "1"]
    command += ["-t", str(options.threads), "--texts", str(texts), "-o", "json"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return json.loads(output)[0]["avg_ts"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinglet", help="the program")
    parser.add_argument("model", help="a .kinglet file")
    parser.add_argument("--name", default="135M q4", help="what the table calls the model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--record", metavar="NAME", help="add the figures to records/NAME.csv")
    parser.add_argument("--machine", help="what the record calls the machine")
    options = parser.parse_args()
    rounds = [{texts: speed(options, texts) for texts in TEXTS} for _ in range(options.rounds)]
    lines = []
    for texts in TEXTS:
        about = {"model": options.name, "threads": str(options.threads), "texts": str(texts)}
        median = statistics.median(round[texts] for round in rounds)
        ratio = statistics.median(round[texts] / round[1] for round in rounds)
        lines.append({**about, "test": "decode", "value": f"{median:.0f}", "unit": "tokens/s"})
        lines.append({**about, "test": "over one text", "value": f"{ratio:.2f}", "unit": "ratio"})
    rows = ["model", "threads", "texts"]
    print(Table("Several texts", rows, ["test", "unit"], lines, {}).markdown())
    if options.record:
        record.append(options.record, lines, options.machine)


main()
