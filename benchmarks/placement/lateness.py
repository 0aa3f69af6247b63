"""What functions do to others, measured independently of hybridrt: how late a thread wakes meanwhile."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from .case import HOLDER, QUICK, RELEASER, UNSAFE, WAITER, Case

_NAP = 0.001
_LOOK_SECONDS = 0.15
_MOST_LOOKS = 6
_CALM = 0.1
_CLEAR = {HOLDER: (0.5, 9.0), RELEASER: (-1.0, 0.45), WAITER: (-1.0, 0.45)}


def lateness(case: Case, seconds: float = _LOOK_SECONDS) -> dict[str, Any]:
    """``ms``, the least time of a call, and ``share``, of its time by which a thread that naps 1 ms woke late.

    On a machine whose cores are wanted by others, of several looks the one in which they were waited for least.
    """
    arguments = case.args()
    case.fn(*arguments)
    looks: list[tuple[float, float, float]] = []
    while len(looks) < _MOST_LOOKS and (not looks or min(looks)[0] > _CALM):
        looks.append(_look(case, seconds))
    starved, share, _ = min(looks)
    return {"name": case.name, "ms": min(ms for _, _, ms in looks), "share": share, "starved": starved}


def _look(case: Case, seconds: float) -> tuple[float, float, float]:
    """How much of the time a thread waited for a CPU, the share, and the least milliseconds of a call."""
    least, spent = float("inf"), 0.0
    is_over = threading.Event()
    naps: list[float] = []
    queued: list[float] = []

    def nap() -> None:
        before = _queued()
        while not is_over.is_set():
            began = time.perf_counter()
            time.sleep(_NAP)
            # A nap takes some 0.1 ms more than asked for on a machine at rest: that is nobody's fault.
            naps.append(max(0.0, time.perf_counter() - began - _NAP - 0.0002))
        queued.append(_queued() - before)

    napping = threading.Thread(target=nap)
    before = _queued()
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
    whole = time.perf_counter() - began
    return (queued[0] + _queued() - before) / whole, sum(naps) / spent, least * 1e3


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
