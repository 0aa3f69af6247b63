"""The items of one map from the input to whoever takes the results: never more of them than there is room for.

Theory of operation. Everything happens in the loop's thread. A batch (of one item or of many) that was read is either
running, or waits to be started again (``_again``), or is done; in ``_order`` all of them stand in their order until
they are yielded, or where order does not matter those that are done stand in ``_ready``. ``pump`` starts what there is
room for, and is called when a job has ended, when something was yielded, and when an async input has given something.

A consumer that drops the generator ``results`` anywhere closes it, by itself or through the loop's hook for async
generators; its ``finally`` stops everything. Nothing that the loop holds may hold the generator.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextvars import copy_context
from functools import partial
from time import perf_counter
from typing import Any

from .._core.function import Function
from .._engine.batch_call import BatchCall
from .._engine.variables import travellers
from .._lanes.job import Job, ProcessJob, WaitingJob
from ..errors import NotSendable, RuntimeClosed
from .bar import Bar
from .batches import Batch, Opening, alone, outcome_of, parts_told
from .bounds import Bounds
from .reader import Reader
from .sources import Source
from .starting import Means

_LONG_SECONDS = 0.05
"""A batch that is not there by then has an item that takes long, or its worker has no CPU."""
_PIECE = 512
_MOST_SECONDS = 0.001
"""For so long a consumer that never waits may take results without a turn of the loop."""


class Flow:
    """One map. ``bar`` hears of what is yielded, and is closed in the end."""

    def __init__(
        self,
        means: Means,
        fn: Callable[..., Any],
        iterators: list[Iterator[Any] | AsyncIterator[Any]],
        *,
        limit: int | None,
        is_ordered: bool,
        goes_on: bool,
        bar: Bar | None,
    ) -> None:
        self._means = means
        self._fn = fn
        self._is_spread = len(iterators) > 1
        self._is_ordered = is_ordered
        self._goes_on = goes_on
        self._bar = bar
        self._context = copy_context()
        self._own = Function(fn, means.function.knowledge)
        self._call = BatchCall(fn, self._is_spread, goes_on, is_apart=bool(travellers))
        self._bounds = Bounds(means, limit)
        self._pace = self._bounds.pace
        sync = [it for it in iterators if not isinstance(it, AsyncIterator)]
        self._source: Source | None = None
        self._reader: Reader | None = None
        self._input: Source | Reader
        if len(sync) == len(iterators):
            self._input = self._source = Source(sync)
        else:
            self._input = self._reader = Reader(means.loop, iterators, self)
        self._order: deque[Batch] = deque()
        self._ready: deque[Batch] = deque()
        self._again: deque[Batch] = deque()
        self._running: set[Batch] = set()
        self.accepted: int = 0
        """Items read and not yielded."""
        self.is_over: bool = False
        self._is_failing = False  # what is to be raised is known: nothing more is read
        self._pump_is_due = False
        self._waiter: asyncio.Future[None] | None = None
        self._turned = 0.0  # when the loop had its last turn, as far as we know

    # How much at once

    @property
    def room(self) -> int:
        """Items that may be read now."""
        return 0 if self._is_failing else self._bounds.most_accepted - self.accepted

    @property
    def size(self) -> int:
        """Items that the next batch should have."""
        return self._pace.size

    @property
    def slots(self) -> int:
        """Jobs that may be started now."""
        return self._bounds.most_running - len(self._running)

    # Starting

    def pump(self) -> None:
        """Start what there is room for."""
        self._pump_is_due = False
        if self.is_over:
            return
        try:
            while self._again and self.slots > 0:
                self._start(self._again.popleft())
            if self._reader is not None:
                self._reader.go_on()
            elif self._source is not None:
                self._read(self._source)
        finally:
            if self._is_finished():
                self._wake()

    def _pump_soon(self) -> None:
        if not self._pump_is_due:
            self._pump_is_due = True
            self._means.loop.call_soon(self.pump)

    def _read(self, source: Source) -> None:
        while (
            not source.is_over and not self._again and (slots := self.slots) > 0 and (room := self.room) > 0
        ):
            wanted = size = min(room, self.size)
            items = source.read(wanted)
            if len(items) < wanted:
                size = max(
                    1, -(-len(items) // slots)
                )  # the last ones, or all that came in time: for all workers
            self.accept(items, size)
            if len(items) < wanted and not source.is_over:
                self._pump_soon()  # reading takes long: the loop is to turn in between
                return

    def accept(self, items: list[Any], size: int) -> None:
        """These have been read; start them in batches of ``size``."""
        self.accepted += len(items)
        for start in range(0, len(items), size):
            batch = Batch(items[start : start + size] if len(items) > size else items)
            if self._is_ordered:
                self._order.append(batch)
            self._start(batch)

    def _start(self, batch: Batch) -> None:
        if len(batch.items) > 1 or (self._pace.is_batching and not batch.is_alone):
            self._start_many(batch)
        else:
            self._start_one(batch)

    def _start_many(self, batch: Batch) -> None:
        means = self._means
        job = None
        try:
            if means.start_batch is not None and not self._pace.is_fixed:
                job = self._context.run(
                    means.start_batch, means.lane, means.function, self._own, self._call,
                    batch.items, 2 * self._bounds.terms.seconds,
                )  # fmt: skip
                if job is None:
                    self._pace.refused()
        except NotSendable:
            pass  # which one it is comes out one by one
        except Exception as exc:
            self._settle(batch, [batch.fail(exc, goes_on=self._goes_on)])
            return
        if job is None:
            self._settle(batch, alone(batch.items))
            return
        batch.is_many = True
        if isinstance(job, ProcessJob):
            batch.sent = len(job.payload)
            job.hear_part = partial(self._hear_part, batch)
            batch.timer = means.loop.call_later(_LONG_SECONDS, self._cut_short, batch, job, _LONG_SECONDS)
        self._follow(batch, job)

    def _start_one(self, batch: Batch) -> None:
        means = self._means
        args = tuple(batch.items[0]) if self._is_spread else (batch.items[0],)
        try:
            job = self._context.run(means.start, means.lane, self._fn, args, {})
        except Exception as exc:
            self._settle(batch, [batch.fail(exc, goes_on=self._goes_on)])
            return
        if batch.retries is not None and isinstance(job, ProcessJob | WaitingJob):
            job.retries = batch.retries
        self._follow(batch, job)

    def _follow(self, batch: Batch, job: Job[Any]) -> None:
        batch.job = job
        self._running.add(batch)
        job.add_done_callback(partial(self._on_done, batch))

    def _cut_short(self, batch: Batch, job: ProcessJob[Any], seconds: float) -> None:
        """One of its items takes long: the others are not to wait for it."""
        job.cut_short()
        seconds = min(2 * seconds, 1.0)
        batch.timer = self._means.loop.call_later(seconds, self._cut_short, batch, job, seconds)

    def _hear_part(self, batch: Batch, part: bytes | memoryview) -> None:
        # Not now: its lane is in the middle of what it has read. But before anybody hears that the job is done.
        self._means.loop.call_soon(self._on_part, batch, bytes(part))

    def _on_part(self, batch: Batch, part: bytes) -> None:
        if batch in self._running and not self.is_over:
            self._settle(batch, parts_told(batch, part, self._means.function.name))
            self.pump()

    # Ending

    def _on_done(self, batch: Batch, job: Job[Any]) -> None:
        self._running.discard(batch)
        if batch.timer is not None:
            batch.timer.cancel()
        if self.is_over:
            outcome_of(job)  # it is seen, and nobody is told that it was not
            return
        if batch.is_many:
            self._settle(batch, self._opened(batch, job))
        else:
            error = outcome_of(job)
            part = batch.end([job.result()]) if error is None else batch.fail(error, goes_on=self._goes_on)
            self._bounds.learn_alone(job)
            self._settle(batch, [part])
        self.pump()

    def _opened(self, batch: Batch, job: Job[Any]) -> list[Batch]:
        opening = Opening(
            batch,
            job,
            goes_on=self._goes_on,
            is_measured=self._means.lane is None,
            retries=self._means.retries,
        )
        self._bounds.see(job)
        if opening.has_crashed:
            self._pace.one_by_one()
        elif opening.count:
            self._pace.learn(opening.count, opening.seconds, opening.size)
        return opening.parts

    def _settle(self, batch: Batch, parts: list[Batch]) -> None:
        """``parts`` stand in the place of ``batch`` from now on: those that have not ended are to be started."""
        if self._is_ordered and parts != [batch]:
            if self._order and self._order[0] is batch:
                self._order.popleft()
                self._order.extendleft(reversed(parts))
            else:
                at = self._order.index(batch)
                del self._order[at]
                for part in reversed(parts):
                    self._order.insert(at, part)
        again = [part for part in parts if not part.is_done and part is not batch]
        self._again.extendleft(reversed(again))
        for part in parts:
            if part.is_done:
                self._is_failing |= part.error is not None
                if not self._is_ordered:
                    self._ready.append(part)
        if self._again:
            self._pump_soon()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Yielding

    def _next_done(self) -> Batch | None:
        if self._ready:
            return self._ready.popleft()
        if self._order and self._order[0].is_done:
            return self._order.popleft()
        return None

    def _is_finished(self) -> bool:
        is_over = self._input.is_over or self._is_failing
        return is_over and not (self._running or self._again or self._order or self._ready)

    async def results(self) -> AsyncGenerator[Any, None]:
        """What is to be yielded; raises what an item or the input has raised. Stops all when it is closed."""
        try:
            self._begin()
            while True:
                batch = self._next_done()
                if batch is None:
                    if self.is_over:
                        raise RuntimeClosed("this map was closed, or the scope that it was made in has ended")
                    if self._is_finished():
                        break
                    await self._wait()
                    continue
                values = batch.values
                last = values[-1:]
                del values[-1:]
                for start in range(0, len(values), _PIECE):
                    for value in values[start : start + _PIECE]:
                        yield value
                    if perf_counter() - self._turned > _MOST_SECONDS:
                        await self._turn()
                del values
                value = None  # whoever takes a result decides how long it lives
                self._release(batch)
                error, batch = batch.error, None
                if last:
                    yield last.pop()
                if error is not None:
                    raise error
                if perf_counter() - self._turned > _MOST_SECONDS:
                    await self._turn()
            if (error := self._input.error) is not None:
                raise error
        finally:
            error = None  # its traceback has this frame
            await self.close()

    def _begin(self) -> None:
        self._turned = perf_counter()
        if self._bar is not None:
            self._bar.begin()
        if self._reader is not None:
            self._reader.begin()
        self.pump()

    def _release(self, batch: Batch) -> None:
        """Its last item is about to be yielded: as soon as the consumer has it and waits, there is room for others."""
        self.accepted -= len(batch.items)
        if self._bar is not None:
            self._bar.add(len(batch.items), batch.failed)
        self._pump_soon()

    async def _wait(self) -> None:
        self._waiter = self._means.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._turned = perf_counter()

    async def _turn(self) -> None:
        await asyncio.sleep(0)
        self._turned = perf_counter()

    def stop(self) -> None:
        """Stop what is in flight, and read nothing more; a second time is harmless."""
        if self.is_over:
            return
        self.is_over = True
        for batch in tuple(self._running):
            if batch.timer is not None:
                batch.timer.cancel()
            if batch.job is not None:
                batch.job.cancel()
        self._order.clear()
        self._ready.clear()
        self._again.clear()
        self._wake()
        if self._bar is not None:
            self._bar.close()

    async def close(self) -> None:
        """Stop it and close the input; a second time is harmless."""
        self.stop()
        if self._reader is not None:
            await self._reader.close()
        elif self._source is not None:
            self._source.close()
