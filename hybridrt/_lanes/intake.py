"""What workers' channels bring: answers become the outcomes of jobs, everything else goes to whom it concerns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import chain
from time import monotonic
from typing import Any

from .._core.crew import Crew
from .._engine import wire
from .._engine.child import Child
from .answers import decline, deliver
from .counters import Counters
from .errands import MARKS
from .job import ProcessJob
from .listening import Listening
from .pump import Pump

_BURIAL_SECONDS = 0.5
"""By then the zygote has told of a worker that is dead, on a busy machine too: our kill would hide what it died of."""


class Intake:
    """That of one process lane. Belongs to the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        crew: Crew[ProcessJob[Any]],
        counters: Counters,
        listening: Listening,
        pump: Pump,
        *,
        is_closed: Callable[[], bool],
        on_rest: Callable[[], None],
    ) -> None:
        """``is_closed()``: the lane takes no more calls. ``on_rest()``: something was answered, and nothing waits."""
        self._loop = loop
        self._crew = crew
        self._counters = counters
        self._listening = listening
        self._pump = pump
        self._is_closed = is_closed
        self._on_rest = on_rest

    def on_readable(self, child: Child) -> None:
        """There is something to read, or the end."""
        count = child.read()
        if count > 0:
            self.take_answers(child)
        elif count == 0:
            # It closed its channel, so it is of no more use; normally it has died, and the news is on its way.
            child.deafen()
            self._crew.retire(self._pump.workforce.seats[child])
            if not self._is_closed():
                self._loop.call_later(_BURIAL_SECONDS, child.kill, "it had closed its channel")

    def take_answers(self, child: Child) -> None:
        """All that has been read, and what its ring holds; then give out what waits."""
        workforce = self._pump.workforce
        seat = workforce.seats[child]
        crew = self._crew
        counters = self._counters
        on_terms = crew.on_terms.accounts.held
        take = seat.under_way.pop
        cost = 0.0
        next_frame = child.next_frame
        held = child.ring.take()
        for frame in chain(wire.split(held), iter(next_frame, None)) if held else iter(next_frame, None):
            kind, number, micros, payload = frame
            marks = 0
            if kind >= wire.PONG:
                frame = self._listening.before(frame)
                marks = frame.kind & MARKS
                kind = frame.kind & ~MARKS
                if kind >= wire.PONG:
                    workforce.hear(child, frame._replace(kind=kind))
                    continue
            job = take(number, None)
            if job is not None:
                cost += job.cost
                if on_terms:
                    crew.on_terms.ended(number)
                if marks:
                    self._pump.porters.unpack(job, child, frame)
                else:
                    deliver(job, kind, micros, payload, counters)
            elif marks & wire.CARGO:
                decline(child, frame)
        crew.settle(seat, cost, monotonic())
        workforce.has_answered(child, seat)
        if counters.crashes.start_error:
            counters.crashes.can_start()
        if seat.own is not None:
            self._pump.posts.has_answered(seat)
        if (crew.calls or crew.coroutines or seat.own) and crew.waiting:
            self._pump.now()
        else:
            self._on_rest()
