"""Functions with effects beside their result: on arguments, globals, closures, iterators, the process, the thread."""

from __future__ import annotations

import itertools
import random
import threading
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

COUNTS: dict[str, int] = {}
LEVEL = 1
where: ContextVar[str] = ContextVar("where", default="nowhere")
local = threading.local()
_numbers = itertools.count()


def grow(rows: list[Any]) -> int:
    rows.append(len(rows))
    return len(rows)


def sort_inside(rows: list[list[int]]) -> int:
    for row in rows:
        row.sort()
    return sum(row[0] for row in rows if row)


def rename(record: dict[str, Any]) -> dict[str, Any]:
    record["name"] = record.pop("name", "") + "!"
    return record


def the_same(thing: Any) -> Any:
    return thing


def the_longest(rows: list[list[int]]) -> list[int]:
    return max(rows, key=len)


def wrap(rows: list[int]) -> dict[str, list[int]]:
    return {"rows": rows}


def count(name: str) -> int:
    COUNTS[name] = COUNTS.get(name, 0) + 1
    return COUNTS[name]


def raise_level(by: int) -> int:
    global LEVEL
    LEVEL += by
    return LEVEL


def level_plus(n: int) -> int:
    return LEVEL + n


def draw(n: int) -> list[float]:
    return [random.random() for _ in range(n)]


def take(numbers: Iterator[int], n: int) -> list[int]:
    return [next(numbers) for _ in range(n)]


def following() -> int:
    return next(_numbers)


def where_it_is(prefix: str) -> str:
    return prefix + where.get()


def fill(data: bytearray) -> int:
    for i in range(len(data)):
        data[i] = i % 256
    return sum(data)


def remember(n: int, seen: list[int] = []) -> list[int]:  # noqa: B006 - that is the case
    seen.append(n)
    return list(seen)


def called(n: int) -> int:
    called.times = getattr(called, "times", 0) + n  # type: ignore[attr-defined]
    return called.times  # type: ignore[attr-defined, no-any-return]


def half_done(rows: list[int]) -> None:
    rows.append(1)
    raise LookupError("half done")


def call_back(fn: Callable[[int], Any], n: int) -> Any:
    return fn(n)


def a_closure() -> Callable[[int], int]:
    total = 0

    def add(n: int) -> int:
        nonlocal total
        total += n
        return total

    return add


class Account:
    def __init__(self) -> None:
        self.total = 0

    def add(self, n: int) -> int:
        self.total += n
        return self.total

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Account) and other.total == self.total

    __hash__ = None  # type: ignore[assignment]


def pay(account: Account, n: int) -> int:
    return account.add(n)


def refer(thing: Any) -> Any:
    return weakref.ref(thing)() is thing


def reset() -> None:
    """Everything that is not an argument, as it was."""
    global LEVEL, _numbers
    COUNTS.clear()
    LEVEL = 1
    _numbers = itertools.count()
    random.seed(7)
    where.set("nowhere")
    remember.__defaults__[0].clear()  # type: ignore[index]
    called.__dict__.pop("times", None)


def state() -> Any:
    """What may have changed beside the arguments."""
    return dict(COUNTS), LEVEL, random.getstate(), remember.__defaults__, dict(called.__dict__)
