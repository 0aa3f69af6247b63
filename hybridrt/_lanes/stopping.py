"""How one call of the process lane is stopped, when nobody wants its result any more.

Waiting: it is passed over when its turn comes. Written ahead: everything that its worker has not started is taken back.
Running: the worker is interrupted, and killed if the call has not ended after the grace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeAlias

from .._core.crew import Crew, Seat
from .._engine import wire
from .._engine.child import Child
from .counters import Counters
from .job import ProcessJob

_Call: TypeAlias = ProcessJob[Any]
_Seat: TypeAlias = Seat[ProcessJob[Any]]

_AGAIN_SECONDS = 0.05
DID_NOT_STOP = "a call on it was cancelled and did not stop"


class Stopping:
    """Stops calls of ``crew``; the lane that owns it gives the means: ``take_back(seat)`` and the others."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        crew: Crew[_Call],
        counters: Counters,
        *,
        grace: float,
        take_back: Callable[[_Seat], None],
        pump_soon: Callable[[], None],
        tell_if_empty: Callable[[], None],
        withdraw: Callable[[_Call], bool],
    ) -> None:
        self._loop = loop
        self._crew = crew
        self._counters = counters
        self._grace = grace
        self._take_back = take_back
        self._pump_soon = pump_soon
        self._tell_if_empty = tell_if_empty
        self._withdraw = withdraw

    def stop(self, job: _Call) -> None:
        """Stop the work of this job, which is done, wherever it is by now."""
        seat = job.seat
        is_carried = self._withdraw(job)  # it is being packed, or its result unpacked
        if seat is None or is_carried:
            job.let_go()
            self._counters.cancelled += 1
            if not is_carried or job.home is not None:
                self._crew.cancelled_waiting(job)
            if job.home is not None:
                self._pump_soon()  # it may have held up those behind it
            self._tell_if_empty()
            return
        child: Child = seat.worker
        if job.is_coroutine:
            child.send(wire.pack(wire.CANCEL, job.number, 0))
        else:
            self._take_back(seat)
            if self._crew.waiting:
                self._pump_soon()
            if job.number not in seat.under_way:
                self._counters.cancelled += 1
                return
            if job.number == next(
                reversed(seat.under_way)
            ):  # else it has ended, and its answer is on its way
                self._crew.hold(seat)
                child.interrupt(job.number)
        self._press_later(seat, job.number, monotonic() + self._grace)

    def _press_later(self, seat: _Seat, number: int, deadline: float) -> None:
        patience = min(_AGAIN_SECONDS, max(0.0, deadline - monotonic()))
        self._loop.call_later(patience, self._press, seat, number, deadline)

    def _press(self, seat: _Seat, number: int, deadline: float) -> None:
        """Interrupt once more, for it may have been importing; in the end kill."""
        if number not in seat.under_way:
            return
        if monotonic() >= deadline:
            self._kill_if_it_goes_on(seat, number)
            return
        if not seat.serves_coroutines:
            seat.worker.interrupt(number)
        self._press_later(seat, number, deadline)

    def _kill_if_it_goes_on(self, seat: _Seat, number: int) -> None:
        if number not in seat.under_way:
            return
        child: Child = seat.worker
        if not seat.serves_coroutines or len(seat.under_way) == 1:
            child.kill(DID_NOT_STOP)
            return
        # Others run on the same loop. While it turns, only this worker's future is lost: it gets nothing more, and is
        # killed when the others are done. A loop that does not turn serves none of them.
        self._crew.retire(seat)
        if child.ponged == -number:
            child.kill(DID_NOT_STOP)
            return
        if child.ponged != number:
            child.ponged = -number
        child.send(wire.pack(wire.PING, number, 0))
        self._loop.call_later(self._grace, self._kill_if_it_goes_on, seat, number)
