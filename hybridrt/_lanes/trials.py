"""A call on trial: it runs in a thread, under the probe, and what is found out about it is reported to the loop."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from time import thread_time
from typing import TYPE_CHECKING, Any, NamedTuple

from .._core.function import Function
from .._core.knowledge import QUICK_SECONDS
from .._core.proof import examine
from .._core.sight import Sight
from .._core.size_class import size_class
from .._engine.packing import Refused, pickle_to
from .._engine.strict import Meter, strictly
from .probe import Probe, Trial

if TYPE_CHECKING:
    from .._core.proof.verdict import Verdict

_UNPICKLING = 1.5
"""What it takes to make a result of a pickle, in units of what it took to pickle it; 0.8 to 2, by what it is."""


_one_at_a_time = threading.Lock()


def _anew() -> None:
    global _one_at_a_time
    _one_at_a_time = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_anew)  # the thread that had it is not there


def examined(fn: Callable[..., Any]) -> Verdict:
    """Whether ``fn`` may be moved, in any thread; takes milliseconds."""
    with _one_at_a_time:
        return examine(fn)


class Report(NamedTuple):
    """What a trial found out; complete when the probe has seen it all."""

    function: Function
    trial: Trial
    size: int
    verdict: Verdict | None
    shipping: float | None
    obstacle: str | None

    def sight(self) -> Sight:
        """As what is learned from."""
        trial = self.trial
        return Sight(
            trial.wall,
            trial.cpu,
            trial.waited,
            trial.denied,
            trial.denied + trial.asleep,
            trial.looks,
            trial.rivals,
            trial.has_rivals,
            self.verdict,
            self.shipping,
            self.obstacle,
        )


class OnTrial:
    """Called in place of ``fn``, in a thread; does what ``fn`` does."""

    __slots__ = ("_fn", "_probe", "_reports", "_trial", "function", "is_done")

    def __init__(
        self, probe: Probe, function: Function, fn: Callable[..., Any], reports: deque[Report]
    ) -> None:
        self._probe = probe
        self.function: Function = function
        self._fn = fn
        self._reports = reports
        self._trial: Trial | None = None
        self.is_done: bool = False
        """Whether it has run, and its report is there."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it. A call that raises tells how long it took, and nothing of what it would cost to send it."""
        function = self.function
        trial = self._trial = self._probe.begin(function.knowledge)
        if trial is None:
            self.is_done = True
            return self._fn(*args, **kwargs)
        try:
            result = self._fn(*args, **kwargs)
        except BaseException:
            self._probe.end(trial)
            self._report(Report(function, trial, size_class(args), None, None, None))
            raise
        self._probe.end(trial)
        verdict = function.verdict
        shipping: float | None = None
        obstacle: str | None = None
        # To examine a function takes milliseconds of the GIL: only where it may be of use.
        if trial.cpu > QUICK_SECONDS and trial.cpu > trial.waited and not trial.is_cleared:
            if verdict is None and function.examiner is None:
                function.examiner = self
                verdict = examined(self._fn)
            if verdict is not None and verdict.is_movable:
                shipping, obstacle = cost_of_shipping(args, kwargs, result, verdict)
        self._report(Report(function, trial, size_class(args), verdict, shipping, obstacle))
        return result

    def _report(self, report: Report) -> None:
        self._reports.append(report)
        self.is_done = True

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be found out by it."""
        return self.is_done and (self._trial is None or self._probe.has_seen(self._trial))

    def seems_harmless(self, now: float) -> bool:
        """Whether it has not begun, or waits, or lets others have the GIL, as far as can be told."""
        return self._trial is None or self._trial.seems_harmless(now)


def cost_of_shipping(
    args: tuple[Any, ...], kwargs: dict[str, Any], result: object, verdict: Verdict
) -> tuple[float | None, str]:
    """CPU seconds to pickle what would be sent and to unpickle what would come back; or why it cannot be sent."""
    refusal = verdict.refusal_of(args, kwargs)
    if refusal:
        return None, refusal
    try:
        with strictly():
            going = _cost_of_pickling((args, kwargs))
            coming = _cost_of_pickling(result)
    except Refused as exc:
        return None, str(exc)
    except Exception as exc:  # whatever a __reduce__ may raise
        return None, f"what it is given, or returns, cannot be pickled ({type(exc).__qualname__})"
    return going + _UNPICKLING * coming, ""


def _cost_of_pickling(obj: object) -> float:
    began = thread_time()
    pickle_to(Meter(), Meter.leave_out, obj)
    return thread_time() - began
