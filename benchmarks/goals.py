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

GOALS = (
    Goal(
        "to_thread at once: throughput over asyncio.to_thread's",
        "many", "per_second", _THREAD, _ASYNCIO, "at least", 3.0,
    ),
    Goal(
        "to_thread one at a time: time over asyncio.to_thread's",
        "one", "us", _THREAD, _ASYNCIO, "at most", 1.0,
    ),
    Goal(
        "to_process at once: throughput over run_in_executor(ProcessPoolExecutor)'s",
        "many", "per_second", _PROCESS, _STDLIB, "at least", 5.0,
    ),
    Goal(
        "to_process one at a time: time over run_in_executor(ProcessPoolExecutor)'s",
        "one", "us", _PROCESS, _STDLIB, "at most", 0.5,
    ),
    Goal(
        "submit to a process at once: throughput over to_process's",
        "many", "per_second", _SUBMIT, _PROCESS, "at least", 1.0,
    ),
    Goal(
        "submit to a thread at once: throughput over to_thread's",
        "many", "per_second", _THREAD_SUBMIT, _THREAD, "at least", 1.0,
    ),
    Goal(
        "memory of a worker of its own (USS), nothing preloaded",
        "memory", "worker_mb", _PROCESS, None, "at most", 4.0, " MB",
    ),
    Goal(
        "a fresh worker: time over a spawned multiprocessing.Process",
        "fresh", "ms", _PROCESS, "spawned-process", "at most", 0.2,
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


def lines(found: list[Verdict]) -> Iterator[str]:
    """The goals as text."""
    yield ""
    yield f"  {'Goals':<76}{'goal':>16}{'measured':>12}"
    for verdict in found:
        goal = f"{verdict['sense']} {verdict['bound']:g}{verdict['unit']}"
        value = "-" if verdict["value"] is None else f"{verdict['value']:.2f}{verdict['unit']}"
        answer = {True: "yes", False: "NO", None: "not measured"}[verdict["is_met"]]
        yield f"  {verdict['text']:<76}{goal:>16}{value:>12}  {answer}"
