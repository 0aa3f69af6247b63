"""The kernel tells for how long a thread waited for a CPU, or it is taken for nothing."""

from __future__ import annotations

import os
import threading

import pytest

from hybridrt._core.run_queue import RunQueue, queued_seconds

linux = pytest.mark.skipif(
    not os.path.exists("/proc/thread-self/schedstat"), reason="the kernel does not tell it"
)


@linux
def test_the_run_queue_is_read_from_the_kernel() -> None:
    run_queue = RunQueue()
    before = run_queue.seconds()
    assert 0.0 <= before <= run_queue.seconds() <= RunQueue(threading.get_native_id()).seconds()
    assert queued_seconds() >= before
    run_queue.close()
    assert run_queue.seconds() == 0.0
    run_queue.close()


@linux
def test_it_waits_where_there_is_less_cpu_than_work() -> None:
    cpus = os.sched_getaffinity(0)
    waited: list[float] = []

    def compute() -> None:
        os.sched_setaffinity(0, {min(cpus)})
        before = queued_seconds()
        while queued_seconds() == before:  # two threads, one CPU: this ends
            sum(range(1000))
        waited.append(queued_seconds() - before)

    threads = [threading.Thread(target=compute) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert min(waited) > 0.0


def test_where_the_kernel_does_not_tell_it_is_nothing() -> None:
    assert RunQueue(2**30).seconds() == queued_seconds(2**30) == 0.0
