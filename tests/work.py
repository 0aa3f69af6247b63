"""Functions for the tests to run elsewhere; an importable module, so they travel to workers by reference."""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any


def double(x: int) -> int:
    return x * 2


def echo(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


def fail(message: str) -> None:
    raise ValueError(message)


def pid_and_double(x: int) -> tuple[int, int]:
    return os.getpid(), x * 2


def die(how: str) -> None:
    if how == "exit":
        os._exit(7)
    elif how == "segfault":
        ctypes.string_at(0)
    else:
        os.kill(os.getpid(), getattr(signal, how))
        signal.pause()


async def co_pid_and_double(x: int) -> tuple[int, int]:
    return os.getpid(), x * 2


def die_before(runs: int, ledger: str) -> int:
    """Die as often as that; then return how often it was."""
    append(ledger, "run")
    count = len(Path(ledger).read_text().splitlines()) - 1
    if count < runs:
        os.kill(os.getpid(), signal.SIGKILL)
    return count


async def co_die_before(runs: int, ledger: str) -> int:
    return die_before(runs, ledger)


_hoard: list[bytes] = []


def hoard(size: int) -> int:
    """Leak so many bytes, and say in which process."""
    _hoard.append(os.urandom(size))
    return os.getpid()


async def co_hoard(size: int) -> int:
    return hoard(size)


def touch_at_exit(path: str) -> None:
    atexit.register(touch, path)


def stay_at_exit() -> int:
    atexit.register(threading.Event().wait)
    return os.getpid()


def wait_for_file(path: str, and_create: str | None = None) -> str:
    """Return when ``path`` exists, having created ``and_create``: lets a test order what happens, without clocks."""
    if and_create:
        Path(and_create).touch()
    while not Path(path).exists():
        time.sleep(0.001)
    return path


def note_and_wait(begun: str, ended: str) -> None:
    """Create ``begun``, then wait for ever; ``ended`` is created on the way out."""
    try:
        Path(begun).touch()
        while True:
            time.sleep(1)
    finally:
        Path(ended).touch()


def swallow_interrupts(begun: str) -> None:
    while True:
        try:
            Path(begun).touch()
            while True:
                time.sleep(0.001)
        except BaseException:
            pass


def touch(path: str) -> None:
    Path(path).touch()


def append(path: str, text: str) -> None:
    """One line more, in one write: a ledger that many processes keep."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{text}\n".encode())
    os.close(fd)


def die_at(path: str, text: str, is_last: bool) -> None:
    append(path, text)
    if is_last:
        os.kill(os.getpid(), signal.SIGKILL)


def spin(seconds: float) -> float:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return seconds


def leave(code: int) -> None:
    sys.exit(code)


def lock() -> Any:
    return threading.Lock()


def nested_lock() -> Any:
    return {"rows": [1, {"guard": threading.Lock()}]}


def numbers(n: int) -> Any:
    yield from range(n)


async def co_double(x: int) -> int:
    await asyncio.sleep(0)
    return x * 2


async def co_wait(begun: str, ended: str) -> None:
    try:
        Path(begun).touch()
        await asyncio.get_running_loop().create_future()
    finally:
        Path(ended).touch()


async def co_meet(folder: str, me: str, other: str) -> str:
    """Ends only if ``other`` runs at the same time."""
    Path(folder, me).touch()
    while not Path(folder, other).exists():
        await asyncio.sleep(0.001)
    return me


async def co_leave(code: int) -> None:
    sys.exit(code)


class TwoArguments(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def raise_two_arguments() -> None:
    raise TwoArguments("this", "that")


class BadReduce(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("no")


def raise_bad_reduce() -> None:
    raise BadReduce("explodes")


class ExplodesOnArrival:
    """Pickles well; what it unpickles to is an error."""

    def __reduce__(self) -> Any:
        return (int, ("not a number",))


def explodes_on_arrival() -> Any:
    return ExplodesOnArrival()


class Greeter:
    def __init__(self, name: str) -> None:
        self.name = name

    def greet(self, other: str) -> str:
        return f"{self.name} greets {other}"

    async def greet_later(self, other: str) -> str:
        await asyncio.sleep(0)
        return self.greet(other)

    def __call__(self, other: str) -> str:
        return self.greet(other)


def note(path: str, text: str, *rest: Any) -> str:
    """One line more in the ledger; what else it is given it only takes."""
    append(path, text)
    return text


async def co_note(path: str, text: str, *rest: Any) -> str:
    return note(path, text)


def count_of(things: Any, *rest: Any) -> int:
    return len(things)


def many(count: int, last: Any = None) -> list[Any]:
    """A large result; ``last`` is at its end."""
    return [*map(str, range(count)), last]


async def co_many(count: int) -> list[Any]:
    return many(count)


def fail_with(count: int) -> None:
    raise ValueError(many(count))
