"""How late the event loop is: a timer that notes by how much it was called too late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

from .._core.stats import Histogram, LoopLag


class LagWatch:
    """Measures every ``interval`` seconds; 0 measures nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        self._loop = loop
        self.interval: float = interval
        self._lags = Histogram()
        self._timer: asyncio.TimerHandle | None = None
        self.due: float = perf_counter()
        """When the loop is to turn next (``perf_counter``); as long as this stands in the past, it has not."""
        self.on_turn: Callable[[float, float], None] | None = None
        """Called at each measurement with when it was due and how late it is, in seconds."""
        if interval:
            self._arm()

    def _arm(self) -> None:
        # Not the loop's own clock: uvloop's stands still between two turns and counts whole milliseconds.
        self.due = perf_counter() + self.interval
        self._timer = self._loop.call_later(self.interval, self._tick)

    def _tick(self) -> None:
        due = self.due
        late = max(0.0, perf_counter() - due)
        self._lags.record(late)
        self._arm()
        if self.on_turn is not None:
            self.on_turn(due, late)

    def snapshot(self, blocked: int = 0) -> LoopLag:
        """What was measured so far, with how often a blocked loop was noticed."""
        lags = self._lags
        return LoopLag(lags.count, lags.quantile(0.5), lags.quantile(0.99), lags.worst, blocked)

    def close(self) -> None:
        """Stop measuring."""
        self.on_turn = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
