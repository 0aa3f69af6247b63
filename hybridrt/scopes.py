"""Jobs that end where they were started: the verbs inside an ``async with``, on anyio's task group.

anyio's and not asyncio's: its cancel scopes compose with both (``move_on_after`` around, an ``asyncio.timeout`` around,
another scope inside), and a cancel that comes from outside is never taken for one of the group's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakSet

from anyio import create_task_group
from anyio.abc import TaskGroup

from ._core.terms import Terms
from ._lanes.job import Job
from .actors.actor import ActorContext
from .actors.plan import ActorOptions
from .errors import RuntimeClosed
from .streams.starting import Means
from .verbs import PlainVerbs, Verbs

if TYPE_CHECKING:
    from .streams.feed import Feed
    from .streams.flow import Flow
    from .streams.stream import Stream

T = TypeVar("T")


class Scope(PlainVerbs):
    """The verbs of a runtime; whatever is started with them ends before the block does.

    The end of the block waits for every job. The first that fails cancels the others and the body of the block, and
    what went wrong is raised as an ``ExceptionGroup`` (of one, where one failed), as task groups do. A call that the
    body awaits itself (``await scope.to_process(...)``) is the body's to handle: its exception is raised there, and
    concerns nobody else as long as it is caught. A job that is cancelled is no failure.
    """

    __slots__ = ("_feeds", "_flows", "_group", "_is_over", "_open", "_plain")

    def __init__(self, plain: Verbs) -> None:
        self._plain = plain
        self._group: TaskGroup | None = None
        self._open: set[Job[Any]] = set()
        self._feeds: WeakSet[Feed] = WeakSet()  # of streams
        self._flows: WeakSet[Flow] = WeakSet()  # of maps
        self._is_over = False

    def cancel(self) -> None:
        """Stop everything that was started here, and the body of the block at its next await; no error is raised."""
        if self._group is None:
            raise RuntimeClosed("this scope was not entered: use 'async with rt.scope() as scope:'")
        self._group.cancel_scope.cancel()

    async def __aenter__(self) -> Self:
        if self._group is not None:
            raise RuntimeClosed("a scope can be entered once: ask for another one with rt.scope()")
        self._group = create_task_group()
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        group = self._group
        if group is None:
            raise RuntimeClosed("this scope is left without having been entered")
        for feed in self._feeds:
            group.start_soon(feed.close)
        for flow in self._flows:
            group.start_soon(flow.close)
        for job in self._open:
            # Of calls that somebody awaits elsewhere, and that nobody does any more.
            group.start_soon(_end_of, job)
        try:
            return bool(await group.__aexit__(exc_type, exc, tb))
        except BaseExceptionGroup as errors:
            raise _each_once(errors) from None
        finally:
            self._is_over = True

    def _start(
        self,
        lane: str | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        terms: Terms | None = None,
    ) -> Job[Any]:
        self._check_open()
        return self._awaited(self._plain._start(lane, fn, args, kwargs, terms))

    def _stream(
        self,
        lane: str | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None = None,
    ) -> Stream[Any]:
        self._check_open()
        stream = self._plain._stream(lane, fn, args, kwargs, timeout)
        self._feeds.add(stream._feed)
        return stream

    def _means(self, fn: Callable[..., Any]) -> Means:
        self._check_open()
        means = self._plain._means(fn)
        start_batch = means.start_batch

        def start_batch_here(*batch: Any) -> Job[Any] | None:
            self._check_open()
            job = start_batch(*batch) if start_batch is not None else None
            return self._awaited(job) if job is not None else None

        return means._replace(
            start=self._start, start_batch=start_batch and start_batch_here, keep=self._flows.add
        )

    def _awaited(self, job: Job[Any]) -> Job[Any]:
        self._open.add(job)
        job.add_done_callback(self._open.discard)
        return job

    def _check_open(self) -> None:
        if self._group is None or self._is_over:
            why = "was not entered yet" if self._group is None else "has ended"
            raise RuntimeClosed(
                f"this scope {why}: calls belong inside its 'async with rt.scope() as scope:' block"
            )

    def _actor(
        self, cls: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], options: ActorOptions
    ) -> ActorContext[T]:
        return self._plain._actor(cls, args, kwargs, options)  # its own block ends it

    def _kept(self, job: Job[T]) -> Job[T]:
        if self._group is not None:
            self._group.start_soon(_outcome_of, job)
        return job


async def _end_of(job: Job[Any]) -> None:
    """Until it is done, however; its failure is told to whoever awaits it."""
    try:
        await asyncio.wait([job])
    except asyncio.CancelledError:
        job.cancel()
        raise


async def _outcome_of(job: Job[Any]) -> None:
    """Until it is done; raises what it raises, but for its own cancel."""
    await _end_of(job)
    if not job.cancelled() and (exc := job.exception()) is not None:
        raise exc


def _each_once(errors: BaseExceptionGroup[Any]) -> BaseExceptionGroup[Any]:
    """A failure that the body met with as well, by awaiting the job, is one failure."""
    once = list({id(exc): exc for exc in errors.exceptions}.values())
    return errors if len(once) == len(errors.exceptions) else errors.derive(once)
