"""How long the loop stands still while something large goes to a worker and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

from .. import work
from ..contestants.contract import Contestant
from .contract import Figure, Measurement, Run, Scale

_INTERVAL = 0.001
_TRIPS = 2


class _Ticker:
    """Wakes up each millisecond, and remembers how late it was at worst."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.worst = 0.0
        self.last = perf_counter()
        self.timer = loop.call_later(_INTERVAL, self.tick)

    def tick(self) -> None:
        now = perf_counter()
        self.worst = max(self.worst, now - self.last - _INTERVAL)
        self.last = now
        self.timer = self.loop.call_later(_INTERVAL, self.tick)

    async def stop(self) -> float:
        """The worst, in seconds, with what still holds the loop at this moment."""
        await asyncio.sleep(2 * _INTERVAL)
        self.timer.cancel()
        return self.worst


def _there_and_back(make: Callable[[Scale], Any]) -> Run:
    async def run(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
        sent = make(scale)
        stalls, trips = [], []
        async with contestant(scale.workers) as pool:
            for _ in range(10):
                await pool.call(work.noop)
            for _ in range(_TRIPS):
                await asyncio.sleep(0.01)
                ticker = _Ticker(asyncio.get_running_loop())
                began = perf_counter()
                returned = await pool.call(work.itself, sent)
                trips.append(perf_counter() - began)
                stalls.append(await ticker.stop())
                if len(returned) != len(sent):
                    raise ValueError("another object came back than was sent")
                del returned
        return {"stall_ms": max(stalls) * 1e3, "trip_ms": median(trips) * 1e3}

    return run


def _text(scale: Scale) -> str:
    return "x" * (scale.stall_mb * 1_000_000)


def _bytes(scale: Scale) -> bytes:
    return b"x" * (scale.stall_mb * 1_000_000)


def _array(scale: Scale) -> Any:
    import numpy as np

    return np.ones(scale.stall_mb * 1_280_000 // 8)


def _dicts(scale: Scale) -> list[dict[str, Any]]:
    return [{"i": i, "s": str(i), "l": [i]} for i in range(scale.dicts)]


def _row(key: str, name: str, make: Callable[[Scale], Any]) -> Measurement:
    return Measurement(
        f"stall-{key}",
        f"{name} as argument and result, twice, the first time cold: the worst lateness of a timer that ticks each "
        "millisecond on the same loop. The floor: the same with nothing sent",
        _there_and_back(make),
        (
            Figure("stall_ms", f"worst stall: {name}", "ms", "lower"),
            Figure("trip_ms", f"there and back: {name}", "ms", "lower"),
        ),
        {"process": ("stdlib-process",)},
        {"process": "floor-idle"},
        rounds=3,
    )


ROWS = (
    _row("text", "{stall_mb} MB of text", _text),
    _row("bytes", "{stall_mb} MB of bytes", _bytes),
    _row("array", "a numpy array of 1.28 x {stall_mb} MB", _array),
    _row("dicts", "a list of {dicts:,} dicts", _dicts),
)
