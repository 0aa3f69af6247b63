"""One thread of the thread lane, and the queues through which it and the loop's thread meet.

Theory of operation. Calls go into one deque, outcomes come back through another, and no lock is taken but those inside
the deques. Two rules make that safe, with the GIL and without it:

- *Who sleeps says so first and then looks; who delivers delivers first and then looks for sleepers.* A thread enters
  itself in ``parked`` and then tries to take a call; whoever puts a call in then looks into ``parked``. One of the two
  always sees the other.
- *A flag that spares a wake-up is cleared before the queue is looked into.* ``is_waking``: a thread has been rung and
  has not looked yet; it will, and rings the next where more calls wait. ``is_drain_due``: the loop has been woken and
  has not looked yet, so however many calls end while it is busy, it is woken once and takes them all.

In both, the look that decides is a ``popleft``: without the GIL it takes the deque's own lock, which asking for the
length does not. What comes before an append is thereby known to whoever pops after it.

Who rings a bell has taken it out of ``parked`` before, so each is rung once, and a thread that is no longer in there
waits for its ring before it does anything else: nobody rings at a bell that is gone.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from time import perf_counter
from typing import Any, Literal, TypeAlias

from .._core.function import Function
from .._engine import current
from .bell import Bell
from .job import Job, ThreadJob
from .thread_executor import ThreadFuture

Target: TypeAlias = Job[Any] | ThreadFuture
Work: TypeAlias = tuple[Target, Context, Callable[..., Any], tuple[Any, ...], dict[str, Any]]
Outcome: TypeAlias = "tuple[Target | ThreadWorker, Any, BaseException | None, float]"
"""Whose it is (or the thread that has left), its result, its exception, its seconds (below zero: it did not run)."""

QUICK_SECONDS = 1e-4
"""A call that is known to take less wakes no further thread: the two would only fight over the GIL."""

_FUTURE_S_CALL = ThreadFuture()
"""Comes back in place of a future, which has been told already: nothing more is to keep that one alive."""


class Exchange:
    """What the loop's thread and the threads share: nothing but this."""

    __slots__ = ("_drain", "_loop", "inbox", "is_drain_due", "is_waking", "outbox", "parked")

    def __init__(self, loop: asyncio.AbstractEventLoop, drain: Callable[[], None]) -> None:
        self._loop = loop
        self._drain = drain
        self.inbox: deque[Work | None] = deque()
        """None sends a thread home."""
        self.outbox: deque[Outcome] = deque()
        self.parked: deque[Bell] = deque()
        """The bells of the threads that wait. The last is the first to be rung: it is warm, the others may leave."""
        self.is_waking = False
        self.is_drain_due = False

    def put(self, work: Work | None) -> None:
        """Leave it for the next thread that is free, and see to it that one is awake. From any thread."""
        self.inbox.append(work)
        if self.parked and not self.is_waking:
            self.wake_one()

    def ring(self, function: Function) -> None:
        """See to it that a thread is awake, where calls of this function have been left, as ``ThreadLane.submit``."""
        is_quick = function.in_thread.expected <= QUICK_SECONDS
        if self.inbox and self.parked and not self.is_waking and not (is_quick and self.outbox):
            self.wake_one()

    def take_back(self) -> list[ThreadJob[Any]]:
        """The jobs that no thread has taken, in their order and with their work; everything else stays."""
        jobs: list[ThreadJob[Any]] = []
        others: list[Work | None] = []
        while True:
            try:
                work = self.inbox.pop()
            except IndexError:
                break
            if work is not None and isinstance(job := work[0], ThreadJob):
                job.work = work[1:]
                jobs.append(job)
            else:
                others.append(work)
        for work in reversed(others):
            self.put(work)
        jobs.reverse()
        return jobs

    def wake_one(self) -> None:
        """Wake a thread, if one waits."""
        self.is_waking = True
        try:
            bell = self.parked.pop()
        except IndexError:
            self.is_waking = False
        else:
            bell.ring()

    def give_back(self, outcome: Outcome) -> None:
        """Leave it for the loop's thread."""
        self.outbox.append(outcome)
        if not self.is_drain_due:
            self.is_drain_due = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:
                pass  # the loop was closed under us: nobody waits any more


class ThreadWorker:
    """One thread, from its start to its end. The loop's thread reads what it runs."""

    __slots__ = ("_bell", "_exchange", "_nice", "_thread", "running")

    def __init__(self, exchange: Exchange, bell: Bell, name: str, nice: int) -> None:
        self._exchange = exchange
        self._nice = nice
        self._bell = bell
        self.running: Target | None = None
        # A daemon, so that a call that never ends does not hold up the interpreter's exit.
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)

    @property
    def is_swift(self) -> bool:
        """Whether it is woken without delay."""
        return self._bell.is_swift

    def start(self) -> None:
        """Start the thread. Raises RuntimeError where the system has none."""
        try:
            self._thread.start()
        except RuntimeError:
            self._bell.close()
            raise

    def join(self) -> None:
        """Wait for its very end, which is at hand: it has said that it leaves."""
        self._thread.join()

    def is_unwanted(self) -> bool:
        """Whether nobody waits any more for the call that runs here."""
        target = self.running
        if target is None:
            return False
        return target.done() if isinstance(target, Job) else target.is_unwanted

    def _live(self) -> None:
        exchange = self._exchange
        inbox = exchange.inbox
        current.here.probe = self.is_unwanted
        if self._nice and sys.platform == "linux":  # where, against POSIX, a thread may be nice by itself
            me = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, me, os.getpriority(os.PRIO_PROCESS, me) + self._nice)
        while True:
            if inbox:
                try:
                    work = inbox.popleft()
                except IndexError:
                    continue  # another thread was quicker
            else:
                found = self._wait()
                if found is False:
                    break
                work = found
            if work is None:
                break
            self.running = work[0]
            outcome = _run(work)
            self.running = None
            exchange.give_back(outcome)
            del work, outcome  # nothing of a call stays alive in a thread that waits for the next one
        self._bell.close()
        exchange.give_back((self, None, None, 0.0))

    def _wait(self) -> Work | Literal[False] | None:
        """The next call; False where none came for so long that this thread is to leave."""
        exchange, bell = self._exchange, self._bell
        inbox, parked = exchange.inbox, exchange.parked
        park = parked.append if bell.is_swift else parked.appendleft
        while True:
            park(bell)
            try:
                work = inbox.popleft()
            except IndexError:
                if not bell.wait() and _take_out(bell, parked):
                    return False
                exchange.is_waking = False
                try:
                    work = inbox.popleft()
                except IndexError:
                    continue  # another thread was quicker
            else:
                if _take_out(bell, parked):
                    return work
                # Rung for a call while we took one by ourselves, so the ring may have been meant for what waits still.
                exchange.is_waking = False
            if inbox and parked and not _is_quick(work):
                exchange.wake_one()
            return work


def _take_out(bell: Bell, parked: deque[Bell]) -> bool:
    """Make sure that nobody rings any more; False where somebody just has."""
    try:
        parked.remove(bell)
    except ValueError:
        bell.wait()
        return False
    return True


def _is_quick(work: Work | None) -> bool:
    """Whether whoever runs this call has it behind it sooner than another thread would be awake."""
    target = work[0] if work is not None else None
    return isinstance(target, Job) and target.function.in_thread.expected < QUICK_SECONDS


def _run(work: Work) -> Outcome:
    """Run one call in this thread and say how it ended."""
    target, context, fn, args, kwargs = work
    if isinstance(target, Job):
        if target.done():
            return target, None, None, -1.0
    elif not target.set_running_or_notify_cancel():
        return _FUTURE_S_CALL, None, None, -1.0
    result = error = None
    began = perf_counter()
    try:
        result = context.run(fn, *args, **kwargs)
    except BaseException as exc:
        error = exc
    seconds = perf_counter() - began
    if isinstance(target, Job):
        return target, result, error, seconds
    if error is None:
        target.set_result(result)
    else:
        target.set_exception(error)
    return _FUTURE_S_CALL, None, error, seconds
