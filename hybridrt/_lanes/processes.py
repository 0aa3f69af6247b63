"""The process lane: CPU-heavy calls in worker processes of our own.

Theory of operation. The crew (``_core.crew``) decides who gets what; this lane carries it out; the workforce sees to it
that there are workers. A call is pickled when it is submitted, so what cannot travel is the caller's error, at once; a
large one, and a large result, goes to the porters. Where a worker is idle, the call leaves at once; the others of a
loop turn travel together at its end. A worker's answers are taken in by its reader callback, which hands out what waits
before it goes back to the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import count
from sys import modules
from time import monotonic
from typing import Any, TypeAlias

from .._core.crew import LARGE_PAYLOAD, Crew, Seat
from .._core.function import COROUTINE, GENERATOR, UNKNOWN, Function, FunctionBook
from .._core.health import Health
from .._core.settings import Settings
from .._core.stats import LaneStats, WorkerStats
from .._core.terms import Terms
from .._engine.cargo import Hold, Outgrown, pack
from .._engine.context import TRACER, accompany
from .._engine.definitions import Definitions
from .._engine.shares import Sharing
from .._engine.variables import travellers
from .contract import LEFT, LOOP_CLOSED
from .counters import Counters
from .deaths import Deaths
from .executor import LaneExecutor
from .holding import open_hold
from .intake import Intake
from .job import Job, LargeJob, ProcessJob, large_job
from .listening import Listening
from .obituary import refused_call, stopped_call
from .overdue import Overdue
from .porters import Porters
from .posts import Posts
from .process_terms import ProcessTerms
from .pump import Pump
from .sending import send_now
from .setup import Setup
from .stopping import DID_NOT_STOP, Stopping
from .unsendable import generator_call, unsendable_call
from .workforce import Workforce

_Call: TypeAlias = ProcessJob[Any]
_Seat: TypeAlias = Seat[ProcessJob[Any]]


class ProcessLane:
    """At most ``limit`` workers for calls, and as many for coroutine calls; each starts when it is first needed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        book: FunctionBook,
        settings: Settings,
        numbers: Iterator[int] | None = None,
        setup: Setup | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        """``numbers`` gives each call its own; several lanes may share it. ``setup`` comes before a worker's first."""
        self._loop = loop
        self._listening = Listening(loop)
        self._settings = settings
        self._counters = Counters()
        self._crew: Crew[_Call] = Crew(settings.processes)
        self.crew: Crew[_Call] = self._crew
        self._pump = pump = Pump(loop, self._crew)
        self._intake = self._new_intake()
        take_answers = self._intake.take_answers
        self._overdue = pump.overdue = Overdue(loop, self._crew, take_answers=take_answers, pump=pump.now)
        self._workforce = pump.workforce = Workforce(
            loop,
            settings,
            self._crew,
            setup,
            on_readable=self._intake.on_readable,
            on_death=lambda child, exitcode: self._deaths.settle(child, exitcode),
            on_none_to_be_had=lambda error: self._deaths.refuse_waiting(error),
            on_broken=self._break,
            pump_soon=self._pump.soon,
            take_back=self._overdue.take_back,
            on_watch=self._on_watch,
            on_loop_closed=self._loop_closed,
            output=self._listening.far_end,
        )
        self.hold: Hold = open_hold(loop, settings, self._workforce.seats.keys(), sharing)
        self._porters = pump.porters = Porters(loop, self._crew, self._counters, self.hold, self._look_again)
        self._seats = self._workforce.seats
        self._path_news = self._workforce.path_news
        self._check_audience = self._workforce.check_audience
        self._stop = (
            self._new_stopping().stop
        )  # once: a bound method is an object, and each job would have its own
        self.posts: Posts = self._new_posts()
        pump.posts = self.posts
        self._deaths = self._new_deaths()
        self._terms = self._new_terms()
        self._definitions = Definitions(self._forget)
        self._numbers = numbers or count(1)
        self._max_queue = settings.max_queue
        self._closed = ""  # why, where it is
        self._broken: Callable[[], Exception] | None = None
        self._emptied: asyncio.Future[None] | None = None
        self.executor: LaneExecutor = LaneExecutor("runtime.processes", loop, book, self.submit)

    def _new_intake(self) -> Intake:
        return Intake(
            self._loop,
            self._crew,
            self._counters,
            self._listening,
            self._pump,
            is_closed=lambda: bool(self._closed),
            on_rest=self._tell_if_empty,
        )

    def _new_stopping(self) -> Stopping:
        return Stopping(
            self._loop,
            self._crew,
            self._counters,
            grace=self._settings.interrupt_grace,
            take_back=self._overdue.take_back,
            pump_soon=self._pump.soon,
            tell_if_empty=self._tell_if_empty,
            withdraw=self._porters.withdraw,
        )

    def _new_terms(self) -> ProcessTerms:
        return ProcessTerms(
            self._loop,
            self._crew,
            self._counters,
            self._pump,
            self._porters,
            most_waiting=self._settings.max_queue,
            on_gone=self._tell_if_empty,
        )

    def _new_posts(self) -> Posts:
        return Posts(
            self._loop,
            self._crew,
            self._workforce,
            self._counters,
            grace=self._settings.interrupt_grace,
            pump_soon=self._pump.soon,
            stop=self._stop,
            submit=self.submit,
        )

    def _new_deaths(self) -> Deaths:
        return Deaths(
            self._crew,
            self._seats,
            self._counters,
            self.posts,
            self._porters,
            listening=self._listening,
            oom=self._workforce.oom,
            memory_limit=self._settings.worker_memory_limit,
            take_answers=self._intake.take_answers,
            pump_soon=self._pump.soon,
            tell_if_empty=self._tell_if_empty,
        )

    def submit(
        self,
        function: Function,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        terms: Terms | None = None,
        home: _Seat | None = None,
    ) -> Job[Any]:
        """Start a call, or queue it, on these terms; in the worker with this seat and no other where one is given.

        Raises QueueFull, and NotSendable or TypeError where it can never run in a worker. One that is too large to be
        pickled here and now is pickled in a thread: its job fails with NotSendable where it cannot be, and what it is
        made of must not be changed before it runs.
        """
        if self._closed:
            raise self._broken() if self._broken else refused_call(function.name, self._closed)
        if function.kind == GENERATOR:
            raise generator_call(function.name)
        if (terms is not None or self._max_queue) and home is None:
            self._terms.refuse_if_full(function, terms)
        try:
            definition = self._definitions.find(fn)
            call = (fn, args, kwargs) if definition is None else (args, kwargs)
            if travellers or TRACER in modules:
                call = accompany(call)
            try:
                payload = pack(call)
            except Outgrown:
                large = large_job(self._loop, next(self._numbers), function, fn, definition, self._stop)
                return self._carry(large, call, terms, home)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # a sys.exit() in a __reduce__ must not end the service that calls
            raise unsendable_call(function.name, fn, args, kwargs, exc) from exc
        job: _Call = ProcessJob(loop=self._loop)
        job.lane = "process"
        job.function = function
        job.stop_work = self._stop
        job.number = next(self._numbers)
        job.definition = definition
        job.payload = payload
        job.fn = fn  # kept until the answer: its number must not be forgotten before
        job.is_coroutine = function.kind == COROUTINE
        job.timing = function.in_process if len(payload) < LARGE_PAYLOAD else UNKNOWN
        job.seat = job.home = None
        job.retries = job.crashes = 0
        if home is not None or terms is not None or function.places is not None:
            return self._bind(job, terms, home)
        crew = self._crew
        if not crew.calls and not job.is_coroutine:
            seat = crew.start_now(job, monotonic())
            if seat is not None:
                self._check_audience()
                send_now(seat, job, self._path_news)
                return job
        (crew.coroutines if job.is_coroutine else crew.calls).append(job)
        if not self._pump.is_due:
            self._pump.soon()
        return job

    def _bind(self, job: _Call, terms: Terms | None, home: _Seat | None) -> _Call:
        if home is not None:
            self.posts.enqueue(job, home)
        else:
            self._terms.add(job, terms)
        return job

    def _carry(
        self, large: LargeJob[Any], call: tuple[Any, ...], terms: Terms | None, home: _Seat | None
    ) -> Job[Any]:
        if home is not None:
            self.posts.enqueue(large, home)
        elif terms is not None or large.function.places is not None:
            self._terms.announce(large, terms)
        self._porters.pack(large, call)
        self._pump.soon()  # its worker may be hired meanwhile
        return large

    def _look_again(self) -> None:
        """More calls may wait than before, or none at all."""
        if self._crew.waiting:
            self._pump.now()
        else:
            self._tell_if_empty()

    def _on_watch(self, now: float) -> None:
        self._counters.mark(now)
        self.hold.look_around([child.side for child in self._seats])

    def _forget(self, number: int) -> None:
        for child in list(self._seats):  # the garbage collector may call this in any thread
            child.to_forget.append(number)

    # Deaths

    def _break(self, error: Callable[[], Exception]) -> None:
        """Workers cannot be set up: the calls that wait, and all to come, get ``error()``."""
        self._broken, self._closed = error, "its workers cannot be set up"
        self.executor.refuse(error)
        self._deaths.fail_waiting(lambda _: error())

    # The whole lane

    async def warm_up(self) -> None:
        """Until ``limit`` workers are there. Raises WorkerStartError where they cannot be started."""
        await self._workforce.warm_up()

    def stats(self) -> LaneStats:
        """A snapshot."""
        return self._counters.snapshot(
            "processes",
            limit=self._crew.size,
            workers=len(self._seats),
            running=self._crew.under_way + self._porters.unpacking,
            waiting=self._crew.waiting + self._porters.packing,
            learned=self._workforce.lessons.learned(),
        )

    def health(self) -> Health:
        """How often workers have crashed of late."""
        return self._counters.health(monotonic())

    def workers(self) -> tuple[WorkerStats, ...]:
        """A snapshot of each worker process that is there."""
        return self._workforce.snapshot()

    def _loop_closed(self) -> None:
        self._closed = self._closed or LOOP_CLOSED
        self._listening.forsake()
        self._porters.abandon()
        self.executor.abandon(LOOP_CLOSED)
        self.hold.close()

    def close_submit(self, why: str) -> None:
        """Refuse every call from now on, for this reason."""
        self.executor.close(why)
        self._closed = why

    def forsake(self, why: str) -> None:
        """In a process forked from ours: let go of everything, and touch nothing that the two share."""
        self._closed = why
        self.executor.forsake(why)
        self.posts.forsake()
        self._workforce.forsake()
        self._porters.forsake()
        self.hold.forsake()
        self._listening.forsake()

    def _tell_if_empty(self) -> None:
        if self._emptied is not None and not self._emptied.done() and self._is_empty():
            self._emptied.set_result(None)

    def _is_empty(self) -> bool:
        return not (self._crew.waiting or self._crew.under_way or self._porters.is_busy)

    async def close(self, grace: float) -> None:
        """Wait up to ``grace`` seconds for what was accepted, interrupt the rest, kill what does not stop."""
        self._closed = self._closed or LEFT
        is_cut_short = True
        try:
            for patience in (grace, self._settings.interrupt_grace):
                if self._is_empty():
                    break
                self._emptied = self._loop.create_future()
                await asyncio.wait([self._emptied], timeout=patience)
                self._abandon_calls()
            is_cut_short = False
        finally:
            self._abandon_calls()
            self._porters.dismiss()
            self._overdue.cancel()
            self._terms.close()
            self._workforce.kill_busy(DID_NOT_STOP)
            try:
                await self._workforce.close(*([0.0] if is_cut_short else []))
            finally:
                self._listening.close()
                await self._porters.close()
                self.hold.close()

    def _abandon_calls(self) -> None:
        """Fail and interrupt whatever is not done; a second time is harmless."""
        self.posts.abandon_all()
        jobs = self._crew.drop_waiting() + self._porters.drop_all()
        running = [job for seat in self._crew.seats for job in seat.under_way.values() if not job.done()]
        for job in jobs + running:
            job.set_exception(stopped_call(job))
        for job in running:
            if job.seat is not None:
                self._stop(job)
