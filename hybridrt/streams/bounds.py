"""How much of one map may be in flight, and how its items go: one by one, or so many together."""

from __future__ import annotations

from typing import Any

from .._core.function import COROUTINE
from .._core.placement import PROCESS, THREAD
from .._lanes.job import Job
from .pace import IN_PROCESS, IN_THREAD, Pace, Terms
from .starting import MOST_ALONE, Means

_BATCHES_A_WORKER = 4
"""In flight without ``limit``; half of them started."""
_THREADS_AT_BATCHES = 2
_FIRST_ALONE = 2
"""Items whose place is to be found out go through ``run``, until it is known; so many at least."""


class Bounds:
    """What ``limit``, the lane and what was measured allow."""

    __slots__ = ("_limit", "_means", "_workers", "is_coroutine", "pace", "terms")

    def __init__(self, means: Means, limit: int | None) -> None:
        self._means = means
        self._limit = limit
        self._workers = means.threads if means.lane == THREAD else means.processes
        self.is_coroutine: bool = means.function.kind == COROUTINE
        self.terms: Terms = IN_PROCESS if means.lane == PROCESS else IN_THREAD
        at_batches = _THREADS_AT_BATCHES if means.lane == THREAD else means.processes
        most = max(1, limit // (2 * at_batches)) if limit is not None else 1 << 30
        self.pace: Pace = Pace(self.terms, most, wait=_FIRST_ALONE if means.lane is None else 0)
        if self.is_coroutine or means.start_batch is None or means.lane not in (None, PROCESS, THREAD):
            self.pace.one_by_one()

    @property
    def most_running(self) -> int:
        """Jobs that may be started and not ended."""
        if self.is_coroutine:
            return self._limit or MOST_ALONE
        if not self.pace.is_batching:
            return self._workers + (
                self._means.start_batch is not None
            )  # else the next one's time would run already
        return 2 * (_THREADS_AT_BATCHES if self.terms is IN_THREAD else self._workers)

    @property
    def most_accepted(self) -> int:
        """Items that may be read and not yielded."""
        if self._limit is not None:
            return self._limit
        if self.is_coroutine:
            return MOST_ALONE
        if self.pace.is_batching:
            return max(MOST_ALONE, _BATCHES_A_WORKER * self._workers * self.pace.size)
        return max(MOST_ALONE, 2 * self._workers)

    def see(self, job: Job[Any]) -> None:
        """Where an item or a batch has been."""
        if self._means.lane is None:
            is_away = job.lane == PROCESS
            self._workers = self._means.processes if is_away else self._means.threads
            self.terms = IN_PROCESS if is_away else IN_THREAD
            self.pace.use(self.terms)

    def learn_alone(self, job: Job[Any]) -> None:
        """An item that went by itself has ended."""
        if self.is_coroutine or self.pace.is_fixed:
            return
        self.see(job)
        timing = job.function.in_process if job.lane == PROCESS else job.function.in_thread
        self.pace.single(timing.mean)
