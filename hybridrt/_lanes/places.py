"""Places for what is bounded in number: who finds too few free waits, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Places:
    """So many at once. Belongs to the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        self._loop = loop
        self._free = most
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._refusal: Callable[[], Exception] | None = None

    @property
    def waiting(self) -> int:
        """How many wait for places."""
        return sum(not future.done() for future, _ in self._waiting)

    async def take(self, count: int = 1) -> None:
        """So many places, as soon as they are free, all of them at once: who waits holds none, so none wait for ever.

        Raises what ``refuse`` was given.
        """
        if self._refusal is not None:
            raise self._refusal()
        if self._free >= count and not self.waiting:
            self._free -= count
            return
        future = self._loop.create_future()
        self._waiting.append((future, count))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.give(count)  # they came in the very moment of the cancel
            else:
                self.give(0)  # it may have stood in the way of who wants fewer
            raise

    def give(self, count: int = 1) -> None:
        """So many are free again: they go to who has waited longest."""
        self._free += count
        while self._waiting:
            future, wanted = self._waiting[0]
            if not future.done():
                if wanted > self._free:
                    return
                self._free -= wanted
                future.set_result(None)
            self._waiting.popleft()

    def refuse(self, error: Callable[[], Exception]) -> None:
        """Nobody gets a place any more; who waits gets this error now."""
        self._refusal = error
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():
                future.set_exception(error())
