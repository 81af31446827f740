"""Adds figures to the records that `tables.py` makes the tables of the READMEs from."""

import csv
import os
import platform
from datetime import date
from pathlib import Path

from tables import RECORDS


def machine() -> str:
    """The processors that this process may use: `2 cores of AMD EPYC 9R14`."""
    info = Path("/proc/cpuinfo").read_text()
    names = (line.split(":")[1].strip() for line in info.splitlines() if "model name" in line)
    return f"{len(os.sched_getaffinity(0))} cores of {next(names, platform.machine())}"


def append(name: str, lines: list[dict[str, str]], where: str | None = None) -> Path:
    """Adds lines to `records/NAME.csv`, with today's date and this machine, or what `where` says.

    A new record gets the fields of its first line. Fields that a line lacks stay empty.
    """
    path = RECORDS / f"{name}.csv"
    lines = [{"date": date.today().isoformat(), "machine": where or machine(), **l} for l in lines]
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            fields = next(csv.reader(file))
    else:
        fields = list(lines[0])
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields, restval="", lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(lines)
    return path
