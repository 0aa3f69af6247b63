"""Quick calls, not worth a process: tens of microseconds at most, so the way there costs more."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import time

from .case import QUICK, Cases
from .data import integers, json_text

CASES = Cases(QUICK)
_WHY = "shorter than the way to a process"


def hypotenuse(a: float, b: float) -> float:
    return math.sqrt(a * a + b * b)


def parse_pair(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    return name.strip(), int(value)


def mean_of_few(numbers: list[int]) -> float:
    return sum(numbers) / len(numbers)


def sum_squares(below: int) -> int:
    return sum(number * number for number in range(below))


def find_number(text: str) -> str | None:
    found = re.search(r"\d+", text)
    return found[0] if found else None


def short_digest(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def first_record(text: str) -> int:
    return len(json.loads(text))


def order_few(numbers: list[int]) -> list[int]:
    return sorted(numbers)


def exists(path: str) -> bool:
    return os.path.exists(path)


_add = CASES.add
_add("square root", hypotenuse, lambda: (3.0, 4.0), _WHY)
_add("a pair parsed", parse_pair, lambda: ("answer = 42",), _WHY)
_add("mean of 200 numbers", mean_of_few, lambda: (integers(200, 99),), _WHY)
_add("500 squares, 30 us", sum_squares, lambda: (500,), _WHY)
_add("a number found by re", find_number, lambda: ("the answer is 42",), _WHY)
_add("md5 of 1 kB", short_digest, lambda: (b"x" * 1000,), _WHY)
_add("json.loads of a few records", first_record, lambda: (json_text(5),), _WHY)
_add("100 numbers sorted", order_few, lambda: (integers(100, 99),), _WHY)
_add("os.path.exists", exists, lambda: ("/tmp",), _WHY)  # noqa: S108  # only looked at
_add("time.monotonic", time.monotonic, tuple, _WHY)
