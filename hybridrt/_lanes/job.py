"""The handle of one call: a future that stops the work when it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar

from .._core.accounts import Entry
from .._core.crew import Seat
from .._core.function import COROUTINE, UNKNOWN, Function, Timing
from .._engine.cargo import Cargo
from .._engine.definitions import Definition
from ..errors import NotSendable, WorkerStartError

T = TypeVar("T")


class Job(asyncio.Future[T]):
    """A call that has been started: an ``asyncio.Future`` of its result, bound to the runtime's loop.

    Cancelling it stops the work (``Runtime`` says how, lane by lane). ``lane`` is "thread", "process" or "loop".
    """

    __slots__ = ("function", "lane", "number", "stop_work")

    lane: str
    function: Function
    number: int
    stop_work: Callable[[Any], object]
    """Set by the lane: stops the work of this job, which nobody waits for any more."""

    @property
    def id(self) -> int:
        """A number that no other job of its runtime has; log records from a worker carry it as ``hybridrt_job``."""
        return self.number

    def cancel(self, msg: Any | None = None) -> bool:
        """Stop the work; False where it is done already. Whoever awaits this job gets ``CancelledError`` at once."""
        if not super().cancel(msg):
            return False
        self.stop_work(self)
        return True


class ThreadJob(Job[T]):
    """A job of the thread lane that waits for its turn on the loop's side."""

    __slots__ = ("work",)

    work: tuple[Context, Callable[..., Any], tuple[Any, ...], dict[str, Any]]
    """What a thread is to do; gone as soon as one has it."""


class ProcessJob(Job[T]):
    """A job of the process lane, with what the crew and the engine keep of a call."""

    __slots__ = (
        "begun",
        "cost",
        "crashes",
        "definition",
        "fn",
        "hear_part",
        "home",
        "instead",
        "is_coroutine",
        "payload",
        "retries",
        "seat",
        "timing",
    )

    begun: int
    """Set when its worker has died under it: ``BlackBox.begun`` of it."""
    cost: float
    is_coroutine: bool
    definition: Definition | None
    fn: Callable[..., Any] | None
    payload: bytes
    seat: Seat[ProcessJob[Any]] | None
    """The worker that has it, or None while it waits."""
    home: Seat[ProcessJob[Any]] | None
    """The worker of its own that it is bound to, or None."""
    retries: int
    """How often it may be run again where its worker dies."""
    crashes: int
    """How many workers have died under it."""

    timing: Timing
    """What is known of how long it will take: nothing, where its arguments are large."""
    hear_part: Callable[[bytes | memoryview], None]
    """Set where parts may come ahead of the answer: takes in each, which is overwritten afterwards."""
    instead: tuple[Callable[..., None], *tuple[Any, ...]]
    """Set where the caller did not ask for a process: what runs the call where nothing needs to be sent, and its
    arguments after this job."""

    @property
    def is_packed(self) -> bool:
        """Whether it can be sent already."""
        return True

    @property
    def entry(self) -> Entry | None:
        """Its terms, where it has any and had to wait before it could be queued."""
        return None

    def set_exception(self, exception: type | BaseException) -> None:
        """Fail; but where it was for us to choose a process, and it cannot be had or reached, run the call here."""
        cannot_be = isinstance(exception, NotSendable | WorkerStartError)
        instead = getattr(self, "instead", None) if cannot_be else None
        if instead is None:
            super().set_exception(exception)
        else:
            del self.instead
            run_it, *arguments = instead
            run_it(self, *arguments)

    def cut_short(self) -> None:
        """Have the worker that runs it, a batch, tell what has ended, and begin no more of its items."""
        if self.seat is not None and not self.done():
            self.seat.worker.cut_short(self.number)

    def let_go(self) -> None:
        """It is not to be sent again: its function and arguments may go."""
        self.payload = b""
        self.fn = None


class LargeJob(ProcessJob[T]):
    """A job whose call is too large to be packed on the loop: a porter packs it, and it travels as cargo."""

    __slots__ = ("_entry", "cargo", "make_room")

    _entry: Entry | None
    cargo: Cargo | None
    """What is to be sent; None before it has been packed, and when it has been let go."""
    make_room: Callable[[LargeJob[Any]], None]
    """Called when it waits no more: another call may be packed in its place. More than once is harmless."""

    @property
    def is_packed(self) -> bool:
        """Whether it can be sent already."""
        return self.cargo is not None

    @property
    def entry(self) -> Entry | None:
        """Its terms, where it has any."""
        return self._entry

    @entry.setter
    def entry(self, entry: Entry | None) -> None:
        self._entry = entry

    def let_go(self) -> None:
        """It is not to be sent again: its function and arguments may go."""
        super().let_go()
        cargo, self.cargo = self.cargo, None
        if cargo is not None:
            cargo.release()
        self.make_room(self)


def _ignore(job: Any) -> None:
    pass


def large_job(
    loop: asyncio.AbstractEventLoop,
    number: int,
    function: Function,
    fn: Callable[..., Any],
    definition: Definition | None,
    stop_work: Callable[[Any], None],
) -> LargeJob[Any]:
    """A job of the process lane without its cargo."""
    job: LargeJob[Any] = LargeJob(loop=loop)
    job.lane = "process"
    job.number = number
    job.function = function
    job.fn = fn
    job.definition = definition
    job.is_coroutine = function.kind == COROUTINE
    job.stop_work = stop_work
    job.payload = b""
    job.timing = UNKNOWN  # so it is never written ahead, nor anything behind it
    job.make_room = _ignore
    job.seat = job.home = job.cargo = job.entry = None
    job.retries = job.crashes = 0
    return job


class WaitingJob(Job[T]):
    """A job whose call is not started yet: by another job, which ``follow`` sees to."""

    __slots__ = ("retries",)

    retries: int
    """As those of a ``ProcessJob``, should it become one."""


def follow(job: Job[Any], inner: Job[Any]) -> None:
    """``inner`` does the work of ``job``, which has its lane and its outcome, and stops it when it is cancelled."""
    job.lane = inner.lane
    job.stop_work = lambda _: inner.cancel()
    inner.add_done_callback(lambda _: _hand_on(inner, job))


def _hand_on(inner: asyncio.Future[Any], job: Job[Any]) -> None:
    """``job`` has the outcome of ``inner``, which is done; there is nothing left to be stopped."""
    if job.done():
        return
    if inner.cancelled():
        asyncio.Future.cancel(job)
    elif (exc := inner.exception()) is not None:
        job.set_exception(exc)
    else:
        job.set_result(inner.result())


class LoopJob(Job[T]):
    """A coroutine on the loop itself. It is done when the coroutine is, also after a cancel."""

    __slots__ = ("_task", "work")

    _task: asyncio.Task[T] | None
    work: tuple[Context, Callable[..., Any], tuple[Any, ...], dict[str, Any]]
    """What is to be done when its turn comes; gone when it has."""

    def wait(
        self,
        withdraw: Callable[[Any], None],
        work: tuple[Context, Callable[..., Any], tuple[Any, ...], dict[str, Any]],
    ) -> None:
        """There is no task yet."""
        self._task = None
        self.stop_work = withdraw
        self.work = work

    def follow(self, task: asyncio.Task[T]) -> None:
        """Take on the outcome of ``task``, and pass cancels on to it."""
        self._task = task
        self.stop_work = _cancel_task
        task.add_done_callback(lambda _: _hand_on(task, self))

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the coroutine; one that has not begun never does."""
        task = self._task
        return super().cancel(msg) if task is None else task.cancel(msg)


def _cancel_task(job: LoopJob[Any]) -> None:
    if job._task is not None:
        job._task.cancel()
