"""The floor for large data: what this one process needs for the same, and what its loop does when nothing is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .contract import STALLS, Contestant


class _Local(Contestant):
    lane = "process"
    rank = "floor"

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Copies(_Local):
    """An array is copied into memory that was touched before, once for each way that it goes."""

    key = "floor-copy"
    label = "floor: warm copies in one process"
    short = "the floor"
    takes = ("array",)

    async def open(self) -> None:
        self.there: Any = None
        self.back: Any = None

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        import numpy as np

        (array,) = args
        if self.there is None:
            self.there, self.back = np.empty_like(array), np.empty_like(array)
        np.copyto(self.there, array)
        result = fn(self.there)
        if isinstance(result, np.ndarray):
            np.copyto(self.back, result)
            return self.back
        return result


class Idle(_Local):
    """Nothing is sent: what a timer's lateness is on this machine at that time."""

    key = "floor-idle"
    label = "floor: nothing sent, 200 ms"
    short = "the floor"
    takes = STALLS

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        if args:
            await asyncio.sleep(0.2)
        return fn(*args)
