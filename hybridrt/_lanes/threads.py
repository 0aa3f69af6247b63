"""The thread lane: blocking calls in a bounded pool of threads.

Theory of operation. Calls go in through a ``SimpleQueue``, which wakes one thread. Outcomes come back through a deque
and one pending wake-up: a thread that finds a wake-up under way adds none, so however many calls end while the loop is
busy, it is woken once and takes them all. Everything but those two queues belongs to the loop's thread.

Threads start when calls wait: one at once; a millisecond later all that may be where nothing has moved, twice as many
where little has. Quick calls are therefore served by one thread or two, which do not fight over the GIL, and
blocking ones by as many as there may be.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import Context, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any, ParamSpec, TypeAlias, TypeVar

from .._core.function import Function
from .._core.health import Health
from .._core.stats import LaneStats, WorkerStats
from .._engine import current
from .._engine.failure import presentable
from ..errors import RuntimeClosed
from .contract import LEFT
from .counters import Counters
from .executor import is_running_here
from .job import Job
from .thread_executor import ThreadExecutor, ThreadFuture

P = ParamSpec("P")
T = TypeVar("T")

_Work: TypeAlias = tuple["Job[Any] | ThreadFuture", Context, Any, tuple[Any, ...], dict[str, Any]]
_Outcome: TypeAlias = tuple[_Work | None, Any, BaseException | None, float]
"""The call (None: a thread has left), its result (or that thread), its exception, its seconds."""

_FUTURE_S_WORK: _Work = (ThreadFuture(), copy_context(), None, (), {})
"""Comes back in place of a call whose future has been told already: nothing more is to keep that future alive."""

_GROW_SECONDS = 0.001
_QUICK_CALLS = 10
"""Calls that a thread gets done in that time where more threads would only fight over the GIL."""


class ThreadLane:
    """At most ``limit`` threads, which leave after ``idle`` seconds without work."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, limit: int, idle: float, numbers: Iterator[int]
    ) -> None:
        self._loop = loop
        self._numbers = numbers
        self._limit = limit
        self._idle = idle
        self._counters = Counters()
        self._inbox: SimpleQueue[_Work | None] = SimpleQueue()
        self._outbox: deque[_Outcome] = deque()
        self._wake_is_pending = False
        self._threads: set[threading.Thread] = set()
        self._open = 0  # calls handed in and not come back
        self._ended = 0  # calls come back, ever
        self._growth: asyncio.TimerHandle | None = None
        self._started = 0
        self._closed = ""  # why, where it is
        self._is_over = False  # no thread is to be started any more
        self._emptied: asyncio.Future[None] | None = None
        self._left: asyncio.Future[None] | None = None  # while the last thread is waited for
        self._running: dict[int, Job[Any] | ThreadFuture] = {}  # by thread; each thread writes its own entry
        self.executor: ThreadExecutor = ThreadExecutor(loop, self.submit_future)

    def submit(
        self, function: Function, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Job[Any]:
        """Queue a call for the next free thread; the caller's context travels."""
        if self._closed:
            raise RuntimeClosed(f"{function.name} was not started: {self._closed}")
        job: Job[Any] = Job(loop=self._loop)
        job.lane = "thread"
        job.function = function
        job.number = next(self._numbers)
        job.stop_work = self._stop
        self._inbox.put((job, copy_context(), fn, args, kwargs))
        self._open += 1
        if self._open > len(self._threads) and self._growth is None:
            self._need_threads()
        return job

    def _need_threads(self) -> None:
        if len(self._threads) >= self._limit:
            return
        if not self._threads:
            self._start_thread()
        self._growth = self._loop.call_later(_GROW_SECONDS, self._grow, self._ended)

    def _grow(self, ended_before: int) -> None:
        self._growth = None
        waiting = self._inbox.qsize()
        here = len(self._threads)
        if not waiting or here >= self._limit:
            return
        ended = self._ended + len(self._outbox)
        if ended == ended_before:
            more = self._limit  # nothing moved: whatever runs is blocking
        elif ended - ended_before < _QUICK_CALLS * here:
            more = here
        else:
            more = 0
        for _ in range(min(waiting, more, self._limit - here)):
            self._start_thread()
        self._growth = self._loop.call_later(_GROW_SECONDS, self._grow, ended)

    def _start_thread(self) -> None:
        self._started += 1
        # A daemon, so that a call that never ends does not hold up the interpreter's exit.
        thread = threading.Thread(target=self._work, name=f"hybridrt-{self._started}", daemon=True)
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
        """Queue a call from any thread; its future is fulfilled by the thread that runs it, as executors do."""
        if self._closed:
            raise RuntimeClosed(f"its threads take no more calls: {self._closed}")
        future = ThreadFuture()
        self._inbox.put((future, copy_context(), fn, args, kwargs))
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
        elif self._open > len(self._threads) and self._growth is None:
            self._need_threads()

    def _work(self) -> None:
        """The life of one thread. Of the lane it touches the two queues, the wake-up and its entry in _running."""
        get = self._inbox.get
        running = self._running
        me = threading.get_ident()
        current.here.probe = partial(_is_unwanted, running, me)
        while True:
            try:
                work = get(True, self._idle)
            except Empty:
                break
            if work is None:
                break
            running[me] = work[0]
            outcome = _run(work)
            del running[me]
            self._give_back(outcome)
            del work, outcome  # nothing of a call stays alive in a thread that waits for the next one
        self._give_back((None, threading.current_thread(), None, 0.0))

    def _give_back(self, outcome: _Outcome) -> None:
        # Append first, then look: the loop clears the flag before it empties the deque, so an outcome whose thread
        # saw the flag set is taken by the drain that is still to come.
        self._outbox.append(outcome)
        if not self._wake_is_pending:
            self._wake_is_pending = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:
                pass  # the loop was closed under us: nobody waits any more

    def _drain(self) -> None:
        self._wake_is_pending = False
        outbox = self._outbox
        counters = self._counters
        while outbox:
            work, result, error, seconds = outbox.popleft()
            if work is None:
                self._thread_left(result)
                continue
            job = work[0]
            self._open -= 1
            self._ended += 1
            if not isinstance(job, Job):
                if seconds < 0:
                    counters.cancelled += 1
                    continue
                counters.run_times.record(seconds)
                counters.succeeded += error is None
                counters.failed += error is not None
                continue
            if job.done():
                counters.cancelled += 1
                continue
            counters.run_times.record(seconds)
            job.function.in_thread.record(seconds)
            if error is None:
                counters.succeeded += 1
                job.set_result(result)
            else:
                counters.failed += 1
                job.set_exception(presentable(error, where="a thread"))
        if self._emptied is not None and not self._emptied.done() and not self._open:
            self._emptied.set_result(None)

    def _thread_left(self, thread: threading.Thread) -> None:
        self._threads.discard(thread)
        thread.join()  # it has said its last word
        if self._left is not None and not self._left.done() and not self._threads:
            self._left.set_result(None)
        # It may have left in the very moment in which a call was put in that counted on it.
        if self._inbox.qsize() and not self._closed and self._growth is None:
            self._need_threads()

    def _stop(self, job: Job[Any]) -> None:
        """A queued call is passed over by the thread that takes it; one that runs keeps its thread until it ends."""

    async def warm_up(self) -> None:
        """Threads start in microseconds when they are needed: nothing to do."""

    def stats(self) -> LaneStats:
        """A snapshot."""
        waiting = self._inbox.qsize()
        return self._counters.snapshot(
            "threads",
            limit=self._limit,
            workers=len(self._threads),
            running=max(0, self._open - waiting),
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
            if self._open:
                self._emptied = self._loop.create_future()
                await asyncio.wait([self._emptied], timeout=grace)
        finally:
            if self._growth is not None:
                self._growth.cancel()
            self._is_over = True
            self._abandon_calls()
            for _ in self._threads:
                self._inbox.put(None)
        if not self._open and self._threads:
            self._left = self._loop.create_future()
            await asyncio.wait([self._left], timeout=1.0)

    def _refuse_waiting(self) -> None:
        for _ in range(self._inbox.qsize()):
            try:
                work = self._inbox.get_nowait()
            except Empty:
                break
            if work is None:
                self._inbox.put(None)  # it sends a thread home
            else:
                self._open -= 1
                _fail(work[0], "was not started: its runtime was left before a thread was free")

    def _abandon_calls(self) -> None:
        """Fail what waits or runs still, and tell of what cannot be stopped."""
        self._refuse_waiting()
        for target in tuple(self._running.values()):
            name = target.function.name if isinstance(target, Job) else "a call"
            _fail(
                target,
                "was still running in a thread when its runtime was left, and a thread cannot be stopped",
            )
            warnings.warn(
                f"hybridrt: {name} still runs in a thread after its runtime was left; give it a time limit of its own, "
                "or run it in a process, which can be stopped",
                RuntimeWarning,
                stacklevel=2,
            )


def _run(work: _Work) -> _Outcome:
    """Run one call in this thread and say how it ended."""
    target, context, fn, args, kwargs = work
    if isinstance(target, Job):
        if target.done():
            return work, None, None, 0.0
    elif not target.set_running_or_notify_cancel():
        return _FUTURE_S_WORK, None, None, -1.0
    result = error = None
    began = perf_counter()
    try:
        result = context.run(fn, *args, **kwargs)
    except BaseException as exc:
        error = exc
    seconds = perf_counter() - began
    if isinstance(target, Job):
        return work, result, error, seconds
    if error is None:
        target.set_result(result)
    else:
        target.set_exception(error)
    return _FUTURE_S_WORK, None, error, seconds


def _is_unwanted(running: dict[int, Job[Any] | ThreadFuture], thread: int) -> bool:
    target = running.get(thread)
    if target is None:
        return False
    return target.done() if isinstance(target, Job) else target.is_unwanted


def _fail(target: Job[Any] | ThreadFuture, what: str) -> None:
    if target.done():
        return
    if isinstance(target, Job):
        target.set_exception(RuntimeClosed(f"{target.function.name} {what}"))
        return
    target.is_unwanted = True
    if not target.running() and target.set_running_or_notify_cancel():
        target.set_exception(RuntimeClosed(f"a call {what}"))
