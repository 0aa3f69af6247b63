"""What runs in the workers. Only built-in modules here: what this file imports counts as each worker's memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any


def noop() -> None:
    """Nothing: all that is measured then is the way there and back."""


def itself(value: Any) -> Any:
    """There and back."""
    return value


def total(array: Any) -> float:
    """The sum of a numpy array."""
    return float(array.sum())


def edges(array: Any) -> float:
    """Two numbers of a numpy array: as good as nothing, and yet from both its ends."""
    return float(array[0]) + float(array[-1])


def burn(turns: int) -> int:
    """CPU-bound, and holds the GIL."""
    found = 0
    for i in range(turns):
        found += i & 3
    return found


def die(note: str) -> None:
    """Write the time to the file ``note``, and be killed at once."""
    import signal

    with open(note, "w") as file:
        file.write(repr(time.monotonic()))
    os.kill(os.getpid(), signal.SIGKILL)


def hold(folder: str) -> None:
    """Say so in ``folder``, then keep this worker until the measuring process unlocks the file ``gate`` there."""
    import fcntl

    with open(f"{folder}/{os.getpid()}", "w"):
        pass
    with open(f"{folder}/gate") as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)


def meet(folder: str, count: int) -> int:
    """This process's id, as soon as ``count`` processes are here: so each of them answered one call."""
    with open(f"{folder}/{os.getpid()}", "w"):
        pass
    while len(os.listdir(folder)) < count:
        time.sleep(0.001)
    return os.getpid()


def meet_with_numpy(folder: str, count: int) -> int:
    """``meet`` by a process that has numpy."""
    import numpy  # noqa: F401

    return meet(folder, count)


def answer_one(channel: Any) -> None:
    """The whole life of a process that is started for one call: receive it through a pipe, run it, answer."""
    fn, args = channel.recv()
    channel.send(fn(*args))


async def awaited(fn: Callable[..., Any], *args: Any) -> Any:
    """For pools whose workers take coroutine functions only."""
    return fn(*args)


_kept: list[Any] = []


def keep(value: Any) -> None:
    """Make ``value`` what a ``Kept`` becomes in this process."""
    _kept[:] = [value]


def kept() -> Any:
    """What was given to ``keep`` last."""
    return _kept[0]


class Kept:
    """Arrives in a worker as the object that its process keeps: how pools without a share of their own do it."""

    def __reduce__(self) -> tuple[Callable[[], Any], tuple[()]]:
        return kept, ()
