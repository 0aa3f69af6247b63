"""What a call costs when very many wait."""

from __future__ import annotations

import asyncio
import gc
import os
from statistics import median
from time import perf_counter

from .. import work
from ..contestants.contract import Contestant
from .contract import Figure, Measurement, Scale

_FEW = 100


async def waiting(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
    """Calls made in one turn of the loop and awaited one after the other: a hundred, again and again; then the most."""
    most = min(scale.waiting, contestant.most_waiting)
    async with contestant(scale.workers) as pool:
        await _per_call(pool, 1000)
        few = median([(await _per_call(pool, _FEW))[0] for _ in range(20)])
        gc.collect()
        many, size = await _per_call(pool, most)
    return {"few_us": few * 1e6, "most_us": many * 1e6, "growth": many / few, "bytes": size}


async def _per_call(pool: Contestant, count: int) -> tuple[float, float]:
    """Seconds, and bytes by which this process grew, for each of ``count`` calls."""
    before = _resident()
    began = perf_counter()
    calls = [asyncio.ensure_future(pool.call(work.noop)) for _ in range(count)]
    grown = _resident() - before
    for call in calls:
        await call
    return (perf_counter() - began) / count, max(grown, 0) / count


def _resident() -> int:
    """Bytes; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as numbers:
            return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


ROWS = (
    Measurement(
        "waiting",
        "no-ops made in one turn of the loop by a future each: 100, and {waiting:,} (the stdlib's pools: 30,000 at "
        "most, for they are slow); the memory is by how much the process grew while all of them wait",
        waiting,
        (
            Figure("few_us", "time per call, 100 waiting", "µs", "lower"),
            Figure("most_us", "time per call, {waiting:,} waiting", "µs", "lower"),
            Figure("growth", "growth of it", "x", "lower"),
            Figure("bytes", "memory per waiting call", "B", "lower"),
        ),
        {"process": ("stdlib-process",), "thread": ("stdlib-thread",)},
        {"process": "floor-batches", "thread": "floor-queue"},
        rounds=2,
    ),
)
