"""anyio's threads and processes, on the same loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .contract import STALLS, Contestant


class _Anyio(Contestant):
    async def open(self) -> None:
        import anyio

        self.limiter = anyio.CapacityLimiter(self.workers)

    async def close(self) -> None:
        """Its workers belong to the loop, and go with it."""


class ToProcess(_Anyio):
    """A task for each call."""

    key = "anyio-process"
    label = "anyio.to_process"
    short = "anyio.to_process"
    lane = "process"
    needs = ("anyio.to_process",)
    takes = (
        *("one", "many", "syscalls-one", "syscalls-many", "import", "cold", "fresh", "crash"),
        *("memory", "memory-numpy", "array", *STALLS),
    )
    importing = "import anyio"
    using = "from anyio import to_process"

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return self.run_sync(fn, *args, limiter=self.limiter)

    async def open(self) -> None:
        from anyio import to_process

        await super().open()
        self.run_sync: Callable[..., Awaitable[Any]] = to_process.run_sync


class ToThread(_Anyio):
    """A task for each call."""

    key = "anyio-thread"
    label = "anyio.to_thread"
    short = "anyio.to_thread"
    lane = "thread"
    needs = ("anyio.to_thread",)

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return self.run_sync(fn, *args, limiter=self.limiter)

    async def open(self) -> None:
        from anyio import to_thread

        await super().open()
        self.run_sync: Callable[..., Awaitable[Any]] = to_thread.run_sync
