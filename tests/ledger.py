"""A call that writes down when it began and ended; apart, because a fresh worker has to load this quickly."""

from __future__ import annotations

import os
import time


def keep(path: str, number: int, seconds: float) -> int:
    """Spin for ``seconds``; the ledger then tells what really ran, whatever the caller was told."""
    _append(path, f"begin {number}")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    _append(path, f"end {number}")
    return number


def _append(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    # All of one size, so that none is in two pages: a kill may come between these, and tear it.
    os.write(fd, f"{text:<31}\n".encode())
    os.close(fd)
