"""Good tasks and bad ones; an importable module, so they travel to every pool's workers by reference."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MOST_SECONDS = 60.0


def square(x: int, seconds: float = 0.0) -> int:
    """A good one."""
    time.sleep(seconds)
    return x * x


def segfault() -> None:
    """Read from address 0."""
    ctypes.string_at(0)


class TwoArguments(Exception):
    """As many exceptions are: what it hands to ``Exception`` is not what its ``__init__`` takes."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def raise_two_arguments() -> None:
    """Raise it."""
    raise TwoArguments("this", "that")


def unpicklable() -> Any:
    """A result that no pickle can hold."""
    return threading.Lock()


def spin_in_python(begun: str) -> None:
    """A Python loop that needs a CPU for a long time; ``begun`` then holds the worker's process id."""
    _write_pid(begun)
    end = time.monotonic() + _MOST_SECONDS
    while time.monotonic() < end:
        pass


def spin_in_c(begun: str) -> None:
    """One call into C that keeps the GIL, looks at no signal and takes minutes."""
    _write_pid(begun)
    sum(itertools.repeat(1, 10**11))


def spin_in_c_without_the_gil(begun: str) -> None:
    """One call into C that lets other threads run and takes minutes."""
    _write_pid(begun)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)


def start_a_program_and_spin(begun: str) -> None:
    """As ``spin_in_python``, but ``begun`` holds the id of a program that this started."""
    child = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)  # noqa: S607  # wherever it is
    _write_pid(begun, child.pid)
    end = time.monotonic() + _MOST_SECONDS
    while time.monotonic() < end:
        pass


async def as_coroutine(fn: Callable[..., Any], *args: Any) -> Any:
    """``fn``, for a pool that takes coroutine functions only."""
    return fn(*args)


def _write_pid(path: str, pid: int | None = None) -> None:
    part = Path(f"{path}.part")
    part.write_text(str(pid or os.getpid()))
    part.rename(path)  # whoever sees it sees it whole
