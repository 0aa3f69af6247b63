"""Counts of one lane's outcomes, and the snapshot made of them."""

from __future__ import annotations

from .._core.stats import Histogram, LaneStats


class Counters:
    """Plain counters; owned by the loop's thread."""

    __slots__ = ("cancelled", "crashed", "failed", "run_times", "succeeded")

    def __init__(self) -> None:
        self.succeeded = self.failed = self.cancelled = self.crashed = 0
        self.run_times = Histogram()

    def snapshot(self, name: str, *, limit: int, workers: int, running: int, waiting: int) -> LaneStats:
        """The counters with what the lane knows of itself."""
        return LaneStats(
            name=name,
            limit=limit,
            workers=workers,
            running=running,
            waiting=waiting,
            succeeded=self.succeeded,
            failed=self.failed,
            cancelled=self.cancelled,
            crashed=self.crashed,
            run_p50=self.run_times.quantile(0.5),
            run_p99=self.run_times.quantile(0.99),
            run_worst=self.run_times.worst,
        )
