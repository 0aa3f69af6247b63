"""Where a batch is started: in the lane that was asked for, else where its items belong, all of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, Protocol

from .._core.function import Function
from .._core.placement import CPU_THREAD, PROCESS, THREAD
from .._engine import shares
from .._engine.batch_call import BatchCall
from .._engine.packing import pickler
from .._engine.strict import StrictPickler
from .._lanes.contract import Lane
from .._lanes.job import Job, ProcessJob
from .._lanes.placing import Placing, run_in_thread
from .._lanes.threads import ThreadLane
from ..errors import NotSendable


class Lanes(Protocol):
    """The lanes of a runtime."""

    placing: Placing
    threads: ThreadLane

    @property
    def processes(self) -> Lane:
        """The worker processes."""
        ...

    @property
    def cpu_threads(self) -> ThreadLane:
        """Threads for calls that compute and spare the GIL."""
        ...


class BatchStart:
    """``streams.starting.StartBatch`` for these lanes. ``is_ours``: the worker processes understand batches."""

    __slots__ = ("_is_ours", "_lanes")

    def __init__(self, lanes: Lanes, *, is_ours: bool) -> None:
        self._lanes = lanes
        self._is_ours = is_ours

    def __call__(
        self,
        lane: str | None,
        function: Function,
        own: Function,
        call: BatchCall,
        items: Sequence[Any],
        seconds: float,
    ) -> Job[Any] | None:
        """Start it; None where its items have to go one by one. Raises what a lane's ``submit`` raises."""
        if lane is None:
            return self._start_where_it_belongs(function, own, call, tuple(items), seconds)
        if lane == PROCESS:
            return self._lanes.processes.submit(own, call, (items, seconds), {}) if self._is_ours else None
        return self._start_in_thread(lane, own, call, items, seconds)

    def _start_where_it_belongs(
        self, function: Function, own: Function, call: BatchCall, items: tuple[Any, ...], seconds: float
    ) -> Job[Any] | None:
        if not function.is_measured or not function.knowledge.is_settled or function.by_size is not None:
            return None
        lane = self._lanes.placing.place(function, call.fn, (items,), {})
        if lane != PROCESS:
            return self._start_in_thread(lane, own, call, items, seconds)
        if type(call.fn) is partial or not self._is_ours:
            return None  # of a partial only the parts are known to be harmless
        context = copy_context()  # the caller's, in which nothing is strict
        token = pickler.set(StrictPickler)  # only plain data goes where nobody has asked to go
        try:
            job = self._lanes.processes.submit(own, call, (items, seconds), {})
        except NotSendable:
            return None
        finally:
            pickler.reset(token)
        if isinstance(job, ProcessJob):
            job.instead = (
                run_in_thread,
                self._lanes.threads,
                own,
                call.in_thread,
                (items, seconds),
                {},
                context,
            )
        return job

    def _start_in_thread(
        self, lane: str, own: Function, call: BatchCall, items: Sequence[Any], seconds: float
    ) -> Job[Any] | None:
        if shares.in_use or lane not in (THREAD, CPU_THREAD):
            return None  # handles among the items are opened where each is an argument
        threads = self._lanes.threads if lane == THREAD else self._lanes.cpu_threads
        return threads.submit(own, call.in_thread, (items, seconds), {})
