"""One stream at work: it opens its post when the first item is wanted, and gives it back however the stream ends.

Theory of operation. Whoever consumes asks for batches and waits for news of the tap. ``stop`` may come at any moment:
from him, from the runtime that is left, from a timer. It does at once what needs no waiting, and a task of its own does
the rest, so that no cancel can cut it short: the generator is closed, and the post is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

from .._engine.batch import Batch
from .._lanes.contract import Post
from ..errors import RuntimeClosed
from .tap import Tap

_PART = 256
"""Items that are given out between two looks at the clock."""
_TURN_SECONDS = 0.002
"""Whoever consumes items that are there already lets the loop turn as often as that."""


class Means(Protocol):
    """What a stream has of its runtime."""

    loop: asyncio.AbstractEventLoop
    grace: float
    """Seconds that what is interrupted has to stop."""
    on_leave: set[Callable[[str], asyncio.Task[None] | None]]
    """Called before the runtime is left, with the reason; each gives what it then still does."""

    async def open_post(
        self, lane: str, *, coroutines: bool = False, on_death: Callable[[], None] | None = None
    ) -> Post:
        """A worker of one's own."""
        ...

    def without_handles(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with what was shared in place of its handles."""
        ...


class Feed:
    """Batches from a tap, in their order. Belongs to the loop's thread."""

    def __init__(self, means: Means, tap: Tap, *, name: str, lane: str, timeout: float | None) -> None:
        self._means = means
        self._loop = means.loop
        self._tap = tap
        self._name = name
        self._lane = lane
        self._timeout = timeout
        self._timer: asyncio.TimerHandle | None = None
        self._opening: asyncio.Task[Post] | None = None
        self._has_begun = False
        self._items: list[Any] = []  # that are being consumed
        self._rest: list[Any] = []  # of the batch that they are of
        self._has_packed = False
        self._turned = 0.0  # when the loop had its last turn
        self._error: Exception | None = None
        self._is_stopped = False
        self._closing: asyncio.Task[None] | None = None
        self._is_told = False  # how the closing went
        self._waiting: asyncio.Future[None] | None = None
        self._at_leave = self._leave_runtime  # one object, to be found again

    async def next_batch(self) -> Batch | None:
        """The next one; None where the stream is over. Raises what the generator has raised, or why it was stopped."""
        if self._opening is None and not self._is_stopped:
            self._open()
        if perf_counter() - self._turned > _TURN_SECONDS:
            await asyncio.sleep(0)
            self._turned = perf_counter()
        while not self._is_stopped:
            if self._rest or self._has_begun or self._begin():
                batch = self._next_part()
                if batch is not None:
                    return batch
                if self._tap.is_over:
                    return None
            self._waiting = self._loop.create_future()
            await self._waiting
            self._turned = perf_counter()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return None

    def _next_part(self) -> Batch | None:
        """A part of the batch that is there, or of the next; None where there is none now."""
        if not self._rest:
            batch = self._tap.take()
            if batch is None:
                return None
            self._rest, self._has_packed = batch.items, batch.has_packed
        self._items = self._rest[:_PART]
        del self._rest[:_PART]
        return Batch(self._items, self._has_packed, None)

    def _open(self) -> None:
        self._means.on_leave.add(self._at_leave)
        if self._timeout is not None:
            self._timer = self._loop.call_later(self._timeout, self._expire)
        opening = self._means.open_post(self._lane, coroutines=self._tap.coroutines)
        self._opening = asyncio.ensure_future(opening)
        self._opening.add_done_callback(self._wake)

    def _begin(self) -> bool:
        """Whether the post is there."""
        if self._opening is None or not self._opening.done():
            return False
        self._has_begun = True
        self._tap.begin(self._opening.result(), self._wake)
        return True

    def _wake(self, _: object = None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # The end

    def _expire(self) -> None:
        self.stop(TimeoutError(f"{self._name} did not end within {self._timeout:g} s (options(timeout=...))"))

    def _leave_runtime(self, why: str) -> asyncio.Task[None] | None:
        self.stop(RuntimeClosed(f"the stream of {self._name} was stopped: {why}"))
        return self._closing

    def stop(self, error: Exception | None = None) -> None:
        """Stop the generator, and give up what it had; the consumer gets ``error``. A second time is harmless."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self._error = error
        self._items.clear()
        self._rest.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._has_begun:
            self._tap.stop()
        if self._opening is not None:
            self._closing = self._loop.create_task(self._close(self._opening))
        self._wake()

    async def _close(self, opening: asyncio.Task[Post]) -> None:
        try:
            if not opening.done():
                opening.cancel()
                await asyncio.wait([opening])
            if opening.cancelled() or opening.exception() is not None:
                return
            post = opening.result()
            is_clean = not self._has_begun
            try:
                if self._has_begun:
                    is_clean = await self._tap.end(3 * self._means.grace)
            except Exception:
                is_clean = True  # it has ended, if not well
                raise
            finally:
                await post.leave(is_clean=is_clean)
        finally:
            self._means.on_leave.discard(self._at_leave)

    async def close(self) -> None:
        """``stop``, and wait until all is done; raises what the generator raised when it was closed, once."""
        self.stop()
        if self._closing is None:
            return
        if not self._closing.done():
            await asyncio.wait([self._closing])
        if not self._is_told and not self._closing.cancelled():
            self._is_told = True
            self._closing.result()
