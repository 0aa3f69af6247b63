"""Streams: small items and arrays out of a worker, beside the same generator here; and a consumer who stops.

The floor of the arrays is what one process needs for the same: the generator, a copy into memory that is warm, the sum.
Three places take turns there, as they must wherever somebody works ahead; in a single one all would stay in the cache.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from operator import itemgetter
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from hybridrt import Runtime

from ..apart import carry_out as carry_out_apart
from ..goals import Verdict

_ARRAY_BYTES = 8 << 20
_LEAST_RATE = 300_000


def numbers(count: int) -> Iterator[int]:
    """Small items."""
    yield from range(count)


async def anumbers(count: int) -> AsyncIterator[int]:
    """The same, by an async generator."""
    for number in range(count):
        yield number


def rows(count: int) -> Iterator[list[str]]:
    """Rows of a table."""
    for number in range(count):
        yield [str(number), "spam", "eggs", str(number * 2), "x"]


def arrays(count: int) -> Iterator[Any]:
    """Arrays, all made in the same memory."""
    import numpy as np

    array = np.zeros(_ARRAY_BYTES // 8)
    for number in range(count):
        array[:] = number
        yield array


def without_end(size: int) -> Iterator[Any]:
    """Numbers, or bytes of that size."""
    number = 0
    while True:
        yield bytes(size) if size else number
        number += 1


STREAMS: dict[str, tuple[Callable[[int], Any], Callable[[int], Iterator[Any]], str]] = {
    "numbers": (numbers, numbers, "process"),
    "numbers, async generator": (anumbers, numbers, "process"),
    "numbers, in a thread": (numbers, numbers, "thread"),
    "rows": (rows, rows, "process"),
    "rows, in a thread": (rows, rows, "thread"),
}


async def carry_out(what: str, count: int) -> dict[str, float]:
    """One order, in an interpreter of its own."""
    async with Runtime(processes=1) as rt:
        if what == "arrays":
            return await _arrays(rt, count)
        if what == "stop":
            return await _stop(rt, count)
        made, inline, lane = STREAMS[what]
        verbs = rt.options(lane="thread" if lane == "thread" else "process")
        async for _ in verbs.stream(made, 1000):
            pass
        began = perf_counter()
        got = 0
        async for _ in verbs.stream(made, count):
            got += 1
        middle = perf_counter()
        for _ in inline(count):
            pass
        end = perf_counter()
    _check(got == count)
    return {"streamed": count / (middle - began), "inline": count / (end - middle)}


async def _arrays(rt: Runtime, count: int) -> dict[str, float]:
    import numpy as np

    places = [np.zeros(_ARRAY_BYTES // 8) for _ in range(3)]
    seconds: dict[str, float] = {}
    for _ in range(2):  # the first time warms up
        began = perf_counter()
        total = 0.0
        async for array in rt.stream(arrays, count):
            total += float(array.sum())
        seconds["streamed"] = perf_counter() - began
        began = perf_counter()
        expected = 0.0
        for number, array in enumerate(arrays(count)):
            there = places[number % 3]
            np.copyto(there, array)
            expected += float(there.sum())
        seconds["inline"] = perf_counter() - began
        _check(total == expected)
    return {key: value / count * 1e3 for key, value in seconds.items()}


async def _stop(rt: Runtime, size: int) -> dict[str, float]:
    """Memory of both sides while a consumer does nothing for a second, and how much came at once when he goes on."""
    async with rt.stream(without_end, size) as items:
        for _ in range(1000 if size else 100_000):
            await anext(items)
        await asyncio.sleep(0.1)
        worker = rt.stats().workers[0].pid
        before = _memory(os.getpid()), _memory(worker)
        await asyncio.sleep(1.0)
        after = _memory(os.getpid()), _memory(worker)
        began = perf_counter()
        await anext(items)
        took = perf_counter() - began
    return {"ours": after[0] - before[0], "worker's": after[1] - before[1], "next_ms": took * 1e3}


def _memory(pid: int) -> float:
    """Megabytes, shared ones included."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def _check(is_right: bool) -> None:
    if not is_right:
        raise ValueError("something else came than was expected")


def measure(
    *, rounds: int, loop: str, is_quick: bool, tell: Callable[[str], None]
) -> tuple[list[str], list[Verdict]]:
    """The table, and whether the goals are met; medians of rounds that take turns."""
    scale = 10 if is_quick else 1
    orders = {what: {"what": what, "count": 1_000_000 // scale} for what in STREAMS}
    orders["arrays"] = {"what": "arrays", "count": 200 // scale}
    orders["stop"] = {"what": "stop", "count": 0}
    orders["stop, large"] = {"what": "stop", "count": 1 << 20}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in orders}
    for number in range(rounds):
        for name, order in orders.items():
            tell(f"round {number + 1} of {rounds}: {name}")
            found[name].append(carry_out_apart("flow.of_stream", {**order, "loop": loop}))
    return _lines(found), _verdicts(found)


def _of(found: list[dict[str, float]], figure: Callable[[dict[str, float]], float]) -> float:
    return median(figure(one) for one in found)


def _lines(found: dict[str, list[dict[str, float]]]) -> list[str]:
    lines = [f"  {'items per second':<34}{'streamed':>14}{'inline':>14}{'x inline':>10}"]
    for name in STREAMS:
        rates = [_of(found[name], itemgetter(key)) for key in ("streamed", "inline")]
        lines.append(f"  {name:<34}{rates[0]:>14,.0f}{rates[1]:>14,.0f}{_of(found[name], _times):>9.1f}x")
    times = [_of(found["arrays"], itemgetter(key)) for key in ("streamed", "inline")]
    lines.append(
        f"  arrays of 8 MiB, and their sum: {times[0]:.2f} ms each, with a warm copy here {times[1]:.2f} ms"
    )
    for name, what in (("stop", "numbers"), ("stop, large", "bytes of 1 MiB")):
        growth = [_of(found[name], itemgetter(key)) for key in ("ours", "worker's", "next_ms")]
        lines.append(
            f"  a consumer of {what} stops for a second: {growth[0]:+.1f} MB here, {growth[1]:+.1f} MB in the worker, "
            f"the next item after {growth[2]:.2f} ms"
        )
    return lines


def _times(one: dict[str, float]) -> float:
    return one["inline"] / one["streamed"]


def _ease(one: dict[str, float]) -> float:
    """How far it is beyond the easier of the two: the rate, or a third of that of the generator inline."""
    return one["streamed"] / min(_LEAST_RATE, one["inline"] / 3)


def _verdicts(found: dict[str, list[dict[str, float]]]) -> list[Verdict]:
    verdicts = [
        _verdict(
            f"{name}: rate over 300,000 /s, or a third of inline, whichever is less",
            "at least",
            1.0,
            _of(found[name], _ease),
        )
        for name in STREAMS
    ]
    growths = [max(one["ours"], one["worker's"]) for name in ("stop", "stop, large") for one in found[name]]
    verdicts += [
        _verdict(
            "arrays of 8 MiB, streamed and summed: time over a warm copy and the sum",
            "at most",
            1.5,
            _of(found["arrays"], lambda one: one["streamed"] / one["inline"]),
        ),
        _verdict("a consumer stops for a second: growth of either side", "at most", 1.0, max(growths), " MB"),
    ]
    return verdicts


def _verdict(text: str, sense: str, bound: float, value: float, unit: str = "x") -> Verdict:
    is_met = value >= bound if sense == "at least" else value <= bound
    return Verdict(text=text, sense=sense, bound=bound, unit=unit, value=value, is_met=is_met)
