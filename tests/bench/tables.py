#!/usr/bin/env python3
"""Makes the tables of the READMEs from the records of measurements in tests/bench/records.

    tests/bench/tables.py            prints every table
    tests/bench/tables.py --write    puts them into the READMEs
    tests/bench/tables.py --check    fails when a README has a table that its records do not give

A record is a CSV file with one figure on each line. A table stands between two comments:

    <!-- table rows=model,pair columns=program,threads from llama_cpp.csv where test=decode -->
    <!-- end of table -->

`where field=a|b, other=c` chooses lines of the record; `from` may be there several times. Each
combination of the row fields gives a row, each combination of the column fields a column, in the
order of the record. Where two lines belong into one cell the later one counts, so new figures are
added at the end.
"""

import argparse
import csv
import os
import re
import sys
from pathlib import Path

RECORDS = Path(__file__).resolve().parent / "records"
ROOT = RECORDS.parents[2]
FOLDERS = ["core", "backends", "quant", "boards", "tests"]
TABLE = re.compile(r"<!-- table rows=(\S+)\s+columns=(\S+)\s+from (.*?) -->", re.DOTALL)
END = "<!-- end of table -->"


def chosen(source: str) -> list[dict[str, str]]:
    """The lines of `FILE where field=value|value, field=value`."""
    name, _, condition = source.partition(" where ")
    with (RECORDS / name).open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    for term in filter(None, condition.split(", ")):
        field, _, values = term.partition("=")
        lines = [line for line in lines if line[field] in values.split("|")]
    if not lines:
        sys.exit(f"no line of a record is chosen by: {source}")
    return lines


def heading(fields: list[str], key: tuple[str, ...]) -> str:
    words = {"threads": lambda n: f"{n} thread" if n == "1" else f"{n} threads"}
    parts = [words.get(field, str)(value) for field, value in zip(fields, key) if value]
    return ", ".join(parts)


def cell(line: dict[str, str] | None) -> str:
    if line is None:
        return ""
    return f"**{line['value']}**" if line["unit"] == "ratio" else line["value"]


def pivot(lines: list[dict[str, str]], rows: list[str], columns: list[str]) -> str:
    """A table of Markdown: cells are values, those of the unit "ratio" in bold."""
    cells = {}
    for line in lines:
        row, column = (tuple(line[field] for field in fields) for fields in (rows, columns))
        cells[row, column] = line
    heads = dict.fromkeys(column for _, column in cells)
    table = [[*rows, *(heading(columns, head) for head in heads)]]
    table.append(["---"] * len(table[0]))
    for row in dict.fromkeys(row for row, _ in cells):
        table.append([*row, *(cell(cells.get((row, head))) for head in heads)])
    return "".join(f"| {' | '.join(line)} |\n" for line in table)


def made(found: re.Match, folder: Path) -> str:
    """The table that a comment asks for, and where its figures come from."""
    sources = " ".join(found[3].split()).split(" from ")
    lines = [chosen(source) for source in sources]
    table = pivot(sum(lines, []), found[1].split(","), found[2].split(","))
    notes = []
    for source, of_source in zip(sources, lines):
        name = source.split()[0]
        link = f"[{name}]({os.path.relpath(RECORDS / name, folder)})"
        dates = dict.fromkeys(f"{line['date']}, {line['machine']}" for line in of_source)
        notes.append(f"{'; '.join(dates)} ({link})")
    return f"{found[0]}\n\n{table}\n*{'. '.join(notes)}.*\n\n{END}"


def renewed(path: Path) -> str:
    """The text of a README with every table made anew."""
    text, parts, at = path.read_text(encoding="utf-8"), [], 0
    for found in TABLE.finditer(text):
        end = text.find(END, found.end())
        if end < 0:
            sys.exit(f"{path}: no line {END} behind a table")
        parts += [text[at : found.start()], made(found, path.parent)]
        at = end + len(END)
    return "".join(parts) + text[at:]


def main() -> None:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--check", action="store_true", help="fail when a table differs")
    parser.add_argument("--write", action="store_true", help="replace the tables in the READMEs")
    args = parser.parse_args()
    readmes = {path for folder in FOLDERS for path in (ROOT / folder).rglob("README.md")}
    old = []
    for path in sorted({ROOT / "README.md", *readmes}):
        text = renewed(path)
        if args.write:
            path.write_text(text, encoding="utf-8")
        elif not args.check:
            print(*(made(found, path.parent) for found in TABLE.finditer(text)), sep="\n\n")
        elif text != path.read_text(encoding="utf-8"):
            old.append(str(path.relative_to(ROOT)))
    if old:
        sys.exit(f"tables differ from their records in {', '.join(old)}: run {sys.argv[0]} --write")


if __name__ == "__main__":
    main()
