"""How late the event loop is: a timer that notes by how much it was called too late."""

from __future__ import annotations

import asyncio
from time import perf_counter

from .._core.stats import Histogram, LoopLag


class LagWatch:
    """Measures every ``interval`` seconds; 0 measures nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        self._loop = loop
        self._interval = interval
        self._lags = Histogram()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        if interval:
            self._arm()

    def _arm(self) -> None:
        # Not the loop's own clock: uvloop's stands still between two turns and counts whole milliseconds.
        self._due = perf_counter() + self._interval
        self._timer = self._loop.call_later(self._interval, self._tick)

    def _tick(self) -> None:
        self._lags.record(max(0.0, perf_counter() - self._due))
        self._arm()

    def snapshot(self) -> LoopLag:
        """What was measured so far."""
        lags = self._lags
        return LoopLag(lags.count, lags.quantile(0.5), lags.quantile(0.99), lags.worst)

    def close(self) -> None:
        """Stop measuring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
