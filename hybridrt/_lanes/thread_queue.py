"""Calls of a thread lane that wait on the loop's side, while some of them have terms.

The threads take what is in their inbox in its order, without asking anybody. So while terms are in use, only as many
calls are put in there as threads are free for, and a millisecond's worth of quick ones, which would be done before more
could be fetched; the others wait here, where they can be put in order, be set aside, or be dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextvars import copy_context
from operator import attrgetter
from time import monotonic
from typing import Any

from .._core.accounts import Accounts
from .._core.crew import AHEAD_SECONDS, MOST_AHEAD
from .._core.function import Function, Timing
from .._core.queue import Queue
from .._core.terms import Terms
from .counters import Counters
from .gate import Gate, entry_of
from .job import Job, ThreadJob

_timing: Callable[[Function], Timing] = attrgetter("in_thread")


class ThreadQueue:
    """What waits before the inbox of one thread lane. Belongs to the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        lane: str,
        numbers: Iterator[int],
        counters: Counters,
        *,
        limit: int,
        most_waiting: int,
        handed_in: Callable[[], int],
        hand_in: Callable[[ThreadJob[Any]], None],
        ring: Callable[[Function], None],
        on_gone: Callable[[], None],
        on_use: Callable[[bool], None],
        take_back: Callable[[], list[ThreadJob[Any]]],
    ) -> None:
        """``hand_in(job)`` gives it to the threads, ``handed_in()`` says how many they have, and ``ring(function)``
        lets one of them know of calls of it.

        ``on_gone()``: a waiting call is not there any more. ``on_use(is_needed)``: whether plain calls must come here
        from now on, because terms are in use or not any number may wait. ``take_back()``: those that were handed in,
        and that no thread has.
        """
        self._loop = loop
        self._numbers = numbers
        self._counters = counters
        self._limit = limit
        self._hand_in = hand_in
        self._ring = ring
        self._handed_in = handed_in
        self._on_gone = on_gone
        self._feed_is_due = False
        self._is_in_use = False
        self._is_over = False
        self._on_use = on_use
        self._take_back = take_back
        self.accounts: Accounts = Accounts()
        self._gate = Gate(
            loop,
            lane,
            counters,
            timing=_timing,
            most_waiting=most_waiting,
            withdraw=lambda entry: self._calls.discard(entry.call.number),
            on_room=self._feed_soon,
            on_dropped=self._dropped,
        )
        self._calls: Queue[ThreadJob[Any]] = self._gate.queue(self.accounts)

    @property
    def waiting(self) -> int:
        """Calls that are here."""
        return len(self._calls)

    def submit(
        self,
        function: Function,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        terms: Terms | None,
    ) -> Job[Any]:
        """Start a call, or let it wait for its turn. Raises QueueFull."""
        gate = self._gate
        handed_in = self._handed_in
        if not self._is_in_use and (terms is not None or function.places is not None):
            self._begin()
        if gate.most_waiting or (terms is not None and terms.max_queue):
            gate.refuse_if_full(
                function,
                terms,
                waiting=self.waiting + max(0, handed_in() - self._limit),
                free=self._limit - handed_in(),
                workers=self._limit,
                calls=self._calls,
            )
        job: ThreadJob[Any] = ThreadJob(loop=self._loop)
        job.lane = "thread"
        job.function = function
        job.number = next(self._numbers)
        job.work = copy_context(), fn, args, kwargs
        if not self._is_in_use:
            job.stop_work = _let_it_go_on
            self._hand_in(job)
            self._ring(function)
            return job
        job.stop_work = self._stop
        entry = entry_of(job, terms, monotonic())
        self._calls.put(entry)
        if entry.terms.deadline is not None:
            gate.watch(entry)
        if handed_in() - self._limit < MOST_AHEAD:
            self.feed()
            self._ring(function)
        return job

    def _begin(self) -> None:
        """Terms are in use from now on: what the threads were given before waits here as well."""
        self._is_in_use = True
        self._on_use(True)
        for job in self._take_back():
            if not job.done():
                job.stop_work = self._stop
                self._calls.append(job)
            else:
                self._counters.cancelled += 1

    def refuse_future_if_full(self, in_inbox: int, busy: int) -> None:
        """For a call that goes past this queue, in any thread. Raises QueueFull."""
        self._gate.refuse_future_if_full(
            waiting=in_inbox + self.waiting, free=self._limit - busy, workers=self._limit
        )

    def feed(self) -> None:
        """Give the threads what they can begin now; whoever calls this then sees to it that one is awake."""
        calls = self._calls
        while (ahead := self._handed_in() - self._limit) < MOST_AHEAD:
            entry = calls.peek()
            if entry is None or self._is_over:
                break
            if ahead >= 0:
                cost = _timing(entry.call.function).expected
                if (ahead + 1) * cost > AHEAD_SECONDS:
                    break
            self._hand_in(calls.popleft())

    def rest(self) -> None:
        """Some calls have come back. Where terms are of no account any more, plain calls need not come here."""
        self.feed()
        if self._is_in_use and not len(self._calls) and not self.accounts.held:
            self._is_in_use = False
            self._on_use(self._gate.most_waiting > 0)

    def _feed_soon(self) -> None:
        if not self._feed_is_due:
            self._feed_is_due = True
            self._loop.call_soon(self._feed_due)

    def _feed_due(self) -> None:
        self._feed_is_due = False
        entry = self._calls.peek()
        if entry is not None:
            function = entry.call.function
            self.feed()
            self._ring(function)

    def _stop(self, job: Job[Any]) -> None:
        """It leaves the queue; one that is with a thread keeps it, and its places, until it ends."""
        if self._calls.discard(job.number):
            self._counters.cancelled += 1
            self._dropped(job)

    def _dropped(self, job: Any) -> None:
        del job.work  # its arguments may go
        self._on_gone()

    def drop_all(self) -> list[ThreadJob[Any]]:
        """Nobody waits any more; those who did."""
        self._is_over = True
        jobs = [job for job in self._calls if not job.done()]
        self._calls.clear()
        self._gate.close()
        return jobs


def _let_it_go_on(job: Job[Any]) -> None:
    """A thread has it: it is passed over where it has not begun, and else goes on."""
