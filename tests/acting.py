"""Classes whose instances live in workers of their own; an importable module, so they travel by reference."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Self

import work

import hybridrt


class Counter:
    """Counts, and says where it is."""

    size = 3

    def __init__(self, start: int = 0, *, step: int = 1) -> None:
        if start < 0:
            raise ValueError(f"{start} is below zero")
        self.count = start
        self.step = step
        self.seen: list[Any] = []

    def add(self, number: int = 1) -> int:
        """Add so many steps."""
        self.count += number * self.step
        return self.count

    def see(self, thing: Any) -> int:
        self.seen.append(thing)
        return len(self.seen)

    def seen_so_far(self) -> list[Any]:
        return self.seen

    def pid(self) -> int:
        return os.getpid()

    def thread(self) -> int:
        return threading.get_ident()

    def length(self, thing: Any) -> int:
        return len(thing)

    def many(self, count: int) -> list[int]:
        return list(range(count))

    def fail(self, message: str) -> None:
        raise ValueError(message)

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()

    def note_and_wait(self, begun: str, ended: str) -> None:
        work.note_and_wait(begun, ended)

    def swallow_interrupts(self, begun: str) -> None:
        work.swallow_interrupts(begun)

    def wait_for_file(self, path: str, and_create: str | None = None) -> str:
        return work.wait_for_file(path, and_create)

    def _private(self) -> str:
        return "private"

    def numbers(self) -> Iterator[int]:
        yield 1

    async def numbers_later(self) -> AsyncIterator[int]:
        yield 1

    @property
    def half(self) -> float:
        return self.count / 2

    @staticmethod
    def double(x: int) -> int:
        return x * 2

    @classmethod
    def named(cls, word: str) -> str:
        return f"{cls.__name__} {word}"


class Loud(Counter):
    def add(self, number: int = 1) -> int:
        return super().add(number) + 1000


class Dynamic:
    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda x: f"{name} {x}"


class Talker(Counter):
    """Some of its methods are coroutine functions."""

    async def wait(self, folder: str, me: str, other: str) -> str:
        return await work.co_meet(folder, me, other)

    async def wait_until_cancelled(self, begun: str, ended: str) -> None:
        await work.co_wait(begun, ended)

    async def on_a_loop(self) -> int:
        asyncio.get_running_loop()
        return os.getpid()


class Entered(Counter):
    """A context manager that leaves a note."""

    def __init__(self, ledger: str, fails_at: str = "") -> None:
        super().__init__()
        self.ledger = ledger
        self.fails_at = fails_at

    def __enter__(self) -> Self:
        self._note("enter")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._note("exit")

    def _note(self, what: str) -> None:
        work.append(self.ledger, what)
        if self.fails_at == what:
            raise LookupError(what)


class EnteredOnLoop:
    def __init__(self, ledger: str) -> None:
        self.ledger = ledger

    async def __aenter__(self) -> Self:
        await asyncio.sleep(0)
        work.append(self.ledger, "aenter")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.sleep(0)
        work.append(self.ledger, "aexit")

    def plain(self, x: int) -> int:
        asyncio.get_running_loop()
        return x


class Rows:
    """Holds what is bound to its thread."""

    def __init__(self) -> None:
        self.rows = sqlite3.connect(":memory:")
        self.rows.execute("create table t (x)")

    def insert(self, x: int) -> int:
        self.rows.execute("insert into t values (?)", (x,))
        return threading.get_ident()

    def all(self) -> list[int]:
        return [x for (x,) in self.rows.execute("select x from t")]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.rows.close()


class Slow:
    """Its constructor takes as long as a file is not there; or dies, as often as told."""

    def __init__(self, begun: str, gate: str = "", deaths: int = 0) -> None:
        work.append(begun, "built")
        runs = len(Path(begun).read_text().split())
        if 1 < runs <= 1 + deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        if gate:
            work.wait_for_file(gate)

    def pid(self) -> int:
        return os.getpid()

    def die(self) -> None:
        os._exit(9)

    def note(self, ledger: str, text: str) -> None:
        work.append(ledger, text)


class Model:
    """Takes many at once."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    @hybridrt.batched(max_size=8, max_delay=0.005)
    def square(self, numbers: list[int]) -> list[int]:
        self.sizes.append(len(numbers))
        return [number * number for number in numbers]

    @hybridrt.batched(max_size=8, max_delay=0.005)
    def invert(self, numbers: list[int]) -> list[float | Exception]:
        return [1 / number if number else ZeroDivisionError("no inverse of 0") for number in numbers]

    @hybridrt.batched()
    def too_few(self, numbers: list[int]) -> list[int]:
        return numbers[1:]

    @hybridrt.batched()
    def nothing(self, numbers: list[int]) -> list[int]:
        return None  # type: ignore[return-value]

    @hybridrt.batched(max_size=4)
    def fail(self, numbers: list[int]) -> list[int]:
        raise LookupError("all of them")

    @hybridrt.batched(max_size=2, max_delay=60.0)
    def pairs(self, things: list[Any]) -> list[Any]:
        self.sizes.append(len(things))
        return things

    @hybridrt.batched(max_size=2, max_delay=0.0)
    def wait_for_files(self, paths: list[tuple[str, str]]) -> list[str]:
        return [work.wait_for_file(*path) for path in paths]

    def block(self, seconds: float) -> None:
        time.sleep(seconds)

    def sizes_so_far(self) -> list[int]:
        return self.sizes


class LoopModel:
    @hybridrt.batched(max_size=4, max_delay=0.005)
    async def square(self, numbers: list[int]) -> list[int]:
        await asyncio.sleep(0)
        return [number * number for number in numbers]
