"""The process lane's workers: hired while calls wait, replaced when worn out, let go when idle.

Calls are no business of this room: it knows the crew's seats, and that somebody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeAlias

from .._core import residents
from .._core.crew import Crew, Seat
from .._core.oom import OomWatch
from .._core.settings import Settings
from .._core.stats import WorkerStats
from .._engine import parcel, wire
from .._engine.child import Child
from .._engine.staff import FAREWELL_SECONDS, Staff
from ..errors import WorkerStartError
from .holding import LEAN_SECONDS
from .job import ProcessJob
from .lessons import Lessons
from .setup import Setup

_Seat: TypeAlias = Seat[ProcessJob[Any]]

_EARLY_DEATHS = 5
_HIRE_AGAIN_SECONDS = 0.5
_WATCH_SECONDS = 0.5
_LEAST_WATCH_SECONDS = 0.01


class Workforce:
    """The workers of one lane and their seats in its crew; belongs to the loop's thread.

    ``on_readable(child)``: answers can be read. ``on_death(child, exitcode)``: the worker has gone, its seat is still
    there; ``exitcode`` is None where nobody knows it. ``on_none_to_be_had(error)``: there is no worker, and none can
    be started. ``on_broken(error)``: there will never be one; ``error()`` makes what each call is told.
    ``pump_soon()``: look again in a moment at who waits. ``take_back(seat)``: take what it has not begun.
    ``on_watch(now)``: now and then, while there are workers. ``on_loop_closed()``: the loop was closed under us, and
    everybody has been dismissed. ``output()``: the descriptor for the workers' output.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        crew: Crew[ProcessJob[Any]],
        setup: Setup | None,
        *,
        on_readable: Callable[[Child], None],
        on_death: Callable[[Child, int | None], None],
        on_none_to_be_had: Callable[[OSError], None],
        on_broken: Callable[[Callable[[], Exception]], None],
        pump_soon: Callable[[], None],
        take_back: Callable[[_Seat], None],
        on_watch: Callable[[float], None],
        on_loop_closed: Callable[[], None],
        output: Callable[[], int],
    ) -> None:
        self._loop = loop
        self._crew = crew
        self._idle = settings.process_idle
        self._lean = min(self._idle, LEAN_SECONDS)
        self._most_tasks = settings.max_tasks_per_worker or -1
        self._most_memory = settings.max_worker_memory
        self._watch: asyncio.TimerHandle | None = None
        self._on_death = on_death
        self._on_none_to_be_had = on_none_to_be_had
        self._on_broken = on_broken
        self._setup = setup
        self._pump_soon = pump_soon
        self._take_back = take_back
        self._on_watch = on_watch
        self._staff = Staff(
            loop,
            settings=settings,
            on_readable=on_readable,
            on_started=self._started_one,
            on_death=self._lost_one,
            on_loop_closed=on_loop_closed,
            on_lesson=lambda message: self.lessons.hear(message),
            output=output,
        )
        self.lessons = Lessons(self._staff.teach, lambda: not (crew.under_way or crew.waiting))
        self.seats: dict[Child, _Seat] = {}
        self.oom = OomWatch()
        self.path_news = self._staff.path_news
        self.check_audience = self._staff.check_audience
        self._early_deaths = 0
        self._cloudpickle_is_preloaded = False
        self._hire_not_before = 0.0
        self._started: asyncio.Future[None] | None = None
        self._arrivals: dict[Child, asyncio.Future[bool]] = {}

    @property
    def zygote_pid(self) -> int | None:
        """Process id of the zygote, or None where there is none now."""
        return self._staff.zygote_pid

    def hire_wanted(self, calls_coming: int = 0) -> None:
        """Start as many workers as would have something to do now, or have soon: ``calls_coming`` are being packed."""
        coming = 0 if self._setup is None else len(self._setup.under_way)
        for _ in range(self._crew.workers_wanted(calls_coming) - coming):
            if not self._hire():
                break

    def _hire(self) -> bool:
        """Start one more worker; False where none can be had now."""
        now = monotonic()
        if now < self._hire_not_before:
            return False
        self.oom.begin()
        if parcel.by_value_is_used():
            self._preload_cloudpickle()
        try:
            seat = self._seat_of_a_new_one(now)
        except OSError as exc:
            self._cannot_hire(exc)
            return False
        self._crew.seats.append(seat)
        if self._setup is not None:
            seat.is_leaving = True  # no call is for it yet
            self._setup.begin(seat.worker, self.path_news(seat.worker))
        return True

    def _seat_of_a_new_one(self, now: float) -> _Seat:
        child = self._staff.hire()
        seat: _Seat = Seat(child)
        seat.places = self._most_tasks
        seat.progress = now
        self.seats[child] = seat
        if self._watch is None:
            self._watch_later()
        return seat

    def hire_resident(self, *, serves_coroutines: bool) -> _Seat:
        """Start a worker that is somebody's own. Raises WorkerStartError where none can be had."""
        self.oom.begin()
        try:
            seat = self._seat_of_a_new_one(monotonic())
        except OSError as exc:
            raise _no_resident(exc) from exc
        residents.settle_in(self._crew, seat, serves_coroutines=serves_coroutines)
        return seat

    async def arrival(self, child: Child) -> bool:
        """Until this worker is there; False where it has died instead. Raises WorkerStartError: no other would live."""
        if child.pid:
            return True
        arrived: asyncio.Future[bool] = self._loop.create_future()
        self._arrivals[child] = arrived
        try:
            return await arrived
        finally:
            del self._arrivals[child]

    def _tell_of_arrival(self, child: Child, error: OSError | None = None) -> None:
        arrived = self._arrivals.get(child)
        if arrived is None or arrived.done():
            return
        if error is not None:
            arrived.set_exception(_no_resident(error))
        else:
            arrived.set_result(bool(child.pid))

    def _preload_cloudpickle(self) -> None:
        """Once in the zygote, or each worker would load it anew, in 30 ms and 4 MB of its own."""
        if not self._cloudpickle_is_preloaded:
            self._cloudpickle_is_preloaded = True
            self._staff.preload(["cloudpickle"])

    def _cannot_hire(self, error: OSError) -> None:
        """Go on with the workers there are."""
        if self._crew.seats:
            self._hire_not_before = monotonic() + _HIRE_AGAIN_SECONDS
            self._loop.call_later(_HIRE_AGAIN_SECONDS * 1.1, self._pump_soon)
        else:
            self._on_none_to_be_had(error)

    def hear(self, child: Child, frame: wire.Frame) -> None:
        """What a worker says that is no answer to a call."""
        if frame.kind == wire.PONG:
            child.ponged = frame.number
        elif frame.kind == wire.NEEDED:
            self.lessons.needed(frame)
        elif frame.kind == wire.HELD:
            pass  # whatever a worker says, its lane looks for what it holds
        elif frame.kind == wire.RELEASED:
            child.side.released(frame.payload)
        elif frame.kind == wire.PART:
            job = self.seats[child].under_way.get(frame.number)
            if job is not None and not job.done():
                job.hear_part(frame.payload)
        elif self._setup is not None and self._setup.ended(child):
            if frame.kind == wire.NOT_READY:
                self._on_broken(self._setup.has_raised(frame))
            else:
                seat = self.seats[child]
                seat.is_leaving = False
                seat.progress = monotonic()

    def has_answered(self, child: Child, seat: _Seat) -> None:
        """This worker has answered what was read of it. One that is worn out goes when it holds nothing more."""
        self._early_deaths = 0
        if (
            self._most_memory
            and child.box.memory > self._most_memory
            and not seat.is_leaving
            and seat.own is None
        ):
            self._crew.retire(seat)
            self._take_back(seat)
        if seat.is_leaving and not seat.under_way:
            self.dismiss(child)

    def dismiss(self, child: Child) -> None:
        """Let this worker go: its atexit hooks run, for a while."""
        self._crew.retire(self.seats[child])
        child.send(wire.pack(wire.QUIT, 0, 0))
        self._loop.call_later(FAREWELL_SECONDS, child.kill)

    def _watch_later(self) -> None:
        self._watch = self._loop.call_later(
            min(_WATCH_SECONDS, max(_LEAST_WATCH_SECONDS, self._idle / 2)), self._look_around
        )

    def _look_around(self) -> None:
        """Let go who has long been idle; kill who was stopped before it took the call that was sent to it."""
        self._watch = None
        now = monotonic()
        self._on_watch(now)
        self.lessons.go_on()
        for child, seat in tuple(self.seats.items()):
            still = now - seat.progress
            if child.side.has_news:
                child.send(child.side.news())
            if not seat.under_way:
                if still >= self._lean and (frame := child.side.trim()):
                    child.send(frame)
                if still >= self._idle and not seat.is_leaving and seat.own is None and self._started is None:
                    self.dismiss(child)
            elif still >= _WATCH_SECONDS and self._has_begun_nothing(child, seat) and child.is_stopped():
                child.kill("it was stopped (SIGSTOP) before it had begun a call")
        if self.seats:
            self._watch_later()

    def _has_begun_nothing(self, child: Child, seat: _Seat) -> bool:
        return not seat.serves_coroutines and child.box.started < next(iter(seat.under_way))

    def _started_one(self, child: Child) -> None:
        if child.box.unwanted:
            child.interrupt(child.box.unwanted)
        self._tell_of_arrival(child)
        self._tell_if_started()

    def _tell_if_started(self) -> None:
        if self._started is not None and not self._started.done() and all(child.pid for child in self.seats):
            self._started.set_result(None)

    def _lost_one(self, child: Child, exitcode: int | None, error: OSError | None) -> None:
        self._on_death(child, exitcode)
        del self.seats[child]
        self._tell_of_arrival(child, error)
        if self._setup is not None:
            self._early_deaths += self._setup.ended(child) and bool(child.pid)
        elif child.box.started:
            self._early_deaths = 0  # it was killed by its call; where one could begin, others can
        else:
            self._early_deaths += bool(child.pid) and exitcode != 0
        if error is not None:
            self._early_deaths = 0
            self._cannot_hire(error)
        elif self._early_deaths >= _EARLY_DEATHS:
            self._early_deaths = 0
            error = ChildProcessError("workers die, again and again, before they begin one call")
            if self._setup is not None:
                self._on_broken(self._setup.has_killed(_EARLY_DEATHS))
            elif any(child.box.started for child in self.seats):
                self._cannot_hire(error)
            else:
                self._on_none_to_be_had(error)  # the others are as young, and will fare no better
        self._tell_if_started()

    def snapshot(self) -> tuple[WorkerStats, ...]:
        """Each worker that is there, and how many calls it has."""
        return tuple(WorkerStats(c.pid, len(seat.under_way)) for c, seat in self.seats.items() if c.pid)

    def kill_busy(self, reason: str) -> None:
        """Kill every worker that has a call."""
        for child, seat in self.seats.items():
            if seat.under_way:
                child.kill(reason)

    async def warm_up(self) -> None:
        """Until the crew is complete. Raises WorkerStartError where workers cannot be started."""
        self._preload_cloudpickle()
        wanted = self._crew.size
        seats = self._crew.seats  # not the residents
        while len(seats) < wanted:
            if not self._hire():
                raise WorkerStartError(f"only {len(seats)} of {wanted} worker processes can be started now")
        if not all(child.pid for child in self.seats):
            self._started = self._loop.create_future()
            try:
                await self._started
            finally:
                self._started = None
            if len(seats) < wanted:
                raise WorkerStartError(f"only {len(seats)} of {wanted} worker processes could be started")

    async def close(self, farewell: float = FAREWELL_SECONDS) -> None:
        """Dismiss everybody, with so many seconds for their atexit hooks. Nothing is left behind."""
        if self._watch is not None:
            self._watch.cancel()
        await self._staff.close(farewell)

    def forsake(self) -> None:
        """In a process forked from ours: give back our copies of the descriptors."""
        self._staff.forsake()


def _no_resident(error: OSError) -> WorkerStartError:
    return WorkerStartError(f"a worker process of its own cannot be started: {error.strerror or error}")
