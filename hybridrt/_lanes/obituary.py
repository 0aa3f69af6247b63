"""What a call is told of the death of its worker, or of its never having been born."""

from __future__ import annotations

import signal
from typing import Any

from .._engine.child import Child
from ..errors import WorkerCrashed, WorkerStartError
from .job import ProcessJob

_LIKELY = {
    "SIGKILL": "something sent it SIGKILL: the kernel does when memory runs out, as do container limits and operators",
    "SIGSEGV": "C code that it was running read or wrote where it must not, or overflowed its stack",
    "SIGABRT": "C code that it was running gave up (abort)",
    "SIGBUS": "C code that it was running touched memory that is not there",
    "SIGFPE": "C code that it was running divided by zero",
    "SIGTERM": "something sent it SIGTERM",
}


def crash_report(
    job: ProcessJob[Any], child: Child, exitcode: int | None, seconds: float, calls: int
) -> WorkerCrashed:
    """The error for a call that was lost with ``child``; ``calls`` is how many coroutines shared the worker."""
    function = job.function.name
    how, why = _cause(child, exitcode)
    shared = f", with {calls - 1} other coroutine calls on the same worker" if calls > 1 else ""
    message = (
        f"{function} was lost: its worker process {child.pid} {how} after {seconds:.3g} s of it{shared}. {why}. "
        f"Other calls are not affected, and the worker is replaced; {_again(job)}"
    )
    stack = child.box.stack()
    if stack:
        message += f"\nThe Python stack at the crash:\n{stack}"
    return WorkerCrashed(
        message,
        pid=child.pid,
        function=function,
        exitcode=exitcode,
        seconds=seconds,
        stack=stack,
        attempts=job.crashes,
    )


def _again(job: ProcessJob[Any]) -> str:
    if job.crashes > 1:
        return (
            f"this call has now been run {job.crashes} times, and each time its worker died, so it is not run again: "
            "look at what it does before you raise options(retries=...)"
        )
    return "this call was not run again, since it may have had effects (options(retries=...) allows it)"


def start_error(function: str, error: OSError) -> WorkerStartError:
    """The error for one call that waited for a worker which cannot be started."""
    what = error.strerror or error
    return WorkerStartError(
        error.errno, f"{function} was not started, because no worker process can be: {what}"
    )


def _cause(child: Child, exitcode: int | None) -> tuple[str, str]:
    if child.fate:
        return "was killed by hybridrt", f"The reason: {child.fate}"
    if exitcode is None:
        return "died", "How is not known, because the process that starts and reaps workers died as well"
    if exitcode >= 0:
        return f"exited with code {exitcode}", "Something in it called os._exit, or closed its descriptors"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    reason = _LIKELY.get(name, f"It got {name}")
    return f"was killed by {name}", reason[0].upper() + reason[1:]
