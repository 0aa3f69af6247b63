"""Calls on terms in the process lane: what is refused, how they come into the crew's queues, who drops them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from operator import attrgetter
from time import monotonic
from typing import Any

from .._core.accounts import Entry
from .._core.crew import Crew
from .._core.function import COROUTINE, Function
from .._core.queue import Queue
from .._core.terms import Terms
from .counters import Counters
from .gate import Gate, entry_of
from .job import LargeJob, ProcessJob
from .porters import Porters
from .pump import Pump


class ProcessTerms:
    """Those of one process lane. Belongs to the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        crew: Crew[ProcessJob[Any]],
        counters: Counters,
        pump: Pump,
        porters: Porters,
        *,
        most_waiting: int,
        on_gone: Callable[[], None],
    ) -> None:
        """``most_waiting``: the setting ``max_queue``. ``on_gone()``: a waiting call is not there any more."""
        self._crew = crew
        self._pump = pump
        self._porters = porters
        self._on_gone = on_gone
        self._gate = Gate(
            loop,
            "the processes",
            counters,
            timing=attrgetter("in_process"),
            most_waiting=most_waiting,
            withdraw=self._withdraw,
            on_room=pump.soon,
            on_dropped=self._dropped,
        )
        crew.on_terms.new_queue = self._gate.queue

    def refuse_if_full(self, function: Function, terms: Terms | None) -> None:
        """Raises QueueFull where as many calls wait as may. Coroutine calls wait only where a limit keeps them back."""
        if not self._gate.most_waiting and (terms is None or not terms.max_queue):
            return
        crew = self._crew
        if function.kind == COROUTINE:
            queue = crew.coroutines
            waiting = len(queue) - queue.ready(len(queue)) if isinstance(queue, Queue) else 0
            free = 0
        else:
            queue = crew.calls
            waiting = max(0, len(crew.calls) - crew.unwanted) + self._porters.packing
            free = crew.size - sum(bool(it.under_way) and not it.serves_coroutines for it in crew.seats)
        self._gate.refuse_if_full(function, terms, waiting=waiting, free=free, workers=crew.size, calls=queue)

    def add(self, job: ProcessJob[Any], terms: Terms | None) -> None:
        """This call waits for its turn; where a worker is idle, that is now."""
        crew = self._crew
        crew.on_terms.add(self._entry(job, terms))
        if not job.is_coroutine and any(not seat.under_way and not seat.is_leaving for seat in crew.seats):
            self._pump.send_out()
        if crew.waiting:
            self._pump.soon()

    def announce(self, job: LargeJob[Any], terms: Terms | None) -> None:
        """The same for one that has to be packed first."""
        job.entry = self._entry(job, terms)

    def _entry(self, job: ProcessJob[Any], terms: Terms | None) -> Entry:
        entry = entry_of(job, terms, monotonic())
        if entry.terms.deadline is not None:
            self._gate.watch(entry)
        return entry

    def _withdraw(self, entry: Entry) -> bool:
        queue = self._crew.coroutines if entry.call.is_coroutine else self._crew.calls
        return isinstance(queue, Queue) and queue.discard(entry.call.number)

    def _dropped(self, job: ProcessJob[Any]) -> None:
        job.let_go()
        self._on_gone()

    def close(self) -> None:
        """No deadline matters any more."""
        self._gate.close()
