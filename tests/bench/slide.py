#!/usr/bin/env python3
"""Perplexity of a text that slides on, beside that of windows which begin anew.

    tests/bench/slide.py target/release/kinglet MODEL.kinglet TEXT --record

`windows` cuts the text into chunks of the context and scores the second half of each, as llama.cpp
does; `slide` reads it as one text that never ends, in the same memory, and scores every token.
"""

import argparse
import json
import subprocess

import record
from parts import Table

TOKENS = 20480


def perplexity(options: argparse.Namespace, context: int, way: str) -> float:
    command = [options.kinglet, "eval", options.model, "--text", options.text, "--json"]
    command += ["--ctx", str(context), "--chunks", str(TOKENS // context), "--ctx-overflow", way]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return json.loads(output)["perplexity"]


def main() -> None:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("kinglet")
    parser.add_argument("model", help="a .kinglet file")
    parser.add_argument("text", help="a plain text of at least 20,480 tokens")
    parser.add_argument("--contexts", type=int, nargs="+", default=[256, 512, 1024, 2048])
    parser.add_argument("--name", default="135M q4", help="what the table calls the model")
    parser.add_argument("--record", action="store_true", help="add to records/slide.csv")
    parser.add_argument("--machine", help="what the record calls the machine")
    options = parser.parse_args()
    lines = []
    for context in options.contexts:
        about = {"model": options.name, "context": str(context)}
        found = {way: perplexity(options, context, way) for way in ("stop", "slide")}
        for name, value in (("windows", found["stop"]), ("one text", found["slide"])):
            lines.append({**about, "test": name, "value": f"{value:.2f}", "unit": "perplexity"})
    print(Table("Long texts", ["model", "context"], ["test"], lines, {}).markdown())
    if options.record:
        record.append("slide", lines, options.machine)


main()
