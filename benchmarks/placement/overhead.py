"""What deciding costs: ``run`` of a known function beside its lane called directly; and what the probe costs."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, sleep
from types import FunctionType
from typing import Any

import hybridrt

from ..goals import Verdict

_LEARNING_CALLS = 40
_PROBE = "hybridrt-probe"
_PROBED_SECONDS = 2.0
_WARM_SECONDS = 5.0
"""Until it has spent what it has saved up."""
_lines = itertools.count(1)


def quick() -> None:
    """Too short for a process."""


@hybridrt.cpu_bound
def declared() -> None:
    """In a process by declaration: all that is left is the way there."""


@hybridrt.io_bound
def waits() -> None:
    """In a thread by declaration."""


def spin(turns: int) -> int:
    """In a process by measurement."""
    found = 0
    for number in range(turns):
        found += number * number % 7
    return found


def nap(seconds: float) -> None:
    """Waits: in a thread by measurement."""
    sleep(seconds)


Subject = tuple[str, str, Callable[..., Any], tuple[Any, ...]]
SUBJECTS: tuple[Subject, ...] = (
    ("quick", "thread", quick, ()),
    ("declared @io_bound", "thread", waits, ()),
    ("declared @cpu_bound", "process", declared, ()),
    ("measured, 1 ms of computing", "process", spin, (12_000,)),
)
"""Name, lane where it is once known, function, arguments."""


async def carry_out(slices: int, at_once: int) -> dict[str, Any]:
    """For each subject the microseconds of a call by ``run`` and directly, in many short turns: medians of each."""
    found: dict[str, Any] = {}
    async with hybridrt.Runtime(processes=1) as rt:
        await rt.warm_up()
        for name, lane, fn, args in SUBJECTS:
            for _ in range(_LEARNING_CALLS):
                await rt.run(fn, *args)
            is_there = rt.explain(fn).lane == lane
            direct = rt.to_thread if lane == "thread" else rt.to_process
            ways = {
                "one": await _compare(slices, 1, lambda: rt.run(fn, *args), lambda: direct(fn, *args)),  # noqa: B023
                "submit": await _compare(
                    slices,
                    at_once if fn is not spin else 20,
                    lambda: rt.submit(fn, *args),  # noqa: B023
                    _submitting(rt, lane, fn, args),
                ),
            }
            ways["hand in"] = await _handing_in(slices, rt.submit, _submitting(rt, lane, fn, args), fn, args)
            found[name] = {
                "lane": lane,
                "is_there": is_there,
                "explanation": str(rt.explain(fn)),
                "ways": ways,
            }
        found["idle"] = await _cpu_share()
        found["probe_known"] = await _probe_share(rt, _PROBED_SECONDS, is_known=True)
        found["probe_at_first"] = await _probe_share(rt, _WARM_SECONDS, is_known=False)
        found["probe_unknown"] = await _probe_share(rt, _PROBED_SECONDS, is_known=False)
    return found


def _submitting(
    rt: hybridrt.Runtime, lane: Any, fn: Callable[..., Any], args: tuple[Any, ...]
) -> Callable[[], Awaitable[Any]]:
    bound = rt.options(lane=lane)
    return lambda: bound.submit(fn, *args)


async def _compare(
    slices: int, at_once: int, ours: Callable[[], Awaitable[Any]], theirs: Callable[[], Awaitable[Any]]
) -> dict[str, float]:
    """Medians of the microseconds of a call, and of the difference of neighbouring turns."""
    calls = 50 if at_once == 1 else at_once
    pairs = []
    for turn in range(slices):
        first, second = (ours, theirs) if turn % 2 else (theirs, ours)
        one, other = await _time(first, calls, at_once), await _time(second, calls, at_once)
        pairs.append((one, other) if turn % 2 else (other, one))
    return {
        "run_us": median(a for a, _ in pairs),
        "direct_us": median(b for _, b in pairs),
        "more_us": median(a - b for a, b in pairs),
    }


async def _handing_in(
    slices: int,
    submit: Callable[..., Awaitable[Any]],
    direct: Callable[[], Awaitable[Any]],
    fn: Callable[..., Any],
    args: tuple[Any, ...],
) -> dict[str, float]:
    """As ``_compare``, of the loop's time until the call is handed in; what it takes itself is no matter."""
    pairs = []
    for _ in range(slices):
        times = []
        ways: tuple[Callable[[], Awaitable[Any]], ...] = (lambda: submit(fn, *args), direct)
        for call in ways:
            began = perf_counter()
            jobs = [call() for _ in range(20)]
            times.append((perf_counter() - began) / len(jobs) * 1e6)
            await asyncio.gather(*jobs)
        pairs.append((times[0], times[1]))
    return {
        "run_us": median(a for a, _ in pairs),
        "direct_us": median(b for _, b in pairs),
        "more_us": median(a - b for a, b in pairs),
    }


async def _time(call: Callable[[], Awaitable[Any]], calls: int, at_once: int) -> float:
    began = perf_counter()
    if at_once == 1:
        for _ in range(calls):
            await call()
    else:
        await asyncio.gather(*[call() for _ in range(calls)])
    return (perf_counter() - began) / calls * 1e6


async def _probe_share(rt: hybridrt.Runtime, seconds: float, *, is_known: bool) -> float:
    """The share of a CPU that the probe takes while one call follows the other, each of a function known or unknown."""
    used, began = _probe_seconds(), perf_counter()
    while perf_counter() - began < seconds:
        # Code of its own each time: nothing is known of it.
        code = spin.__code__.replace(co_firstlineno=next(_lines))
        fn = spin if is_known else FunctionType(code, spin.__globals__)
        await rt.run(fn, 12_000)
    return (_probe_seconds() - used) / (perf_counter() - began)


def _probe_seconds() -> float:
    """CPU seconds of the probe so far; 0 where there is none, or the kernel does not tell."""
    for thread in threading.enumerate():
        if thread.name == _PROBE:
            try:
                stat = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text()
            except OSError:
                return 0.0
            return int(stat.split()[0]) * 1e-9
    return 0.0


async def _cpu_share() -> float:
    """The share of a CPU that a runtime at rest takes, everything known."""
    began, used = perf_counter(), process_time()
    await asyncio.sleep(1.0)
    return (process_time() - used) / (perf_counter() - began)


def lines(found: dict[str, Any]) -> Iterator[str]:
    """A table."""
    yield ""
    yield f"  {'a call of what is known, in us':<34}{'lane':>9}{'way':>9}{'run':>10}{'directly':>11}{'more':>8}"
    for name, row in found.items():
        if not isinstance(row, dict):
            continue
        for way, f in row["ways"].items():
            where = row["lane"] if row["is_there"] else "NOT THERE"
            yield (
                f"  {name:<34}{where:>9}{way:>9}{f['run_us']:>10.2f}{f['direct_us']:>11.2f}{f['more_us']:>8.2f}"
            )
    yield f"  a runtime at rest, all known: {found['idle']:.3%} of a CPU"
    yield (
        f"  the probe, while one call of 1 ms follows the other: {found['probe_unknown']:.3%} of a CPU where each is "
        f"of an unknown function ({found['probe_at_first']:.3%} in the first seconds), "
        f"{found['probe_known']:.3%} where it is known"
    )


def verdicts(found: dict[str, Any]) -> Iterator[Verdict]:
    """The goals."""
    for name, row in found.items():
        if isinstance(row, dict):
            # Beside a millisecond of computing the difference is lost: there only handing it in is compared.
            ways = ["hand in"] if name.startswith("measured") else list(row["ways"])
            more = max(row["ways"][way]["more_us"] for way in ways)
            is_met = more <= 5 and bool(row["is_there"])
            yield Verdict(
                text=f"run of what is known over its lane directly: {name}",
                sense="at most",
                bound=5,
                unit=" us",
                value=more,
                is_met=is_met,
            )
    for key, text, bound in (
        ("probe_unknown", "share of a CPU that the probe takes, all unknown", 0.01),
        ("probe_known", "share of a CPU that the probe takes, all known", 0.0001),
    ):
        value = float(found[key])
        yield Verdict(text=text, sense="at most", bound=bound, unit="", value=value, is_met=value <= bound)
