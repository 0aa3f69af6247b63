"""A generator in a thread of its own: one call that goes on for as long as the stream, and waits when it is far ahead.

Theory of operation. Items go through a deque. The thread counts them in *legs*: what it makes in a batch's time, or as
many as a batch may have. When two legs are there that nobody has taken, it waits; the consumer takes at most one at a
time. So it is as far ahead as a process would be, and what is dear to make, or large, is never more than three.

Who waits says so first and then looks; who brings something brings it first and then looks whether anybody waits.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from time import perf_counter
from typing import Any

from .._core.function import Function
from .._engine.batch import BATCH_SECONDS, MOST_BYTES, MOST_ITEMS, Batch
from .._engine.failure import presentable
from .._engine.packing import PLAIN
from .._lanes.contract import Post
from .._lanes.job import Job
from .tap import Call, facts_of

_MOST_LEGS = 2
_CONTAINERS = (list, dict, tuple, set, frozenset)


class ThreadTap:
    """See ``Tap``. ``_produce`` runs in the thread, everything else in the loop's."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, function: Function, call: Call, context: Context
    ) -> None:
        self.coroutines: bool = False
        self.is_over: bool = False
        self._loop = loop
        self._facts = facts_of(self._produce, function)
        self._name = function.name
        self._call: Call | tuple[()] = call
        self._context = context
        self._job: Job[Any] | None = None
        self._wake: Callable[[], None] = lambda: None
        self._items: deque[Any] = deque()
        self._ends: deque[int] = deque()  # of legs: how many items had been made
        self._taken = 0
        self._is_waited_for = False
        self._is_stopped = False
        self._has_begun = False
        self._go_on = threading.Event()
        self._ended: asyncio.Future[BaseException | None] = loop.create_future()

    def begin(self, post: Post, wake: Callable[[], None]) -> None:
        self._wake = wake
        call, self._call = self._call, ()
        self._job = self._context.run(post.submit, self._facts, self._produce, call, {})
        self._job.add_done_callback(self._on_done)

    def _on_done(self, job: Job[Any]) -> None:
        if not job.cancelled():
            job.exception()
        self._wake()

    # In the thread

    def _produce(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._has_begun = True
        error: BaseException | None = None
        try:
            if not self._is_stopped:
                self._run(fn(*args, **kwargs))
        except BaseException as exc:
            error = exc
            raise
        finally:
            del args, kwargs
            self._tell(self._end, error if self._is_stopped else None)
            error = None

    def _run(self, generator: Any) -> None:
        put = self._items.append
        ends = self._ends
        made = count = size = 0
        began = perf_counter()
        try:
            for item in generator:
                if self._is_stopped:
                    break
                count += 1
                if type(item) not in PLAIN:
                    size += _bytes_of(item)
                put(item)
                del item
                if self._is_waited_for:
                    self._is_waited_for = False
                    self._tell(self._look)
                if count >= MOST_ITEMS or size > MOST_BYTES or perf_counter() - began > BATCH_SECONDS:
                    made += count
                    count = size = 0
                    ends.append(made)
                    self._wait_for_room()
                    if self._is_stopped:
                        break
                    began = perf_counter()
        finally:
            generator.close()

    def _wait_for_room(self) -> None:
        while len(self._ends) >= _MOST_LEGS and not self._is_stopped:
            self._go_on.clear()
            if len(self._ends) >= _MOST_LEGS and not self._is_stopped:
                self._go_on.wait()

    def _tell(self, callback: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            pass  # the loop was closed under us: nobody waits any more

    # On the loop

    def _look(self) -> None:
        self._wake()

    def _end(self, error: BaseException | None) -> None:
        if not self._ended.done():
            self._ended.set_result(error)

    def take(self) -> Batch | None:
        items, ends = self._items, self._ends
        has_ended = self._job is None or self._job.done()  # first: no item comes after that
        if not items and not has_ended:
            self._is_waited_for = True
        there = len(items)  # before the ends: those of a leg that has no end yet are then surely its own
        while ends and ends[0] <= self._taken:
            ends.popleft()
            self._go_on.set()
        if ends and ends[0] - self._taken <= there:
            there = ends.popleft() - self._taken
            self._go_on.set()
        if there:
            self._is_waited_for = False
            self._taken += there
            return Batch([items.popleft() for _ in range(there)], False, None)
        if has_ended and not self.is_over:
            self.is_over = True
            if self._job is not None:
                self._job.result()
        return None

    def stop(self) -> None:
        self._is_stopped = True
        self._wake = lambda: None
        self._go_on.set()
        if self._job is not None:
            self._job.cancel()  # so that hybridrt.cancelled() is true there
        self._items.clear()

    async def end(self, patience: float) -> bool:
        if self._job is None or not self._has_begun:
            return True  # it will not begin any more
        if not self._ended.done():
            await asyncio.wait([self._ended], timeout=patience)
        if self._ended.done() and (error := self._ended.result()) is not None:
            raise presentable(error, where="a thread")
        return self._ended.done()


def _bytes_of(item: Any) -> int:
    """About how many bytes it holds, where that is quickly said; else none."""
    kind = type(item)
    if kind is str or kind is bytes or kind is bytearray:
        return len(item)
    if kind in _CONTAINERS:
        return sys.getsizeof(item)
    try:
        size = item.nbytes
    except Exception:  # a property of the user's may raise anything
        return 0
    return size if type(size) is int else 0
