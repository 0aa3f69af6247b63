"""pebble, driven from asyncio by ``wrap_future``."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Awaitable, Callable
from typing import Any

from .contract import Contestant


class PebblePool(Contestant):
    """With a forkserver, as the stdlib's pool. It starts all its workers at once: no fresh one to measure."""

    key = "pebble"
    label = "pebble.ProcessPool"
    short = "pebble"
    lane = "process"
    needs = ("pebble",)
    takes = ("one", "many", "import", "cold", "crash", "memory", "memory-numpy", "array")
    importing = "import asyncio, pebble"

    async def open(self) -> None:
        import pebble

        context = multiprocessing.get_context("forkserver")
        if self.preload:
            context.set_forkserver_preload(list(self.preload))
        self.pool: Any = pebble.ProcessPool(self.workers, context=context)

    async def close(self) -> None:
        self.pool.stop()
        self.pool.join()

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return asyncio.wrap_future(self.pool.schedule(fn, args=args))
