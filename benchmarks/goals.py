"""What the project promises of its speed, and whether this run shows it. A new goal is a row in ``GOALS``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypedDict

from .results import Results


@dataclass(frozen=True, slots=True)
class Goal:
    """``ours`` over ``theirs`` (or ``ours`` alone), as ``figure`` of ``measurement``, is within ``bound``."""

    text: str
    measurement: str
    figure: str
    ours: str
    theirs: str | None
    sense: Literal["at least", "at most"]
    bound: float
    unit: str = "x"


class Verdict(TypedDict):
    """One goal as it came out; ``value`` and ``is_met`` are None where the run did not measure it."""

    text: str
    sense: str
    bound: float
    unit: str
    value: float | None
    is_met: bool | None


_PROCESS, _SUBMIT, _STDLIB = "hybridrt-process", "hybridrt-process-submit", "stdlib-process"
_THREAD, _THREAD_SUBMIT, _ASYNCIO = "hybridrt-thread", "hybridrt-thread-submit", "asyncio-thread"

_STALLS = {
    "text": ("a string", 25),
    "bytes": ("bytes", 25),
    "array": ("an array", 25),
    "dicts": ("a list of dicts", 80),
}

GOALS = (
    Goal(
        "submit to a process at once: throughput over run_in_executor(ProcessPoolExecutor)'s",
        "many", "per_second", _SUBMIT, _STDLIB, "at least", 15,
    ),
    Goal(
        "submit to a process at once: parent CPU per call over run_in_executor(...)'s",
        "many", "cpu_us", _SUBMIT, _STDLIB, "at most", 1 / 12,
    ),
    Goal(
        "to_process at once: throughput over run_in_executor(ProcessPoolExecutor)'s",
        "many", "per_second", _PROCESS, _STDLIB, "at least", 8,
    ),
    Goal(
        "to_process at once: throughput over anyio.to_process's",
        "many", "per_second", _PROCESS, "anyio-process", "at least", 6,
    ),
    Goal(
        "submit to a process at once: throughput over to_process's",
        "many", "per_second", _SUBMIT, _PROCESS, "at least", 1,
    ),
    Goal(
        "to_process one at a time: time over the floor",
        "one", "us", _PROCESS, "floor-ping-pong", "at most", 1.5,
    ),
    Goal(
        "submit to a process one at a time: time over the floor",
        "one", "us", _SUBMIT, "floor-ping-pong", "at most", 1.5,
    ),
    Goal(
        "system calls of a process call, one at a time",
        "syscalls-one", "calls", _PROCESS, None, "at most", 10, "",
    ),
    Goal(
        "system calls of a process call, at once by submit",
        "syscalls-many", "calls", _SUBMIT, None, "at most", 3, "",
    ),
    Goal(
        "to_thread at once: throughput over asyncio.to_thread's",
        "many", "per_second", _THREAD, _ASYNCIO, "at least", 4,
    ),
    Goal(
        "submit to a thread at once: throughput over run_in_executor(ThreadPoolExecutor)'s",
        "many", "per_second", _THREAD_SUBMIT, "stdlib-thread", "at least", 7,
    ),
    Goal(
        "to_thread one at a time: time over asyncio.to_thread's",
        "one", "us", _THREAD, _ASYNCIO, "at most", 0.6,
    ),
    Goal(
        "an array sent and summed: time over a warm copy and the sum",
        "array", "sum_ms", _PROCESS, "floor-copy", "at most", 1.5,
    ),
    Goal(
        "an array sent and summed: how many times as fast as the stdlib's pool",
        "array", "sum_ms", _STDLIB, _PROCESS, "at least", 10,
    ),
    Goal(
        "an array there and back: time over two warm copies",
        "array", "back_ms", _PROCESS, "floor-copy", "at most", 1.6,
    ),
    Goal(
        "an array there and back: how many times as fast as the stdlib's pool",
        "array", "back_ms", _STDLIB, _PROCESS, "at least", 12,
    ),
    Goal(
        "rt.share and 100 calls with it, the copy included: time over one warm send",
        "shared", "sends", _PROCESS, None, "at most", 2,
    ),
    Goal(
        "100 more calls with what is shared: time over one warm send",
        "shared", "calls_sends", _PROCESS, None, "at most", 2,
    ),
    *(
        Goal(
            f"worst stall of the loop while {name} goes there and back",
            f"stall-{key}", "stall_ms", _PROCESS, None, "at most", most, " ms",
        )
        for key, (name, most) in _STALLS.items()
    ),
    Goal(
        "a worker's death to the next result",
        "crash", "ms", _PROCESS, None, "at most", 10, " ms",
    ),
    Goal(
        "a fresh worker: time over a spawned multiprocessing.Process",
        "fresh", "ms", _PROCESS, "spawned-process", "at most", 0.2,
    ),
    Goal(
        "import hybridrt: time over import asyncio",
        "import", "over_asyncio", _PROCESS, None, "at most", 1.5,
    ),
    Goal(
        "memory of a worker of its own (USS), nothing preloaded",
        "memory", "worker_mb", _PROCESS, None, "at most", 4, " MB",
    ),
    Goal(
        "memory of a worker of its own (USS), numpy preloaded",
        "memory-numpy", "worker_mb", _PROCESS, None, "at most", 3, " MB",
    ),
    Goal(
        "process lane: growth of a call's cost from 100 to the most waiting",
        "waiting", "growth", _SUBMIT, None, "at most", 1.5,
    ),
    Goal(
        "thread lane: growth of a call's cost from 100 to the most waiting",
        "waiting", "growth", _THREAD_SUBMIT, None, "at most", 1.5,
    ),
    Goal(
        "process lane: the same growth over that of the floor, a bare future and pickle each",
        "waiting", "growth", _SUBMIT, "floor-batches", "at most", 1.5,
    ),
    Goal(
        "thread lane: the same growth over that of the floor, a bare future each",
        "waiting", "growth", _THREAD_SUBMIT, "floor-queue", "at most", 1.5,
    ),
    Goal(
        "web server under CPU load: p99 over the idle one",
        "web", "over_idle", _PROCESS, None, "at most", 2,
    ),
    Goal(
        "web server under CPU load: CPU-bound calls over the stdlib pool's",
        "web", "per_second", _PROCESS, _STDLIB, "at least", 0.95,
    ),
)  # fmt: skip


def verdicts(results: Results) -> list[Verdict]:
    """Each goal with what was measured."""
    found: list[Verdict] = []
    for goal in GOALS:
        value = results.median(goal.measurement, goal.ours, goal.figure)
        if value is not None and goal.theirs is not None:
            theirs = results.median(goal.measurement, goal.theirs, goal.figure)
            value = value / theirs if theirs else None
        is_met = None
        if value is not None:
            is_met = value >= goal.bound if goal.sense == "at least" else value <= goal.bound
        found.append(
            Verdict(
                text=goal.text, sense=goal.sense, bound=goal.bound, unit=goal.unit, value=value, is_met=is_met
            )
        )
    return found


def lines(found: list[Verdict], is_full_scale: bool) -> Iterator[str]:
    """The goals as text; ``is_full_scale``: whether the run had the sizes that they speak of."""
    yield ""
    yield f"  {'Goals':<86}{'goal':>16}{'measured':>12}"
    for verdict in found:
        goal = f"{verdict['sense']} {verdict['bound']:.3g}{verdict['unit']}"
        value = "-" if verdict["value"] is None else f"{_digits(verdict['value'])}{verdict['unit']}"
        answer = {True: "yes", False: "NO", None: "not measured"}[verdict["is_met"]]
        yield f"  {verdict['text']:<86}{goal:>16}{value:>12}  {answer}"
    if not is_full_scale:
        yield "  Sizes or counts of this run are not those that the goals speak of: rough answers."


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
