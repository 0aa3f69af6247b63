"""trio-parallel, on trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from .contract import Contestant


class TrioParallel(Contestant):
    """The nearest relative in design; its loop is trio's, whichever was asked for."""

    key = "trio-parallel"
    label = "trio_parallel.run_sync, on trio"
    short = "trio-parallel"
    lane = "process"
    needs = ("trio", "trio_parallel")
    takes = ("one", "many", "cold", "crash", "array", "import")
    importing = "import trio, trio_parallel"

    @classmethod
    def run(cls, main: Callable[[], Coroutine[Any, Any, Any]], loop: str) -> Any:
        import trio

        return trio.run(main)

    async def open(self) -> None:
        import trio
        import trio_parallel

        self.limiter = trio.CapacityLimiter(self.workers)
        self.context: Any = trio_parallel.open_worker_context()
        self.workers_of_it: Any = await self.context.__aenter__()

    async def close(self) -> None:
        await self.context.__aexit__(None, None, None)

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        task: Awaitable[Any] = self.workers_of_it.run_sync(fn, *args, limiter=self.limiter)
        return task

    async def at_once(self, count: int, fn: Callable[..., Any], *args: Any) -> list[Any]:
        import trio

        found: list[Any] = []

        async def one() -> None:
            found.append(await self.call(fn, *args))

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(one)
        return found
