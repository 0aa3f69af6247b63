"""Every exception that hybridrt raises, in one tree.

::

    HybridrtError                 anything that hybridrt itself has to report
    ├── RuntimeClosed             a call before the runtime was entered or after its end  (RuntimeError)
    ├── QueueFull                 as many calls wait as may: this one was refused at once
    ├── DeadlineExceeded          a call could not be done in the time that it had            (TimeoutError)
    ├── NotSendable               a function, argument or result cannot cross to a worker   (TypeError, PicklingError)
    ├── WorkerStartError          no worker process can be started                          (OSError, BrokenProcessPool)
    ├── InitializerFailed         the initializer of an executor's workers failed           (BrokenProcessPool)
    ├── WorkerCrashed             the worker died under this one call                       (BrokenProcessPool)
    ├── RemoteError               stands in for an exception that could not travel
    ├── LoopBlocked               something blocked the event loop, and the runtime was told to raise
    └── TaskExited                the function raised SystemExit, KeyboardInterrupt or the like

    Interrupted (BaseException)   thrown into the code of a worker whose call was cancelled
    LoopBlockedWarning            something blocked the event loop                        (RuntimeWarning)

In brackets: what each is as well, for code that was written for the standard executors. An exception raised by the
user's function arrives as itself; none of these wraps it.
"""

from __future__ import annotations

import signal
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pickle import PicklingError

from ._core.interrupt import Interrupted

__all__ = [
    "Blockage",
    "DeadlineExceeded",
    "HybridrtError",
    "InitializerFailed",
    "Interrupted",
    "LoopBlocked",
    "LoopBlockedWarning",
    "NotSendable",
    "QueueFull",
    "RemoteError",
    "RuntimeClosed",
    "TaskExited",
    "WorkerCrashed",
    "WorkerStartError",
]


class HybridrtError(Exception):
    """Base of all that hybridrt itself has to report."""


class RuntimeClosed(HybridrtError, RuntimeError):
    """The runtime cannot take this call: it was not entered yet, or it has been left."""


class QueueFull(HybridrtError):
    """As many calls wait as ``max_queue`` allows, so this one was refused at once.

    ``waiting``         calls that waited
    ``estimated_wait``  seconds in which what waits is expected to have been started, by what calls took so far and how
                        many workers there are; None where nothing was measured yet
    """

    def __init__(self, message: str, *, waiting: int = 0, estimated_wait: float | None = None) -> None:
        super().__init__(message)
        self.waiting: int = waiting
        self.estimated_wait: float | None = estimated_wait


class DeadlineExceeded(HybridrtError, TimeoutError):
    """A call could not be done in the time that it had (``options(deadline=...)``).

    ``waited``      seconds that it has waited to be started
    ``takes``       seconds that its function takes, as measured; None where it was not
    ``deadline``    seconds that it had
    ``is_started``  whether it was run, and stopped; else it was dropped before it began
    """

    def __init__(
        self,
        message: str,
        *,
        waited: float = 0.0,
        takes: float | None = None,
        deadline: float = 0.0,
        is_started: bool = False,
    ) -> None:
        super().__init__(message)
        self.waited: float = waited
        self.takes: float | None = takes
        self.deadline: float = deadline
        self.is_started: bool = is_started


class NotSendable(HybridrtError, TypeError, PicklingError):
    """Something cannot be pickled, so it cannot cross to (or back from) a worker process.

    ``where`` is the path to the culprit: ``function``, ``args[1]['lock']``, ``kwargs['db']``, ``result.rows[3]``.
    """

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(message)
        self.where = where


class WorkerStartError(HybridrtError, OSError, BrokenProcessPool):
    """A worker process cannot be started: processes or descriptors are used up, or workers die at once."""


class InitializerFailed(HybridrtError, BrokenProcessPool):
    """The initializer of an executor raised, or killed its workers: the executor takes no more calls.

    What it raised is this exception's ``__cause__``.
    """


class RemoteError(HybridrtError):
    """Stands in for an exception of the user's function that could not be pickled or unpickled.

    ``type_name`` is the original's type (``package.module.Name``), ``traceback_text`` its formatted traceback.
    """

    def __init__(self, message: str, *, type_name: str = "", traceback_text: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.traceback_text = traceback_text


class TaskExited(HybridrtError):
    """The function raised an exception that is meant for the interpreter or the loop that runs it.

    ``SystemExit``, ``KeyboardInterrupt``, ``GeneratorExit`` and ``CancelledError`` out of a task would stop the
    service that awaits it if they flew on as themselves; the original is this exception's ``__cause__``.
    """


class WorkerCrashed(HybridrtError, BrokenProcessPool):
    """The worker process died while it ran this one call; no other call is affected.

    ``pid``          of the worker that died
    ``function``     qualified name of the function it was running
    ``exitcode``     what it exited with (>= 0), minus the signal that killed it (< 0), or None where unknown
    ``signal``       the signal's name (``"SIGSEGV"``), or None
    ``seconds``      for how long the call had been running
    ``stack``        the Python stack at the moment of the crash, where faulthandler could write it, else ""
    ``attempts``     how often the call was run, each time with the death of its worker (``options(retries=...)``);
                     0 where it had not begun: it was for a worker of its own, which died before it
    ``is_out_of_memory``   it got SIGKILL, and the kernel counts a process killed for want of memory: in a memory
                     cgroup of ours (then it was surely one of ours), else on the machine (then very likely this one)
    """

    def __init__(
        self,
        message: str,
        *,
        pid: int = 0,
        function: str = "",
        exitcode: int | None = None,
        seconds: float = 0.0,
        stack: str = "",
        attempts: int = 1,
        is_out_of_memory: bool = False,
    ) -> None:
        super().__init__(message)
        self.is_out_of_memory = is_out_of_memory
        self.pid = pid
        self.function = function
        self.exitcode = exitcode
        self.seconds = seconds
        self.stack = stack
        self.attempts = attempts

    @property
    def signal(self) -> str | None:
        """Name of the signal that killed the worker, or None where it was not a signal."""
        if self.exitcode is None or self.exitcode >= 0:
            return None
        try:
            return signal.Signals(-self.exitcode).name
        except ValueError:
            return f"signal {-self.exitcode}"


@dataclass(frozen=True, slots=True)
class Blockage:
    """One time that a callback or coroutine kept the event loop from turning.

    ``str()`` of it says all but the stack, in one line.
    """

    seconds: float
    """How long the loop did not turn; it may have been up to a quarter of ``loop_blocked_after`` longer."""
    function: str
    """``module.qualname`` of the innermost function of the user's that ran all the while."""
    filename: str
    lineno: int
    """The line at which it was seen."""
    called: str | None
    """What that line called that took so long (``time.sleep``), where it could be seen."""
    remedy: str
    """What to do about it, with the function to hand over where one could be seen."""
    task: str | None
    """Name and coroutine of the task; None in a plain callback."""
    stack: str
    """The callback's frames, outermost first, as a traceback shows them."""

    def __str__(self) -> str:
        called = f", calling {self.called}" if self.called else ""
        task = f" in task {self.task}" if self.task else ""
        return (
            f"the event loop was blocked for {self.seconds:.2g} s by {self.function} "
            f"({self.filename}:{self.lineno}){called}{task}: {self.remedy}"
        )


class LoopBlocked(HybridrtError):
    """Raised on leaving a ``Runtime(on_loop_blocked="raise")`` whose event loop was blocked in the meantime.

    ``blockages``: the first hundred times, in their order.
    """

    def __init__(self, message: str, *, blockages: tuple[Blockage, ...] = ()) -> None:
        super().__init__(message)
        self.blockages = blockages


class LoopBlockedWarning(RuntimeWarning):
    """Something blocked the event loop for longer than ``loop_blocked_after``."""
