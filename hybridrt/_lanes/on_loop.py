"""Coroutines on the loop itself. Each starts at once, unless its terms or its function's limit say otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from operator import attrgetter
from time import monotonic
from typing import Any

from .._core.accounts import Accounts
from .._core.function import Function, Timing
from .._core.placement import LOOP
from .._core.queue import Queue
from .._core.terms import Terms
from ..errors import RuntimeClosed
from .counters import Counters
from .gate import Gate, entry_of
from .job import Job, LoopJob

_timing: Callable[[Function], Timing] = attrgetter("on_loop")


class LoopCalls:
    """The calls that run on the loop. Belongs to its thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, numbers: Iterator[int]) -> None:
        self._loop = loop
        self._numbers = numbers
        self._feed_is_due = False
        self._closed = ""  # why, where it is
        self._emptied: asyncio.Future[None] | None = None
        self._accounts = Accounts()
        self._gate = Gate(
            loop,
            "the loop",
            Counters(),
            timing=_timing,
            most_waiting=0,
            withdraw=lambda entry: self._calls.discard(entry.call.number),
            on_room=self._feed_soon,
            on_dropped=lambda _: self._tell_if_empty(),
        )
        self._calls: Queue[LoopJob[Any]] = self._gate.queue(self._accounts)

    def submit(
        self,
        function: Function,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        terms: Terms | None = None,
    ) -> Job[Any]:
        """Start the coroutine, or let it wait for its turn. Raises QueueFull."""
        job: LoopJob[Any] = LoopJob(loop=self._loop)
        job.lane = LOOP
        job.function = function
        job.number = next(self._numbers)
        if terms is None and function.places is None:
            job.follow(self._loop.create_task(_call(fn, args, kwargs)))
            return job
        if self._closed:
            raise RuntimeClosed(f"{function.name} was not started: {self._closed}")
        if terms is not None and terms.max_queue:
            room = 1 if function.places is None else function.places.room
            self._gate.refuse_if_full(
                function,
                terms,
                waiting=len(self._calls),
                free=0 if self._calls else room,
                workers=1 if function.places is None else function.places.most,
                calls=self._calls,
            )
        job.wait(self._stop, (copy_context(), fn, args, kwargs))
        entry = entry_of(job, terms, monotonic())
        self._calls.put(entry)
        if entry.terms.deadline is not None:
            self._gate.watch(entry)
        self._feed()
        return job

    def _feed_soon(self) -> None:
        if not self._feed_is_due:
            self._feed_is_due = True
            self._loop.call_soon(self._feed)

    def _feed(self) -> None:
        self._feed_is_due = False
        while self._calls:
            job = self._calls.popleft()
            context, fn, args, kwargs = job.work
            del job.work
            began = monotonic()
            task = self._loop.create_task(_call(fn, args, kwargs), context=context)
            job.follow(task)
            task.add_done_callback(partial(self._ended, job, began))
        self._tell_if_empty()

    def _ended(self, job: LoopJob[Any], began: float, _: object) -> None:
        _timing(job.function).record(monotonic() - began)
        self._accounts.end(job.number)
        self._feed()

    def _stop(self, job: LoopJob[Any]) -> None:
        self._calls.discard(job.number)
        self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if self._emptied is not None and not self._emptied.done() and not len(self._calls):
            self._emptied.set_result(None)

    def close_submit(self, why: str) -> None:
        """Start nothing more that would have to wait."""
        self._closed = why

    async def close(self, grace: float) -> None:
        """Wait up to ``grace`` seconds until all that waits has been started; the rest never is."""
        try:
            if len(self._calls):
                self._emptied = self._loop.create_future()
                await asyncio.wait([self._emptied], timeout=grace)
        finally:
            waiting = [job for job in self._calls if not job.done()]
            self._calls.clear()
            self._gate.close()
            for job in waiting:
                job.set_exception(
                    RuntimeClosed(
                        f"{job.function.name} was not started: its runtime was left before its turn came"
                    )
                )


async def _call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = fn(*args, **kwargs)
    return await result if asyncio.iscoroutine(result) else result
