"""What is too large to be packed on the loop, with gates in it: a test says when packing or unpacking goes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

COUNT = 100_000
"""Strings that make a pickle of 1 MB: more than the loop may be held up for."""

FILLER = [str(i) for i in range(COUNT)]

_PATIENCE = 20.0


class Gate:
    """Something to send that a thread waits at while it is pickled, until ``open`` is called; arrives as "passed"."""

    def __init__(self) -> None:
        self.passers = 0  # how often its pickling was begun
        self.threads: list[str] = []
        self._is_open = threading.Event()

    def open(self) -> None:
        self._is_open.set()

    def __reduce__(self) -> Any:
        self.passers += 1
        self.threads.append(threading.current_thread().name)
        assert self._is_open.wait(_PATIENCE), "nobody opened this gate"
        return str, ("passed",)


class Raises:
    """Something whose pickling raises what ``make`` makes."""

    def __init__(self, make: Callable[[], BaseException]) -> None:
        self._make = make

    def __reduce__(self) -> Any:
        raise self._make()


class Slow:
    """Something that a worker returns, at whose unpickling in the process ``pid`` a thread waits for ``barrier``."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __reduce__(self) -> Any:
        return arrive, (self.pid,)


begun = threading.Event()
barrier = threading.Event()


def arrive(pid: int) -> str:
    if os.getpid() == pid:
        begun.set()
        assert barrier.wait(_PATIENCE), "nobody opened the barrier"
    return "arrived"


def many_and_slow(pid: int, *rest: Any) -> list[Any]:
    return [*FILLER, Slow(pid)]


async def co_many_and_slow(pid: int) -> list[Any]:
    return many_and_slow(pid)


def porters() -> set[str]:
    """The names of the porters that are there."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("hybridrt-porter")}
