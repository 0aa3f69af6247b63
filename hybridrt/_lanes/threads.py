"""The thread lane: blocking calls in a bounded pool of threads.

Theory of operation. Calls go to the threads and outcomes come back through two deques (``thread_worker``); one wake-up
is enough for many, both ways. Everything else here belongs to the loop's thread.

Threads start, and sleeping ones are woken, when calls wait: one at once; a millisecond later all that may be where
nothing has moved, twice as many where little has. Quick calls are therefore served by one thread or two, which do not
fight over the GIL, and blocking ones by as many as there may be.

While terms are in use, calls wait before the first deque (``thread_queue``); those of the executor face never do.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any

from .._core.function import Function
from .._core.gil import is_gil_off
from .._core.health import Health
from .._core.stats import LaneStats, WorkerStats
from .._core.terms import Terms
from .._engine.failure import presentable
from ..errors import RuntimeClosed
from .bell import new_bell
from .contract import LEFT
from .counters import Counters
from .executor import is_running_here
from .job import Job, ThreadJob
from .thread_executor import ThreadExecutor, ThreadFuture
from .thread_queue import ThreadQueue
from .thread_worker import QUICK_SECONDS, Exchange, Target, ThreadWorker

_GROW_SECONDS = 0.001
_QUICK_CALLS = _GROW_SECONDS / QUICK_SECONDS
"""Calls that a thread gets done in that time where more threads would only fight over the GIL."""
_SWIFT_THREADS = 4
"""Those that have a bell which costs descriptors."""


class ThreadLane:
    """At most ``limit`` threads, which leave after ``idle`` seconds without work.

    ``cpus``   as many threads have room to compute at once, where there is no GIL
    ``nice``   by how much each thread yields to the loop's thread (Linux)
    ``owner``  whose end is the end of these threads, in words
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        limit: int,
        idle: float,
        numbers: Iterator[int],
        name: str = "threads",
        cpus: int = 1,
        nice: int = 0,
        max_queue: int = 0,
        owner: str = "its runtime",
    ) -> None:
        self._owner = owner
        self._cpus = cpus
        self._name = name
        self._nice = nice
        self._loop = loop
        self._numbers = numbers
        self._limit = limit
        self._idle = idle
        self._counters = Counters()
        self._exchange = exchange = Exchange(loop, self._drain)
        self._inbox = exchange.inbox
        self._parked = exchange.parked
        self._threads: set[ThreadWorker] = set()
        self._open = 0  # calls handed in and not come back
        self._ended = 0  # calls come back, ever
        self._growth: asyncio.TimerHandle | None = None
        self._started = 0
        self._closed = ""  # why, where it is
        self._is_over = False  # no thread is to be started any more
        self._queue = ThreadQueue(
            loop,
            f"the {name}",
            numbers,
            self._counters,
            limit=limit,
            most_waiting=max_queue,
            handed_in=lambda: self._open,
            hand_in=self._hand_in,
            ring=exchange.ring,
            on_gone=self._tell_if_empty,
            on_use=self._set_in_turn,
            take_back=self._take_back,
        )
        self._is_in_turn = max_queue > 0  # plain calls are to be looked at as well
        self._emptied: asyncio.Future[None] | None = None
        self._left: asyncio.Future[None] | None = None  # while the last thread is waited for
        self.executor: ThreadExecutor = ThreadExecutor(loop, self.submit_future)

    def submit(
        self,
        function: Function,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        terms: Terms | None = None,
    ) -> Job[Any]:
        """Queue a call for the next free thread; the caller's context travels. Raises QueueFull."""
        if self._closed:
            raise RuntimeClosed(f"{function.name} was not started: {self._closed}")
        if terms is not None or self._is_in_turn or function.places is not None:
            return self._queue.submit(function, fn, args, kwargs, terms)
        job: ThreadJob[Any] = ThreadJob(loop=self._loop)
        job.lane = "thread"
        job.function = function
        job.number = next(self._numbers)
        job.stop_work = _let_it_go_on
        exchange = self._exchange
        parked = self._parked
        self._inbox.append((job, copy_context(), fn, args, kwargs))
        # Where outcomes of this very turn are there already, the calls are quick ones, and to wake the thread for each
        # would cost more than they do: those that follow go together, as soon as the loop turns.
        if (
            parked
            and not exchange.is_waking
            and (not exchange.outbox or function.in_thread.expected > QUICK_SECONDS)
        ):
            exchange.wake_one()
        self._open += 1
        if self._growth is None and self._open > len(self._threads) - len(parked):
            self._need_threads()
        return job

    def _take_back(self) -> list[ThreadJob[Any]]:
        """The calls that no thread has taken, in their order, with their work; those of the executor face stay."""
        jobs = self._exchange.take_back()
        self._open -= len(jobs)
        return jobs

    def _set_in_turn(self, is_in_turn: bool) -> None:
        self._is_in_turn = is_in_turn

    def _hand_in(self, job: ThreadJob[Any]) -> None:
        work = job.work
        del job.work
        self._inbox.append((job, *work))
        self._open += 1
        if self._growth is None and self._open > len(self._threads) - len(self._parked):
            self._need_threads()

    def _need_threads(self) -> None:
        if not self._threads:
            self._start_thread()
        elif len(self._threads) >= self._limit and not self._parked:
            return
        self._growth = self._loop.call_later(_GROW_SECONDS, self._grow, self._ended)

    def _grow(self, ended_before: int) -> None:
        self._growth = None
        waiting = len(self._inbox)
        asleep = len(self._parked)
        awake = len(self._threads) - asleep
        if not waiting or (not asleep and awake >= self._limit):
            return
        ended = self._ended + len(self._exchange.outbox)
        if ended == ended_before:
            more = self._limit  # nothing moved: whatever runs is blocking
        elif ended - ended_before < _QUICK_CALLS * awake:
            more = awake
        elif awake < self._cpus and is_gil_off():
            more = 1  # as quick as they are, another CPU may help
        else:
            more = 0
        more = min(waiting, more)
        for _ in range(min(more, asleep)):
            self._exchange.wake_one()
        for _ in range(min(more - asleep, self._limit - len(self._threads))):
            self._start_thread()
        self._growth = self._loop.call_later(_GROW_SECONDS, self._grow, ended)

    def _start_thread(self) -> None:
        self._started += 1
        bell = new_bell(self._idle, is_first=sum(it.is_swift for it in self._threads) < _SWIFT_THREADS)
        thread = ThreadWorker(self._exchange, bell, f"hybridrt-{self._name}-{self._started}", self._nice)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
        else:
            self._threads.add(thread)

    def submit_future(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future[Any]:
        """Queue a call from any thread; its future is fulfilled by the thread that runs it, as executors do.

        It goes past all that waits for its turn. Raises QueueFull as ``max_queue`` has it.
        """
        if self._closed:
            raise RuntimeClosed(f"its threads take no more calls: {self._closed}")
        if self._is_in_turn:
            self._queue.refuse_future_if_full(len(self._inbox), self.busy)
        future = ThreadFuture()
        self._exchange.put((future, copy_context(), fn, args, kwargs))
        if is_running_here(self._loop):
            self._count_in()
        else:
            try:
                self._loop.call_soon_threadsafe(self._count_in)
            except RuntimeError:
                raise RuntimeClosed(
                    "this runtime's event loop is closed: its threads take no more calls"
                ) from None
        if self._closed and future.cancel():  # closed since we looked, perhaps with nobody left to take it
            raise RuntimeClosed(f"its threads take no more calls: {self._closed}")
        return future

    def _count_in(self) -> None:
        self._open += 1
        if self._is_over:
            self._refuse_waiting()  # put in while we were closing: nobody is left to take it
        elif self._growth is None and self._open > len(self._threads) - len(self._parked):
            self._need_threads()

    def _drain(self) -> None:
        exchange = self._exchange
        exchange.is_drain_due = False  # first: see thread_worker
        popleft = exchange.outbox.popleft
        counters = self._counters
        held = self._queue.accounts.held
        while True:
            try:
                job, result, error, seconds = popleft()
            except IndexError:
                break
            if isinstance(job, ThreadWorker):
                self._thread_left(job)
                continue
            self._open -= 1
            self._ended += 1
            if held and isinstance(job, Job):
                self._queue.accounts.end(job.number)
            if not isinstance(job, Job):
                self._count(seconds, error)
            elif job.done():
                counters.cancelled += 1
            else:
                counters.run_times.record(seconds)
                job.function.in_thread.record(seconds)
                if error is None:
                    counters.succeeded += 1
                    job.set_result(result)
                else:
                    counters.failed += 1
                    job.set_exception(presentable(error, where="a thread"))
        if self._is_in_turn:
            self._queue.rest()
        if self._inbox and self._parked and not exchange.is_waking:
            exchange.wake_one()
        if self._emptied is not None:
            self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if self._emptied is not None and not self._emptied.done() and not self._has_work:
            self._emptied.set_result(None)

    @property
    def _has_work(self) -> bool:
        return self._open > 0 or self._queue.waiting > 0

    def _count(self, seconds: float, error: BaseException | None) -> None:
        """A call came back whose future has been told by the thread that ran it."""
        counters = self._counters
        if seconds < 0:
            counters.cancelled += 1
            return
        counters.run_times.record(seconds)
        if error is None:
            counters.succeeded += 1
        else:
            counters.failed += 1

    def _thread_left(self, thread: ThreadWorker) -> None:
        self._threads.discard(thread)
        thread.join()
        if self._left is not None and not self._left.done() and not self._threads:
            self._left.set_result(None)
        # It may have left in the very moment in which a call was put in that counted on it.
        if self._inbox and not self._is_over and self._growth is None:
            self._need_threads()

    @property
    def busy(self) -> int:
        """Calls that threads are at now, or nearly so; from any thread."""
        return max(0, self._open - len(self._inbox))

    async def warm_up(self) -> None:
        """Threads start in microseconds when they are needed: nothing to do."""

    def stats(self) -> LaneStats:
        """A snapshot."""
        waiting = len(self._inbox) + self._queue.waiting
        return self._counters.snapshot(
            self._name,
            limit=self._limit,
            workers=len(self._threads),
            running=self.busy,
            waiting=waiting,
        )

    def workers(self) -> tuple[WorkerStats, ...]:
        """None: threads are no processes."""
        return ()

    def health(self) -> Health:
        """Always well: no call is lost in a thread."""
        return self._counters.health(0.0)

    def close_submit(self, why: str) -> None:
        """Refuse every call from now on, for this reason."""
        self._closed = why

    def forsake(self, why: str) -> None:
        """In a process forked from ours, where the threads are not."""
        self._closed = why
        self.executor.forsake(why)

    async def close(self, grace: float) -> None:
        """Wait up to ``grace`` seconds; calls that still run keep their (daemon) thread, for it cannot be stopped."""
        self._closed = self._closed or LEFT
        try:
            if self._has_work:
                self._emptied = (
                    self._emptied or self._loop.create_future()
                )  # it may be closed from two sides at once
                await asyncio.wait([self._emptied], timeout=grace)
        finally:
            if self._growth is not None:
                self._growth.cancel()
            self._is_over = True
            self._abandon_calls()
            for _ in self._threads:
                self._exchange.put(None)
        if not self._open and self._threads:
            self._left = self._left or self._loop.create_future()
            await asyncio.wait([self._left], timeout=1.0)

    def _refuse_waiting(self) -> None:
        for job in self._queue.drop_all():
            _fail(job, "was not started: its runtime was left before a thread was free")
        for _ in range(len(self._inbox)):
            try:
                work = self._inbox.popleft()
            except IndexError:
                break
            if work is None:
                self._exchange.put(None)  # it sends a thread home
            else:
                self._open -= 1
                if isinstance(work[0], Job):
                    self._queue.accounts.end(work[0].number)
                _fail(work[0], f"was not started: {self._owner} was left before a thread was free")

    def _abandon_calls(self) -> None:
        """Fail what waits or runs still, and tell of what cannot be stopped."""
        self._refuse_waiting()
        for target in [it.running for it in self._threads]:
            if target is None:
                continue
            name = target.function.name if isinstance(target, Job) else "a call"
            _fail(
                target,
                f"was still running in a thread when {self._owner} was left, and a thread cannot be stopped",
            )
            warnings.warn(
                f"hybridrt: {name} still runs in a thread after {self._owner} was left; give it a time limit of its "
                "own, or run it in a process, which can be stopped",
                RuntimeWarning,
                stacklevel=2,
            )


def _let_it_go_on(job: Job[Any]) -> None:
    """A queued call is passed over by the thread that takes it; one that runs keeps its thread until it ends."""


def _fail(target: Target, what: str) -> None:
    if target.done():
        return
    if isinstance(target, Job):
        target.set_exception(RuntimeClosed(f"{target.function.name} {what}"))
        return
    target.is_unwanted = True
    if not target.running() and target.set_running_or_notify_cancel():
        target.set_exception(RuntimeClosed(f"a call {what}"))
