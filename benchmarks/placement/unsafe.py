"""Computing that denies the GIL, and yet must stay in a thread: elsewhere it would, or could, mean something else."""

from __future__ import annotations

import functools
import io
import itertools
import os
import random
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TextIO

from .case import UNSAFE, Cases
from .data import a_file_of_numbers, integers, words

CASES = Cases(UNSAFE)

_total = 0
_memo: dict[int, int] = {}
_settings = {"modulus": 7}
_local = threading.local()
_request: ContextVar[int] = ContextVar("placement_request", default=3)
_seen: list[int] = []
MISSING = object()


def burn(turns: int) -> int:
    """What each of these does besides: some milliseconds of pure Python."""
    found = 0
    for number in range(turns):
        found += number * number % 7
    return found


TURNS = 40_000


def normalise(values: list[int]) -> int:
    most = max(values)
    for _ in range(40):
        for at, value in enumerate(values):
            values[at] = value * 997 % most + 1
    return most


def tally(counts: dict[str, int], words: list[str]) -> int:
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return len(counts)


def add_to_total(turns: int) -> int:
    global _total
    _total += burn(turns)
    return _total


def remember(turns: int) -> int:
    _memo[len(_memo)] = burn(turns)
    return len(_memo)


def by_settings(turns: int) -> int:
    found = 0
    for number in range(turns):
        found += number * number % _settings["modulus"]
    return found


def log_it(turns: int) -> int:
    _seen.append(turns)
    return burn(turns)


@functools.lru_cache(maxsize=8)
def cached(turns: int, salt: int) -> int:
    return burn(turns) + salt


def draw(turns: int) -> int:
    return sum(random.randint(1, 6) for _ in range(turns // 10))


def shuffle(values: list[int]) -> int:
    for _ in range(3):
        random.shuffle(values)
    return values[0]


def under_lock(lock: threading.Lock, turns: int) -> int:
    with lock:
        return burn(turns)


def count_lines(file: TextIO) -> int:
    return sum(len(line.split()) for line in file)


def count_rows(connection: sqlite3.Connection) -> int:
    found = Counter(str(a * a % 7) for (a,) in connection.execute("select a from t"))
    return found.total()


def say(turns: int) -> int:
    found = burn(turns)
    print(end="", file=sys.stderr)
    return found


def from_file(path: str) -> int:
    with open(path) as file:
        return sum(int(line) * 3 % 7 for line in file)


def by_environment(turns: int) -> int:
    return burn(turns) + len(os.environ.get("HOME", ""))


def set_environment(turns: int) -> int:
    os.environ["PLACEMENT_TURNS"] = str(turns)
    return burn(turns)


def per_thread(turns: int) -> int:
    _local.calls = getattr(_local, "calls", 0) + 1
    return burn(turns) + int(_local.calls)


def of_request(turns: int) -> int:
    return burn(turns) % _request.get()


def fill(values: list[Any], missing: object) -> int:
    return sum(burn(40) for value in values if value is missing)


def consume(numbers: Iterator[int]) -> int:
    return sum(number * number % 7 for number in itertools.islice(numbers, 30_000))


def collect(number: int, found: list[int] = []) -> int:  # noqa: B006  # the trap is what it is about
    found.append(burn(number))
    return len(found)


def call_back(report: Callable[[int], None], turns: int) -> int:
    found = burn(turns)
    report(found)
    return found


def _counter() -> Callable[[int], int]:
    calls = 0

    def count(turns: int) -> int:
        nonlocal calls
        calls += 1
        return burn(turns) + calls

    return count


def _over_a_list(found: list[int]) -> Callable[[int], int]:
    return lambda turns: burn(turns) + len(found)


def in_identity(turns: int) -> int:
    return burn(turns) + threading.get_ident() % 2


class Account:
    """Holds what its methods add up."""

    def __init__(self) -> None:
        self.balance = 0

    def deposit(self, turns: int) -> int:
        self.balance += burn(turns)
        return self.balance


class Squares:
    """Called like a function, and remembers."""

    def __init__(self) -> None:
        self.last = 0

    def __call__(self, turns: int) -> int:
        self.last = burn(turns)
        return self.last


_account, _squares, _count = Account(), Squares(), _counter()
_salts = itertools.count()
_lock = threading.Lock()


def _connection() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("create table t (a integer)")
    connection.executemany("insert into t values (?)", ((n,) for n in range(8_000)))
    return connection


def _turns() -> tuple[int]:
    return (TURNS,)


_add = CASES.add
_add("a list normalised in place", normalise, lambda: (list(integers(1_500, 999)),), "changes its argument")
_add("a dict of counts", tally, lambda: ({}, words(15_000)), "changes its argument")
_add("a global total", add_to_total, _turns, "changes a global")
_add("a memo of its own", remember, _turns, "changes a global")
_add("settings in a global", by_settings, _turns, "reads what others may change")
_add("a log of calls", log_it, _turns, "changes a global list")
_add("functools.lru_cache", cached, lambda: (TURNS, next(_salts)), "keeps a cache")
_add("random.randint", draw, _turns, "uses the generator of this process")
_add("random.shuffle", shuffle, lambda: (list(range(4_000)),), "uses that generator, changes its argument")
_add("work under a lock", under_lock, lambda: (_lock, TURNS), "takes a lock")
_add(
    "a stream", count_lines, lambda: (io.StringIO("a few words here\n" * 15_000),), "reads from its argument"
)
_add("a database connection", count_rows, lambda: (_connection(),), "takes a connection")
_add("print", say, _turns, "writes to a stream of this process")
_add("open()", from_file, lambda: (a_file_of_numbers(30_000),), "opens a file")
_add("os.environ read", by_environment, _turns, "reads what others may change")
_add("os.environ set", set_environment, _turns, "changes the environment")
_add("threading.local", per_thread, _turns, "belongs to a thread")
_add("a context variable", of_request, _turns, "reads its context")
_add("a sentinel", fill, lambda: ([MISSING] * 1_000, MISSING), "compares by identity")
_add("an iterator", consume, lambda: (iter(range(50_000)),), "uses up its argument")
_add("a mutable default", collect, _turns, "changes its default argument")
_add("a callback", call_back, lambda: (_seen.append, TURNS), "calls back")
_add("a closure that counts", _count, _turns, "changes what it closes over")
_add("get_ident", in_identity, _turns, "asks which thread it is in")
_add("a bound method", _account.deposit, _turns, "changes its object")
_add("a callable object", _squares, _turns, "changes itself")
_add("a lambda over a list", _over_a_list(_seen), _turns, "reads what others may change")
_add("a partial of a method", functools.partial(_account.deposit, TURNS), tuple, "changes an object")
