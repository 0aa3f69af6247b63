"""A generator in a worker process: two pulls are always under way, so that it works while what it gave is used.

What is ahead of the consumer is therefore the batch that he is at and two more. Each pull is a call of the engine's
``producer`` (``loop_producer`` for an async generator); what comes ahead of its answer comes in parts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from itertools import count
from typing import Any

from .._core.function import Function
from .._engine import loop_producer, producer, wire
from .._engine.batch import OVER, Batch
from .._engine.parcel import loads
from .._lanes.answers import failure_of
from .._lanes.contract import Post
from .._lanes.job import Job, ProcessJob
from ..errors import NotSendable, RuntimeClosed, WorkerCrashed
from .tap import Call, facts_of

_numbers = count(1)


class _Pull:
    """One pull under way: its parts, and its answer."""

    __slots__ = ("job", "parts", "refusal", "wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self.parts: deque[Batch] = deque()
        self.job: Job[Any] | None = None
        self.refusal: Exception | None = None
        """Why there is no job."""
        self.wake = wake

    def hear_part(self, payload: bytes | memoryview) -> None:
        items, has_packed = loads(payload)
        self.parts.append(Batch(items, has_packed, None))
        self.wake()

    def on_done(self, job: Job[Any]) -> None:
        if not job.cancelled():
            job.exception()  # seen; it may be that nobody wants to know
        self.wake()

    @property
    def is_done(self) -> bool:
        return self.job is None or self.job.done()


class ProcessTap:
    """See ``Tap``."""

    def __init__(
        self, function: Function, *, packed: bytes, call: Call, is_async: bool, context: Context
    ) -> None:
        """``packed`` is the call, or empty where it is too large to be pickled on the loop."""
        self.coroutines: bool = is_async
        self.is_over: bool = False
        self._steps: Any = loop_producer if is_async else producer
        self._name = function.name
        self._facts = facts_of(self._steps.go_on, function)
        self._packed = packed
        self._call: Call | None = None if packed else call
        self._context = context
        self._nowhere = Context()  # pulls bring nothing along: the generator has what it was opened with
        self._number = next(_numbers)
        self._pulls: deque[_Pull] = deque()
        self._failure: BaseException | None = None
        self._is_open = False  # as far as is known
        self._closing: Job[Any] | None = None
        self._post: Post | None = None
        self._wake: Callable[[], None] = lambda: None

    def begin(self, post: Post, wake: Callable[[], None]) -> None:
        self._post, self._wake = post, wake
        args = (self._number, self._packed, self._call)
        self._pull(self._context, self._steps.begin, args)
        self._packed, self._call, self._is_open = b"", None, True
        self._pull(self._nowhere, self._steps.go_on, (self._number,))

    def _pull(self, context: Context, step: Callable[..., Any], args: tuple[Any, ...]) -> None:
        pull = _Pull(self._wake)
        self._pulls.append(pull)
        try:
            pull.job = job = context.run(self._submit, step, args)
        except Exception as exc:  # the worker has died, or the runtime was left
            pull.refusal = exc
            self._wake()
            return
        if isinstance(job, ProcessJob):
            job.hear_part = pull.hear_part
        job.add_done_callback(pull.on_done)

    def _submit(self, step: Callable[..., Any], args: tuple[Any, ...]) -> Job[Any]:
        if self._post is None:
            raise RuntimeError("a tap is opened before it is drawn from")
        return self._post.submit(self._facts, step, args, {})

    def take(self) -> Batch | None:
        while not self.is_over:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                self.is_over = True
                raise failure
            pull = self._pulls[0]
            if pull.parts:
                return pull.parts.popleft()
            if not pull.is_done:
                return None
            self._pulls.popleft()
            batch = self._answer(pull)
            if batch is not None and batch.items:
                return batch
        return None

    def _answer(self, pull: _Pull) -> Batch | None:
        """The items of this pull, which has ended; what comes after them is noted."""
        job, pull.job = (
            pull.job,
            None,
        )  # no circle: a large answer goes with its last user, not with the collector
        try:
            if job is None:
                raise pull.refusal or AssertionError
            answer = job.result()
        except NotSendable as exc:
            self._failure = _of_the_users_call(exc)
            return None
        except Exception as exc:
            self._failure = exc
            return None
        if type(answer) is not Batch:
            answer = Batch([answer], False, None)
        del job
        if answer.end is None:
            self._pull(self._nowhere, self._steps.go_on, (self._number,))
        elif answer.end == OVER:
            self.is_over = True
            self._is_open = False
        else:
            kind, payload = answer.end
            self._is_open = kind == wire.UNSENDABLE
            self._failure = failure_of(self._name, kind, payload)
        return answer

    def stop(self) -> None:
        if self._post is None:
            return
        if self._is_open:
            for pull in reversed(self._pulls):
                if pull.job is not None:
                    pull.job.cancel()
            try:
                self._closing = self._nowhere.run(self._submit, self._steps.end, (self._number,))
            except Exception:
                pass  # there is no worker any more
        self._wake = lambda: None

    async def end(self, patience: float) -> bool:
        jobs = [pull.job for pull in self._pulls if pull.job is not None and not pull.job.done()]
        self._pulls.clear()  # and what has come that nobody wants
        if self._closing is None:
            if self._is_open:
                return False
            if jobs:  # a pull that comes after the end, and finds nothing
                await asyncio.wait(jobs, timeout=patience)
            return all(job.done() for job in jobs)
        closing = self._closing
        if not closing.done():
            await asyncio.wait([closing], timeout=patience)
        if not closing.done():
            closing.cancel()
            return False
        try:
            closing.result()
        except (WorkerCrashed, RuntimeClosed, asyncio.CancelledError):
            return False
        return True


def _of_the_users_call(exc: NotSendable) -> NotSendable:
    """The same error where its path leads through our call to the user's: as his call has it."""
    for ours, theirs in (("args[2][0]", "function"), ("args[2][1]", "args"), ("args[2][2]", "kwargs")):
        if exc.where.startswith(ours):
            told = NotSendable(str(exc).replace(ours, theirs), where=theirs + exc.where[len(ours) :])
            return told.with_traceback(exc.__traceback__)
    return exc
