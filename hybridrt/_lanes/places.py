"""Places for what is bounded in number: who finds none free waits, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Places:
    """So many at once. Belongs to the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        self._loop = loop
        self._free = most
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._refusal: Callable[[], Exception] | None = None

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(not future.done() for future in self._waiting)

    async def take(self) -> None:
        """A place, as soon as one is free. Raises what ``refuse`` was given."""
        if self._refusal is not None:
            raise self._refusal()
        if self._free:
            self._free -= 1
            return
        future = self._loop.create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.give()  # it came in the very moment of the cancel
            raise

    def give(self) -> None:
        """A place is free again: it goes to who has waited longest."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return
        self._free += 1

    def refuse(self, error: Callable[[], Exception]) -> None:
        """Nobody gets a place any more; who waits gets this error now."""
        self._refusal = error
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(error())
