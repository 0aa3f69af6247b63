"""The floor for threads: a bare queue there, a deque and one pending wake-up of the loop back."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any, ClassVar

from .contract import Contestant


class Queue(Contestant):
    """No contexts, no errors, no growing and shrinking: all threads are there from the beginning."""

    key = "floor-queue"
    label = "floor: SimpleQueue, deque, one wake-up"
    short = "the floor"
    lane = "thread"
    rank = "floor"
    takes: ClassVar[tuple[str, ...]] = ("many", "waiting")

    async def open(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.inbox: SimpleQueue[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]] | None]
        self.inbox = SimpleQueue()
        self.outbox: deque[tuple[asyncio.Future[Any], Any]] = deque()
        self.wake_is_pending = False
        self.threads = [threading.Thread(target=self.work) for _ in range(self.workers)]
        for thread in self.threads:
            thread.start()

    async def close(self) -> None:
        for _ in self.threads:
            self.inbox.put(None)
        for thread in self.threads:
            thread.join()

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        future = self.loop.create_future()
        self.inbox.put((future, fn, args))
        return future

    def work(self) -> None:
        """The life of a thread."""
        while (item := self.inbox.get()) is not None:
            future, fn, args = item
            self.outbox.append((future, fn(*args)))
            if not self.wake_is_pending:
                self.wake_is_pending = True
                self.loop.call_soon_threadsafe(self.drain)

    def drain(self) -> None:
        """In the loop: deliver whatever is there."""
        self.wake_is_pending = False
        while self.outbox:
            future, result = self.outbox.popleft()
            future.set_result(result)


class OneThread(Queue):
    """One thread, one call under way: what is measured one at a time."""

    key = "floor-queue-one"
    label = "floor: SimpleQueue, deque, one wake-up"
    short = "the floor"
    takes = ("one",)

    def __init__(self, workers: int, preload: tuple[str, ...] = ()) -> None:
        super().__init__(1, preload)


class TaskQueue(Queue):
    """With a coroutine around each call, as a coroutine verb has it."""

    key = "floor-queue-task"
    label = "floor: and a task for each call"
    short = "the floor, tasks"
    takes = ("many",)

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await super().call(fn, *args)
