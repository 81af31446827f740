#!/usr/bin/env python3
"""Writes a text to calibrate on: `given_text.py wiki.valid.txt given.txt`.

Two thirds are what `quality.py` does not score of a text in English, the rest is code and
documentation, which every Python brings along. `kinglet convert` takes parts from all over it.
"""

import argparse
import sys
from pathlib import Path
from pydoc_data.topics import topics

# More than 24 chunks of 512 tokens have.
SCORED_CHARACTERS = 100_000
MODULES = ["argparse", "ast", "calendar", "csv", "dataclasses", "heapq", "statistics", "textwrap"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=Path, help="what is scored, UTF-8")
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    english = args.text.read_text(encoding="utf-8")[SCORED_CHARACTERS:]
    library = Path(argparse.__file__).parent
    code = "\n".join((library / f"{name}.py").read_text(encoding="utf-8") for name in MODULES)
    documentation = "\n".join(topics[name] for name in sorted(topics))
    share = min(len(english) // 4, len(code), len(documentation))
    if share == 0:
        sys.exit(f"{args.text} is too short: at least {SCORED_CHARACTERS} characters are scored")
    args.output.write_text(english[: 4 * share] + code[:share] + documentation[:share])


main()
