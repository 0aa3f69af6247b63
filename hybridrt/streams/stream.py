"""``rt.stream``: what a generator function yields elsewhere, as an async iterator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextvars import copy_context
from types import AsyncGeneratorType, TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from .._core.function import GENERATOR, Function, is_async_generator
from .._core.placement import LOOP, PROCESS, THREAD, THREAD_ONLY
from .._engine.cargo import Outgrown, pack
from .._engine.failure import presentable
from .._engine.parcel import loads
from .._lanes.unsendable import unsendable_call, unsendable_result
from ..errors import NotSendable
from .feed import Feed, Means
from .tap import Call, Tap

T_co = TypeVar("T_co", covariant=True)


class Stream(AsyncIterator[T_co], Generic[T_co]):
    """An async iterator over what a generator yields in a worker process, or a thread, of its own.

    Nothing is started before the first item is asked for. The generator then works ahead, within bounds: when nobody
    takes its items it waits. What it raises arrives as itself, after the items that came before; what it returns is
    dropped, and nothing can be sent into it.

    When the loop over it is left, in whatever way, the generator is stopped and its ``finally`` blocks run. After a
    ``break`` or an error that begins with the next turn of the event loop; ``async with rt.stream(...) as rows:`` waits
    for it at the end of the block, and ``aclose`` where it is called. A cancelled await ends the stream as well.
    """

    __slots__ = ("_feed", "_rows")

    def __init__(self, feed: Feed, name: str) -> None:
        self._feed = feed
        self._rows = cast(AsyncGeneratorType[T_co, None], _rows(feed, name))

    def __aiter__(self) -> AsyncIterator[T_co]:  # noqa: PYI034 (see below)
        """The items; each is given once, however many loops there are."""
        # Not self: it is for the loop alone to hold, so that it ends with the loop. And this one is quicker.
        return self._rows

    async def __anext__(self) -> T_co:
        """The next item. Raises StopAsyncIteration where there is none, and what the generator raises."""
        return await self._rows.__anext__()

    async def aclose(self) -> None:
        """End the stream, and wait until the generator is closed; raises what it raises then.

        Whoever waits for an item meanwhile finds that there are no more. A second time is harmless. It takes no longer
        than three times ``interrupt_grace`` and a few seconds; a generator in a process that goes on is killed.
        """
        try:
            await self._feed.close()
        finally:
            if not self._rows.ag_running:
                await self._rows.aclose()

    async def __aenter__(self) -> Self:
        """The stream itself; it ends with the block."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """As ``aclose``."""
        await self.aclose()


async def _rows(feed: Feed, name: str) -> AsyncGenerator[Any, None]:
    try:
        while (batch := await feed.next_batch()) is not None:
            items = batch.items  # emptied, where the stream is stopped meanwhile
            items.reverse()
            take = items.pop
            if batch.has_packed:
                while items:
                    item = take()
                    if type(item) is tuple:
                        try:
                            item = loads(item[0])
                        except BaseException as exc:
                            raise unsendable_result(name, "item", presentable(exc)) from exc
                    yield item
            else:
                while items:
                    yield take()
    except asyncio.CancelledError:
        feed.stop()  # an await that is cancelled ends at once; the rest goes on behind it
        raise
    except BaseException:
        await feed.close()
        raise
    await feed.close()


def open_stream(
    means: Means, function: Function, call: Call, *, lane: str | None, timeout: float | None
) -> Stream[Any]:
    """A stream of what this call of a generator function yields, in this lane or where it belongs.

    Raises TypeError for what is no generator function or does not fit the lane, NotSendable.
    """
    fn, args, kwargs = call
    is_async = function.kind == GENERATOR and is_async_generator(fn)
    lane = _lane_for(function, lane, is_async=is_async)
    context = copy_context()
    tap: Tap
    if lane == THREAD:
        from .thread_tap import ThreadTap

        tap = ThreadTap(means.loop, function, (fn, *means.without_handles(args, kwargs)), context)
    else:
        from .process_tap import ProcessTap

        tap = ProcessTap(
            function, packed=_packed(function, call), call=call, is_async=is_async, context=context
        )
    return Stream(Feed(means, tap, name=function.name, lane=lane, timeout=timeout), function.name)


def _lane_for(function: Function, lane: str | None, *, is_async: bool) -> str:
    name = function.name
    if function.kind != GENERATOR:
        raise TypeError(
            f"{name} is no generator function, so there is nothing to stream: call it with run, to_thread or "
            "to_process, or over many inputs with map"
        )
    if is_async and (lane == THREAD or function.declared == THREAD_ONLY):
        raise TypeError(
            f"{name} is an async generator function, which needs an event loop and not a thread: iterate it here, "
            f"with 'async for ... in {name.rpartition('.')[2]}(...)', or stream it from a process"
        )
    if lane == LOOP:
        raise TypeError(
            f"{name} would run on this very loop, which needs no stream: iterate it here, "
            f"with '{'async for' if is_async else 'for'} ... in {name.rpartition('.')[2]}(...)'"
        )
    if lane == PROCESS and function.declared == THREAD_ONLY:
        raise TypeError(
            f"{name} is declared @thread_only, so it cannot be sent to a process: stream it from a thread"
        )
    if lane is None:
        is_for_threads = not is_async and function.declared in (THREAD, THREAD_ONLY)
        return THREAD if is_for_threads else PROCESS
    return lane


def _packed(function: Function, call: Call) -> bytes:
    """The call as bytes; empty where it is too large for the loop, or needs what was shared. Raises NotSendable."""
    try:
        return pack(call)
    except Outgrown:
        return b""
    except KeyboardInterrupt:
        raise
    except BaseException as exc:
        told = unsendable_call(function.name, *call, exc)
        hint = "; a stream with options(lane='thread') stays in this process"
        raise NotSendable(f"{told}{hint}", where=told.where) from exc
