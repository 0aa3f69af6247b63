"""Where each call of ``run`` and ``submit`` goes that nothing is declared of: by what was measured of those before it.

Theory of operation. The loop's thread owns all knowledge. Trials run in threads and report through a deque; reports are
taken in when the next call is to be placed, so nothing is woken for them. A call is moved to a process only where
``_core.proof`` has shown that it means the same there; if something turns up that cannot be sent after all, the call is
run in a thread instead, which is harmless for the same reason.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from time import monotonic
from types import MethodType
from typing import Any

from .._core.crew import Crew
from .._core.function import Function
from .._core.knowledge import DEAREST_LOOK_SECONDS, Knowledge
from .._core.placement import PROCESS, THREAD, TRIAL, place_measured
from .._core.proof.plain import refusal_of
from .._core.size_class import growth, size_class
from .._core.terms import Terms
from .._engine.packing import pickler
from .._engine.strict import StrictPickler
from ..errors import NotSendable
from .contract import Lane
from .job import Job, ProcessJob, follow
from .probe import Probe
from .trials import OnTrial, Report, examined
from .turns import Turns

_FAR = 3
"""Classes of size apart: from there on nothing is presumed of what is not known yet."""

_LOOKING_SHARE = 0.005
_MOST_CREDIT = 0.05
"""Looks in passing at calls that belong in a process keep the GIL for this share of the time, and save up so many
seconds: the loop's delay in a hundredth of its turns (p99) is not of their making."""


class Placing:
    """The placement of one runtime. Belongs to the loop's thread."""

    def __init__(self, loop_thread: int, busy: Callable[[], int], turns: Turns, *, can_move: bool) -> None:
        """``busy()``: calls that are in threads now. ``can_move``: there are worker processes of ours, or all stays."""
        self._can_move = can_move
        self._turns = turns
        self.probe: Probe = Probe(loop_thread, busy)
        self._reports: deque[Report] = deque()
        self._credit = _MOST_CREDIT
        self._credited_at = monotonic()
        self.crew: Crew[Any] | None = None
        """That of the processes, as soon as there is one."""

    def place(
        self, function: Function, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> str:
        """The lane of this call: THREAD, CPU_THREAD or PROCESS; or TRIAL."""
        if self._reports:
            self.take_in()
        known = function.knowledge
        if not known.is_settled:
            return self._place_unknown(function, fn, args, kwargs)
        if not known.is_away:
            timing = function.in_thread
            if timing.runs and known.is_due(timing.mean):
                return TRIAL
            return place_measured(known)
        timing = function.in_process
        mean = timing.mean
        if known.left > 1 and known.low <= mean <= known.high:
            known.left -= 1  # as ``is_due``, a Python frame less
        elif timing.runs and known.is_due(mean) and self._may_try(mean):
            return TRIAL
        return self._place_away(function, fn, args, kwargs) if self._can_move else THREAD

    def _may_try(self, seconds: float) -> bool:
        """Whether a call that will keep the GIL for so long may run here, so as to be seen once more.

        Not beside another: they would keep it from each other too, and none be seen clearly.
        """
        if self._turns.is_trying():
            return False
        return self.crew is None or not self.crew.under_way or self._can_afford(seconds)

    def _can_afford(self, seconds: float) -> bool:
        before, self._credited_at = self._credited_at, monotonic()
        self._credit = min(self._credit + _LOOKING_SHARE * (self._credited_at - before), _MOST_CREDIT)
        if self._credit < seconds:
            return False
        self._credit -= seconds
        return True

    def sized(self, function: Function, args: tuple[Any, ...]) -> Function:
        """The facts about calls with arguments of this size, where they are known to differ by it."""
        by_size = function.by_size
        if by_size is None:
            return function
        size = size_class(args)
        sized = by_size.get(size)
        if sized is None:
            sized = by_size[size] = function.part()
            self._presume(sized, size, by_size)
        function.latest = sized
        return sized

    @staticmethod
    def _presume(sized: Function, size: int, by_size: dict[int, Function]) -> None:
        near = [it for it in by_size if by_size[it].knowledge.is_settled and abs(it - size) <= _FAR]
        if near:
            nearest = min(near, key=lambda it: abs(it - size))
            sized.knowledge.presume(by_size[nearest].knowledge, growth(nearest, size))

    def _place_unknown(
        self, function: Function, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> str:
        known = function.knowledge
        # A trial would keep the GIL for long, as an earlier program has found.
        if known.was_away and known.held > DEAREST_LOOK_SECONDS and self._can_move:
            if function.verdict is None:
                function.verdict = examined(fn)
            known.confirm(function.verdict)
            if known.is_away:
                return self._place_away(function, fn, args, kwargs)
        elif self._can_move and known.is_promising and not self._may_try(known.work):
            return self._place_away(function, fn, args, kwargs)
        return TRIAL

    def _place_away(
        self, function: Function, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> str:
        verdict = function.verdict
        if verdict is None:
            # It is known from another runtime or program, or by another function that was made of the same code.
            return THREAD if function.knowledge.verdict is not None else TRIAL
        if not verdict.is_movable:
            return THREAD
        if not verdict.still_holds():
            function.verdict = function.examiner = None
            return TRIAL
        kind = type(fn)
        if kind is MethodType:
            return THREAD
        if kind is functools.partial:
            fn, args, kwargs = flattened(fn, args, kwargs)
            if type(fn) is MethodType:
                return THREAD
        if refusal_of(args, kwargs, needs_immutable=verdict.needs_immutable):  # a Python frame less
            return THREAD
        if function.knowledge.is_short and self.crew is not None and self.crew.is_clogged(monotonic()):
            return THREAD
        return PROCESS

    def on_trial(self, function: Function, fn: Callable[..., Any]) -> OnTrial:
        """``fn``, to be called in a thread in its place."""
        return OnTrial(self.probe, function, fn, self._reports)

    def close(self) -> None:
        """End the probe."""
        self.probe.close()

    def take_in(self) -> None:
        """Learn from the trials that are complete."""
        reports = self._reports
        while reports and self.probe.has_seen(reports[0].trial):
            report = reports.popleft()
            function = report.function
            known = function.knowledge
            was_settled = known.is_settled
            if report.verdict is not None:
                function.verdict = report.verdict
            known.learn(report.sight())
            if known.is_settled:
                function.in_thread.restart(report.trial.wall)  # without what the trial itself took
            if was_settled and known.since == 1 and known.last_size not in (report.size, None):
                self._split(function, known, report.size)
            known.last_size = report.size

    @staticmethod
    def _split(function: Function, known: Knowledge, size: int) -> None:
        """From now on calls with arguments of different sizes are told apart."""
        if function.by_size is None and function.whole is None:
            function.by_size = {}
            function.by_size[size] = part = function.part()
            part.knowledge.presume(known, 1.0)


def flattened(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """The same call without a ``functools.partial``, of which only the parts are known to be harmless."""
    part: Any = fn
    while isinstance(part, functools.partial):
        args, kwargs = (*part.args, *args), {**part.keywords, **kwargs}
        part = part.func
    return part, args, kwargs


def move(
    processes: Lane,
    threads: Lane,
    function: Function,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    terms: Terms | None,
    *,
    here: Callable[..., Any],
) -> Job[Any] | None:
    """Start a call in a process that nobody has asked to go there; None where what it is given cannot be sent.

    ``here`` is called in a thread in its place where it turns out later that it cannot be in a process.
    """
    context = copy_context()  # the caller's, in which nothing is strict
    token = pickler.set(StrictPickler)  # only plain data goes where nobody has asked to go
    try:
        job = processes.submit(function, fn, args, kwargs, terms)
    except NotSendable:
        return None
    finally:
        pickler.reset(token)
    if isinstance(job, ProcessJob):
        since = 0.0 if terms is None else monotonic()
        job.instead = (_run_in_thread, threads, function, here, args, kwargs, context, terms, since)
    return job


def _run_in_thread(
    job: ProcessJob[Any],
    lane: Lane,
    function: Function,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: Context,
    terms: Terms | None = None,
    since: float = 0.0,
) -> None:
    """For ``ProcessJob.instead``: run its call in ``lane``, in this context; its outcome is that of the job.

    It has waited since ``since``, on these terms.
    """
    known = function.knowledge
    known.obstacle = "what it is given, or returns, could not be sent to a process"
    known.is_away = False
    try:
        terms = terms and terms.after(monotonic() - since)
        inner = context.run(lane.submit, function, fn, args, kwargs, terms)
    except Exception as exc:
        job.set_exception(exc)
        return
    follow(job, inner)
