"""Small calls: one at a time, and many at once."""

from __future__ import annotations

import gc
from statistics import median
from time import perf_counter, process_time

from .. import work
from ..contestants.contract import Contestant
from .contract import PER_LANE, Figure, Measurement, Scale

_MOST_SECONDS = 2.0
"""For calls one at a time: a peer that asks its queues every ten milliseconds is known after fewer of them."""


async def one_at_a_time(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
    """The median of single calls, each awaited before the next."""
    seconds = []
    async with contestant(scale.workers) as pool:
        for _ in range(max(10, scale.calls // 10)):
            await pool.call(work.noop)
        end = perf_counter() + _MOST_SECONDS
        for _ in range(scale.calls):
            began = perf_counter()
            if began > end:
                break
            await pool.call(work.noop)
            seconds.append(perf_counter() - began)
    return {"us": median(seconds) * 1e6}


async def many_at_once(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
    """All calls made in one turn of the loop and gathered; CPU is this process's, all its threads together."""
    count = scale.at_once
    rates: list[float] = []
    cpu: list[float] = []
    async with contestant(scale.workers) as pool:
        for _ in range(10):
            await pool.call(work.noop)
        await pool.at_once(min(count, 1000), work.noop)
        end = perf_counter() + scale.seconds
        while not rates or (perf_counter() < end and len(rates) < 3):
            gc.collect()
            began, cpu_began = perf_counter(), process_time()
            await pool.at_once(count, work.noop)
            rates.append(count / (perf_counter() - began))
            cpu.append((process_time() - cpu_began) / count)
    return {"per_second": median(rates), "cpu_us": median(cpu) * 1e6}


ROWS = (
    Measurement(
        "many",
        "{at_once:,} calls of a no-op made in one turn of the loop, then gathered; CPU is the parent's, "
        "with all its threads",
        many_at_once,
        (
            Figure("per_second", "{at_once:,} calls at once", "/s", "higher"),
            Figure("cpu_us", "parent CPU per call, {at_once:,} at once", "µs", "lower"),
        ),
        PER_LANE,
        {"process": "floor-batches", "thread": "floor-queue"},
    ),
    Measurement(
        "one",
        "a no-op called and awaited {calls:,} times, one at a time: the median of single calls",
        one_at_a_time,
        (Figure("us", "one call at a time", "µs", "lower"),),
        PER_LANE,
        {"process": "floor-ping-pong", "thread": "floor-queue-one"},
    ),
)
