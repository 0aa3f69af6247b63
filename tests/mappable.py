"""Functions that the tests of map run over many items, here and elsewhere."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import work

import hybridrt

word: ContextVar[str] = hybridrt.register_contextvar(ContextVar("word_of_map", default="nothing"))


def add_one(x: int) -> int:
    return x + 1


def add(x: int, y: int) -> int:
    return x + y


def add_five(a: int, b: int, c: int, d: int, e: int) -> int:
    return a + b + c + d + e


async def co_add_one(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


def pid_of(_: int) -> int:
    return os.getpid()


def fail_at_7(x: int) -> int:
    if x == 7:
        raise KeyError(x)
    return x


def fail_at_sevens(x: int) -> int:
    if x % 7 == 0:
        raise KeyError(x)
    return x


def exit_at_7(x: int) -> int:
    if x == 7:
        raise SystemExit(3)
    return x


async def co_cancelled_at_7(x: int) -> int:
    if x == 7:
        raise asyncio.CancelledError
    return x


def die_at(job: tuple[int, int, str]) -> int:
    """Item, the one to die at, ledger."""
    item, last, ledger = job
    work.append(ledger, str(item))
    if item == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def die_once(job: tuple[int, int, str]) -> int:
    """As ``die_at``, if it has not been there before."""
    item, last, ledger = job
    is_again = str(item) in Path(ledger).read_text().split() if Path(ledger).exists() else False
    work.append(ledger, str(item))
    if item == last and not is_again:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


class Opening:
    """Can be pickled, and not unpickled where ``is_bad``."""

    def __init__(self, is_bad: bool) -> None:
        self.is_bad = is_bad

    def __reduce__(self) -> Any:
        return open_up, (self.is_bad,)


def open_up(is_bad: bool) -> Opening:
    if is_bad:
        raise ValueError("this cannot be opened")
    return Opening(is_bad)


def bad_at_7(x: int) -> Opening:
    return Opening(x == 7)


def lock_at_7(x: int) -> Any:
    return work.lock() if x == 7 else x


def is_bad(opened: Opening) -> bool:
    return opened.is_bad


def wait_at_7(job: tuple[int, str, str]) -> int:
    item, begun, ended = job
    if item == 7:
        work.note_and_wait(begun, ended)
    return item


def word_here(_: int) -> str:
    found = word.get()
    word.set("of another item")
    return found


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def weigh(x: int) -> int:
    value = x
    for step in range(2000):
        value = (value * 31 + step) % 1_000_003
    return value


def of_size(size: int) -> bytes:
    return bytes(size)


def wait_for(job: tuple[int, str, str]) -> int:
    """Item, a file to wait for or "", ledger."""
    item, path, ledger = job
    work.append(ledger, str(item))
    if path:
        work.wait_for_file(path)
    return item


def wait_and_die(job: tuple[int, str, str]) -> int:
    item, path, _ = job
    wait_for(job)
    if path:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def size_of(size: int) -> int:
    return len(bytearray(size))
