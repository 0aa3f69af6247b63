"""Calls that are in order, and cheap for a fresh worker: nearly every fault costs one, which then loads this file."""

from __future__ import annotations

import os
import time


def double(x: int) -> int:
    return x * 2


async def co_double(x: int) -> int:
    return x * 2


def append(path: str, number: int) -> int:
    """One line more, in one write: a ledger that many processes keep."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{number}\n".encode())
    os.close(fd)
    return number


def touch(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))


def wait_for(path: str, begun: str) -> str:
    """Return when ``path`` exists, having created ``begun``."""
    touch(begun)
    while not os.path.exists(path):
        time.sleep(0.001)
    return path
