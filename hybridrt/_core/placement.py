"""Where a call belongs: what was declared of its function, else what its kind says, else what was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .function import COROUTINE, DECLARED, Function
from .knowledge import Knowledge
from .limits import LIMIT

LOOP = "loop"
THREAD = "thread"
PROCESS = "process"
LANES = (LOOP, THREAD, PROCESS)
CPU_THREAD = "cpu thread"
"""Threads of their own, as many as there are CPUs: for calls that compute and let others have the GIL."""
TRIAL = "trial"
"""A thread, under the probe."""
THREAD_ONLY = "thread only"
"""What ``thread_only`` declares; no lane."""

F = TypeVar("F", bound=Callable[..., Any])


def io_bound(fn: F) -> F:
    """Declare that ``fn`` mostly waits: ``run`` and ``submit`` put it in a thread. Nothing else changes."""
    return _declare(fn, DECLARED, THREAD, "io_bound")


def cpu_bound(fn: F) -> F:
    """Declare that ``fn`` mostly computes: ``run`` and ``submit`` put it in a process. Nothing else changes.

    Where there is no GIL and ``Runtime(cpu_threads=...)`` asks for it, they put it in a thread.
    """
    return _declare(fn, DECLARED, PROCESS, "cpu_bound")


def thread_only(fn: F) -> F:
    """Declare that ``fn`` must run in this process: ``run`` and ``submit`` put it in a thread, and ``to_process``
    refuses it with TypeError. For what changes its arguments, or uses what cannot be in another process.
    """
    return _declare(fn, DECLARED, THREAD_ONLY, "thread_only")


def limit(most: int) -> Callable[[F], F]:
    """Declare that at most ``most`` calls of a function run at once in a runtime, wherever they run; others wait.

    ``@hybridrt.limit(4)``: a call that would be one too many is set aside without blocking others, and comes back in
    its order when one has ended (has truly ended: a cancelled call that runs on in a thread keeps its place). Methods
    have one limit for all instances. What is called directly, or through ``Runtime.threads``, does not count. Raises
    TypeError or ValueError for a limit that makes no sense.
    """
    if isinstance(most, bool) or not isinstance(most, int):
        kind = type(most).__qualname__
        raise TypeError(f"@limit needs a number of calls, as in @hybridrt.limit(4), not a {kind}")
    if most < 1:
        raise ValueError(f"@limit({most}) makes no sense: at least one call must be allowed to run")
    return lambda fn: _declare(fn, LIMIT, most, "limit")


def _declare(fn: F, attribute: str, value: object, decorator: str) -> F:
    # Calls through a class or an instance see the function in there, not these wrappers.
    target: object = getattr(fn, "__func__", fn) if type(fn) in (staticmethod, classmethod) else fn
    if not callable(target):
        raise TypeError(f"@{decorator} decorates a function, not a {type(fn).__qualname__}")
    try:
        setattr(target, attribute, value)
    except (AttributeError, TypeError):
        raise TypeError(
            f"@{decorator} cannot mark {getattr(fn, '__qualname__', type(fn).__qualname__)}: it takes no attributes. "
            "Wrap it in a function of your own"
            + (", or say options(lane=...) at the call" if attribute == DECLARED else "")
        ) from None
    return fn


def place(function: Function, *, threads_compute: bool = False) -> str:
    """The lane of a call to this function by what is declared of it, or by its kind; or CPU_THREAD.

    ``threads_compute``: they may, and side by side.
    """
    if threads_compute and function.declared == PROCESS and function.kind != COROUTINE:
        return CPU_THREAD
    if function.declared == THREAD_ONLY:
        return THREAD
    if function.declared is not None and not (function.kind == COROUTINE and function.declared == THREAD):
        return function.declared
    return LOOP if function.kind == COROUTINE else THREAD


def place_measured(known: Knowledge) -> str:
    """The lane of a call by what was measured of those before it: THREAD, CPU_THREAD or PROCESS; TRIAL before that."""
    if known.crashes:
        return PROCESS  # whoever sent it there has found that it may; here it would be the end of the whole program
    if not known.is_settled:
        return TRIAL
    if known.is_away:
        return PROCESS
    return CPU_THREAD if known.releases else THREAD
