"""An answer from a worker becomes the outcome of its job."""

from __future__ import annotations

from typing import Any

from .._engine import failure, wire
from .._engine.child import Child
from .._engine.parcel import loads
from .._engine.wire import RESULT
from ..errors import TaskExited
from .counters import Counters
from .job import LargeJob, ProcessJob
from .unsendable import unsendable_result


def deliver(
    job: ProcessJob[Any], kind: int, micros: int, payload: bytes | memoryview, counters: Counters
) -> None:
    """Give ``job`` its outcome, as a frame of this kind has it, and count it."""
    job.payload = b""  # as let_go, which would cost a Python frame per call
    job.fn = None
    if type(job) is LargeJob:
        job.let_go()
    if job.done():
        counters.cancelled += 1
        return
    seconds = micros * 1e-6
    counters.run_times.record(seconds)
    job.function.in_process.record(seconds)
    if kind == RESULT:
        try:
            result = loads(payload)
        except BaseException as exc:
            counters.failed += 1
            job.set_exception(unsendable_result(job.function.name, "result", failure.presentable(exc)))
        else:
            counters.succeeded += 1
            job.set_result(result)
        return
    counters.failed += 1
    job.set_exception(failure_of(job.function.name, kind, payload))


def failure_of(name: str, kind: int, payload: bytes | memoryview) -> BaseException:
    """The exception that an answer of this kind, not a result, brings to the caller of ``name``; in any thread."""
    if kind == wire.FAILED:
        return failure.unpack(bytes(payload), loads=loads)
    if kind == wire.UNSENDABLE:
        where, reason = loads(payload)
        return unsendable_result(name, where, reason)
    return TaskExited(f"{name} raised Interrupted, though nobody had cancelled it")


def decline(child: Child, frame: wire.Frame) -> None:
    """Nobody wants this answer, which has cargo: its memory may be used again."""
    try:
        child.side.take_in(frame.payload)
    except Exception:  # then there is nothing to give back
        pass
