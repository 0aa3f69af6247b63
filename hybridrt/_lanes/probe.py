"""Who keeps the GIL from others? A thread that asks for it now and then while a call is on trial, and notes the wait.

Theory of operation. The probe sleeps for a moment, and by how much too late it goes on is how long it could not have
the GIL: all of the time beside a pure-Python loop, next to nothing beside a call that waits or releases it. It is
rung when a trial begins, so that the shortest of them is looked at once at least, and asks less and less often
afterwards. While no trial is on it waits for a lock, which costs nothing.

On a busy machine it may come late for want of a CPU. The kernel counts that for each thread (``schedstat``: nanoseconds
on the run queue), and what it counts is left out: neither denied nor seen (docs/decisions/0022).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from threading import get_ident
from time import perf_counter, process_time, thread_time
from typing import Any

from .._core.run_queue import RunQueue, queued_seconds
from .._core.sight import HELD_SHARE

_FIRST_NAP = 0.00005
_LONGEST_NAP = 0.016
_LONGEST_COUNTED = 0.001
"""A nap is time in which nothing was seen, but for this much of it."""
_LATE_AT_LEAST = 0.00007
"""The kernel's timers are that late by themselves."""
_TOLD_AT_LEAST = 0.0001
"""So long a wait is more than the kernel's counts of it may be wrong by."""
_RUNNING_AT_LEAST = 0.3
"""Of the time since the last look, for what was met with to be the call's doing."""
_LOOKS_TO_CLEAR = 2
_NEVER = float("inf")
_MOST_TRIALS = 16
"""At once. More would tell nothing new, and the probe looks at each of them whenever it looks."""
_LOOKS_A_SECOND = 150.0
_MOST_LOOKS_AT_ONCE = 4000.0
"""What it may take in the long run (under 1 % of a CPU at 30 to 60 us a look), and save up for a start at most."""
_FAREWELL_SECONDS = 1.0


class Trial:
    """One call under the probe. Times are those of ``perf_counter``."""

    __slots__ = (
        "_clock", "_looked_at", "_used", "asleep", "began", "cpu", "cpu_before", "denied", "ended", "has_rivals",
        "has_twins", "looks", "loop_cpu", "process_cpu", "queued", "subject",
    )  # fmt: skip

    def __init__(self, subject: object, clock: Callable[[], float] | None) -> None:
        """``clock``: the CPU seconds of its thread, where the system tells."""
        self.subject: object = subject
        """What it is a trial of: calls of the same are no rivals."""
        self.began: float = _NEVER  # it is looked at only once it has begun
        self.ended: float = _NEVER
        self.looks: int = 0
        """Those that told something."""
        self.denied: float = 0.0
        """Seconds for which the probe could not have the GIL."""
        self.asleep: float = 0.0
        """Seconds of its naps that count as having been able to."""
        self.has_rivals: bool = False
        """Whether other calls were in threads when it began, or came on trial meanwhile."""
        self.has_twins: bool = False
        """Whether another call of the same was."""
        self.cpu: float = 0.0
        self.cpu_before: float = 0.0
        self.process_cpu: float = 0.0
        self.loop_cpu: float = 0.0
        self.queued: float = 0.0
        """Seconds in which its thread had no CPU."""
        self._clock = clock
        self._used = self._looked_at = 0.0

    @property
    def wall(self) -> float:
        """Seconds from its begin to its end."""
        return self.ended - self.began

    @property
    def waited(self) -> float:
        """Seconds in which nothing in the process computed, and it was not waiting for a CPU either."""
        return max(0.0, self.wall - max(self.cpu, self.process_cpu) - self.queued)

    @property
    def rivals(self) -> float:
        """CPU seconds of everything else in the process, but for other trials of the same subject."""
        others = self.process_cpu - self.cpu - self.loop_cpu
        if self.has_twins and not self.has_rivals:
            others = 0.0
        return max(self.loop_cpu, others)

    def witness(self, due: float, now: float, starved: float, nap: float) -> None:
        """The probe wanted the GIL at ``due``, after a nap, and had it at ``now``; so long it had no CPU meanwhile.

        That comes first: a thread without a CPU does not ask. Where the call had ended before the probe asked, nobody
        knows; and where the call itself had no CPU, whatever the probe met with was not its doing.
        """
        since, until = max(self._looked_at, self.began), min(now, self.ended)
        if due >= self.ended or until <= max(due, self.began):
            return
        is_running = self._computed() > _RUNNING_AT_LEAST * (until - since)
        self._looked_at = until
        waited = until - max(due + starved, self.began)
        if waited > 0.0 and is_running and (starved < waited or waited > _TOLD_AT_LEAST or self.ended > now):
            self.looks += 1
            self.denied += waited
            self.asleep += min(max(0.0, due - max(due - nap, since)), _LONGEST_COUNTED)

    def seems_harmless(self, now: float) -> bool:
        """Whether it does not compute, or was seen to let others have the GIL, so far; also where nobody can tell."""
        if self._clock is None or self.began > now:
            return True
        if self._clock() - self.cpu_before < _RUNNING_AT_LEAST * (now - self.began):
            return True
        return self.is_cleared

    @property
    def is_cleared(self) -> bool:
        """Whether it was seen to let others have the GIL, so far."""
        return self.looks >= _LOOKS_TO_CLEAR and self.denied < HELD_SHARE * (self.denied + self.asleep)

    def _computed(self) -> float:
        """CPU seconds of the call since the last look; all that there can be where the system does not tell."""
        if self._clock is None:
            return _NEVER
        used = self._clock() - self.cpu_before
        if self.ended < _NEVER:
            used = min(used, self.cpu)
        before, self._used = self._used, used
        return used - before


class Probe:
    """The thread that looks, started with the first trial. ``begin`` and ``end`` are for any thread."""

    def __init__(self, loop_thread: int, busy: Callable[[], int] = lambda: 0) -> None:
        """``loop_thread``: the identifier of the thread whose event loop is to be spared.

        ``busy()``: how many calls are in threads just now, on trial or not; from any thread.
        """
        self._busy = busy
        self._loop_clock = _clock_of(loop_thread)
        self._lock = threading.Lock()  # over what follows
        self._open: list[Trial] = []
        self._thread: threading.Thread | None = None
        self._rung_at = 0.0
        self._is_over = False
        self._credit = _MOST_LOOKS_AT_ONCE
        self._credited = (perf_counter(), 0)  # when, after how many looks
        self._bell = threading.Lock()
        self._bell.acquire()
        self.is_resting: bool = False
        """Whether it waits for a trial, which costs nothing."""
        self.looks: int = 0
        """How often it has asked for the GIL."""
        self.seconds: float = 0.0
        """CPU time that it has used, until its last rest."""

    def begin(self, subject: object) -> Trial | None:
        """What comes next in this thread is a trial of ``subject``; None where there are enough of them now."""
        trial = Trial(subject, _clock_of(get_ident()))
        trial.queued = -queued_seconds()
        with self._lock:
            if self._is_over or len(self._open) >= _MOST_TRIALS or not self._has_credit():
                return None
            twins = [other for other in self._open if other.subject is subject]
            for other in self._open:
                other.has_rivals = other.has_rivals or other.subject is not subject
            for twin in twins:
                twin.has_twins = trial.has_twins = True
            trial.has_rivals = max(len(self._open), self._busy() - 1) > len(twins)
            self._open.append(trial)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="hybridrt-probe", daemon=True)
                self._thread.start()
            if self._bell.locked():
                self._rung_at = perf_counter()
                self._bell.release()
        trial.loop_cpu = -self._loop_cpu()
        trial.process_cpu = -process_time()
        trial.cpu_before = thread_time()
        trial.began = perf_counter()
        return trial

    def _has_credit(self) -> bool:
        before, looks = self._credited
        now = perf_counter()
        self._credited = now, self.looks
        earned = (now - before) * _LOOKS_A_SECOND - (self.looks - looks)
        self._credit = min(self._credit + earned, _MOST_LOOKS_AT_ONCE)
        return self._credit > 0.0

    def end(self, trial: Trial) -> None:
        """The call of this thread has ended. What was seen of it is complete when ``has_seen`` says so."""
        ended = perf_counter()
        trial.cpu = thread_time() - trial.cpu_before
        trial.process_cpu += process_time()
        trial.loop_cpu += self._loop_cpu()
        trial.queued += queued_seconds()
        trial.ended = ended

    def _loop_cpu(self) -> float:
        return self._loop_clock() if self._loop_clock is not None else 0.0

    def has_seen(self, trial: Trial) -> bool:
        """Whether the probe has looked since this trial ended, so that nothing of it is outstanding."""
        return trial not in self._open

    def _look(self) -> None:
        run_queue = RunQueue()
        starved_before = run_queue.seconds()
        nap = -1.0  # until it is rung
        due_by_nap = 0.0
        while True:
            self.is_resting = nap < 0.0
            is_rung = self._bell.acquire(timeout=nap)
            self.is_resting = False
            if self._is_over:
                break
            due = self._rung_at if is_rung or nap < 0.0 else due_by_nap
            queued = run_queue.seconds()  # this gives the GIL away; so first this, and then the time
            now = perf_counter()
            self.looks += 1
            starved, starved_before = queued - starved_before, queued
            with self._lock:
                for trial in self._open:
                    trial.witness(due, now, starved, max(nap, 0.0))
                self._open = [trial for trial in self._open if trial.ended > now]
                is_needed = bool(self._open)
            if not is_needed:
                nap = -1.0
                self.seconds = thread_time()
                continue
            nap = _FIRST_NAP if is_rung or nap < 0.0 else min(2.0 * nap, _LONGEST_NAP)
            due_by_nap = perf_counter() + nap + _LATE_AT_LEAST
        run_queue.close()

    def close(self) -> None:
        """End the thread; trials that are open are not looked at any more."""
        with self._lock:
            self._is_over = True
            self._open = []
            if self._bell.locked():
                self._bell.release()
            thread = self._thread
        if thread is not None:
            thread.join(_FAREWELL_SECONDS)


def _clock_of(thread: int) -> Callable[[], float] | None:
    """The CPU seconds of this thread; None where the system does not tell."""
    clock_of: Any = getattr(time, "pthread_getcpuclockid", None)
    if clock_of is None:
        return None
    clock = clock_of(thread)

    def seconds() -> float:
        try:
            return time.clock_gettime(clock)
        except OSError:  # the thread is gone
            return 0.0

    return seconds
