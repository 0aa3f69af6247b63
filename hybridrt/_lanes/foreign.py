"""A lane on somebody else's executor: ``Runtime(processes=executor)`` sends the process calls there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from operator import attrgetter
from time import monotonic
from typing import Any

from .._core.accounts import Entry
from .._core.function import COROUTINE, GENERATOR, Function
from .._core.health import Health
from .._core.stats import LaneStats, WorkerStats
from .._core.terms import Terms
from .._engine.failure import presentable
from ..errors import RuntimeClosed
from .contract import LEFT
from .counters import Counters
from .gate import Gate, entry_of
from .job import Job


class ForeignLane:
    """Calls go to ``executor`` as they are, and its promises hold: most cannot stop what is running.

    No context variables travel, and ``hybridrt.cancelled()`` is false there: what runs the calls knows nothing of us.
    The executor is not ours: leaving the runtime waits for our calls and does not shut it down.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, executor: Executor, numbers: Iterator[int]) -> None:
        self._loop = loop
        self._numbers = numbers
        self.executor = executor
        self._counters = Counters()
        self._open: dict[Job[Any], Future[Any]] = {}
        self._closed = ""  # why, where it is
        self._entries: dict[int, Entry] = {}  # of calls with a deadline
        self._gate = Gate(
            loop,
            "the executor",
            self._counters,
            timing=attrgetter("in_process"),
            most_waiting=0,
            withdraw=lambda _: False,
            on_room=lambda: None,
            on_dropped=lambda _: None,
        )

    def submit(
        self,
        function: Function,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        terms: Terms | None = None,
    ) -> Job[Any]:
        """Hand the call to the executor. Raises what its ``submit`` raises, and TypeError for terms of no use here."""
        if self._closed:
            raise RuntimeClosed(f"{function.name} was not started: {self._closed}")
        if terms is not None or function.places is not None:
            self._refuse(function, terms)
        if function.kind == GENERATOR:
            raise TypeError(
                f"{function.name} is a generator function, and a generator cannot leave its process"
            )
        if function.kind == COROUTINE:
            future = self.executor.submit(_run_coroutine, fn, args, kwargs)
        else:
            future = self.executor.submit(fn, *args, **kwargs)
        job: Job[Any] = Job(loop=self._loop)
        job.lane = "process"
        job.function = function
        job.number = next(self._numbers)
        job.stop_work = self._stop
        self._open[job] = future
        future.add_done_callback(partial(self._done, job))
        if terms is not None and terms.deadline is not None:
            entry = self._entries[job.number] = entry_of(job, terms, monotonic())
            entry.began = entry.since
            self._gate.watch(entry)
        return job

    def _refuse(self, function: Function, terms: Terms | None) -> None:
        """The executor has its own queue, in which nothing can be put in order, counted or taken out."""
        name = type(self.executor).__name__
        if function.places is not None:
            raise TypeError(
                f"{function.name} is declared @limit, which nobody can see to in {name}: use a Runtime with worker "
                "processes of its own, or run it in a thread"
            )
        if terms is not None and terms.needs_a_queue:
            raise TypeError(
                f"{function.name} was not started: options(priority=, key=, max_queue=) need a queue of ours, and this "
                f"Runtime hands process calls to {name}; deadline= and timeout= are of use there"
            )

    def _done(self, job: Job[Any], future: Future[Any]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._finish, job, future)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    def _finish(self, job: Job[Any], future: Future[Any]) -> None:
        self._open.pop(job, None)
        if self._entries and (entry := self._entries.pop(job.number, None)) is not None:
            entry.call = None
        if job.done():
            return
        if future.cancelled():
            self._counters.cancelled += 1
            job.cancel()
        elif (exc := future.exception()) is not None:
            self._counters.failed += 1
            job.set_exception(presentable(exc))
        else:
            self._counters.succeeded += 1
            job.set_result(future.result())

    def _stop(self, job: Job[Any]) -> None:
        self._counters.cancelled += 1
        future = self._open.get(job)
        if future is not None:
            future.cancel()

    async def warm_up(self) -> None:
        """Nothing: the executor starts its workers itself."""

    def stats(self) -> LaneStats:
        """A snapshot; how many workers the executor has, only it knows."""
        return self._counters.snapshot("processes", limit=0, workers=0, running=len(self._open), waiting=0)

    def workers(self) -> tuple[WorkerStats, ...]:
        """None of ours."""
        return ()

    def health(self) -> Health:
        """Always well: what becomes of its workers, only the executor knows."""
        return self._counters.health(0.0)

    def close_submit(self, why: str) -> None:
        """Refuse every call from now on, for this reason."""
        self._closed = why

    def forsake(self, why: str) -> None:
        """In a process forked from ours: what becomes of the executor there is its own affair."""
        self._closed = why

    async def close(self, grace: float) -> None:
        """Wait up to ``grace`` seconds for our calls, then cancel them; the executor stays open."""
        self._closed = self._closed or LEFT
        try:
            if self._open:
                await asyncio.wait(tuple(self._open), timeout=grace)
        finally:
            self._gate.close()
            for job in tuple(self._open):
                if not job.done():
                    job.set_exception(
                        RuntimeClosed(f"{job.function.name} was still running when its runtime was left")
                    )
                    self._stop(job)


def _run_coroutine(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return asyncio.run(fn(*args, **kwargs))
