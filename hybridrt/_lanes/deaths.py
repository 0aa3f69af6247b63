"""The death of a worker of the process lane: which calls went with it, which wait again, and what they are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, TypeAlias

from .._core.crew import Crew, Seat
from .._core.oom import OomWatch
from .._engine.child import Child
from .counters import Counters
from .job import ProcessJob
from .listening import Listening
from .obituary import MAY_BE_OOM, Death, charge, start_error
from .porters import Porters
from .posts import Posts

_Seat: TypeAlias = Seat[ProcessJob[Any]]


class Deaths:
    """Settles what a dead worker leaves; the lane that owns it gives the means: ``take_answers`` and the others."""

    def __init__(
        self,
        crew: Crew[ProcessJob[Any]],
        seats: Mapping[Child, _Seat],
        counters: Counters,
        posts: Posts,
        porters: Porters,
        *,
        listening: Listening,
        oom: OomWatch,
        memory_limit: int,
        take_answers: Callable[[Child], None],
        pump_soon: Callable[[], None],
        tell_if_empty: Callable[[], None],
    ) -> None:
        self._crew = crew
        self._seats = seats
        self._counters = counters
        self._posts = posts
        self._porters = porters
        self._listening = listening
        self._oom = oom
        self._memory_limit = memory_limit
        self._take_answers = take_answers
        self._pump_soon = pump_soon
        self._tell_if_empty = tell_if_empty

    def settle(self, child: Child, exitcode: int | None) -> None:
        """This worker has gone; its seat is still there. ``exitcode`` is None where nobody knows it."""
        seat = self._seats[child]
        self._crew.retire(seat)
        self._listening.hear_out(child.pid)
        while child.read() > 0 or not child.ring.is_empty():  # that it gave before it died
            self._take_answers(child)
        if not (seat.serves_coroutines and child.box.started):
            for job in seat.under_way.values():
                if job.done():
                    job.let_go()
            # Each earlier call has been answered, no later one has begun.
            self._crew.lost(seat, child.box.started)
        lost = self._crew.remove(seat)
        seat.under_way = {}
        is_a_riddle = exitcode in MAY_BE_OOM and not child.fate
        oom = self._oom.look(monotonic()) if is_a_riddle else None
        death = Death(exitcode, oom, self._memory_limit)
        for job in reversed(lost):
            seconds = monotonic() - seat.progress
            charge(job, child, death, seconds, len(lost), self._crew, self._counters)
            if job.done():
                self._crew.on_terms.ended(job.number)
        if seat.own is not None:
            self._posts.lost(seat, death)
        if self._crew.waiting:
            self._pump_soon()
        self._tell_if_empty()

    def refuse_waiting(self, error: OSError) -> None:
        """There is no worker, and none is to be had: the calls that wait for any get the error."""
        self._counters.crashes.cannot_start(error)
        self.fail_waiting(lambda name: start_error(name, error))

    def fail_waiting(self, error: Callable[[str], Exception]) -> None:
        """The calls that wait for any worker get ``error(name)``."""
        for job in self._crew.drop_waiting() + self._porters.drop_packing():
            self._counters.failed += 1
            job.set_exception(error(job.function.name))
        self._tell_if_empty()
