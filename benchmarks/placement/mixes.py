"""Mixed workloads: what ``run`` makes of them, beside each fixed placement and the best one chosen by hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

import hybridrt

from .. import apart
from ..goals import Verdict
from . import data, holders, small, unsafe
from .case import QUICK, Case, Cases
from .catalogue import BY_NAME

RUN, THREAD, PROCESS, BY_HAND = "run", "all in threads", "all in processes", "by hand"
PLACEMENTS = (RUN, THREAD, PROCESS, BY_HAND)
_BEAT = 0.002
_MOST_SECONDS = 5.0
_NOISE, _NOISE_MS = 1.25, 1.0
"""A p99 within this ratio, or within these milliseconds, of another is no worse: the same placement, measured twice on
a shared machine, differs by as much."""

_extra = Cases(QUICK)
_extra.add(
    "FNV hash of a word", holders.hash_of, lambda: ("a word of 20 letters",), "the input before it grows"
)
_warming = Cases(QUICK)
_warming.add("a cache that warms", unsafe.cached, lambda: (20_000, 0), "computed once")
_CALLED = BY_NAME | {case.name: case for case in (*_extra, *_warming)}


@dataclass(frozen=True, slots=True)
class Phase:
    """``calls`` calls of these functions, each as often as the next."""

    names: tuple[str, ...]
    calls: int


@dataclass(frozen=True, slots=True)
class Mix:
    """Phases one after the other, with ``at_once`` calls in flight."""

    key: str
    what: str
    at_once: int
    phases: tuple[Phase, ...]

    def sequence(self, scale: float) -> list[Case]:
        """The calls in order, the same each time."""
        chance = random.Random(1)
        calls: list[Case] = []
        for phase in self.phases:
            cases = [_CALLED[name] for name in phase.names]
            part = [cases[at % len(cases)] for at in range(max(len(cases), int(phase.calls * scale)))]
            chance.shuffle(part)
            calls += part
        return calls


_WAITS = ("time.sleep, 5 ms", "a question over TCP", "select on a socket, 4 ms", "an empty queue, 6 ms")
_COMPUTES = (
    "matrix product in lists",
    "difflib ratio",
    "XML depth",
    "csv totals",
    "tokenize",
    "prime sieve",
    "LZW",
)
_RELEASES = ("sha256 of 4 MB", "zlib of 500 kB", "three digests of 1 MB", "pbkdf2", "numpy: elementwise")
_TINY = tuple(case.name for case in small.CASES)

MIXES = {
    mix.key: mix
    for mix in (
        Mix("io", "all I/O: sleeps, sockets, a queue", 32, (Phase(_WAITS, 20_000),)),
        Mix("cpu", "all computing in pure Python", 8, (Phase(_COMPUTES, 1_500),)),
        Mix("half", "half I/O, half computing", 16, (Phase(_WAITS[:3] + _COMPUTES[:3], 2_500),)),
        Mix("releasing", "computing that lets the GIL go", 4, (Phase(_RELEASES, 400),)),
        Mix("tiny", "calls of microseconds", 64, (Phase(_TINY, 200_000),)),
        Mix(
            "changing",
            "words are hashed, then texts a thousand times as long, then words again; a cache warms meanwhile",
            8,
            (
                Phase(("FNV hash of a word", "a cache that warms"), 20_000),
                Phase(("FNV hash of bytes", "a cache that warms"), 2_000),
                Phase(("FNV hash of a word", "a cache that warms"), 20_000),
            ),
        ),
    )
}


@dataclass(slots=True)
class Watch:
    """How late a task is that sleeps 2 ms at a time."""

    lateness: list[float] = field(default_factory=list)
    later: list[float] = field(default_factory=list)
    """Those after the first second."""

    async def beat(self) -> None:
        """Until cancelled."""
        began = perf_counter()
        while True:
            due = perf_counter() + _BEAT
            await asyncio.sleep(_BEAT)
            late = perf_counter() - due
            self.lateness.append(late)
            if due - began > 1.0:
                self.later.append(late)

    @staticmethod
    def quantile(lateness: list[float], share: float) -> float:
        """Seconds."""
        ordered = sorted(lateness)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def caller(rt: hybridrt.Runtime, placement: str) -> Callable[[Case], Awaitable[Any]]:
    """How a call is made in this placement."""
    fixed = {RUN: rt.run, THREAD: rt.to_thread, PROCESS: rt.to_process}.get(placement)
    if fixed is not None:
        return lambda case: fixed(case.fn, *case.args())
    to = {"thread": rt.to_thread, "process": rt.to_process}
    return lambda case: to[case.lane](case.fn, *case.args())


async def carry_out(mix: str, placement: str, scale: float, processes: int) -> dict[str, float]:
    """The figures of one mix in one placement."""
    plan = MIXES[mix]
    calls = plan.sequence(scale)
    for case in {case.name: case for case in calls}.values():
        case.args()  # its data are made before the clock runs
    ends: list[float] = []
    watch = Watch()
    # nice: what else the machine does strikes all lanes alike.
    async with hybridrt.Runtime(processes=processes, nice=0) as rt:
        await rt.warm_up()
        call = caller(rt, placement)
        waiting = iter(calls)
        began = perf_counter()

        async def work() -> None:
            for case in waiting:
                await call(case)
                ends.append(perf_counter() - began)
                if ends[-1] > _MOST_SECONDS:
                    return

        beating = asyncio.create_task(watch.beat())
        await asyncio.gather(*(work() for _ in range(plan.at_once)))
        await asyncio.sleep(_BEAT * 2)
        beating.cancel()
    data.clear()
    whole = ends[-1]
    late = [end for end in ends if end > 1.0]
    return {
        "per_second": len(ends) / whole,
        "per_second_later": len(late) / (whole - 1.0) if whole > 1.5 else len(ends) / whole,
        "p50_ms": watch.quantile(watch.lateness, 0.5) * 1e3,
        "p99_ms": watch.quantile(watch.lateness, 0.99) * 1e3,
        "p99_later_ms": watch.quantile(watch.later or watch.lateness, 0.99) * 1e3,
        "worst_ms": max(watch.lateness) * 1e3,
        "seconds": whole,
        "done": len(ends) / len(calls),
    }


Figures = dict[str, dict[str, list[dict[str, float]]]]
"""Mix -> placement -> the figures of each round."""


def rounds(
    keys: list[str], count: int, loop: str, scale: float, processes: int, tell: Callable[[str], None]
) -> Figures:
    """All placements of each mix in turns, each in a fresh process."""
    found: Figures = {}
    for number in range(count):
        for key in keys:
            # In another order each time, so that none is always the one after the heaviest.
            for placement in PLACEMENTS[number % 4 :] + PLACEMENTS[: number % 4]:
                tell(f"round {number + 1}, {key}: {placement}")
                order = {
                    "mix": key,
                    "placement": placement,
                    "scale": scale,
                    "processes": processes,
                    "loop": loop,
                }
                found.setdefault(key, {}).setdefault(placement, []).append(
                    apart.carry_out("placement.mixes", order)
                )
    return found


def figure(found: Figures, key: str, placement: str, name: str) -> float:
    """The median of the rounds."""
    return median(one[name] for one in found[key][placement])


def best_fixed(found: Figures, key: str) -> str:
    """The fixed placement with the most calls a second."""
    return max(PLACEMENTS[1:], key=lambda placement: figure(found, key, placement, "per_second"))


def lines(found: Figures) -> Iterator[str]:
    """A table for each mix."""
    for key, of_mix in found.items():
        best = best_fixed(found, key)
        yield ""
        yield f"  {key}: {MIXES[key].what}; {MIXES[key].at_once} at once"
        yield (
            f"    {'':<18}{'calls/s':>10}{'of the best':>13}{'after 1 s':>11}"
            f"{'loop late p50':>15}{'p99':>10}{'after 1 s':>12}{'worst':>10}{'done':>7}"
        )
        for placement in of_mix:
            f = {name: figure(found, key, placement, name) for name in of_mix[placement][0]}
            of_best = f["per_second"] / figure(found, key, best, "per_second")
            yield (
                f"  {'> ' if placement == RUN else '  '}{placement:<18}{f['per_second']:>10,.0f}{of_best:>12.2f}x"
                f"{f['per_second_later']:>11,.0f}{f['p50_ms']:>12.2f} ms{f['p99_ms']:>7.1f} ms"
                f"{f['p99_later_ms']:>9.1f} ms{f['worst_ms']:>7.1f} ms{f['done']:>6.0%}"
            )


def verdicts(found: Figures) -> Iterator[Verdict]:
    """The goals: beside the best fixed placement and the worst."""
    for key in found:
        best = best_fixed(found, key)
        worst = min(PLACEMENTS[1:3], key=lambda p: figure(found, key, p, "per_second"))
        ours, of_best, of_worst = (figure(found, key, p, "per_second") for p in (RUN, best, worst))
        late_ms, theirs_ms = (figure(found, key, p, "p99_later_ms") for p in (RUN, best))
        late = late_ms / max(theirs_ms, 1e-6)
        yield _verdict(
            f"{key}: throughput over the best fixed placement's ({best})", "at least", 0.9, ours / of_best
        )
        verdict = _verdict(f"{key}: p99 of loop delay over that placement's, after 1 s", "at most", 1.0, late)
        verdict["is_met"] = late <= _NOISE or late_ms <= theirs_ms + _NOISE_MS
        yield verdict
        if of_best / of_worst >= 3:
            yield _verdict(f"{key}: throughput over the worst's ({worst})", "at least", 3.0, ours / of_worst)


def _verdict(text: str, sense: Any, bound: float, value: float) -> Verdict:
    is_met = value >= bound if sense == "at least" else value <= bound
    return Verdict(text=text, sense=sense, bound=bound, unit="x", value=value, is_met=is_met)
