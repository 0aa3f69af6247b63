"""The promises, checked against the ledger. Each finding is a promise that was broken, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import tasks
from .plan import CANCELS, LIMITS, Call, Storm

RIGHT, CANCELLED, TIMED_OUT, CRASHED = "right", "cancelled", "timed out", "crashed"
_LATE_NS = 2_000_000_000
"""A call that was just being claimed when it was cancelled may still begin, and is interrupted then."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the ledger."""

    what: str
    number: int
    pid: int
    at: int


def read(path: Path) -> dict[int, list[Line]]:
    """The ledger, by call. Raises ValueError where a line was torn."""
    lines: dict[int, list[Line]] = defaultdict(list)
    for text in path.read_text().splitlines() if path.exists() else ():
        what, number, pid, at = text.split()
        lines[int(number)].append(Line(what, int(number), int(pid), int(at)))
    return lines


def broken_promises(storm: Storm, calls: list[Call], ledger: dict[int, list[Line]]) -> Iterator[str]:
    """What was promised and not kept; nothing where all is well."""
    for call in calls:
        yield from _outcome(storm, call)
        yield from _runs(storm, call, ledger.get(call.number, []))
    lost: dict[int, list[Call]] = defaultdict(list)
    for call in calls:
        if call.outcome == CRASHED and not call.is_coroutine:  # those share a worker
            lost[call.pid].append(call)
    for pid, together in lost.items():
        if len(together) > 1:
            yield f"a death hurts one call: that of process {pid} took {', '.join(map(str, together))}"
    if unknown := set(ledger) - {call.number for call in calls}:
        yield f"calls ran that nobody had made: {sorted(unknown)[:5]}"


def _outcome(storm: Storm, call: Call) -> Iterator[str]:
    allowed = {RIGHT}
    if not storm.retries:
        allowed.add(CRASHED)
    if call.fate in CANCELS:
        allowed.add(CANCELLED)
    if call.fate in LIMITS:
        allowed.add(TIMED_OUT)
    if not call.outcome:
        yield f"every call ends: {call} hung"
    elif call.outcome not in allowed:
        yield f"every call ends as it must: {call} ended with {call.outcome}"


def _runs(storm: Storm, call: Call, lines: list[Line]) -> Iterator[str]:
    begun = [line for line in lines if line.what == tasks.BEGIN]
    ended = [line for line in lines if line.what == tasks.END]
    if len(begun) > 1 + storm.retries:
        yield (
            f"a call runs at most {1 + storm.retries} times: {call} began {len(begun)} times, in processes "
            f"{', '.join(str(line.pid) for line in begun)}; it ended with {call.outcome}"
        )
    if call.outcome == RIGHT and not ended:
        yield f"a result comes from a run to the end: {call} had its result, but never ended"
    late = [line for line in begun if call.told_at and line.at > call.told_at + _LATE_NS]
    if late:
        yield (
            f"nothing begins after its caller was told the outcome: {call} began "
            f"{(late[0].at - call.told_at) / 1e9:.1f} s after it ended with {call.outcome}"
        )
