"""The ways to run a call, typed; ``Runtime`` offers them plainly, ``Runtime.options(...)`` with options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar, overload

from ._core.placement import LANES, PROCESS, THREAD
from ._core.terms import NO_TERMS, Terms
from ._lanes.job import Job, ProcessJob, WaitingJob

P = ParamSpec("P")
T = TypeVar("T")

LaneName: TypeAlias = Literal["loop", "thread", "process"]


class Verbs(ABC):
    """``to_thread``, ``to_process``, ``run`` and ``submit``, all of which start a job and, but for the last, await it.

    Each takes the function and its arguments as they are (``fn, /, *args, **kwargs``): options are never mixed into
    them. Cancelling the await, or the job, stops the work.
    """

    __slots__ = ()

    @abstractmethod
    def _start(
        self,
        lane: str | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        terms: Terms | None = None,
    ) -> Job[Any]:
        """Start the call in this lane, or where it belongs, on these terms."""

    async def to_thread(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fn`` in a thread; the caller's context variables travel.

        When the await is cancelled it ends at once; a call that waits never starts, one that runs goes on to its end
        and keeps its place in the limit, for a thread cannot be killed: long work asks ``hybridrt.cancelled()`` now
        and then, and returns when it is true. Raises what ``fn`` raises.
        """
        result: T = await self._start(THREAD, fn, args, kwargs)
        return result

    @overload
    async def to_process(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    async def to_process(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def to_process(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run ``fn`` in a worker process; a coroutine function runs on an event loop there, many at once.

        Function and arguments are pickled: by reference where they can be imported, by value where they belong to
        ``__main__``, a notebook or another function. Of the caller's context variables, the registered ones travel
        (``register_contextvar``). What is large is pickled and unpickled beside the loop, in threads: do not change a
        large argument before the call has ended. When the await is cancelled, the code is interrupted (its ``finally``
        blocks run), and killed if it goes on for ``interrupt_grace`` seconds. Raises what ``fn`` raises, NotSendable
        where something cannot be pickled, WorkerCrashed where the worker died.
        """
        return await self._start(PROCESS, fn, args, kwargs)

    @overload
    async def run(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    async def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run ``fn`` where it belongs: as declared (``@io_bound``, ``@cpu_bound``), a coroutine function on the loop,
        anything else in a thread. ``Runtime.explain(fn)`` says where and why.
        """
        return await self._start(None, fn, args, kwargs)

    @overload
    def submit(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[T]: ...
    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Job[T]: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job[Any]:
        """Start ``fn`` now, where ``run`` would, and return its job: a future of the result."""
        return self._start(None, fn, args, kwargs)


class BoundOptions(Verbs):
    """The verbs with options; made by ``Runtime.options``, reusable, and as cheap as the plain ones."""

    __slots__ = ("_lane", "_plain", "_retries", "_terms", "_timeout")

    def __init__(
        self,
        plain: Verbs,
        *,
        lane: LaneName | None,
        timeout: float | None,
        retries: int,
        terms: Terms | None = None,
    ) -> None:
        if lane not in (None, *LANES):
            raise ValueError(f"options(lane={lane!r}): there is no such lane; there are {', '.join(LANES)}")
        if timeout is not None and not _is_time(timeout):
            raise ValueError(f"options(timeout={timeout!r}) must be a number of seconds, 0 or more")
        if type(retries) is not int or retries < 0:
            raise ValueError(f"options(retries={retries!r}) must be a whole number, 0 or more")
        self._plain = plain
        self._lane = lane
        self._timeout = timeout
        self._retries = retries
        self._terms = terms

    def _start(
        self,
        lane: str | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        terms: Terms | None = None,
    ) -> Job[Any]:
        if lane is not None and self._lane not in (None, lane):
            raise ValueError(
                f"options(lane={self._lane!r}).to_{lane}(...) contradicts itself: use run or submit"
            )
        job = self._plain._start(lane or self._lane, fn, args, kwargs, self._terms)
        if self._retries and isinstance(job, ProcessJob | WaitingJob):
            job.retries = self._retries  # in time: no death is heard of before the loop turns
        if self._timeout is not None:
            handle = job.get_loop().call_later(self._timeout, _expire, job, self._timeout)
            job.add_done_callback(lambda _: handle.cancel())
        return job


def terms_of(
    priority: float,
    deadline: float | None,
    key: Hashable,
    weight: float,
    key_limit: int | None,
    max_queue: int | None,
) -> Terms | None:
    """The terms that these options make; None where they are all as if not given."""
    if key_limit is not None and key_limit == 0:
        raise ValueError(f"options(key_limit={key_limit!r}) must be a whole number, 1 or more")
    terms = Terms(priority, key, weight, key_limit or 0, deadline, max_queue)
    return None if terms == NO_TERMS else terms


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and value >= 0  # NaN is not


def _expire(job: Job[Any], timeout: float) -> None:
    if not job.done():
        job.set_exception(
            TimeoutError(f"{job.function.name} did not end within {timeout:g} s (options(timeout=...))")
        )
        job.stop_work(job)
