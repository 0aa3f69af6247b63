"""What is measured. A new measurement is a function here (or anywhere) and a row in ``MEASUREMENTS``.

A measurement gets a contestant's class and the scale, runs in an interpreter of its own inside the loop under test,
and returns one number for each of its figures.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Literal, TypeAlias

from . import work
from .contestants.contract import Contestant


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything; the same for all contestants of a run."""

    workers: int = 2
    calls: int = 1000
    at_once: int = 10_000
    seconds: float = 1.0
    """``many`` is repeated inside one interpreter until this much time has gone, three times at most."""
    fresh: int = 5


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that a measurement gives."""

    key: str
    title: str
    unit: str
    better: Literal["higher", "lower"]


Run: TypeAlias = Callable[[type[Contestant], Scale], Awaitable[dict[str, float]]]


@dataclass(frozen=True, slots=True)
class Measurement:
    """``baselines``: by lane, the contestants that all others are compared with. ``floors``: likewise, the limit."""

    key: str
    what: str
    run: Run
    figures: tuple[Figure, ...]
    baselines: dict[str, tuple[str, ...]]
    floors: dict[str, str]


async def one_at_a_time(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
    """The median of single calls, each awaited before the next."""
    seconds = []
    async with contestant(scale.workers) as pool:
        for _ in range(max(10, scale.calls // 10)):
            await pool.call(work.noop)
        for _ in range(scale.calls):
            began = perf_counter()
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
        await asyncio.gather(*[pool.call(work.noop) for _ in range(min(count, 1000))])
        end = perf_counter() + scale.seconds
        while not rates or (perf_counter() < end and len(rates) < 3):
            gc.collect()
            began, cpu_began = perf_counter(), process_time()
            await asyncio.gather(*[pool.call(work.noop) for _ in range(count)])
            rates.append(count / (perf_counter() - began))
            cpu.append((process_time() - cpu_began) / count)
    return {"per_second": median(rates), "cpu_us": median(cpu) * 1e6}


async def cold_start(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
    """From making the pool to its first result."""
    began = perf_counter()
    async with contestant(scale.workers) as pool:
        await pool.call(work.noop)
        return {"ms": (perf_counter() - began) * 1e3}


async def fresh_worker(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
    """One more worker beside those there are: from the call that needs it to that call's result."""
    seconds = []
    async with contestant(scale.fresh + 1) as pool:
        await pool.call(work.noop)
        with _gate() as folder:
            held: list[asyncio.Future[None]] = []
            for _ in range(scale.fresh):
                if not contestant.call_starts_worker:
                    held.append(asyncio.ensure_future(pool.call(work.hold, str(folder))))
                    while len(os.listdir(folder)) < 1 + len(held):  # noqa: ASYNC110  # other processes write there
                        await asyncio.sleep(0.001)
                began = perf_counter()
                await pool.call(work.noop)
                seconds.append(perf_counter() - began)
        await asyncio.gather(*held)
    return {"ms": median(seconds) * 1e3}


@contextmanager
def _gate() -> Iterator[Path]:
    """A folder with a file ``gate`` that is locked inside the block."""
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/gate", "w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield Path(folder)


async def memory(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
    """USS: the pages that nobody else has (``Private_*`` in smaps_rollup), after each worker answered one call."""
    if not os.path.exists("/proc/self/smaps_rollup"):  # noqa: ASYNC240  # nothing else is on this loop
        raise NotImplementedError("this system has no /proc/PID/smaps_rollup to read it from")
    async with contestant(scale.workers) as pool:
        with tempfile.TemporaryDirectory() as folder:
            calls = [pool.call(work.meet, folder, scale.workers) for _ in range(scale.workers)]
            pids = set(await asyncio.gather(*calls))
        everybody = _descendants(os.getpid())
        return {
            "worker_mb": median(uss(pid) for pid in pids) / 1e6,
            "pool_mb": sum(uss(pid) for pid in everybody) / 1e6,
        }


def uss(pid: int) -> int:
    """Bytes of memory that would come free if this process ended."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found += (child, *_descendants(child))
    return found


PER_LANE: dict[str, tuple[str, ...]] = {
    "process": ("stdlib-process", "anyio-process"),
    "thread": ("asyncio-thread", "stdlib-thread"),
}

MEASUREMENTS: dict[str, Measurement] = {
    m.key: m
    for m in (
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
        Measurement(
            "cold",
            "from making the pool to its first result; the library itself is imported before",
            cold_start,
            (Figure("ms", "first call on a cold runtime", "ms", "lower"),),
            PER_LANE,
            {"process": "floor-ping-pong"},
        ),
        Measurement(
            "fresh",
            "a pool that is up and whose workers are all busy gets one more call: until its result is here, by a "
            "worker started for it. For multiprocessing.Process: from making it to its answer through a pipe",
            fresh_worker,
            (Figure("ms", "a fresh worker", "ms", "lower"),),
            {"process": ("spawned-process", "stdlib-process")},
            {"process": "floor-fork"},
        ),
        Measurement(
            "memory",
            "private pages (USS) after each of {workers} workers answered one call; the pool is every process below "
            "ours",
            memory,
            (
                Figure("worker_mb", "memory of one worker", "MB", "lower"),
                Figure("pool_mb", "memory of the whole pool", "MB", "lower"),
            ),
            {"process": ("stdlib-process", "anyio-process")},
            {"process": "floor-batches"},
        ),
    )
}
