"""mpire's ``WorkerPool``, which calls back from a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ..work import Kept
from .contract import Contestant


class Mpire(Contestant):
    """From a forkserver; for shared objects by fork, as its documentation has it."""

    key = "mpire"
    label = "mpire.WorkerPool"
    short = "mpire"
    lane = "process"
    needs = ("mpire",)
    takes = ("one", "many", "cold", "array", "shared")

    async def open(self) -> None:
        from mpire.pool import WorkerPool

        self.loop = asyncio.get_running_loop()
        self.pool: Any = WorkerPool(self.workers, start_method="forkserver")

    async def close(self) -> None:
        self.pool.terminate()

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        done = self.loop.create_future()
        tell = self.loop.call_soon_threadsafe
        self.pool.apply_async(
            fn,
            tuple(
                arg for arg in args if not isinstance(arg, Kept)
            ),  # workers add what is shared, as the first
            callback=lambda value: tell(done.set_result, value),
            error_callback=lambda error: tell(done.set_exception, error),
        )
        return done

    async def share(self, value: Any) -> Any:
        from mpire.pool import WorkerPool

        self.whole = self.pool
        self.pool = WorkerPool(self.workers, shared_objects=value, start_method="fork")
        return Kept()

    async def unshare(self, handle: Any) -> None:
        self.pool.terminate()
        self.pool = self.whole
