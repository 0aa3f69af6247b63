"""Names what blocks the event loop: a thread that looks at the loop's stack when the loop has not turned for long.

The loop's heart beats by ``LagWatch``'s timer. The thread sleeps until the next beat is overdue; as long as beats come,
that is all. When one does not come, it looks at the stack of the loop's thread four times in ``loop_blocked_after``
seconds. Where the loop itself is waiting or running there, nobody is to blame. A callback that is there at look after
look gets credit for the time between, and is reported when the beat is overdue by the limit and the credit covers
three quarters of that.

Credit is what the callback itself used up, so that others' faults are not laid at its door: time in which the loop's
thread waited for a CPU (the kernel counts it), in which the whole process was stopped, or in which another thread kept
the GIL, is time in which this thread was late too, and counts for nothing; unless the loop's thread was computing all
the while (its CPU clock tells): then it was a C call that kept the GIL, and the frame seen when it ends is still at it.

What was found is delivered by the loop's own thread, when the loop turns again; by then it is known how long it took.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from types import CodeType
from typing import Any
from weakref import ref

from .._core.gil import is_gil_off
from .._core.run_queue import queued_seconds
from ..errors import Blockage, LoopBlocked, LoopBlockedWarning
from . import stack
from .lag import LagWatch
from .stack import Base, Spot

LOOKS = 4
"""How often the stack is looked at before the limit is reached."""
KEPT_OUT = 0.1
"""Seconds without the GIL that are not explained by the machine being busy, where the loop's thread was computing."""
STILL_BLOCKED_AFTER = 5.0
"""Seconds after which a blockage that does not end is logged by the thread: the loop may never turn again."""
MOST_KEPT = 100
MOST_LINES = 1000
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 3600.0
"""Seconds until the same line is reported again; twice as many after each report."""

logger: logging.Logger = logging.getLogger("hybridrt")


@dataclass(frozen=True, slots=True)
class Found:
    """What the thread has seen: by how much which beat was overdue, and the frames to blame."""

    due: float
    overdue: float
    spots: list[Spot]
    is_still: bool
    task: str | None

    def blockage(self, seconds: float) -> Blockage:
        """It, in the user's terms. Reads source files."""
        culprit = stack.blame(self.spots, is_still=self.is_still)
        return Blockage(
            seconds=seconds,
            function=culprit.function,
            filename=culprit.filename,
            lineno=culprit.lineno,
            called=culprit.called,
            remedy=culprit.remedy,
            task=self.task,
            stack=culprit.stack,
        )


class BlockedWatch:
    """Watches the running loop, from its thread's creation to ``close``; ``after`` of 0 watches nothing.

    ``lag`` is closed with it. ``reaction`` is ``Settings.on_loop_blocked``.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        lag: LagWatch,
        after: float,
        reaction: str | Callable[[Blockage], object],
    ) -> None:
        self.count: int = 0
        self.kept: list[Blockage] = []
        self._loop = loop
        self._lag = self._beat = lag
        self._after = after
        self._reaction = reaction
        self._found: Found | None = None
        self._reported = 0.0
        self._lines = _Lines()
        self._thread: threading.Thread | None = None
        if not after:
            return
        step = after / LOOKS
        if not 0 < lag.interval <= step:
            self._beat = LagWatch(loop, max(step, 0.001))
        self._beat.on_turn = self._turned
        self._base: Base | None = stack.base_around(sys._getframe(1))
        self._witness = _Witness(threading.get_ident(), threading.get_native_id())
        self._sighting = _Sighting(step)
        self._bell = bell = threading.Lock()
        bell.acquire()
        # Weakly: a loop or a runtime that nobody else holds is garbage, and the thread ends with it.
        self._thread = threading.Thread(
            target=_watch,
            args=(ref(self, lambda _: _ring(bell)), bell),
            name="hybridrt-watchdog",
            daemon=True,
        )
        self._thread.start()

    # In the loop's thread

    def _turned(self, due: float, late: float) -> None:
        found, self._found = self._found, None
        self._base = stack.base_of(sys._getframe(2))
        if found is not None:
            self._deliver(found, late if found.due == due else found.overdue)

    def _deliver(self, found: Found, seconds: float) -> None:
        if found.due <= self._reported:
            return  # the thread was a moment too late, and the loop has told it already
        self._reported = found.due
        self.count += 1
        blockage = found.blockage(max(seconds, found.overdue))
        if callable(self._reaction):
            self._reaction(blockage)
        elif self._reaction == "raise":
            if len(self.kept) < MOST_KEPT:
                self.kept.append(blockage)
        elif text := self._lines.text(blockage, perf_counter()):
            if self._reaction == "log":
                logger.warning("%s\n%s", text, blockage.stack.rstrip())
            else:
                warnings.warn_explicit(text, LoopBlockedWarning, blockage.filename, blockage.lineno)

    def close(self) -> None:
        """Stop watching and measuring; to be called in the loop's thread. What was found last is delivered."""
        thread, self._thread = self._thread, None
        if thread is not None:
            _ring(self._bell)
            thread.join(1.0)
        due = self._beat.due
        self._beat.close()
        self._lag.close()
        found, self._found = self._found, None
        if found is not None:
            self._deliver(found, perf_counter() - due if found.due == due else found.overdue)

    def judge(self, raised: BaseException | None) -> None:
        """On leaving: raise LoopBlocked where that was asked for, or add it to what was raised already."""
        if not self.kept:
            return
        lines = "\n".join(f"- {blockage}\n{blockage.stack.rstrip()}" for blockage in self.kept)
        times = "once" if self.count == 1 else f"{self.count} times"
        message = f"the event loop was blocked {times}:\n{lines}"
        if raised is None:
            raise LoopBlocked(message, blockages=tuple(self.kept))
        raised.add_note(message)

    # In the watching thread

    def look(self) -> float | None:
        """See whether the loop turns; how long to wait for the next look, in seconds, or None for no more."""
        loop, due = self._loop, self._beat.due
        if loop.is_closed():
            return None
        now = perf_counter()
        step = self._after / LOOKS
        sighting = self._sighting
        if now < due + step:
            self._witness.rest(now)
            return self._wait(due + step - now)
        base = self._base
        if base is None or not loop.is_running():
            sighting.forget()
            return self._wait(self._after)
        # All that must belong to one moment comes first: reading from /proc lets go of the GIL, and the loop goes on.
        spots = stack.spots_inside(sys._current_frames().get(self._witness.ident), base)
        task = _task_of(loop) if spots else None
        if self._beat.due != due:
            sighting.forget()  # it has just turned: what was seen may be anything
            return self._wait(step)
        sighting.note(due, spots, task, self._witness.testify(now))
        if sighting.credit >= self._after * (LOOKS - 1) / LOOKS and now - due >= self._after:
            self._publish(now - due)
        return self._wait(step)

    def _wait(self, seconds: float) -> float:
        self._witness.planned = seconds
        return seconds

    def _publish(self, overdue: float) -> None:
        sighting = self._sighting
        spots, is_still = sighting.worst()
        self._found = found = Found(sighting.due, overdue, spots, is_still, sighting.task)
        if overdue >= max(STILL_BLOCKED_AFTER, 10 * self._after) and not sighting.is_logged:
            sighting.is_logged = True
            blockage = found.blockage(overdue)
            logger.warning("%s (and it still is)\n%s", blockage, blockage.stack.rstrip())


@dataclass(frozen=True, slots=True)
class Testimony:
    """How the loop's thread spent the time between two looks."""

    if_same: float
    """Seconds that a callback is to blame for which was there at both looks,"""
    if_new: float
    """and one that is there only now."""
    is_in_a_call: bool
    """Whether a frame that has not moved is inside a C call. One that computes in Python often seems not to have
    moved either, for it lets go of the GIL at few instructions only, and after a call is one of them."""


class _Sighting:
    """What the looks at one missing beat have in common."""

    def __init__(self, step: float) -> None:
        self._step = step
        self.forget()

    def forget(self) -> None:
        """Start anew."""
        self.due = 0.0
        self.credit = 0.0
        self.task: str | None = None
        self.is_logged = False
        self._spots: list[Spot] = []
        self._blamed: dict[CodeType, tuple[float, list[Spot], bool]] = {}

    def note(self, due: float, spots: list[Spot], task: str | None, testimony: Testimony) -> None:
        """One look, and how the time since the last one was spent."""
        if due != self.due:
            self.forget()
            self.due = due
        if not spots or stack.is_debugged(spots):
            self.forget()
            return
        count, is_still = stack.those_that_stay(self._spots, spots)
        credit = testimony.if_same if count else testimony.if_new
        is_still = is_still and testimony.is_in_a_call
        if testimony.if_new >= max(self._step, KEPT_OUT):  # by a C call: all of these frames waited for it
            count, is_still = len(spots), True
        if not count:
            self.credit = 0.0
            self._blamed.clear()
        self._spots = spots
        self.task = task
        self.credit += credit
        stayed = spots[len(spots) - count :]
        if stayed:
            code = stayed[stack.index_to_blame(stayed)].code
            before = self._blamed.get(code)
            self._blamed[code] = ((before[0] if before else 0.0) + credit, stayed, is_still)

    def worst(self) -> tuple[list[Spot], bool]:
        """The frames that cost most, and whether the last of them did not move."""
        _, spots, is_still = max(self._blamed.values(), key=lambda blamed: blamed[0])
        return spots, is_still


class _Witness:
    """Tells how much of the time between two looks the loop's thread used itself."""

    def __init__(self, ident: int, native_id: int) -> None:
        self.ident = ident
        self.planned = 0.0
        self._native_id = native_id
        self._clock: int | None = None
        if hasattr(time, "pthread_getcpuclockid"):
            self._clock = time.pthread_getcpuclockid(ident)
        self._last = perf_counter()
        self._last_cpu = self._cpu()
        self._last_delay: float | None = None

    def _cpu(self) -> float:
        """CPU seconds of the loop's thread; where the system does not tell, those of the process."""
        return time.process_time() if self._clock is None else time.clock_gettime(self._clock)

    def _delay(self) -> float:
        """Seconds that the loop's thread had work and no CPU."""
        return queued_seconds(self._native_id)

    def rest(self, now: float) -> None:
        """Nothing is overdue: count from here."""
        self._last, self._last_cpu, self._last_delay = now, self._cpu(), None

    def testify(self, now: float) -> Testimony:
        """Of the time since the last look."""
        cpu, delay = self._cpu(), self._delay()
        passed, computed = now - self._last, cpu - self._last_cpu
        waited = delay - self._last_delay if self._last_delay is not None else 0.0
        self._last, self._last_cpu, self._last_delay = now, cpu, delay
        late = max(0.0, passed - self.planned)
        computed = min(computed, passed)
        # Python code lets go of the GIL only when it was asked for that long: who got it sooner, got it from C code.
        is_free = not is_gil_off() and late < sys.getswitchinterval() / 2
        return Testimony(
            if_same=max(computed, self.planned - late - waited, 0.0),
            if_new=min(computed, late),
            is_in_a_call=computed < (passed - waited) / 10 or is_free,
        )


class _Lines:
    """When which line was reported: at once, and then less and less often, with how often it was."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, int], tuple[int, float, float]] = {}

    def text(self, blockage: Blockage, now: float) -> str:
        """What to say of it, now; "" for nothing."""
        key = (blockage.filename, blockage.lineno)
        if len(self._lines) > MOST_LINES:
            self._lines.clear()
        count, not_before, pause = self._lines.get(key, (0, now, FIRST_PAUSE))
        count += 1
        if now < not_before:
            self._lines[key] = count, not_before, pause
            return ""
        self._lines[key] = count, now + pause, min(2 * pause, LONGEST_PAUSE)
        return str(blockage) if count == 1 else f"{blockage} (seen {count} times by now)"


def _task_of(loop: asyncio.AbstractEventLoop) -> str | None:
    task: asyncio.Task[Any] | None = asyncio.current_task(loop)
    if task is None:
        return None
    coroutine = task.get_coro()
    return f"{task.get_name()!r} ({getattr(coroutine, '__qualname__', type(coroutine).__qualname__)})"


def _ring(bell: threading.Lock) -> None:
    # A bare lock, which the garbage collector may release in whatever thread it runs; an Event could deadlock there.
    try:
        bell.release()
    except RuntimeError:
        pass  # rung already


def _watch(weak: ref[BlockedWatch], bell: threading.Lock) -> None:
    """The thread. It holds the watch only while it looks."""
    pause: float | None = 0.0
    while pause is not None and not bell.acquire(timeout=pause):
        watch = weak()
        pause = watch.look() if watch is not None else None
        del watch
