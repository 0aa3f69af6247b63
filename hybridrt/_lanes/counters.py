"""Counts of one lane's outcomes, and the snapshot made of them."""

from __future__ import annotations

from .._core.health import CrashRecord, Health
from .._core.stats import Histogram, LaneStats


class Counters:
    """Plain counters; owned by the loop's thread."""

    __slots__ = ("cancelled", "crashed", "crashes", "dropped", "failed", "refused", "run_times", "succeeded")

    def __init__(self) -> None:
        self.succeeded = self.failed = self.cancelled = self.crashed = 0
        self.dropped = self.refused = 0
        self.run_times = Histogram()
        self.crashes = CrashRecord()

    @property
    def ended(self) -> int:
        """Calls that have ended, and runs that were lost and are to be repeated."""
        return self.succeeded + self.failed + self.crashed

    def count_crash(self, now: float) -> None:
        """One more call was lost to the death of its worker, for good or to be run again."""
        self.crashed += 1
        self.crashes.crashed(now)

    def mark(self, now: float) -> None:
        """Note what has ended so far, for the health; to be called now and then."""
        self.crashes.mark(now, self.ended)

    def health(self, now: float) -> Health:
        """What the crashes of the last minute amount to."""
        return self.crashes.snapshot(now, self.ended)

    def snapshot(
        self,
        name: str,
        *,
        limit: int,
        workers: int,
        running: int,
        waiting: int,
        learned: tuple[str, ...] = (),
    ) -> LaneStats:
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
            learned=learned,
            dropped=self.dropped,
            refused=self.refused,
        )
