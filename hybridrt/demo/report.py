"""What the demo says in the end: a table for people, JSON for programs, and a verdict that comes from the figures."""

from __future__ import annotations

import platform
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import hybridrt

from .memory import HAS_PSS, MEANING
from .one_way import new_loop
from .race import Lap, Race
from .tree import MOST_READ

OURS = "hybridrt"
NEAR = 1.10  # what counts as being as fast as the fastest
_MOST_DIFFERENCES = 10

_HEAD = ("way", "time", "files/s", "loop delay: p50", "p99", "worst", "memory")


def set_up(processes: int, rounds: int) -> str:
    """What will run, in one line."""
    return (
        f"hybridrt {hybridrt.__version__}, Python {platform.python_version()}, {_loop_name()}, "
        f"{processes} worker processes; four ways in turn, best of {rounds}"
    )


def _loop_name() -> str:
    return "uvloop" if new_loop() else "asyncio's loop"


def table(race: Race) -> Iterator[str]:
    """The whole report, line by line."""
    yield from _input(race)
    yield ""
    rows = [_HEAD, *(_row(lap, len(race.facts)) for lap in race.laps.values())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *rest = [
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "   ".join([first, *rest]).rstrip()
    yield ""
    yield "process pool: ProcessPoolExecutor (forkserver, first start kept off the loop), reads in asyncio.to_thread"
    yield f"threads: both in asyncio.to_thread; inline: both on the loop, one file in hand, not {race.window}"
    yield "loop delay: of a beat sent every 5 ms by another process until the loop saw it, over all rounds"
    yield f"memory: {MEANING}"
    yield ""
    yield from verdict(race)


def _row(lap: Lap, files: int) -> tuple[str, ...]:
    peak = lap.peak
    return (
        lap.way,
        f"{lap.best_seconds:.2f} s",
        f"{files / lap.best_seconds:,.0f}",
        *(_milliseconds(lap.delay(share)) for share in (0.5, 0.99, 1.0)),
        f"{peak.own / 1e6:.0f} + {peak.descendants / 1e6:.0f} MB" if HAS_PSS else f"{peak.own / 1e6:.0f} MB",
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds < 0.01 else f"{seconds * 1e3:.0f} ms"


def _input(race: Race) -> Iterator[str]:
    facts = race.facts
    size, left = sum(f.size for f in facts), sum(f.compressed for f in facts)
    yield f"{race.tree.root}: files: {len(facts):,}, {size / 1e6:,.1f} MB, compressed to {left / 1e6:,.1f} MB"
    sums = [
        f"{sum(getattr(f, name) for f in facts):,} {name}"
        for name in ("lines", "functions", "classes", "decisions")
    ]
    yield ", ".join(sums)
    asides = Counter(f.kind for f in facts if f.kind != "python")
    asides += Counter(f"cut after {MOST_READ:,} bytes" for f in facts if f.size == MOST_READ)
    if asides:
        yield "of these " + ", ".join(f"{count:,} {kind}" for kind, count in asides.most_common())
    if race.problems:
        reasons = ", ".join(f"{count:,} × {why}" for why, count in race.problems.most_common())
        yield f"{race.problems.total():,} not read: {reasons}"


def verdict(race: Race) -> Iterator[str]:
    """What the figures come to; says so as well where hybridrt is not the best."""
    if race.differences:
        count = len(race.differences)
        yield f"RESULTS DIFFER in {count:,} {'place' if count == 1 else 'places'}:"
        yield from race.differences[:_MOST_DIFFERENCES]
    else:
        yield f"results: equal in all {len(race.laps) * race.rounds} runs"
    yield _on_time(race.laps)
    yield _on_delay(race.laps)


def _on_time(laps: dict[str, Lap]) -> str:
    fastest = min(laps.values(), key=lambda lap: lap.best_seconds)
    others = min((lap for lap in laps.values() if lap.way != OURS), key=lambda lap: lap.best_seconds)
    ours = laps[OURS].best_seconds
    if fastest.way == OURS:
        factor = others.best_seconds / ours
        return f"time: hybridrt is the fastest; {others.way} comes next, with {factor:.2f} times its time"
    factor = ours / fastest.best_seconds
    return (
        f"time: hybridrt took {factor:.2f} times as long as the fastest, {fastest.way}: "
        f"{'within' if factor <= NEAR else 'NOT within'} 10% of it"
    )


def _on_delay(laps: dict[str, Lap]) -> str:
    ours = laps[OURS].delay(0.99)
    best = min((lap for lap in laps.values() if lap.way != OURS), key=lambda lap: lap.delay(0.99))
    theirs = best.delay(0.99)
    if ours < theirs:
        return (
            f"loop delay: hybridrt has the lowest p99, {_milliseconds(ours)}; "
            f"{best.way} comes next, with {_milliseconds(theirs)}"
        )
    return (
        f"loop delay: hybridrt does NOT have the lowest p99: {_milliseconds(ours)}, "
        f"and {best.way} {_milliseconds(theirs)}"
    )


def figures(race: Race) -> dict[str, Any]:
    """Everything, for ``--json``: seconds and bytes throughout."""
    facts = race.facts
    ours = race.laps[OURS]
    return {
        "hybridrt": hybridrt.__version__,
        "python": sys.version.split()[0],
        "loop": _loop_name(),
        "directory": race.tree.root,
        "processes": race.processes,
        "window": race.window,
        "rounds": race.rounds,
        "files": len(facts),
        "bytes": sum(f.size for f in facts),
        "kinds": dict(Counter(f.kind for f in facts)),
        "not_read": dict(race.problems),
        "memory_means": MEANING,
        "ways": {way: _way_figures(lap, len(facts)) for way, lap in race.laps.items()},
        "differences": race.differences,
        "time_to_fastest": ours.best_seconds / min(lap.best_seconds for lap in race.laps.values()),
        "is_within_10_percent": ours.best_seconds
        <= NEAR * min(lap.best_seconds for lap in race.laps.values()),
        "has_lowest_p99": all(
            ours.delay(0.99) < lap.delay(0.99) for way, lap in race.laps.items() if way != OURS
        ),
    }


def _way_figures(lap: Lap, files: int) -> dict[str, Any]:
    return {
        "seconds": lap.best_seconds,
        "seconds_of_rounds": lap.seconds,
        "files_per_second": files / lap.best_seconds,
        "loop_delay": {
            "beats": len(lap.delays),
            "p50": lap.delay(0.5),
            "p99": lap.delay(0.99),
            "worst": lap.delay(1.0),
        },
        "memory": {"own": lap.peak.own, "descendants": lap.peak.descendants, "total": lap.peak.total},
    }
