"""aiomultiprocess's ``Pool``, whose workers take coroutine functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..work import awaited
from .contract import Contestant


class Aiomultiprocess(Contestant):
    """A plain function goes there inside a coroutine function. It asks its queues in turns, with pauses."""

    key = "aiomultiprocess"
    label = "aiomultiprocess.Pool"
    short = "aiomultiprocess"
    lane = "process"
    needs = ("aiomultiprocess",)
    takes = ("one", "many", "cold", "array")

    async def open(self) -> None:
        import aiomultiprocess

        self.pool: Any = aiomultiprocess.Pool(self.workers)

    async def close(self) -> None:
        self.pool.terminate()
        await self.pool.join()

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        task: Awaitable[Any] = self.pool.apply(awaited, (fn, *args))
        return task
