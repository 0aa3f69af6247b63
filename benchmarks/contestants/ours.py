"""hybridrt: both lanes, each by its coroutine verb and by ``submit``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import hybridrt

from .contract import STALLS, Contestant


class _Ours(Contestant):
    rank = "ours"
    needs = ("hybridrt.runtime",)
    importing = "import hybridrt"
    using = "import hybridrt; hybridrt.Runtime"

    async def open(self) -> None:
        self.runtime = hybridrt.Runtime(threads=self.workers, processes=self.workers, preload=self.preload)
        await self.runtime.__aenter__()

    async def close(self) -> None:
        await self.runtime.__aexit__(None, None, None)


class ToProcess(_Ours):
    """A task for each call."""

    key = "hybridrt-process"
    label = "hybridrt to_process"
    short = "hybridrt to_process"
    lane = "process"
    takes = (
        *("one", "many", "syscalls-one", "syscalls-many", "import", "cold", "fresh", "crash"),
        *("memory", "memory-numpy", "array", "shared", *STALLS, "web"),
    )

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return self.runtime.to_process(fn, *args)

    async def share(self, value: Any) -> Any:
        share = getattr(self.runtime, "share", None)
        if share is None:
            raise NotImplementedError("this hybridrt has no Runtime.share")
        return share(value)


class SubmitToProcess(_Ours):
    """A future for each call."""

    key = "hybridrt-process-submit"
    label = "hybridrt submit"
    short = "hybridrt submit"
    lane = "process"
    takes = ("one", "many", "syscalls-many", "waiting")

    async def open(self) -> None:
        await super().open()
        self.submit = self.runtime.options(lane="process").submit

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return self.submit(fn, *args)


class ToThread(_Ours):
    """A task for each call."""

    key = "hybridrt-thread"
    label = "hybridrt to_thread"
    short = "hybridrt to_thread"
    lane = "thread"

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return self.runtime.to_thread(fn, *args)


class SubmitToThread(_Ours):
    """A future for each call."""

    key = "hybridrt-thread-submit"
    label = "hybridrt submit"
    short = "hybridrt submit"
    lane = "thread"
    takes = ("one", "many", "waiting")

    async def open(self) -> None:
        await super().open()
        self.submit = self.runtime.options(lane="thread").submit

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return self.submit(fn, *args)
