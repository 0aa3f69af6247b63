"""Generator functions for the tests to stream from elsewhere; importable, and quick to import."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import hybridrt
from hybridrt import io_bound, thread_only

word: ContextVar[str] = ContextVar("word", default="nothing")
hybridrt.register_contextvar(word)


def numbers(count: int) -> Iterator[int]:
    yield from range(count)


async def anumbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


def given(*items: Any) -> Iterator[Any]:
    yield from items


async def agiven(*items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item


def one_list(count: int) -> Iterator[list[int]]:
    """The same list each time, with something else in it."""
    row = [0]
    for number in range(count):
        row[0] = number
        yield row


@thread_only
def pid_in_thread() -> Iterator[tuple[int, str]]:
    yield os.getpid(), threading.current_thread().name


@io_bound
def pid_of_waiting() -> Iterator[tuple[int, str]]:
    yield os.getpid(), threading.current_thread().name


@io_bound
async def apid_of_waiting() -> AsyncIterator[int]:
    yield os.getpid()


@thread_only
async def only_here() -> AsyncIterator[int]:
    yield 1


def pid() -> Iterator[int]:
    yield os.getpid()


def bursts(first: int, gate: str) -> Iterator[int]:
    """So many at once, and one more when there is a file."""
    yield from range(first)
    while not os.path.exists(gate):
        time.sleep(0.001)
    yield first


async def abursts(first: int, gate: str) -> AsyncIterator[int]:
    for number in range(first):
        yield number
    while not os.path.exists(gate):
        await asyncio.sleep(0.001)
    yield first


def failing(count: int, error: BaseException) -> Iterator[int]:
    yield from range(count)
    raise error


async def afailing(count: int, error: BaseException) -> AsyncIterator[int]:
    for number in range(count):
        yield number
    raise error


def counted(path: str, size: int = 0) -> Iterator[Any]:
    """Without end; the file is as long as there were items."""
    payload = bytes(size)
    with open(path, "ab", buffering=0) as file:
        while True:
            file.write(b".")
            yield (bytearray(payload) if size else 7)


async def acounted(path: str, size: int = 0) -> AsyncIterator[Any]:
    for item in counted(path, size):
        yield item


def tidy(begun: str, ended: str, how: str, count: int = 1) -> Iterator[int]:
    """So many items, then it goes on in this way; leaves a file when it begins to, and another one at its end."""
    what = ""
    try:
        yield from range(count)
        Path(begun).touch()
        if how == "sleep":
            time.sleep(60)
        elif how == "compute":
            while True:
                pass
        elif how == "ask":  # in a thread
            while not hybridrt.cancelled():
                time.sleep(0.001)
        elif how == "ignore":
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    pass
        else:
            while True:
                yield count
    except BaseException as exc:
        what = type(exc).__name__
        raise
    finally:
        Path(ended).write_text(what)


async def atidy(begun: str, ended: str, how: str, count: int = 1) -> AsyncIterator[int]:
    what = ""
    try:
        for number in range(count):
            yield number
        Path(begun).touch()
        if how == "sleep":
            await asyncio.sleep(60)
        while True:
            yield count
    except BaseException as exc:
        what = type(exc).__name__
        raise
    finally:
        await asyncio.sleep(0)
        Path(ended).write_text(what)


def untidy(error: Exception) -> Iterator[int]:
    try:
        while True:
            yield 1
    finally:
        raise error


async def auntidy(error: Exception) -> AsyncIterator[int]:
    try:
        while True:
            yield 1
    finally:
        raise error


def dying(count: int, gate: str) -> Iterator[int]:
    yield from range(count)
    while not os.path.exists(gate):
        time.sleep(0.001)
    os._exit(3)


def arrays(count: int, size: int) -> Iterator[Any]:
    import numpy as np

    room = np.zeros(size)
    for number in range(count):
        room[:] = number
        yield room


def words(count: int) -> Iterator[tuple[str, str]]:
    """The context's word before and after it was changed, over and over."""
    for number in range(count):
        before = word.get()
        word.set(f"word {number}")
        yield before, word.get()


async def awords(count: int) -> AsyncIterator[tuple[str, str]]:
    for pair in words(count):
        await asyncio.sleep(0)
        yield pair


async def in_a_group(count: int) -> AsyncIterator[int]:
    """It must be left by the task that has entered it."""
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number in range(count):
            yield await group.create_task(asyncio.sleep(0, number))


class OpensNot:
    """Cannot be unpickled."""

    def __reduce__(self) -> Any:
        return int, ("spam",)


def then_a_lock(count: int) -> Iterator[Any]:
    yield from range(count)
    yield {"lock": threading.Lock()}


async def athen_a_lock(count: int) -> AsyncIterator[Any]:
    for item in then_a_lock(count):
        yield item


def opens_not() -> Iterator[Any]:
    yield from (1, OpensNot(), 2)


async def aopens_not() -> AsyncIterator[Any]:
    for item in opens_not():
        yield item


class Reader:
    """Its methods are generator functions."""

    def __init__(self, rows: list[str]) -> None:
        self.rows = rows

    def upper(self) -> Iterator[str]:
        for row in self.rows:
            yield row.upper()

    def __call__(self) -> Iterator[str]:
        yield from self.rows
