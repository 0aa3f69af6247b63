"""Functions for calls with large arguments and results."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path
from typing import Any

KEPT: list[Any] = []


def total(array: Any) -> float:
    return float(array.sum())


async def total_in_a_coroutine(array: Any) -> float:
    return float(array.sum())


def same(thing: Any) -> Any:
    return thing


def ones(count: int) -> Any:
    import numpy as np

    return np.ones(count)


def keep(array: Any) -> int:
    KEPT.append(array)
    return os.getpid()


def kept_total(at: int) -> float:
    return float(KEPT[at].sum())


def drop() -> None:
    KEPT.clear()
    gc.collect()


def keep_in_a_cycle(array: Any) -> None:
    cycle = [array]
    cycle.append(cycle)


def raises_with(array: Any) -> None:
    raise ValueError(str(len(array)))


def fill(array: Any, value: float) -> float:
    array[:] = value
    return float(array.sum())


def is_writeable(array: Any) -> bool:
    return bool(array.flags.writeable)


def spoils_and_dies_once(array: Any, mark: str) -> float:
    """The first worker writes to its argument and dies; the second gets it as it was sent."""
    found = float(array.sum())
    if not Path(mark).exists():
        Path(mark).touch()
        array[:] = -1
        os.abort()
    return found


def holds_and_waits(array: Any, mark: str) -> float:
    KEPT.append(array)
    Path(mark).touch()
    time.sleep(1000)
    return float(array.sum())


def id_and_total(array: Any) -> tuple[int, float, bool]:
    return id(array), float(array.sum()), bool(array.flags.writeable)


def descriptors() -> int:
    """How many of this process's are of arenas."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += "hybridrt-arena" in os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue
    return found


def total_inside(thing: Any) -> float:
    return float(thing["deep"][0].sum())


def total_of_a_fork(array: Any, after: str, out: str) -> int:
    """A child of the worker looks at the argument when the call has long been answered."""
    pid = os.fork()
    if pid == 0:
        while not Path(after).exists():
            time.sleep(0.001)
        Path(out + "_").write_text(str(float(array.sum())))
        os.rename(out + "_", out)
        os._exit(0)
    return pid


async def nested(count: int) -> float:
    import numpy as np

    from hybridrt import Runtime

    async with Runtime(processes=1) as rt:
        array = await rt.to_process(same, np.ones(count))
    return float(array.sum())
