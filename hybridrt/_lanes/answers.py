"""An answer from a worker becomes the outcome of its job."""

from __future__ import annotations

from typing import Any

from .._engine import failure, parcel, wire
from ..errors import TaskExited
from .counters import Counters
from .job import ProcessJob
from .unsendable import unsendable_result


def deliver(job: ProcessJob[Any], frame: wire.Frame, counters: Counters) -> None:
    """Give ``job`` its outcome, and count it."""
    job.let_go()
    if job.done():
        counters.cancelled += 1
        return
    seconds = frame.extra * 1e-6
    counters.run_times.record(seconds)
    job.function.in_process.record(seconds)
    kind = frame.kind
    if kind == wire.RESULT:
        try:
            result = parcel.loads(frame.payload)
        except BaseException as exc:
            counters.failed += 1
            job.set_exception(unsendable_result(job.function.name, "result", failure.presentable(exc)))
        else:
            counters.succeeded += 1
            job.set_result(result)
        return
    counters.failed += 1
    if kind == wire.FAILED:
        job.set_exception(failure.unpack(bytes(frame.payload), loads=parcel.loads))
    elif kind == wire.UNSENDABLE:
        where, reason = parcel.loads(frame.payload)
        job.set_exception(unsendable_result(job.function.name, where, reason))
    else:
        job.set_exception(
            TaskExited(f"{job.function.name} raised Interrupted, though nobody had cancelled it")
        )
