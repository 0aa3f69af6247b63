"""Items that go together, and what becomes of them: results in their order, perhaps an error behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from .._core.interrupt import Interrupted
from .._engine import wire
from .._engine.batch_call import Answer
from .._engine.blackbox import ENDED
from .._engine.failure import presentable
from .._engine.parcel import loads
from .._lanes.answers import failure_of
from .._lanes.job import Job, ProcessJob
from .._lanes.unsendable import unsendable_result
from ..errors import NotSendable, RuntimeClosed, TaskExited, WorkerCrashed, WorkerStartError


class Batch:
    """Items that were accepted and not yet yielded."""

    __slots__ = (
        "error",
        "failed",
        "given",
        "is_alone",
        "is_done",
        "is_many",
        "items",
        "job",
        "retries",
        "sent",
        "timer",
        "values",
    )

    def __init__(self, items: Sequence[Any], *, is_alone: bool = False, retries: int | None = None) -> None:
        self.items: Sequence[Any] = items
        self.is_alone: bool = is_alone
        """Its one item is not to be sent in a batch, even of one."""
        self.retries: int | None = retries
        """How often it may still be run again; None: as often as any."""
        self.is_many: bool = False
        """Whether it was started as a batch."""
        self.sent: int = 0
        """Bytes that went."""
        self.given: int = 0
        """Items before these that were started with them, and of which the worker has told before."""
        self.timer: asyncio.TimerHandle | None = None
        """Until it is found to take long."""
        self.job: Job[Any] | None = None
        self.is_done: bool = False
        self.values: list[Any] = []
        self.error: BaseException | None = None
        self.failed: int = 0

    def end(self, values: list[Any], error: BaseException | None = None, failed: int = 0) -> Batch:
        """These are to be yielded, then ``error`` is to be raised."""
        self.is_done = True
        self.job = None
        self.values = values
        self.error = error
        self.failed = failed + (error is not None)
        return self

    def fail(self, error: BaseException, *, goes_on: bool) -> Batch:
        """All of its items have failed with ``error``."""
        if goes_on and isinstance(error, Exception) and not isinstance(error, RuntimeClosed):
            return self.end([error] * len(self.items), failed=len(self.items))
        return self.end([], error)


def alone(items: Sequence[Any], retries: int | None = None) -> list[Batch]:
    """Each of these by itself."""
    return [Batch((item,), is_alone=True, retries=retries) for item in items]


def outcome_of(job: Job[Any]) -> BaseException | None:
    """What the job failed with, or None."""
    if job.cancelled():
        return presentable(asyncio.CancelledError(), where="the event loop")
    return job.exception()


class Opening:
    """What the job of a batch has come to, as parts that stand in place of the batch: ended ones, and some to start.

    ``size``, ``count`` and ``seconds`` are what can be learned of it; ``has_crashed``: its worker died.
    """

    __slots__ = ("_goes_on", "_is_measured", "_name", "count", "has_crashed", "parts", "seconds", "size")

    def __init__(
        self, batch: Batch, job: Job[Any], *, goes_on: bool, is_measured: bool, retries: int
    ) -> None:
        self._name = job.function.name
        self._goes_on = goes_on
        self._is_measured = is_measured
        self.count: int = 0
        self.seconds: float = 0.0
        self.size: int = batch.sent
        self.has_crashed: bool = False
        error = outcome_of(job)
        if error is None:
            self.parts: list[Batch] = self._answered(batch, job.result())
        elif isinstance(error, WorkerCrashed):
            self.has_crashed = True
            self.parts = self._crashed(batch, job, error, retries)
        elif _may_have_begun(error):
            self.parts = [batch.fail(error, goes_on=goes_on)]
        else:
            self.parts = alone(
                batch.items
            )  # it could not be sent, or opened: whose fault it was comes out now

    def _answered(self, batch: Batch, answer: Answer) -> list[Batch]:
        seconds, count, results, failures = answer
        self.count, self.seconds = count, seconds
        items = batch.items
        rest = [Batch(items[count:])] if count < len(items) else []
        values: list[Any] = results
        if type(results) is bytes:
            self.size = max(self.size, len(results))
            values = loads(results)
        elif type(results) is tuple:
            self.size = max(self.size, sum(map(len, results)))
            values = []
            for at, data in enumerate(results):
                try:
                    values.append(loads(data))
                except BaseException as exc:
                    values.append(None)
                    failures[at] = unsendable_result(self._name, "result", presentable(exc))
        if not failures:
            batch.items = items[:count]
            return [batch.end(values), *rest]
        return self._with_failures(batch, values, failures, rest)

    def _with_failures(
        self, batch: Batch, values: list[Any], failures: dict[int, Any], rest: list[Batch]
    ) -> list[Batch]:
        items = batch.items
        parts: list[Batch] = []
        start = failed = 0
        for at in sorted(failures):
            failure = failures[at]
            if self._is_measured and type(failure) is tuple and failure[0] == wire.UNSENDABLE:
                # It was for us to choose a process, where it has no effects: it is run again where nothing is sent.
                parts += [
                    Batch(items[start:at]).end(values[start:at], failed=failed),
                    *alone(items[at : at + 1]),
                ]
                start, failed = at + 1, 0
                continue
            error = self._exception(failure)
            if not self._goes_on:
                return [*parts, Batch(items[start : at + 1]).end(values[start:at], error)]
            values[at] = error
            failed += 1
        return [*parts, Batch(items[start : self.count]).end(values[start:], failed=failed), *rest]

    def _exception(self, failure: Any) -> BaseException:
        if type(failure) is tuple:
            return failure_of(self._name, *failure)
        return presentable(failure, where="a thread") if not isinstance(failure, NotSendable) else failure

    def _crashed(self, batch: Batch, job: Job[Any], error: WorkerCrashed, retries: int) -> list[Batch]:
        items = batch.items
        begun = job.begun if isinstance(job, ProcessJob) else 0
        count = max(0, (begun & (ENDED - 1)) - batch.given)
        rest = alone(items[count:])
        if not count:
            return rest
        if retries:
            return [*alone(items[:count], retries - 1), *rest]
        lost = count if begun & ENDED else count - 1
        error.add_note(
            f"It had a batch of {len(items)} items of a map: {_of_the_batch(count, lost)}. Those that had ended are "
            "lost with their results (options(retries=1) allows to run such items again); the others are run all the "
            "same, and this map's items go one by one from now on"
        )
        if not self._goes_on:
            return [Batch(items[:count]).end([], error)]
        failed: list[Any] = [_lost_result(error, self._name) for _ in range(lost)]
        if lost < count:
            failed.append(error)
        return [Batch(items[:count]).end(failed, failed=count), *rest]


def parts_told(batch: Batch, part: bytes, name: str) -> list[Batch]:
    """What stands in the place of ``batch`` when its worker has told ``part`` of it: it goes on with fewer items."""
    told, begun, results, failures = loads(part)
    items = batch.items
    rest = [Batch(items[begun:])] if begun < len(items) else []
    batch.items = items[told:begun]
    batch.given += told
    if not told:
        return [batch, *rest]
    values = loads(results)
    for at, failure in failures.items():
        values[at] = failure_of(name, *failure)
    return [Batch(items[:told]).end(values, failed=len(failures)), batch, *rest]


def _may_have_begun(error: BaseException) -> bool:
    if isinstance(error, NotSendable):
        return error.where.startswith("result")
    return isinstance(
        error, MemoryError | TaskExited | RuntimeClosed | WorkerStartError | TimeoutError | Interrupted
    )


def _of_the_batch(count: int, lost: int) -> str:
    if lost == count:
        return f"{lost} had ended, and none was running"
    return f"{lost} had ended, and the next one was running"


def _lost_result(error: WorkerCrashed, name: str) -> WorkerCrashed:
    how = error.signal or f"exit code {error.exitcode}"
    return WorkerCrashed(
        f"{name} had run, but its result was lost: worker process {error.pid} died ({how}) with the results of a "
        "batch, at another item of the same batch. It was not run again, since it may have had effects "
        "(options(retries=1) allows it)",
        pid=error.pid,
        function=name,
        exitcode=error.exitcode,
        seconds=error.seconds,
        is_out_of_memory=error.is_out_of_memory,
    )
