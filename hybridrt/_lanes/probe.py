"""Who keeps the GIL from others? A thread that asks for it now and then while a call is on trial, and notes the wait.

Theory of operation. The probe sleeps for a moment, and by how much too late it goes on is how long it could not have
the GIL: all of the time beside a pure-Python loop, next to nothing beside a call that waits or releases it. It is
rung when a trial begins, so that the shortest of them is looked at once at least, and asks less and less often
afterwards. While no trial is on it waits for a lock, which costs nothing.

On a busy machine it may come late for want of a CPU. The kernel counts that for each thread (``schedstat``: nanoseconds
on the run queue), and what it counts is left out: neither denied nor seen (docs/decisions/0022).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from time import perf_counter, process_time, thread_time
from typing import Any

_FIRST_NAP = 0.00005
_LONGEST_NAP = 0.016
_LONGEST_COUNTED = 0.001
"""A nap is time in which nothing was seen, but for this much of it."""
_LATE_AT_LEAST = 0.00007
"""The kernel's timers are that late by themselves."""
_MOST_TRIALS = 16
"""At once. More would tell nothing new, and the probe looks at each of them whenever it looks."""
_FAREWELL_SECONDS = 1.0


class Trial:
    """One call under the probe. Times are those of ``perf_counter``."""

    __slots__ = (
        "asleep", "began", "cpu", "denied", "ended", "has_rivals", "has_twins", "looks", "loop_cpu", "process_cpu",
        "queued", "starved", "subject",
    )  # fmt: skip

    def __init__(self, subject: object) -> None:
        self.subject = subject
        """What it is a trial of: calls of the same are no rivals."""
        self.denied = self.starved = self.asleep = 0.0
        self.has_rivals = self.has_twins = False
        self.ended = float("inf")
        self.looks = 0
        self.began = self.cpu = self.process_cpu = self.loop_cpu = self.queued = 0.0

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
        """The probe wanted the GIL at ``due``, after a nap, and had it at ``now``."""
        self.looks += 1
        late = min(now, self.ended) - max(due, self.began)
        if late > 0.0:
            starved = min(late, starved)
            self.denied += late - starved
            self.starved += starved
        slept = min(due, self.ended) - max(due - nap, self.began)
        if slept > 0.0:
            self.asleep += min(slept, _LONGEST_COUNTED)


class Probe:
    """The thread that looks, started with the first trial. ``begin`` and ``end`` are for any thread."""

    def __init__(self, loop_thread: int) -> None:
        """``loop_thread``: the identifier of the thread whose event loop is to be spared."""
        self._loop_clock = _clock_of(loop_thread)
        self._lock = threading.Lock()  # over what follows
        self._open: list[Trial] = []
        self._thread: threading.Thread | None = None
        self._rung_at = 0.0
        self._is_over = False
        self._bell = threading.Lock()
        self._bell.acquire()
        self.is_resting: bool = False
        """Whether it waits for a trial, which costs nothing."""
        self.looks: int = 0
        """How often it has asked for the GIL."""
        self.seconds: float = 0.0
        """CPU time that it has used, until its last rest."""

    def begin(self, subject: object) -> Trial | None:
        """The call that comes next in this thread is a trial of ``subject``; None where there are enough of them."""
        trial = Trial(subject)
        trial.queued = -_queued_here()
        with self._lock:
            if self._is_over or len(self._open) >= _MOST_TRIALS:
                return None
            for other in self._open:
                if other.subject is subject:
                    other.has_twins = trial.has_twins = True
                else:
                    other.has_rivals = trial.has_rivals = True
            self._open.append(trial)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="hybridrt-probe", daemon=True)
                self._thread.start()
            if self._bell.locked():
                self._rung_at = perf_counter()
                self._bell.release()
        trial.loop_cpu = -self._loop_clock()
        trial.process_cpu = -process_time()
        trial.cpu = -thread_time()
        trial.began = perf_counter()
        return trial

    def end(self, trial: Trial) -> None:
        """The call of this thread has ended. What was seen of it is complete when ``has_seen`` says so."""
        ended = perf_counter()
        trial.cpu += thread_time()
        trial.process_cpu += process_time()
        trial.loop_cpu += self._loop_clock()
        trial.queued += _queued_here()
        trial.ended = ended

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


class RunQueue:
    """How long the thread that made this one has waited for a CPU so far; always 0 where the kernel does not tell."""

    def __init__(self) -> None:
        try:
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1

    def seconds(self) -> float:
        """Since it began."""
        if self._file < 0:
            return 0.0
        try:
            return int(os.pread(self._file, 80, 0).split()[1]) * 1e-9
        except (OSError, IndexError, ValueError):
            return 0.0

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _queued_here() -> float:
    run_queue = RunQueue()
    try:
        return run_queue.seconds()
    finally:
        run_queue.close()


def _clock_of(thread: int) -> Callable[[], float]:
    """The CPU seconds of this thread; always 0 where the system does not tell."""
    clock_of: Any = getattr(time, "pthread_getcpuclockid", None)
    if clock_of is None:
        return lambda: 0.0
    clock = clock_of(thread)

    def seconds() -> float:
        try:
            return time.clock_gettime(clock)
        except OSError:  # the thread is gone
            return 0.0

    return seconds
