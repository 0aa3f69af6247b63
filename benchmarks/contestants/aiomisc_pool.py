"""aiomisc's ``WorkerPool`` of processes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from .contract import Contestant


class Aiomisc(Contestant):
    """Processes that are started for it, each with a socket to our loop."""

    key = "aiomisc"
    label = "aiomisc.WorkerPool"
    short = "aiomisc"
    lane = "process"
    needs = ("aiomisc",)
    takes = ("one", "many", "cold", "crash", "array")

    async def open(self) -> None:
        import aiomisc

        self.pool: Any = aiomisc.WorkerPool(self.workers)
        await self.pool.start()

    async def close(self) -> None:
        await self.pool.close()

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        task: Awaitable[Any] = self.pool.create_task(fn, *args)
        return task


class AiomiscThreads(Contestant):
    """Its own thread pool, by ``run_in_executor``."""

    key = "aiomisc-thread"
    label = "aiomisc.ThreadPoolExecutor"
    short = "aiomisc threads"
    lane = "thread"
    needs = ("aiomisc",)
    takes = ("one", "many")

    async def open(self) -> None:
        import aiomisc

        self.loop = asyncio.get_running_loop()
        self.executor: Any = aiomisc.ThreadPoolExecutor(self.workers)

    async def close(self) -> None:
        self.executor.shutdown()

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return self.loop.run_in_executor(self.executor, fn, *args)
