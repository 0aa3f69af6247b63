"""Functions of many kinds are called through ``run``, which finds out where each belongs while the program works.

Look at the lanes, twice a second: nothing is declared of these functions, and nothing is said at the calls. What waits
and what lets the GIL go stays in a thread; what computes and denies the GIL to everyone else goes to a process, unless
it does more than compute: ``add_up`` changes a global, which it could not do from there. The hash of a text is too
quick for a process, until the texts become a thousand times as long. And look at *loop late*, which falls as the
functions find their places.

    python examples/adaptive.py [--seconds 6]
"""

import argparse
import asyncio
import hashlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import hybridrt

parser = argparse.ArgumentParser()
parser.add_argument("--seconds", type=float, default=6.0)
seconds = parser.parse_args().seconds

TEXT = "It was the best of times, it was the worst of times. " * 600
ORDERS = json.dumps([{"id": n, "price": n % 97, "amount": n % 7} for n in range(2_000)])
DATA = bytes(1 << 22)
total = 0


def ask_database(rows: int) -> int:
    connection = sqlite3.connect(":memory:")  # C code: lets the GIL go while it works
    rising = (
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < ?) select sum(i % 7) from n"
    )
    (found,) = connection.execute(rising, (rows,)).fetchone()
    connection.close()
    return int(found)


def sign(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()  # the same


def value_of(orders: str) -> int:
    return sum(order["price"] * order["amount"] for order in json.loads(orders))


def count_pairs(text: str) -> int:
    words = text.lower().split()
    return len(Counter(pairwise(words)))


def hash_of(text: str) -> int:
    value = 2166136261
    for byte in text.encode():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


def add_up(numbers: int) -> int:
    global total
    for number in range(numbers):
        total += number % 7
    return total


class Client:
    """Calls one function again and again, and counts."""

    def __init__(
        self, fn: Callable[..., Any], pause: float, arguments: Callable[[float], tuple[Any, ...]]
    ) -> None:
        self.fn, self.pause, self.arguments = fn, pause, arguments
        self.calls = 0

    async def work(self, began: float, since: float) -> None:
        await asyncio.sleep(since)
        while (now := time.perf_counter() - began) < seconds:
            await hybridrt.current_runtime().run(self.fn, *self.arguments(now))
            self.calls += 1
            await asyncio.sleep(self.pause)


CLIENTS = [
    Client(time.sleep, 0.0, lambda _: (0.01,)),
    Client(ask_database, 0.05, lambda _: (20_000,)),
    Client(sign, 0.02, lambda _: (DATA,)),
    Client(value_of, 0.0, lambda _: (ORDERS,)),
    Client(count_pairs, 0.0, lambda _: (TEXT,)),
    Client(hash_of, 0.004, lambda now: (TEXT[:20] if now < seconds / 2 else TEXT[:20_000],)),
    Client(add_up, 0.2, lambda _: (30_000,)),
]


async def beat(late: list[float]) -> None:
    while True:
        due = time.perf_counter() + 0.002
        await asyncio.sleep(0.002)
        late.append(time.perf_counter() - due)


async def report(began: float, late: list[float]) -> None:
    rt = hybridrt.current_runtime()
    before = [0] * len(CLIENTS)
    while True:
        await asyncio.sleep(seconds / 12)
        p99 = sorted(late)[int(len(late) * 0.99)] if late else 0.0
        calls = [client.calls - earlier for client, earlier in zip(CLIENTS, before, strict=True)]
        before = [client.calls for client in CLIENTS]
        rate = sum(calls) / (seconds / 12)
        print(
            f"\n{time.perf_counter() - began:.1f} s: {rate:.0f} calls/s, loop late by {p99 * 1e3:.1f} ms (p99)"
        )
        for client, number in zip(CLIENTS, calls, strict=True):
            why = rt.explain(client.fn)
            print(f"  {client.fn.__name__:13}{why.lane:9}{number:5} calls   {why.reason}")
        late.clear()


async def main() -> None:
    late: list[float] = []
    began = time.perf_counter()
    watching = [asyncio.create_task(beat(late)), asyncio.create_task(report(began, late))]
    # One comes after the other: functions that compute at the same time are hard to tell apart.
    await asyncio.gather(
        *(client.work(began, number * seconds / 24) for number, client in enumerate(CLIENTS))
    )
    for task in watching:
        task.cancel()


hybridrt.run(main)
