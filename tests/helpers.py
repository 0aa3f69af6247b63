"""What several test files need to wait for things without guessing how long they take."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hybridrt import Runtime
from hybridrt._core.function import Timing
from hybridrt._core.limits import Places

PATIENCE = 10.0
FREE_THREADED = "t" in getattr(sys, "abiflags", "")
"""Whether this Python was built to run without the GIL."""


async def until(condition: Callable[[], object]) -> None:
    """Until ``condition()`` is true; fails the test when it has not come true for a long time."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


async def worker_pid(rt: Runtime) -> int:
    """The process id of the runtime's first worker, as soon as it is known (its first answer may be here before)."""
    await until(lambda: rt.stats().workers)
    return rt.stats().workers[0].pid


async def exists(path: Path) -> None:
    await until(path.exists)


def is_alive(pid: int) -> bool:
    """Whether a process of this id runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return not Path("/proc/self/stat").exists()
    return state not in "ZX"


def wait_until(condition: Callable[[], object]) -> None:
    """``until`` for code without an event loop."""
    asyncio.run(until(condition))


def a_seed(chosen: int | None) -> int:
    """The seed of a random test, printed for when it fails. None draws one, now: the names of tests stay the same."""
    seed = int.from_bytes(os.urandom(3), "big") if chosen is None else chosen
    print(f"seed {seed}")
    return seed


def id_of(value: object) -> str:
    """``str`` of a value without its address: the names of parametrized tests are the same in each process."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


@dataclass(eq=False)
class FakeFunction:
    """As ``Function``, as far as a queue looks."""

    name: str = "f"
    places: Places | None = None
    timing: Timing = field(default_factory=Timing)

    def takes(self, seconds: float) -> FakeFunction:
        for _ in range(3):
            self.timing.record(seconds)
        return self
