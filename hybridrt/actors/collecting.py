"""Calls with one item each, collected into one call with many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

from .._core.batch import Batch
from .._engine.failure import presentable
from ..errors import HybridrtError

_Waiting: TypeAlias = dict[asyncio.Future[Any], Any]
_AHEAD = 2
"""Calls that an instance has at once: one that runs, and the next, so that it never waits for us. What comes while it
has them is collected on, so batches grow where the load does."""


class Collector:
    """The calls of one batched method of one actor. Belongs to the loop's thread.

    ``send(items)`` calls the method with many items; ``instances`` are there to do it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        batch: Batch,
        instances: int,
        send: Callable[[list[Any]], Coroutine[Any, Any, Any]],
    ) -> None:
        self._loop = loop
        self._name = name
        self._batch = batch
        self._room = _AHEAD * instances
        self._send = send
        self._waiting: _Waiting = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_due = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def call(self, item: Any) -> Any:
        """The result for this item, or what the method raised for it."""
        future: asyncio.Future[Any] = self._loop.create_future()
        waiting = self._waiting
        waiting[future] = item
        if len(waiting) >= self._batch.max_size:
            self._flush()
        elif len(waiting) == 1:
            self._timer = self._loop.call_later(self._batch.max_delay, self._on_time)
        try:
            return await future
        finally:
            if waiting.pop(future, None) is not None and not waiting:
                self._rest()

    def hurry(self) -> None:
        """Wait for no others any more: the actor is being left."""
        self._on_time()

    def _on_time(self) -> None:
        self._is_due = bool(self._waiting)
        self._flush()

    def _flush(self) -> None:
        """Send what is due, as far as there is room."""
        waiting, most = self._waiting, self._batch.max_size
        while waiting and len(self._tasks) < self._room and (self._is_due or len(waiting) >= most):
            if len(waiting) <= most:
                batch = dict(waiting)
                waiting.clear()
                self._rest()
            else:
                batch = dict(islice(waiting.items(), most))
                for future in batch:
                    del waiting[future]
            task = self._loop.create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
            look = partial(_stop_if_unwanted, batch, task)
            for future in batch:
                future.add_done_callback(look)

    def _rest(self) -> None:
        """Nobody waits to be sent."""
        self._is_due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._flush()

    async def _run(self, batch: _Waiting) -> None:
        wanted = {future: item for future, item in batch.items() if not future.done()}
        if not wanted:
            return
        try:
            results = await self._send(list(wanted.values()))
            self._check(results, len(wanted))
        except asyncio.CancelledError:
            for future in wanted:
                future.cancel()
            raise
        except BaseException as exc:
            for future in wanted:
                if not future.done():
                    future.set_exception(exc)
            return
        for future, result in zip(wanted, results, strict=True):
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(presentable(result))
            else:
                future.set_result(result)

    def _check(self, results: Any, count: int) -> None:
        try:
            given = len(results)
        except TypeError:
            given = -1
        if given != count:
            what = f"{given} results" if given >= 0 else f"a value of type {type(results).__name__}"
            raise HybridrtError(
                f"{self._name} is batched and was given a list of {count} items, but returned {what}: it must return "
                "a list with one result for each item, in their order"
            )


def _stop_if_unwanted(batch: _Waiting, task: asyncio.Task[None], _: object) -> None:
    if not task.done() and all(future.cancelled() for future in batch):
        task.cancel()
