"""How many threads a session has unless told otherwise."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Optional

_MOST = 8

_FOLDER = Path("/sys/devices/system/cpu")


def default_threads(allowed: Optional[set[int]] = None, folder: Path = _FOLDER) -> int:
    """The processors of the highest capacity among those that this thread may run on, at most 8.

    As the command counts them: those within an eighth of the highest are equal, and where the
    system does not tell every capacity, all of them are. Linux alone tells on which ones this
    thread may run.
    """
    if allowed is None and sys.platform == "linux":
        allowed = os.sched_getaffinity(0)
    elif allowed is None:
        allowed = set(range(os.cpu_count() or 1))
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        capacities = [_number(folder / f"cpu{cpu}" / name) for cpu in allowed]
        known = [capacity for capacity in capacities if capacity is not None]
        if known and len(known) == len(capacities):
            fast = [capacity for capacity in known if capacity * 8 >= max(known) * 7]
            return min(len(fast), _MOST)
    return max(1, min(len(allowed), _MOST))


def _number(path: Path) -> Optional[int]:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
