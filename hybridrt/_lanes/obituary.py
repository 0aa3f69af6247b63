"""What a call is told of the death of its worker, or of its never having been born."""

from __future__ import annotations

import signal
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple

from .._core.crew import Crew
from .._core.oom import OomEvidence
from .._core.sizes import in_words
from .._engine.child import Child
from ..errors import RuntimeClosed, WorkerCrashed, WorkerStartError
from .counters import Counters
from .job import ProcessJob

MAY_BE_OOM = (-signal.SIGKILL, None)
"""How a worker ends that the kernel kills for want of memory; None: nobody was there to see."""

_LIKELY = {
    "SIGKILL": "something sent it SIGKILL: the kernel does when memory runs out, as do container limits and operators",
    "SIGSEGV": "C code that it was running read or wrote where it must not, or overflowed its stack",
    "SIGABRT": "C code that it was running gave up (abort)",
    "SIGBUS": "C code that it was running touched memory that is not there",
    "SIGFPE": "C code that it was running divided by zero",
    "SIGTERM": "something sent it SIGTERM",
}


class Death(NamedTuple):
    """What is known of a worker's end: its exit code (None: nothing), the out-of-memory counters, its memory limit."""

    exitcode: int | None
    oom: OomEvidence | None = None
    memory_limit: int = 0


def charge(
    job: ProcessJob[Any],
    child: Child,
    death: Death,
    seconds: float,
    calls: int,
    crew: Crew[ProcessJob[Any]],
    counters: Counters,
) -> None:
    """This call, one of so many, had been running for so long when its worker died: it waits again, or has failed."""
    if job.done():
        job.let_go()
        counters.cancelled += 1
        return
    job.crashes += 1
    (job.function.whole or job.function).knowledge.crashes += 1
    counters.count_crash(monotonic())
    if job.crashes <= job.retries and job.home is None:
        crew.add_again(job)
        return
    job.let_go()
    counters.failed += 1
    job.begun = child.box.begun(job.number)
    job.set_exception(crash_report(job, child, death, seconds, calls))


def crash_report(
    job: ProcessJob[Any], child: Child, death: Death, seconds: float, calls: int
) -> WorkerCrashed:
    """The error for a call that was lost with ``child``; ``calls`` is how many coroutines shared the worker."""
    if death.exitcode is None and death.oom is not None and death.oom.is_machine:
        death = death._replace(
            oom=None
        )  # nobody knows that it was killed, and the machine's count may be of others
    function = job.function.name
    how, why = _cause(child, death)
    shared = f", with {calls - 1} other coroutine calls on the same worker" if calls > 1 else ""
    message = (
        f"{function} was lost: its worker process {child.pid} {how} after {seconds:.3g} s of it{shared}. {why}. "
        f"Other calls are not affected, and {_again(job)}"
    )
    stack = child.box.stack()
    if stack:
        message += f"\nThe Python stack at the crash:\n{stack}"
    return WorkerCrashed(
        message,
        pid=child.pid,
        function=function,
        exitcode=death.exitcode,
        seconds=seconds,
        stack=stack,
        attempts=job.crashes,
        is_out_of_memory=death.oom is not None and death.oom.is_out_of_memory,
    )


def _again(job: ProcessJob[Any]) -> str:
    if job.home is not None:
        return "what lived in this worker, which was somebody's own, is gone with it"
    if job.crashes > 1:
        return (
            f"the worker is replaced; this call has now been run {job.crashes} times, and each time its worker died, "
            "so it is not run again: look at what it does before you raise options(retries=...)"
        )
    return (
        "the worker is replaced; this call was not run again, since it may have had effects "
        "(options(retries=...) allows it)"
    )


def left_behind(child: Child, death: Death) -> Callable[[str], WorkerCrashed]:
    """What makes the errors for calls that were bound to ``child`` and had not begun when it died, or came later."""
    pid, exitcode = child.pid, death.exitcode
    how, why = _cause(child, death)

    def error(function: str) -> WorkerCrashed:
        return WorkerCrashed(
            f"{function} was not started: the worker process that it belonged to, {pid}, is gone. It {how}. {why}. "
            "What lived in it is gone with it: open another one",
            pid=pid,
            function=function,
            exitcode=exitcode,
            attempts=0,
            is_out_of_memory=death.oom is not None and death.oom.is_out_of_memory,
        )

    return error


def given_up(job: ProcessJob[Any]) -> RuntimeClosed:
    """The error for one call that was not done when the worker that it was bound to was given up."""
    what = "running" if job.seat else "waiting"
    return RuntimeClosed(
        f"{job.function.name} was stopped: it was still {what} when the worker of its own that it was for was given up"
    )


def refused_call(name: str, why: str) -> RuntimeClosed:
    """The error for one call that a closed lane does not take."""
    return RuntimeClosed(f"{name} was not started: {why}")


def stopped_call(job: ProcessJob[Any]) -> RuntimeClosed:
    """The error for one call that was not done when its lane was closed."""
    what = "running" if job.seat else "waiting"
    return RuntimeClosed(f"{job.function.name} was stopped: it was still {what} when its runtime was left")


def start_error(function: str, error: OSError) -> WorkerStartError:
    """The error for one call that waited for a worker which cannot be started."""
    message = f"{function} was not started, because no worker process can be: {error.strerror or error}"
    if error.errno is None:
        return WorkerStartError(message)  # with two arguments it would read "[Errno None] ..."
    return WorkerStartError(error.errno, message)


def _cause(child: Child, death: Death) -> tuple[str, str]:
    exitcode, oom, memory_limit = death
    if child.fate and exitcode in (None, -signal.SIGKILL):  # else something else was quicker
        return "was killed by hybridrt", f"The reason: {child.fate}"
    if exitcode is None:
        if oom is not None and oom.is_out_of_memory:
            return "died", _out_of_memory(oom)
        return "died", "How is not known, because the process that starts and reaps workers died as well"
    if exitcode >= 0:
        why = "Something in it called os._exit, or closed its descriptors"
        return f"exited with code {exitcode}", why + _limit_to_blame(memory_limit)
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    how = f"was killed by {name}"
    if name == "SIGKILL" and oom is not None:
        return how, _out_of_memory(oom) if oom.is_out_of_memory else _not_out_of_memory(oom)
    reason = _LIKELY.get(name, f"It got {name}")
    if name not in ("SIGKILL", "SIGTERM"):
        reason += _limit_to_blame(memory_limit)
    return how, reason[0].upper() + reason[1:]


def _out_of_memory(oom: OomEvidence) -> str:
    if oom.is_machine:
        has = f", which has {in_words(oom.allowed)}," if oom.allowed else ""
        what = (
            f"Very likely it ran out of memory: the kernel has killed a process on this machine{has} for want of "
            f"memory (oom_kill in {oom.counter} went up)"
        )
    else:
        may = f", which may use {in_words(oom.allowed)}" if oom.allowed else ""
        what = (
            f"It ran out of memory: the kernel killed it, as {oom.counter} counts, for want of memory in this "
            f"control group (container){may}"
        )
    return (
        f"{what}. Give each call less to do, run fewer at once (processes=), or allow more memory; with "
        "worker_memory_limit such a call gets a MemoryError instead"
    )


def _not_out_of_memory(oom: OomEvidence) -> str:
    return (
        "Something sent it SIGKILL: an operator, a supervisor or a container that is being stopped. It was hardly the "
        f"kernel for want of memory, which has counted no such kill ({oom.counter})"
    )


def _limit_to_blame(memory_limit: int) -> str:
    if not memory_limit:
        return ""
    return (
        f". Or its memory limit did it (worker_memory_limit, {in_words(memory_limit)}): C code that cannot get memory "
        "often crashes or exits, where Python would raise MemoryError; raise the limit, or give the call less to do"
    )
