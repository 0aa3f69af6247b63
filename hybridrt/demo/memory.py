"""How much memory a process and all its descendants hold, asked from outside so that they do not notice.

Linux's proportional set size (PSS) counts a page that several processes share once, divided among them, so their sum is
what the family really takes. Adding up resident sizes would count a forked worker's shared pages again and again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

HAS_PSS = os.access("/proc/self/smaps_rollup", os.R_OK)
MEANING = (
    "peak of PSS, sampled 10 times a second: the process + all its descendants"
    if HAS_PSS
    else "peak resident size of the process alone (this system does not tell its descendants')"
)


class Memory(NamedTuple):
    """Bytes."""

    own: int
    descendants: int

    @property
    def total(self) -> int:
        """Both."""
        return self.own + self.descendants


def memory_of(pid: int) -> Memory:
    """Of this process and of all that descend from it, now; zeros where the system does not say."""
    own = _pss(pid)
    return Memory(own, sum(map(_pss, _descendants(pid))) if own else 0)


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            pids = [int(text) for text in children.read_text().split()]
        except OSError:  # the thread has just ended
            continue
        for child in pids:
            found += [child, *_descendants(child)]
    return found


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended, or there is no such file here
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
