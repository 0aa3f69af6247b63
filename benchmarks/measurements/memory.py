"""What workers cost in memory that nobody else has."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from .. import work
from ..contestants.contract import Contestant
from .contract import PROCESSES, Figure, Measurement, Scale


async def nothing_loaded(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
    """After each worker answered one call."""
    return await _measure(contestant(scale.workers), work.meet)


async def numpy_loaded(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
    """The same with numpy in each worker, by the pool's own way of loading it beforehand where it has one."""
    return await _measure(contestant(scale.workers, preload=("numpy", work.__name__)), work.meet_with_numpy)


async def _measure(opened: Contestant, meet: Callable[[str, int], int]) -> dict[str, float]:
    if not os.path.exists("/proc/self/smaps_rollup"):  # noqa: ASYNC240  # nothing else is on this loop
        raise NotImplementedError("this system has no /proc/PID/smaps_rollup to read it from")
    async with opened as pool:
        with tempfile.TemporaryDirectory() as folder:
            calls = [pool.call(meet, folder, pool.workers) for _ in range(pool.workers)]
            pids = set(await asyncio.gather(*calls))
        everybody = descendants(os.getpid())
        return {
            "worker_mb": median(uss(pid) for pid in pids) / 1e6,
            "pool_mb": sum(uss(pid) for pid in everybody) / 1e6,
        }


def uss(pid: int) -> int:
    """Bytes of memory that would come free if this process ended."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def descendants(pid: int) -> list[int]:
    """Process ids of all below it."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found += (child, *descendants(child))
    return found


ROWS = (
    Measurement(
        "memory",
        "private pages (USS) after each of {workers} workers answered one call; the pool is every process below ours",
        nothing_loaded,
        (
            Figure("worker_mb", "memory of one worker", "MB", "lower"),
            Figure("pool_mb", "memory of the whole pool", "MB", "lower"),
        ),
        PROCESSES,
        {"process": "floor-batches"},
        rounds=1,
    ),
    Measurement(
        "memory-numpy",
        "the same with numpy in each worker; it and the calls' module preloaded where the pool can (ours, forkserver)",
        numpy_loaded,
        (
            Figure("worker_mb", "memory of one worker with numpy", "MB", "lower"),
            Figure("pool_mb", "memory of the whole pool with numpy", "MB", "lower"),
        ),
        PROCESSES,
        {},
        rounds=1,
    ),
)
