"""What runs in the workers. Each call writes down that it began and that it ended, whatever the caller is told.

Only the standard library's light modules are imported: fresh workers, of which there are many, have to load this.
"""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from typing import Any

BEGIN, END = "begin", "end"

LINE_BYTES = 64
"""Of the ledger; a page is a multiple of it."""

_open: dict[str, int] = {}


class Failed(Exception):
    """What failing calls raise; its ``__init__`` takes two arguments, as many do."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"{number}: {text}")
        self.number = number


def answer(number: int) -> int:
    """The right result of call ``number``; another one for each."""
    return number * 2654435761 % (1 << 32)


def pattern(number: int, size: int) -> bytes:
    """``size`` bytes (a multiple of 8) that belong to this call alone."""
    return answer(number).to_bytes(8, "little") * (size // 8)


def _note(ledger: str, what: str, number: int) -> None:
    """One line, in one write to a file opened for appending: lines of many processes neither mix nor get lost.

    Nor is one torn: Linux ends the write of a process that is killed between two pages, and no line is in two.
    """
    fd = _open.get(ledger)
    if fd is None:
        fd = _open[ledger] = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
    line = f"{what} {number} {os.getpid()} {time.monotonic_ns()}"
    os.write(fd, f"{line:<{LINE_BYTES - 1}}\n".encode())


def _spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def quick(ledger: str, number: int, seconds: float) -> int:
    """Next to nothing."""
    _note(ledger, BEGIN, number)
    _note(ledger, END, number)
    return answer(number)


def spin(ledger: str, number: int, seconds: float) -> int:
    """A Python loop."""
    _note(ledger, BEGIN, number)
    _spin(seconds)
    _note(ledger, END, number)
    return answer(number)


def sleep(ledger: str, number: int, seconds: float) -> int:
    """A system call."""
    _note(ledger, BEGIN, number)
    time.sleep(seconds)
    _note(ledger, END, number)
    return answer(number)


def fail(ledger: str, number: int, seconds: float) -> None:
    """Raise Failed."""
    _note(ledger, BEGIN, number)
    _note(ledger, END, number)
    raise Failed(number, "on purpose")


def big_result(ledger: str, number: int, seconds: float) -> bytes:
    """Half a megabyte: more than a channel takes at once."""
    _note(ledger, BEGIN, number)
    result = pattern(number, 1 << 19)
    _note(ledger, END, number)
    return result


def big_argument(ledger: str, number: int, seconds: float, payload: bytes) -> int:
    """As much in the other direction; the result is its checksum."""
    _note(ledger, BEGIN, number)
    result = zlib.crc32(payload)
    _note(ledger, END, number)
    return result


def stubborn(ledger: str, number: int, seconds: float) -> int:
    """Swallows the interrupt, and goes on for ever then: only a kill helps."""
    _note(ledger, BEGIN, number)
    end = time.perf_counter() + seconds
    while True:
        try:
            while time.perf_counter() < end:
                pass
            break
        except BaseException:
            end = float("inf")
    _note(ledger, END, number)
    return answer(number)


def tidy(ledger: str, number: int, seconds: float) -> int:
    """Needs some time on its way out."""
    _note(ledger, BEGIN, number)
    try:
        _spin(seconds)
    finally:
        _spin(0.002)
    _note(ledger, END, number)
    return answer(number)


def forking(ledger: str, number: int, seconds: float) -> int:
    """Forks, and both processes come back: the child's answer must not count."""
    _note(ledger, BEGIN, number)
    child = os.fork()
    if child == 0:
        return -1
    os.waitpid(child, 0)
    _note(ledger, END, number)
    return answer(number)


def starting_a_program(ledger: str, number: int, seconds: float) -> int:
    """Starts a program that it ends again, unless it is killed before."""
    import subprocess

    _note(ledger, BEGIN, number)
    with subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL) as program:  # noqa: S607
        try:
            _spin(seconds)
        finally:
            program.kill()
    _note(ledger, END, number)
    return answer(number)


async def coroutine(ledger: str, number: int, seconds: float) -> int:
    """Waits on its worker's loop, beside others."""
    _note(ledger, BEGIN, number)
    await asyncio.sleep(seconds)
    _note(ledger, END, number)
    return answer(number)


async def slow_to_stop(ledger: str, number: int, seconds: float) -> int:
    """A coroutine that takes its time over a cancel, but does stop."""
    _note(ledger, BEGIN, number)
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.sleep(0.002)
    _note(ledger, END, number)
    return answer(number)


async def blocking_coroutine(ledger: str, number: int, seconds: float) -> int:
    """A coroutine that holds up its worker's loop."""
    _note(ledger, BEGIN, number)
    _spin(seconds)
    await asyncio.sleep(0)
    _note(ledger, END, number)
    return answer(number)


def meet(folder: str, me: int, count: int) -> int:
    """The worker's process id, once ``count`` calls of this run at the same time."""
    open(os.path.join(folder, str(me)), "w").close()
    end = time.monotonic() + 20
    while len(os.listdir(folder)) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"only {len(os.listdir(folder))} of {count} calls run at the same time")
        time.sleep(0.001)
    return os.getpid()


def tiny(number: int) -> int:
    """The smallest call, for the cancels."""
    return answer(number)


def tiny_spin(number: int) -> int:
    """Some hundred microseconds: cancels find it running."""
    _spin(0.0003)
    return answer(number)


def endless(number: int) -> None:
    """Ends by an interrupt only."""
    while True:
        pass


async def tiny_coroutine(number: int) -> int:
    """The smallest coroutine that waits."""
    await asyncio.sleep(0)
    return answer(number)


def right_result(function: str, number: int) -> Any:
    """What the function of this name returns for this number, or ``Failed`` where it raises that."""
    if function == "fail":
        return Failed
    if function == "big_result":
        return pattern(number, 1 << 19)
    if function == "big_argument":
        return zlib.crc32(pattern(number, 1 << 19))
    return answer(number)
