"""Functions for ``run`` to place; each computes, and some may not be moved."""

from __future__ import annotations

import os
import random
import threading
from typing import Any

from hybridrt._engine.packing import pickler

LIMIT = 1_000_003
SEEN: list[int] = []


def squares(n: int) -> int:
    total = 0
    for i in range(n):
        total += i * i % LIMIT
    return total


def squares_too(n: int) -> int:
    total = 1
    for i in range(n):
        total += i * i % LIMIT
    return total


def squares_of(numbers: list[int]) -> int:
    total = 0
    for i in numbers:
        total += i * i % LIMIT
    return total


def spread(n: int, text: str) -> list[str]:
    return [text + str(i) for i in range(n)]


def grows(n: int) -> int:
    total = 0
    for i in range(n):
        total += i
    return total


def changes_its_argument(numbers: list[int]) -> int:
    for i in range(len(numbers)):
        numbers[i] += 1
    return len(numbers)


def keeps_count(n: int) -> int:
    SEEN.extend(i * i for i in range(n))
    SEEN.clear()
    SEEN.append(n)
    return n


def draws(n: int) -> float:
    return sum(random.random() for _ in range(n))


def counts_under(lock: Any, n: int) -> int:
    with lock:
        return squares(n)


def fails(n: int) -> int:
    squares(n)
    raise LookupError(str(n))


class Counter:
    def __init__(self) -> None:
        self.total = 0

    def count(self, n: int) -> int:
        for i in range(n):
            self.total += i
        return self.total


def returns_a_lock(n: int) -> Any:
    squares(n)
    return threading.Lock()


def dies(now: Any) -> str:
    if now is True:
        os._exit(3)
    return "lives"


def pickles_and_returns_a_lock() -> Any:
    return pickler.get(), threading.Lock()
