"""An async generator on a worker's event loop: opened, asked for items, and closed, by calls of coroutine functions.

Theory of operation. The generator runs in one task of its own, from its first step to its last, so that what it does to
its context, and what it opens in it (a task group, a timeout), stays where it was. The task has leave to go on for as
long as a *pull* wants more; else it waits between two items. A pull returns when its batch is there, or when the first
of its items has waited for long enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from time import perf_counter
from typing import Any

from . import parcel, wire
from .batch import BATCH_SECONDS, MOST_BYTES, OVER, Packer, next_most, ready
from .current import around
from .desk import Desk
from .packing import PLAIN
from .producer import Call

_NOTHING: Any = object()
_open: dict[int, LoopProducer] = {}


async def begin(number: int, packed: bytes, call: Call | None) -> Any:
    """Open the generator of this call (``packed``, where it is None) under ``number``, and pull for the first time."""
    fn, args, kwargs = call or parcel.loads(packed)
    producer = _open[number] = LoopProducer(number, fn(*args, **kwargs))
    return await producer.take()


async def go_on(number: int) -> Any:
    """Pull: a ``Batch``, or one large item as it is."""
    producer = _open.get(number)
    return ready([], False, OVER) if producer is None else await producer.take()


async def end(number: int) -> None:
    """Close the generator, where it is open still; raises what it raises."""
    producer = _open.pop(number, None)
    if producer is not None:
        await producer.close()


class LoopProducer:
    """One open generator, and its task."""

    def __init__(self, number: int, generator: AsyncGenerator[Any, Any]) -> None:
        self._number = number
        self._generator = generator
        self._loop = asyncio.get_running_loop()
        self._packer = Packer()
        self._turn = asyncio.Lock()  # pulls are answered in their order
        self._items: list[Any] = []
        self._has_packed = False
        self._large: Any = _NOTHING
        self._end: tuple[int, bytes] | None = None
        self._error: BaseException | None = None
        self._most = 1
        self._size = 0
        self._wanted_at = self._first = self._last = (
            0.0  # when the pull came, and the first and the last of the items
        )
        self._is_wanted = True
        self._is_closing = False
        self._ready: asyncio.Future[None] | None = None  # what the pull waits for
        self._leave: asyncio.Future[None] | None = None  # what the task waits for
        self._timer: asyncio.TimerHandle | None = None
        self._task = self._loop.create_task(self._run())

    # Pulls

    async def take(self) -> Any:
        """The next batch, or large item."""
        async with self._turn:
            if not self._is_full:
                self._is_wanted = True
                self._wanted_at = perf_counter()
                _tell(self._leave)
                if self._items:
                    self._be_ready_soon()
                self._ready = self._loop.create_future()
                await self._ready
            return self._collect()

    def _collect(self) -> Any:
        self._is_wanted = False
        if not self._items and self._large is not _NOTHING:
            large, self._large = self._large, _NOTHING
            return large
        items, has_packed = self._items, self._has_packed
        self._items, self._has_packed, self._size = [], False, 0
        if items:
            self._most = next_most(self._most, len(items), self._last - self._wanted_at)
        end = None if self._large is not _NOTHING else self._end
        if end is not None and end[0] != wire.UNSENDABLE:
            _open.pop(self._number, None)
        return ready(items, has_packed, end)

    @property
    def _is_full(self) -> bool:
        return (
            len(self._items) >= self._most
            or self._size > MOST_BYTES
            or self._large is not _NOTHING
            or self._end is not None
            or (len(self._items) > 1 and self._last - self._first > BATCH_SECONDS)
        )

    def _be_ready(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        _tell(self._ready)

    def _be_ready_soon(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(BATCH_SECONDS, self._be_ready)

    # The generator

    async def _run(self) -> None:
        around.set(self._is_unwanted)
        try:
            try:
                await self._fill()
            finally:
                await self._generator.aclose()
            self._end = self._end or OVER
        except BaseException as exc:  # not SystemExit either, which would end the loop
            if not self._is_closing:
                self._end = Desk.here.pack_failure(exc)
            elif not isinstance(exc, asyncio.CancelledError):
                self._error = exc
        self._be_ready()

    async def _fill(self) -> None:
        async for item in self._generator:
            self._put(item)
            del item
            if self._is_full:
                self._is_wanted = False
                self._be_ready()
            elif self._is_wanted and self._timer is None:
                self._be_ready_soon()
            while not self._is_wanted and not self._is_closing:
                self._leave = self._loop.create_future()
                await self._leave
            if self._is_closing:
                return

    def _put(self, item: Any) -> None:
        """Take the item in hand, or note why it cannot be pickled."""
        kind = type(item)
        if kind is str or kind is bytes:
            if len(item) > MOST_BYTES:
                self._large = item
                return
            self._size += len(item)
        elif kind not in PLAIN:
            try:
                data = self._packer.pack(item)
            except Exception as exc:
                self._end = wire.UNSENDABLE, Desk.here.pack_refusal(item, exc, root="item")
                return
            if data is None:
                self._large = item
                return
            self._size += len(data)
            item = (data,)
            self._has_packed = True
        self._items.append(item)
        self._last = perf_counter()
        if len(self._items) == 1:
            self._first = self._last

    def _is_unwanted(self) -> bool:
        return self._is_closing

    async def close(self) -> None:
        """GeneratorExit at its ``yield``, or CancelledError at its ``await``; raises what it raises."""
        self._is_closing = True
        if self._leave is not None and not self._leave.done():
            self._leave.set_result(None)
        else:
            self._task.cancel()
        await asyncio.wait([self._task])
        if self._error is not None:
            raise self._error


def _tell(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
