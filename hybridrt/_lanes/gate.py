"""What a lane refuses, drops and cuts short, as the terms of its calls say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from itertools import islice
from time import monotonic
from typing import Any

from .._core.accounts import Accounts, Entry
from .._core.function import Function, Timing
from .._core.queue import Queue
from .._core.terms import NO_TERMS, Terms
from ..errors import DeadlineExceeded, QueueFull
from .counters import Counters
from .job import Job

_SAMPLE = 32
_MOST_DEAD = 64
_NEVER = float("inf")


class Gate:
    """One lane's. Belongs to the loop's thread.

    A single timer serves all deadlines; what has ended is let go of at once, and its place in the heap is cleared when
    it comes up, or when half of all are such.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        lane: str,
        counters: Counters,
        *,
        timing: Callable[[Function], Timing],
        most_waiting: int,
        withdraw: Callable[[Entry], bool],
        on_room: Callable[[], None],
        on_dropped: Callable[[Any], None],
    ) -> None:
        """``lane``: its name for messages. ``withdraw(entry)``: take it out of the queue; False where it is in none.
        ``on_room()``: calls that were set aside may start. ``on_dropped(job)``: it has failed before it was started.
        """
        self._loop = loop
        self._lane = lane
        self._counters = counters
        self._timing = timing
        self.most_waiting: int = most_waiting
        """The setting ``max_queue``."""
        self._withdraw = withdraw
        self._on_room = on_room
        self._on_dropped = on_dropped
        self._dues: list[tuple[float, int, Entry]] = []
        self._clear_at = _MOST_DEAD
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER

    def queue(self, accounts: Accounts) -> Queue[Any]:
        """A queue whose late calls are dropped here."""
        return Queue(
            accounts, clock=monotonic, timing=self._timing, on_late=self._drop, on_room=self._on_room
        )

    # Too many

    def refuse_if_full(
        self,
        function: Function,
        terms: Terms | None,
        *,
        waiting: int,
        free: int,
        workers: int,
        calls: Iterable[Job[Any]],
    ) -> None:
        """Raises QueueFull where ``waiting`` calls are as many as may, and none of ``free`` workers takes this one.

        Not where its key has less than its part of that: else one key could shut the door to all. ``calls`` are those
        that wait, as far as they can be seen, of which some show how long it will be.
        """
        most = self.most_waiting if terms is None or terms.max_queue is None else terms.max_queue
        if not most or waiting < most + max(0, free):
            return
        if terms is not None and terms.key is not None:
            no_keys = 0, max(1, most // 2)
            mine, part = calls.share_of(terms.key, most) if isinstance(calls, Queue) else no_keys
            if mine < part:
                return
        self._counters.refused += 1
        means = [timing.mean for job in islice(calls, _SAMPLE) if (timing := self._timing(job.function)).runs]
        mean = sum(means) / len(means) if means else None
        raise self._full(function.name, waiting, most, mean, workers)

    def refuse_future_if_full(self, *, waiting: int, free: int, workers: int) -> None:
        """The same in any thread, for a call of which the lane knows nothing."""
        most = self.most_waiting
        if most and waiting >= most + max(0, free):
            raise self._full("a call", waiting, most, None, workers)

    def _full(self, name: str, waiting: int, most: int, mean: float | None, workers: int) -> QueueFull:
        times = self._counters.run_times
        if mean is None and times.count:
            mean = times.quantile(0.5)  # of whatever has run here
        wait = None if mean is None else waiting * mean / workers
        when = (
            f"the last of them will be started in about {_seconds(wait)}"
            if wait is not None
            else "how long they take is not known yet"
        )
        return QueueFull(
            f"{name} was refused: {waiting} calls wait in {self._lane} already, and max_queue allows {most}; {when}. "
            "Try again later, answer that you are busy, or raise max_queue",
            waiting=waiting,
            estimated_wait=wait,
        )

    # Too late

    def watch(self, entry: Entry) -> None:
        """This call has a deadline: it fails when that is over."""
        heappush(self._dues, (entry.due, entry.call.number, entry))
        if len(self._dues) > self._clear_at:
            self._dues[:] = [it for it in self._dues if it[2].call is not None]
            heapify(self._dues)
            self._clear_at = 2 * len(self._dues) + _MOST_DEAD
        self._set_timer()

    def _set_timer(self) -> None:
        due = self._dues[0][0] if self._dues else _NEVER
        if due >= self._timer_at or due == _NEVER:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_later(max(0.0, due - monotonic()), self._look)

    def _look(self) -> None:
        self._timer = None
        self._timer_at = _NEVER
        now = monotonic()
        dues = self._dues
        while dues and (dues[0][2].call is None or dues[0][0] <= now):
            entry = heappop(dues)[2]
            job = entry.call
            if job is None:
                continue
            if entry.is_waiting and self._withdraw(entry):
                self._fail(job, entry)
            else:
                self._cut_short(entry, now)
        self._set_timer()

    def _drop(self, entry: Entry) -> None:
        """It is in no queue any more, and was never started."""
        job: Job[Any] = entry.call
        entry.call = None
        self._fail(job, entry)

    def _fail(self, job: Job[Any], entry: Entry) -> None:
        self._counters.dropped += 1
        self._on_dropped(job)
        if not job.done():
            job.set_exception(self._too_late(job, entry))

    def _too_late(self, job: Job[Any], entry: Entry) -> DeadlineExceeded:
        timing = self._timing(job.function)
        takes = timing.mean if timing.runs else None
        had = entry.due - entry.since
        waited = monotonic() - entry.since
        takes_words = f", and its calls take {_seconds(takes)}" if takes is not None else ""
        return DeadlineExceeded(
            f"{job.function.name} was not started: it has waited for {_seconds(waited)} of the {_seconds(had)} "
            f"that it had (options(deadline=...)){takes_words}. There is more to do in {self._lane} than can be "
            "done in time: give it longer, let less in (max_queue), or have more workers",
            waited=waited,
            takes=takes,
            deadline=had,
        )

    def _cut_short(self, entry: Entry, now: float) -> None:
        """It runs, or is on its way."""
        job: Job[Any] = entry.call
        entry.call = None
        if job.done():
            return
        if entry.began is None:  # it was on its way to the queue
            job.set_exception(self._too_late(job, entry))
            job.stop_work(job)
            return
        began = entry.began
        timing = self._timing(job.function)
        takes = timing.mean if timing.runs else None
        had = entry.due - entry.since
        takes_words = f" (its calls take {_seconds(takes)})" if takes is not None else ""
        job.set_exception(
            DeadlineExceeded(
                f"{job.function.name} did not end in the {_seconds(had)} that it had (options(deadline=...)): it "
                f"waited for {_seconds(began - entry.since)} and was run for {_seconds(now - began)}{takes_words}",
                waited=began - entry.since,
                takes=takes,
                deadline=had,
                is_started=True,
            )
        )
        job.stop_work(job)

    def close(self) -> None:
        """No deadline matters any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._dues.clear()


def _seconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1.0 else f"{seconds:.3g} s"


def entry_of(job: Job[Any], terms: Terms | None, now: float) -> Entry:
    """The entry of a call that comes now."""
    return Entry(job, terms or NO_TERMS, now, job.function.places)
