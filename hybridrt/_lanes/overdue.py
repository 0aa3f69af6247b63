"""Calls written ahead behind one that takes longer than expected: their answers are looked for, they are taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeAlias

from .._core.crew import STUCK_SECONDS, Crew, Seat
from .._engine.child import Child
from .._engine.ring import CAN_BE_READ_UNTOLD
from .job import ProcessJob

_Seat: TypeAlias = Seat[ProcessJob[Any]]


class Overdue:
    """Looks again in a moment while calls are written ahead; the lane that owns it gives the means."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        crew: Crew[ProcessJob[Any]],
        *,
        take_answers: Callable[[Child], None],
        pump: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._crew = crew
        self._take_answers = take_answers
        self._pump = pump
        self._timer: asyncio.TimerHandle | None = None
        self.is_watched: bool = False
        """Whether somebody will look."""

    def watch(self) -> None:
        """Look in a moment."""
        self.is_watched = True
        self._timer = self._loop.call_later(STUCK_SECONDS, self._look)

    def cancel(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self.is_watched = False
        if CAN_BE_READ_UNTOLD:  # elsewhere the answers that are held come when the worker tells of them
            for seat in self._crew.seats_with_calls_ahead():
                if not seat.worker.ring.is_empty():
                    self._take_answers(seat.worker)
        for seat in self._crew.stuck(monotonic()):
            self.take_back(seat)
        if self._crew.waiting:
            self._pump()
        elif self._crew.seats_with_calls_ahead():
            self.watch()

    def take_back(self, seat: _Seat) -> None:
        """What this seat's worker has not begun waits here again."""
        child: Child = seat.worker
        if len(seat.under_way) > 1:
            self._crew.taken_back(seat, child.take_back())
