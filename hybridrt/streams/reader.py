"""The task that reads an async input, as far as there is room, and closes it in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from time import perf_counter
from typing import Any, Protocol

from .._engine.failure import presentable
from .sources import close_all, rows

_MOST_UNSEEN = 64
_MOST_SECONDS = 0.002
"""For so long an input that never waits may go on without a turn of the loop."""


class Taker(Protocol):
    """Who takes the items."""

    accepted: int

    @property
    def room(self) -> int:
        """Items that may be read now."""
        ...

    @property
    def size(self) -> int:
        """Items that the next batch should have."""
        ...

    @property
    def slots(self) -> int:
        """Batches that may be started now."""
        ...

    def accept(self, items: list[Any], size: int) -> None:
        """These have been read."""
        ...

    def pump(self) -> None:
        """Something has been read, or the input has ended."""
        ...


class Reader:
    """Reads ``iterators``, zipped where they are several. What was read waits here until a worker has nothing to do.

    So items that come one by one go together where the workers are busy, and at once where they are not.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        iterators: list[Iterator[Any] | AsyncIterator[Any]],
        taker: Taker,
    ) -> None:
        self._loop = loop
        self._iterators = iterators
        self._taker = taker
        self._read: list[Any] = []
        self._task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_due = False
        self._has_ended = False
        self._is_closing = False
        self.error: BaseException | None = None
        """What reading it raised, in the end."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended, and all of it was taken."""
        return self._has_ended and not self._read

    def begin(self) -> None:
        """Start the task."""
        self._task = self._loop.create_task(self._run())

    def go_on(self) -> None:
        """There may be room: hand over what was read, and let the task go on."""
        self._is_due = False
        taker = self._taker
        while self._read and taker.slots > 0:
            size = taker.size
            items, self._read[:size] = self._read[:size], []
            taker.accepted -= len(items)  # they were counted as they came
            taker.accept(items, size)
        if self._waiter is not None and not self._waiter.done() and self._may_read() > 0:
            self._waiter.set_result(None)

    def _may_read(self) -> int:
        taker = self._taker
        return min(taker.room, max(taker.size, 1) - len(self._read), _MOST_UNSEEN)

    async def _run(self) -> None:
        iterators = self._iterators
        only = iterators[0]
        items = only if len(iterators) == 1 and isinstance(only, AsyncIterator) else rows(iterators)
        zipped = [] if items is only else [items]
        try:
            await self._take(items)
        except asyncio.CancelledError as exc:
            if self._is_closing:
                raise
            self.error = presentable(exc, where="the input of a map")
        except Exception as exc:
            self.error = exc
        finally:
            try:
                await close_all([*zipped, *iterators])
            except Exception as exc:
                self._tell(exc)
            self._has_ended = True
            if not self._is_closing:
                self._taker.pump()

    async def _take(self, items: AsyncIterator[Any]) -> None:
        taker = self._taker
        left = await self._until_there_is_room(perf_counter())
        looked = perf_counter()
        async for item in items:
            self._read.append(item)
            taker.accepted += 1
            if not self._is_due:
                self._is_due = True
                self._loop.call_soon(taker.pump)  # it comes as soon as the input has to wait
            left -= 1
            if not left:
                left = await self._until_there_is_room(looked)
                looked = perf_counter()

    async def _until_there_is_room(self, looked: float) -> int:
        """How many items may be read before this is to be asked again."""
        if len(self._read) >= self._taker.size:
            self.go_on()
        if perf_counter() - looked > _MOST_SECONDS:
            await asyncio.sleep(0)
        while (left := self._may_read()) <= 0:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return left

    def _tell(self, exc: Exception) -> None:
        """The input did not close well. Where it was read to its end, that is an error; else nobody waits any more."""
        if not self._is_closing:
            self.error = self.error or exc
            return
        context = {"message": "closing the input of a map failed", "exception": exc}
        self._loop.call_exception_handler(context)

    async def close(self) -> None:
        """Stop reading and close the input; a second time is harmless."""
        self._is_closing = True
        task = self._task
        if task is None:
            await close_all(self._iterators)
        elif not task.done():
            task.cancel()
            await asyncio.wait([task])
            if not self._has_ended:  # it was cancelled before its first step
                await close_all(self._iterators)
