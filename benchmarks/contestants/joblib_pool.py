"""joblib's ``Parallel``, whose calls come as one batch; in a thread, for it blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from .contract import Contestant


class Joblib(Contestant):
    """On loky's workers; an array of more than a megabyte goes into a file that they map into memory."""

    key = "joblib"
    label = "joblib.Parallel (a list of calls, batched)"
    short = "joblib"
    lane = "process"
    needs = ("joblib", "numpy")
    takes = ("many", "array", "shared", "import")
    importing = "import asyncio, joblib"

    async def open(self) -> None:
        import joblib

        self.delayed: Any = joblib.delayed
        self.parallel: Any = joblib.Parallel(n_jobs=self.workers).__enter__()

    async def close(self) -> None:
        import joblib.externals.loky as loky

        self.parallel.__exit__(None, None, None)
        loky.get_reusable_executor().shutdown(wait=True, kill_workers=True)

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return self._first(self.at_once(1, fn, *args))

    async def _first(self, results: Awaitable[list[Any]]) -> Any:
        return (await results)[0]

    async def at_once(self, count: int, fn: Callable[..., Any], *args: Any) -> list[Any]:
        calls = [self.delayed(fn)(*args) for _ in range(count)]
        found: list[Any] = await asyncio.to_thread(self.parallel, calls)
        return found

    async def share(self, value: Any) -> Any:
        """Each batch maps what is in it."""
        return value
