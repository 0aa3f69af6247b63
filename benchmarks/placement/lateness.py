"""What functions do to others, measured independently of hybridrt: how late a thread wakes meanwhile."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from .case import HOLDER, QUICK, RELEASER, UNSAFE, WAITER, Case

_NAP = 0.001
_LEAST_SECONDS = 0.15
_CLEAR = {HOLDER: (0.6, 9.0), RELEASER: (-1.0, 0.4), WAITER: (-1.0, 0.4)}


def lateness(case: Case, seconds: float = _LEAST_SECONDS) -> dict[str, Any]:
    """``ms``, the least time of a call, and ``share``, of its time by which a thread that naps 1 ms woke late."""
    arguments = case.args()
    case.fn(*arguments)
    least, spent = float("inf"), 0.0
    is_over = threading.Event()
    naps: list[float] = []

    def nap() -> None:
        while not is_over.is_set():
            queued = -_queued()
            began = time.perf_counter()
            time.sleep(_NAP)
            late = time.perf_counter() - began - _NAP
            # Late for want of a CPU is nobody's fault here.
            naps.append(late - min(late, queued + _queued()))

    napping = threading.Thread(target=nap)
    napping.start()
    began = time.perf_counter()
    try:
        while time.perf_counter() - began < seconds:
            arguments = case.args()
            start = time.perf_counter()
            case.fn(*arguments)
            took = time.perf_counter() - start
            least, spent = min(least, took), spent + took
    finally:
        is_over.set()
        napping.join()
    # A nap takes some 0.1 ms more than asked for on a machine at rest: that is nobody's fault.
    late = sum(max(0.0, nap - 0.0002) for nap in naps)
    return {"name": case.name, "ms": least * 1e3, "share": late / spent if spent else 0.0}


def _queued() -> float:
    """Seconds for which this thread has waited for a CPU; always 0 where the kernel does not tell."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) * 1e-9
    except OSError:
        return 0.0


def is_clear(case: Case, found: dict[str, Any]) -> bool:
    """Whether the label agrees with what was measured; the label of what is unsafe does not depend on it."""
    if case.kind == QUICK:
        return bool(found["ms"] < 0.1)
    if case.kind == UNSAFE:
        return True
    low, high = _CLEAR[case.kind]
    return low <= found["share"] <= high and (case.kind != HOLDER or found["ms"] >= 0.5)
