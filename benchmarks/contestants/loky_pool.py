"""loky, driven from asyncio by ``wrap_future``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from .contract import Contestant


class LokyPool(Contestant):
    """It starts all its workers with the first call, so it has no fresh one to measure."""

    key = "loky"
    label = "loky.ProcessPoolExecutor"
    short = "loky"
    lane = "process"
    needs = ("loky",)
    takes = ("one", "many", "import", "cold", "crash", "memory", "memory-numpy", "array")
    importing = "import asyncio, loky"

    async def open(self) -> None:
        import loky

        self.executor: Any = loky.ProcessPoolExecutor(self.workers)

    async def close(self) -> None:
        self.executor.shutdown(wait=True, kill_workers=True)

    async def recover(self) -> None:
        """It is broken as a whole."""
        import loky

        self.executor.shutdown(wait=False, kill_workers=True)
        self.executor = loky.ProcessPoolExecutor(self.workers)

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return asyncio.wrap_future(self.executor.submit(fn, *args))
