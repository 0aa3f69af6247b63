"""Python frames entered for one call, by ``sys.setprofile``, in the calling process and in a worker.

A coroutine that goes on counts as a frame entered again. ``main`` runs in an interpreter of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from types import CodeType, FrameType
from typing import Any

from .. import work
from ..traced import Order

COMMAND = "from benchmarks.profile.frames import main; main()"
_WARMING = 300
_SECONDS = 120.0
_HERE = __file__
ASIDE = "built-in functions called"
"""Counted with the frames, and not one of them."""

_entered: Counter[CodeType] = Counter()
_c_calls: Counter[str] = Counter()


def _note(frame: FrameType, event: str, arg: Any) -> None:
    if event == "call":
        _entered[frame.f_code] += 1
    elif event == "c_call":
        _c_calls[ASIDE] += 1


def begin() -> None:
    """In a worker: count from now on."""
    _entered.clear()
    _c_calls.clear()
    sys.setprofile(_note)


def end() -> dict[str, int]:
    """What was counted since."""
    sys.setprofile(None)
    return _named()


def _named() -> dict[str, int]:
    counts: Counter[str] = Counter(_c_calls)
    for code, count in _entered.items():
        if code.co_filename != _HERE:
            counts[f"{_room(code.co_filename)} {code.co_qualname}"] += count
    return dict(counts)


def _room(path: str) -> str:
    """From the package's name on; the folder's and the file's name elsewhere."""
    parts = path.removesuffix(".py").split(os.sep)
    for package in ("hybridrt", "benchmarks"):
        if package in parts[:-1]:
            return "/".join(parts[len(parts) - 1 - parts[::-1].index(package) :])
    return "/".join(parts[-2:])


def count(order: Order) -> dict[int, Counter[str]]:
    """0 is the calling process, 1 a worker; for all the calls of ``order``, and two more in the worker."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *order.command()[3:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"while frames were counted: {done.stderr.strip().splitlines()[-1:]}")
    return {at: Counter(found) for at, found in enumerate(json.loads(done.stdout.splitlines()[-1]))}


def main() -> None:
    """Carry out the order in ``sys.argv[1]``."""
    order = Order(**json.loads(sys.argv[1]))
    threading.setprofile(_note)  # threads that the pool will start

    async def run() -> list[dict[str, int]]:
        has_processes = order.contestant.lane == "process" and order.contestant.rank == "ours"
        there: dict[str, int] = {}
        async with order.contestant(1) as pool:
            for _ in range(_WARMING):
                await pool.call(work.noop)
            if has_processes:
                # The first imports this module there, and what a worker needed is told of behind the answer.
                await pool.call(end)
                await pool.call(begin)
            _entered.clear()
            _c_calls.clear()
            sys.setprofile(_note)
            if order.how == "one":
                for _ in range(order.calls):
                    await pool.call(work.noop)
            elif order.calls:
                await pool.at_once(order.calls, work.noop)
            sys.setprofile(None)
            here = _named()
            if has_processes:
                there = await pool.call(end)
        return [here, there]

    print(f"\n{json.dumps(order.contestant.run(run, order.loop))}")
