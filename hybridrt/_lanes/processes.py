"""The process lane: CPU-heavy calls in worker processes of our own.

Theory of operation. The crew (``_core.crew``) decides who gets what; this lane carries it out; the staff
(``_engine.staff``) holds the workers. A call is pickled when it is submitted, so what cannot travel is the caller's
error, at once. Where a worker is idle, the call leaves at once; the others of a loop turn travel together at its end.
A worker's answers are taken in by its reader callback, which hands out what waits before it goes back to the loop.

Stopping a call. Waiting: it is passed over when its turn comes. Written ahead: everything that its worker has not
started is taken back. Running: the worker is interrupted, and killed if the call has not ended after the grace.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import Executor
from time import monotonic
from typing import Any, TypeAlias

from .._core.crew import STUCK_SECONDS, Crew, Seat
from .._core.function import COROUTINE, GENERATOR, Function, FunctionBook
from .._core.stats import LaneStats, WorkerStats
from .._engine import parcel, wire
from .._engine.child import Child
from .._engine.definitions import Definitions
from .._engine.staff import Staff
from ..errors import RuntimeClosed, WorkerStartError
from .answers import deliver
from .counters import Counters
from .executor import LaneExecutor
from .job import Job, ProcessJob
from .obituary import crash_report, start_error
from .sending import send_calls
from .unsendable import unsendable_call

_Call: TypeAlias = ProcessJob[Any]
_Seat: TypeAlias = Seat[ProcessJob[Any]]

_EARLY_DEATHS = 5
_HIRE_AGAIN_SECONDS = 0.5


class ProcessLane:
    """At most ``limit`` workers for calls, and as many for coroutine calls; each starts when it is first needed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        book: FunctionBook,
        *,
        limit: int,
        interrupt_grace: float,
        preload: tuple[str, ...],
        nice: int,
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._grace = interrupt_grace
        self._counters = Counters()
        self._crew: Crew[_Call] = Crew(limit)
        self._seats: dict[Child, _Seat] = {}
        self._definitions = Definitions(self._forget)
        self._staff = Staff(
            loop,
            preload=preload,
            nice=nice,
            on_readable=self._on_readable,
            on_started=self._on_started,
            on_death=self._on_death,
        )
        self._numbers = itertools.count(1)
        self._pump_is_due = False
        self._stuck_check: asyncio.TimerHandle | None = None
        self._early_deaths = 0
        self._cloudpickle_is_preloaded = False
        self._hire_not_before = 0.0
        self._is_closed = False
        self._emptied: asyncio.Future[None] | None = None
        self._started: asyncio.Future[None] | None = None
        self.executor: Executor = LaneExecutor("processes", loop, book, self.submit)

    def submit(
        self, function: Function, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Job[Any]:
        """Start a call, or queue it. Raises NotSendable or TypeError where it can never run in a worker."""
        if self._is_closed:
            raise RuntimeClosed(f"{function.name} was not started: this runtime has been left")
        if function.kind == GENERATOR:
            raise TypeError(
                f"{function.name} is a generator function, and a generator cannot leave its process: "
                "call a function that returns a list (or another finished result) of what it yields"
            )
        try:
            definition = self._definitions.find(fn)
            payload = parcel.dumps((fn, args, kwargs) if definition is None else (args, kwargs))
        except Exception as exc:
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
        job.seat = None
        seat = self._crew.start_now(job, monotonic())
        if seat is not None:
            send_calls(seat, [job], self._staff.path_news)
            return job
        self._crew.add(job)
        if not self._pump_is_due:
            self._pump_is_due = True
            self._loop.call_soon(self._pump_due)
        return job

    def _pump_due(self) -> None:
        self._pump_is_due = False
        self._pump()

    def _pump(self) -> None:
        """Hire who is wanted and send out what can be sent."""
        crew = self._crew
        for _ in range(crew.workers_wanted()):
            if not self._hire():
                break
        for seat, batch in crew.give_out(monotonic()):
            send_calls(seat, batch, self._staff.path_news)
        if self._stuck_check is None and crew.seats_with_calls_ahead():
            self._stuck_check = self._loop.call_later(STUCK_SECONDS, self._check_stuck)

    def _forget(self, number: int) -> None:
        for child in list(self._seats):  # the garbage collector may call this in any thread
            child.to_forget.append(number)

    # Answers

    def _on_readable(self, child: Child) -> None:
        count = child.read()
        if count > 0:
            self._take_answers(child)
        elif count == 0:
            # It closed its channel, so it is of no more use; normally it has died, and the news is on its way.
            child.deafen()
            self._seats[child].is_leaving = True
            if not self._is_closed:
                child.kill()

    def _take_answers(self, child: Child) -> None:
        seat = self._seats[child]
        crew = self._crew
        now = monotonic()
        while (frame := child.next_frame()) is not None:
            if frame.kind == wire.PONG:
                child.ponged = frame.number
                continue
            job = crew.answered(seat, frame.number, now)
            if job is not None:
                deliver(job, frame, self._counters)
        child.has_answered = True
        self._early_deaths = 0
        if crew.waiting:
            self._pump()
        else:
            self._tell_if_empty()

    # Workers

    def _hire(self) -> bool:
        """Start one more worker; False where none can be had now."""
        now = monotonic()
        if now < self._hire_not_before:
            return False
        if parcel.by_value_is_used():
            self._preload_cloudpickle()
        try:
            child = self._staff.hire()
        except OSError as exc:
            self._cannot_hire(exc)
            return False
        seat: _Seat = Seat(child)
        self._seats[child] = seat
        self._crew.seats.append(seat)
        return True

    def _preload_cloudpickle(self) -> None:
        """Once in the zygote, or each worker would load it anew, in 30 ms and 4 MB of its own."""
        if not self._cloudpickle_is_preloaded:
            self._cloudpickle_is_preloaded = True
            self._staff.preload(["cloudpickle"])

    def _cannot_hire(self, error: OSError) -> None:
        """Go on with the workers there are; where there are none, the calls that wait get the error."""
        if self._crew.seats:
            self._hire_not_before = monotonic() + _HIRE_AGAIN_SECONDS
            self._loop.call_later(_HIRE_AGAIN_SECONDS * 1.1, self._pump_due)
            return
        for job in self._crew.drop_waiting():
            self._counters.failed += 1
            job.set_exception(start_error(job.function.name, error))
        self._tell_if_empty()

    def _on_started(self, child: Child) -> None:
        if child.box.unwanted:
            child.interrupt(child.box.unwanted)
        self._tell_if_started()

    def _tell_if_started(self) -> None:
        if self._started is not None and not self._started.done() and all(child.pid for child in self._seats):
            self._started.set_result(None)

    def _on_death(self, child: Child, exitcode: int | None, error: OSError | None) -> None:
        seat = self._seats[child]
        seat.is_leaving = True
        while child.read() > 0:  # the answers that it wrote before it died
            self._take_answers(child)
        del self._seats[child]
        if not seat.serves_coroutines:
            self._crew.lost(
                seat, child.box.started
            )  # each earlier one has been answered, no later one has begun
        self._early_deaths += not child.has_answered and exitcode != 0
        for job in self._crew.remove(seat):
            job.let_go()
            if job.done():
                self._counters.cancelled += 1
                continue
            self._counters.failed += 1
            self._counters.crashed += 1
            seconds = monotonic() - seat.progress
            job.set_exception(crash_report(job.function.name, child, exitcode, seconds, len(seat.under_way)))
        seat.under_way.clear()
        if error is not None or self._early_deaths >= _EARLY_DEATHS:
            self._early_deaths = 0
            self._cannot_hire(
                error or ChildProcessError("workers die, again and again, before they answer one call")
            )
        self._tell_if_started()
        if self._crew.waiting:
            self._pump()
        self._tell_if_empty()

    def _check_stuck(self) -> None:
        self._stuck_check = None
        now = monotonic()
        for seat in self._crew.stuck(now):
            self._take_back(seat)
        if self._crew.waiting:
            self._pump()
        elif self._crew.seats_with_calls_ahead():
            self._stuck_check = self._loop.call_later(STUCK_SECONDS, self._check_stuck)

    def _take_back(self, seat: _Seat) -> None:
        child: Child = seat.worker
        if len(seat.under_way) > 1:
            self._crew.taken_back(seat, child.take_back())

    # Stopping one call

    def _stop(self, job: _Call) -> None:
        seat = job.seat
        if seat is None:
            job.let_go()
            self._counters.cancelled += 1
            self._crew.cancelled_waiting()
            self._tell_if_empty()
            return
        child: Child = seat.worker
        if job.is_coroutine:
            child.send(wire.pack(wire.CANCEL, job.number, 0))
        else:
            self._take_back(seat)
            if self._crew.waiting and not self._pump_is_due:
                self._pump_is_due = True
                self._loop.call_soon(self._pump_due)
            if job.number not in seat.under_way:
                self._counters.cancelled += 1
                return
            if job.number == next(reversed(seat.under_way)):
                child.interrupt(job.number)  # an earlier one has ended, and its answer is on its way
        self._loop.call_later(self._grace, self._kill_if_it_goes_on, seat, job.number)

    def _kill_if_it_goes_on(self, seat: _Seat, number: int) -> None:
        if number not in seat.under_way:
            return
        child: Child = seat.worker
        if not seat.serves_coroutines or len(seat.under_way) == 1:
            child.kill()
            return
        # Others run on the same loop. While it turns, only this worker's future is lost: it gets nothing more, and is
        # killed when the others are done. A loop that does not turn serves none of them.
        seat.is_leaving = True
        if child.ponged == -number:
            child.kill()
            return
        if child.ponged != number:
            child.ponged = -number
        child.send(wire.pack(wire.PING, number, 0))
        self._loop.call_later(self._grace, self._kill_if_it_goes_on, seat, number)

    # The whole lane

    async def warm_up(self) -> None:
        """Until ``limit`` workers are there. Raises WorkerStartError where they cannot be started."""
        self._preload_cloudpickle()
        while len(self._seats) < self._limit:
            if not self._hire():
                raise WorkerStartError(
                    f"only {len(self._seats)} of {self._limit} worker processes can be started now"
                )
        if not all(child.pid for child in self._seats):
            self._started = self._loop.create_future()
            await self._started
            if len(self._seats) < self._limit:
                raise WorkerStartError(
                    f"only {len(self._seats)} of {self._limit} worker processes could be started"
                )

    def stats(self) -> LaneStats:
        """A snapshot."""
        return self._counters.snapshot(
            "processes",
            limit=self._limit,
            workers=len(self._seats),
            running=self._crew.under_way,
            waiting=self._crew.waiting,
        )

    def workers(self) -> tuple[WorkerStats, ...]:
        """A snapshot of each worker process that is there."""
        return tuple(
            WorkerStats(child.pid, len(seat.under_way)) for child, seat in self._seats.items() if child.pid
        )

    def close_submit(self) -> None:
        """Refuse every call from now on."""
        self._is_closed = True

    def _tell_if_empty(self) -> None:
        if self._emptied is not None and not self._emptied.done() and self._is_empty():
            self._emptied.set_result(None)

    def _is_empty(self) -> bool:
        return not self._crew.waiting and not self._crew.under_way

    async def close(self, grace: float) -> None:
        """Wait up to ``grace`` seconds for what was accepted, interrupt the rest, kill what does not stop."""
        self._is_closed = True
        try:
            for patience in (grace, self._grace):
                if self._is_empty():
                    break
                self._emptied = self._loop.create_future()
                await asyncio.wait([self._emptied], timeout=patience)
                self._abandon_calls()
        finally:
            self._abandon_calls()
            if self._stuck_check is not None:
                self._stuck_check.cancel()
            for child, seat in self._seats.items():
                if seat.under_way:
                    child.kill()  # it was interrupted, and had its time
            await self._staff.close()

    def _abandon_calls(self) -> None:
        """Fail and interrupt whatever is not done; a second time is harmless."""
        jobs = self._crew.drop_waiting()
        running = [job for seat in self._crew.seats for job in seat.under_way.values() if not job.done()]
        for job in jobs + running:
            what = "running" if job.seat else "waiting"
            job.set_exception(
                RuntimeClosed(
                    f"{job.function.name} was stopped: it was still {what} when its runtime was left"
                )
            )
        for job in running:
            if job.seat is not None:
                self._stop(job)
