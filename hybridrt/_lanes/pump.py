"""Hires who is wanted, and sends out what the crew gives: now, or at the end of the loop's turn."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from .._core.crew import Crew
from .job import LargeJob, ProcessJob
from .overdue import Overdue
from .porters import Porters
from .posts import Posts
from .sending import send_calls, send_large
from .workforce import Workforce


class Pump:
    """That of one process lane, which sets the four with whom it works. Belongs to the loop's thread."""

    workforce: Workforce
    porters: Porters
    posts: Posts
    overdue: Overdue

    def __init__(self, loop: asyncio.AbstractEventLoop, crew: Crew[ProcessJob[Any]]) -> None:
        self._loop = loop
        self._crew = crew
        self.is_due: bool = False
        """Whether it will look at the end of this turn anyway."""

    def soon(self) -> None:
        """At the end of this turn."""
        if not self.is_due:
            self.is_due = True
            self._loop.call_soon(self._now_due)

    def _now_due(self) -> None:
        self.is_due = False
        self.now()

    def now(self) -> None:
        """Hire who is wanted and send out what can be sent."""
        workforce = self.workforce
        workforce.check_audience()
        workforce.hire_wanted(self.porters.packing)
        self.send_out()

    def send_out(self) -> None:
        """To the workers that are there."""
        crew = self._crew
        path_news = self.workforce.path_news
        for seat, batch in crew.give_out(monotonic()):
            if type(batch[0]) is LargeJob:
                send_large(seat, batch[0], path_news)
            else:
                send_calls(seat, batch, path_news)
        if crew.residents:
            self.posts.pump()
        if not self.overdue.is_watched and crew.seats_with_calls_ahead():
            self.overdue.watch()
