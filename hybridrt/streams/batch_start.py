"""Where a batch is started: in the lane that was asked for, else where its items belong, all of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from .._core.function import Function
from .._core.placement import CPU_THREAD, PROCESS, THREAD
from .._core.terms import Terms
from .._engine import shares
from .._engine.batch_call import BatchCall
from .._lanes.contract import Lane
from .._lanes.job import Job
from .._lanes.placing import Placing, move
from .._lanes.threads import ThreadLane


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
        terms: Terms | None = None,
    ) -> Job[Any] | None:
        """Start it; None where its items have to go one by one. Raises what a lane's ``submit`` raises."""
        if lane is None:
            return self._start_where_it_belongs(function, own, call, (tuple(items), seconds), terms)
        if lane != PROCESS:
            return self._start_in_thread(lane, own, call, (items, seconds), terms)
        return self._lanes.processes.submit(own, call, (items, seconds), {}, terms) if self._is_ours else None

    def _start_where_it_belongs(
        self, function: Function, own: Function, call: BatchCall, args: tuple[Any, ...], terms: Terms | None
    ) -> Job[Any] | None:
        if not function.is_measured or not function.knowledge.is_settled or function.by_size is not None:
            return None
        lane = self._lanes.placing.place(function, call.fn, args[:1], {})
        if lane != PROCESS:
            return self._start_in_thread(lane, own, call, args, terms)
        if type(call.fn) is partial or not self._is_ours:
            return None  # of a partial only the parts are known to be harmless
        lanes = self._lanes
        return move(lanes.processes, lanes.threads, own, call, args, {}, terms, here=call.in_thread)

    def _start_in_thread(
        self, lane: str, own: Function, call: BatchCall, args: tuple[Any, ...], terms: Terms | None
    ) -> Job[Any] | None:
        if shares.in_use or lane not in (THREAD, CPU_THREAD):
            return None  # handles among the items are opened where each is an argument
        threads = self._lanes.threads if lane == THREAD else self._lanes.cpu_threads
        return threads.submit(own, call.in_thread, args, {}, terms)
