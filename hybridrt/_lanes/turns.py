"""Functions of which nothing is known are tried one at a time: each call of another waits for a moment.

Several that keep the GIL would keep it from each other, and from the loop; none would be seen clearly; and calls that
belong in a process would be done in threads by the time that is known. So while the first call of one function is on
trial, first calls of others, and further ones of the same, are held back: until it has ended, or is seen to wait or to
let others have the GIL, and for ``MOST_SECONDS`` at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from time import perf_counter
from typing import Any, NamedTuple

from .._core.function import Function
from .._core.placement import THREAD
from .._core.terms import Terms
from .job import Job, ProcessJob, WaitingJob, follow
from .trials import OnTrial

MOST_SECONDS = 0.1
_TICK_SECONDS = 0.001
_TELLING_SECONDS = 0.002
"""By then it shows what a call is like."""
_MOST_WAITING = 256


class _Call(NamedTuple):
    job: WaitingJob[Any]
    since: float
    context: Context
    function: Function
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    terms: Terms | None


class Turns:
    """Whose turn it is to be tried, and who waits for it. Belongs to the loop's thread."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, numbers: Iterator[int], start: Callable[..., Job[Any]]
    ) -> None:
        """``start(function, fn, args, kwargs, terms)`` starts a call where it belongs by what is known then."""
        self._loop = loop
        self._numbers = numbers
        self._start = start
        self._waiting: list[_Call] = []
        self._tick: asyncio.TimerHandle | None = None
        self._turn: OnTrial | None = None
        self._taken_at = 0.0
        self._is_closed = False

    def take(self, trial: OnTrial) -> None:
        """This call is about to be started; it is its turn, where it may keep the GIL."""
        if trial.function.knowledge.is_suspect:
            self._turn = trial
            self._taken_at = perf_counter()

    def must_wait(self, function: Function) -> bool:
        """Whether a call of it should wait for a turn."""
        known = function.knowledge
        if self._turn is None or self._is_closed or known.sights or known.seems_harmless:
            return False
        return len(self._waiting) < _MOST_WAITING and self.is_taken()

    def is_trying(self) -> bool:
        """Whether a call runs on trial that may keep the GIL."""
        return self.is_taken() and self._turn is not None and not self._turn.is_done

    def is_taken(self) -> bool:
        """The same, or what has been found out by it is not there yet."""
        turn = self._turn
        if turn is None:
            return False
        now = perf_counter()
        age = now - self._taken_at
        if turn.is_over or age > MOST_SECONDS:
            self._turn = None
        elif age > _TELLING_SECONDS and not turn.is_done and turn.seems_harmless(now):
            turn.function.knowledge.seems_harmless = True
            self._turn = None
        return self._turn is not None

    def wait(
        self,
        function: Function,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        terms: Terms | None = None,
    ) -> Job[Any]:
        """Start this call when its turn comes; on these terms, by which it has waited since now."""
        job: WaitingJob[Any] = WaitingJob(loop=self._loop)
        job.lane = THREAD
        job.function = function
        job.number = next(self._numbers)
        job.stop_work = _nothing_runs
        job.retries = 0
        self._waiting.append(_Call(job, perf_counter(), copy_context(), function, fn, args, kwargs, terms))
        if self._tick is None:
            self._tick = self._loop.call_later(_TICK_SECONDS, self._look)
        return job

    def _look(self) -> None:
        self._tick = None
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            if call.job.done():
                continue
            now = perf_counter()
            if now - call.since > MOST_SECONDS:
                self._turn = None
            if self.must_wait(call.function) and not _is_over(call, now):
                self._waiting.append(call)
            else:
                self._begin(call)
        if self._waiting and self._tick is None:
            self._tick = self._loop.call_later(_TICK_SECONDS, self._look)

    def _begin(self, call: _Call) -> None:
        job = call.job
        try:
            terms = call.terms and call.terms.after(perf_counter() - call.since)
            inner = call.context.run(self._start, call.function, call.fn, call.args, call.kwargs, terms)
        except Exception as exc:
            job.set_exception(exc)
            return
        if job.retries and isinstance(inner, ProcessJob):
            inner.retries = job.retries
        job.number = inner.number
        follow(job, inner)

    def close(self) -> None:
        """Nobody waits any more: all are started."""
        if self._tick is not None:
            self._tick.cancel()
        self._is_closed = True
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            if not call.job.done():
                self._begin(call)


def _is_over(call: _Call, now: float) -> bool:
    """Whether its deadline has passed: then it goes to its lane, which says so."""
    deadline = call.terms.deadline if call.terms is not None else None
    return deadline is not None and now - call.since >= deadline


def _nothing_runs(job: Job[Any]) -> None:
    """It leaves the queue when its turn comes."""
