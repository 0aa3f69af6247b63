"""What a lane is: the one small contract that threads, processes and foreign executors keep."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Literal, Protocol

from .._core.function import Function
from .._core.health import Health
from .._core.stats import LaneStats, WorkerStats
from .._core.terms import Terms
from .job import Job

# Why a lane takes no more calls, in the words of the error.
LEFT = "this runtime has been left"
DROPPED = "nobody held this runtime any more, though it had not been left"
FORKED = "this runtime belongs to the process that this one was forked from; make a new one here"
LOOP_CLOSED = "the event loop of this runtime was closed before the runtime was left"


class Lane(Protocol):
    """A place where calls run. All methods belong to the loop's thread; ``executor`` may be used from any."""

    @property
    def executor(self) -> Executor:
        """The lane as a standard executor."""
        ...

    def submit(
        self,
        function: Function,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        terms: Terms | None = None,
    ) -> Job[Any]:
        """Start a call, or queue it, on these terms. Raises at once what is the caller's fault, and QueueFull."""
        ...

    async def warm_up(self) -> None:
        """Until as many workers as may be are there."""
        ...

    def stats(self) -> LaneStats:
        """A snapshot."""
        ...

    def workers(self) -> tuple[WorkerStats, ...]:
        """A snapshot of each worker process (none where the workers are not processes of ours)."""
        ...

    def health(self) -> Health:
        """How often calls were lost of late."""
        ...

    def close_submit(self, why: str) -> None:
        """Refuse every call from now on, for this reason."""
        ...

    def forsake(self, why: str) -> None:
        """In a process forked from ours: let go of everything, and touch nothing that the two share."""
        ...

    async def close(self, grace: float) -> None:
        """Wait up to ``grace`` seconds for what was accepted, stop the rest, and leave nothing behind.

        A cancel in the meantime cuts the waiting short; nothing is left behind all the same.
        """
        ...


class Post(Protocol):
    """One worker, a process or a thread, that is nobody else's. All methods belong to the loop's thread."""

    @property
    def lane(self) -> Literal["thread", "process"]:
        """Where it is."""
        ...

    @property
    def gone(self) -> Callable[[str], Exception] | None:
        """Once the worker has died: makes the error for a call of this name. Else None."""
        ...

    def submit(
        self, function: Function, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Job[Any]:
        """Start a call in this worker, or queue it there. Raises at once what is the caller's fault.

        Calls run one at a time in their order; at a post that was opened for coroutines all run on the worker's event
        loop. Where the worker dies, the running call fails with WorkerCrashed, and so does all that is behind it, or
        comes later, with ``attempts`` 0.
        """
        ...

    async def leave(self, *, is_clean: bool) -> None:
        """Give the worker up: a clean process becomes one of the pool, any other worker is dismissed.

        What is not done fails with RuntimeClosed, and is stopped. Bounded; safe when cancelled; a second time is
        harmless.
        """
        ...
