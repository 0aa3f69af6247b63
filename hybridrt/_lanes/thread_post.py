"""A thread of one's own: what is made in it, and may be used in no other, lives as long as the post."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from math import inf
from typing import Any, Literal

from .._core.function import COROUTINE, Function
from .._engine import shares
from ..errors import RuntimeClosed
from .job import Job
from .threads import ThreadLane


class ThreadPost:
    """One thread that is nobody else's, from its first call on. Belongs to the loop's thread."""

    lane: Literal["thread"] = "thread"
    gone: None = None
    """A thread does not die."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        numbers: Iterator[int],
        *,
        grace: float,
        on_left: Callable[[ThreadPost], None],
        without_handles: Callable[[tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]],
    ) -> None:
        """``grace``: seconds that a stopped call is waited for. ``on_left`` is called once, when it is given up.

        ``without_handles`` puts what was shared in the place of its handles.
        """
        self._without_handles = without_handles
        self.threads: ThreadLane = ThreadLane(
            loop, limit=1, idle=inf, numbers=numbers, name="own-thread", owner="its actor or stream"
        )
        self._grace = grace
        self._on_left = on_left
        self._jobs: set[Job[Any]] = set()
        self._is_left = False

    def submit(
        self, function: Function, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Job[Any]:
        """Queue a call for this thread, which runs one at a time, in their order.

        Raises TypeError for a coroutine function, RuntimeClosed where the post was given up or the runtime left.
        """
        if function.kind == COROUTINE:
            raise TypeError(
                f"{function.name} is a coroutine function, which needs an event loop and not a thread"
            )
        if shares.in_use:
            args, kwargs = self._without_handles(args, kwargs)
        job = self.threads.submit(function, fn, args, kwargs)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return job

    async def leave(self, *, is_clean: bool) -> None:
        """Let the thread go; what waits for it fails with RuntimeClosed, and what runs in it sees that it is cancelled.

        One that does not end keeps its thread, and a warning names it. A second time is harmless.
        """
        if self._is_left:
            return
        self._is_left = True
        self.threads.close_submit("the thread of its own that it was for has been given up")
        for job in tuple(self._jobs):
            if not job.done():
                job.set_exception(RuntimeClosed(f"{job.function.name} was stopped: its thread was given up"))
        try:
            await self.threads.close(self._grace)
        finally:
            self._on_left(self)
