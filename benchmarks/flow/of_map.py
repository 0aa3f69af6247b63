"""A million small items through ``rt.map``, beside ``ProcessPoolExecutor.map`` with every chunksize; and memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from statistics import median
from time import perf_counter
from typing import Any

import hybridrt

from .. import apart
from ..goals import Verdict

ITEMS = 1_000_000
CHUNKSIZES = (100, 1000, 5000, 20_000)
_ONE_BY_ONE = 10_000
"""Items for the standard pool where each is a task."""
_WORKERS = 2
_SLOW_EVERY, _SLOW_SECONDS = 20_000, 0.02
"""The slow consumer waits now and then, so that what the workers do meanwhile has to wait."""
_MB = 1 << 20


def add_one(x: int) -> int:
    """The tiny function."""
    return x + 1


async def _endless() -> AsyncIterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def carry_out(contestant: str, items: int) -> dict[str, float]:
    """Items a second and megabytes that our process grew by."""
    if contestant.startswith("stdlib"):
        return _standard(int(contestant.split()[1]), items)
    async with hybridrt.Runtime(processes=_WORKERS, nice=0) as rt:
        await rt.warm_up()
        verbs = rt.options(lane="process")
        await _take(verbs.map(add_one, range(2000)), 2000)
        before = peak = _resident()
        began = perf_counter()
        source: Any = range(items) if contestant == "rt.map" else _endless()
        count = 0
        async with verbs.map(add_one, source) as results:
            async for result in results:
                if result != count + 1:
                    raise RuntimeError(f"wrong result at {count}")
                count += 1
                if not count % _SLOW_EVERY:
                    peak = max(peak, _resident())
                    if contestant == "rt.map slow":
                        await asyncio.sleep(_SLOW_SECONDS)
                if count == items:
                    break
        seconds = perf_counter() - began
    return {"per_second": count / seconds, "grown_mb": (peak - before) / _MB}


async def _take(results: AsyncIterator[int], count: int) -> None:
    async for _ in results:
        count -= 1
        if not count:
            break


def _standard(chunksize: int, items: int) -> dict[str, float]:
    with ProcessPoolExecutor(_WORKERS) as pool:
        list(pool.map(add_one, range(100)))
        before = _resident()
        began = perf_counter()
        count = 0
        for result in pool.map(add_one, range(items), chunksize=chunksize):
            if result != count + 1:
                raise RuntimeError(f"wrong result at {count}")
            count += 1
        seconds = perf_counter() - began
    return {"per_second": count / seconds, "grown_mb": (_resident() - before) / _MB}


def measure(
    *, rounds: int, loop: str, is_quick: bool, tell: Callable[[str], None]
) -> tuple[list[str], list[Verdict]]:
    """All contestants in turns, each in a fresh process; the goals of issue 6."""
    items = ITEMS // 10 if is_quick else ITEMS
    orders = {"rt.map": items, "rt.map endless": items, "rt.map slow": items, "stdlib 1": _ONE_BY_ONE}
    orders |= {f"stdlib {size}": items for size in CHUNKSIZES}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in orders}
    for number in range(rounds):
        for name, count in orders.items():
            tell(f"round {number + 1}: {name}")
            order = {"contestant": name, "items": count, "loop": loop}
            found[name].append(apart.carry_out("flow.of_map", order))

    def figure(name: str, what: str) -> float:
        return median(one[what] for one in found[name])

    lines = [f"  {'':<34}{'items/s':>12}{'memory grows':>15}"]
    lines += [
        f"  {_TITLES.get(name, name):<34}{figure(name, 'per_second'):>12,.0f}{figure(name, 'grown_mb'):>12.1f} MB"
        for name in orders
    ]
    best = max((f"stdlib {size}" for size in CHUNKSIZES), key=lambda name: figure(name, "per_second"))
    ours = figure("rt.map", "per_second")
    verdicts = [
        _at_least(
            "items/s over ProcessPoolExecutor.map(chunksize=1)", 10, ours / figure("stdlib 1", "per_second")
        ),
        _at_least(
            f"items/s over the best chunksize chosen by hand ({best})", 1, ours / figure(best, "per_second")
        ),
    ]
    for name in ("rt.map", "rt.map endless", "rt.map slow"):
        grown = max(one["grown_mb"] for one in found[name])
        verdicts.append(
            Verdict(
                text=f"{_TITLES[name]}: our process grows by", sense="at most", bound=20, unit=" MB", value=grown,
                is_met=grown <= 20,
            )
        )  # fmt: skip
    return lines, verdicts


_TITLES = {
    "rt.map": "rt.map over a range",
    "rt.map endless": "rt.map, endless async generator",
    "rt.map slow": "the same, slow consumer",
}


def _at_least(text: str, bound: float, value: float) -> Verdict:
    return Verdict(text=text, sense="at least", bound=bound, unit="x", value=value, is_met=value >= bound)
