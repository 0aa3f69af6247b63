"""Where a call belongs: what was declared of the function, else what its kind says. Measured placement comes here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from .function import COROUTINE, DECLARED, Function, Timing

LOOP = "loop"
THREAD = "thread"
PROCESS = "process"
LANES = (LOOP, THREAD, PROCESS)
CPU_THREAD = "cpu thread"
"""Where ``place`` puts computing functions when threads may compute: threads of their own."""

F = TypeVar("F", bound=Callable[..., Any])


def io_bound(fn: F) -> F:
    """Declare that ``fn`` mostly waits: ``run`` and ``submit`` put it in a thread. Nothing else changes."""
    return _declare(fn, THREAD, "io_bound")


def cpu_bound(fn: F) -> F:
    """Declare that ``fn`` mostly computes: ``run`` and ``submit`` put it in a process. Nothing else changes.

    Where there is no GIL and ``Runtime(cpu_threads=...)`` asks for it, they put it in a thread.
    """
    return _declare(fn, PROCESS, "cpu_bound")


def _declare(fn: F, lane: str, decorator: str) -> F:
    # Calls through a class or an instance see the function in there, not these wrappers.
    target: object = getattr(fn, "__func__", fn) if type(fn) in (staticmethod, classmethod) else fn
    if not callable(target):
        raise TypeError(f"@{decorator} decorates a function, not a {type(fn).__qualname__}")
    try:
        setattr(target, DECLARED, lane)
    except (AttributeError, TypeError):
        raise TypeError(
            f"@{decorator} cannot mark {getattr(fn, '__qualname__', type(fn).__qualname__)}: it takes no attributes. "
            "Wrap it in a function of your own, or say options(lane=...) at the call"
        ) from None
    return fn


def place(function: Function, *, threads_compute: bool = False) -> str:
    """The lane of a call to this function, or CPU_THREAD; ``threads_compute``: they may, and side by side."""
    if threads_compute and function.declared == PROCESS and function.kind != COROUTINE:
        return CPU_THREAD
    if function.declared is not None and not (function.kind == COROUTINE and function.declared == THREAD):
        return function.declared
    return LOOP if function.kind == COROUTINE else THREAD


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why ``run`` places a function where it does. ``str()`` of it is one paragraph for people."""

    function: str
    lane: str
    reason: str
    runs_in_thread: int
    mean_in_thread: float
    """Seconds."""
    runs_in_process: int
    mean_in_process: float
    """Seconds."""

    def __str__(self) -> str:
        facts = [
            f"{runs} runs in a {lane}, {mean * 1e3:.3g} ms each"
            for lane, runs, mean in (
                ("thread", self.runs_in_thread, self.mean_in_thread),
                ("process", self.runs_in_process, self.mean_in_process),
            )
            if runs
        ]
        return (
            f"{self.function} -> {self.lane}: {self.reason}. Measured: {'; '.join(facts) or 'nothing yet'}."
        )


def explain(function: Function, *, threads_compute: bool = False) -> Explanation:
    """The placement of this function with its reason and what has been measured of it."""

    def figures(timing: Timing) -> tuple[int, float]:
        return timing.runs, timing.mean

    lane = place(function, threads_compute=threads_compute)
    if lane == CPU_THREAD:
        lane = THREAD
        reason = (
            "it is declared @cpu_bound, and threads compute side by side here (no GIL, cpu_threads is set)"
        )
    elif function.declared == THREAD and lane == LOOP:
        reason = "it is declared @io_bound, and a coroutine function waits on the loop itself"
    elif function.declared is not None:
        reason = f"it is declared {'@cpu_bound' if lane == PROCESS else '@io_bound'}"
    elif lane == LOOP:
        reason = "it is a coroutine function, so it runs on the loop"
    else:
        reason = "nothing is declared of it, so it runs in a thread, where every function can run"
    return Explanation(
        function.name, lane, reason, *figures(function.in_thread), *figures(function.in_process)
    )
