"""The thread lane: bounded, grown by need, left when idle, woken once for many, and honest about what cannot stop."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
import work
from helpers import exists, until

from hybridrt import Runtime, RuntimeClosed


async def test_blocking_calls_get_as_many_threads_as_may_be_and_no_more() -> None:
    barrier = threading.Barrier(8)
    async with Runtime(threads=8) as rt:
        await asyncio.gather(*[rt.to_thread(barrier.wait, 30) for _ in range(8)])
        assert rt.stats().threads.workers == 8
        await asyncio.gather(*[rt.to_thread(barrier.wait, 30) for _ in range(64)])
        assert rt.stats().threads.workers == 8


async def test_quick_calls_share_few_threads() -> None:
    async with Runtime() as rt:
        for i in range(200):
            await rt.to_thread(work.double, i)
        # One, and one more for each time that the system let the first wait for a millisecond.
        assert rt.stats().threads.workers < 10


async def test_idle_threads_leave_and_come_back() -> None:
    async with Runtime(thread_idle=0.01) as rt:
        assert await rt.to_thread(work.double, 1) == 2
        await until(lambda: rt.stats().threads.workers == 0)
        for _ in range(50):  # calls that come while a thread is leaving find another
            assert await rt.to_thread(work.double, 2) == 4
            await asyncio.sleep(0.01)


async def test_many_outcomes_take_few_wake_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Runtime(threads=1) as rt:
        loop = asyncio.get_running_loop()
        gate, all_queued = threading.Event(), asyncio.Event()
        first = rt.submit(gate.wait)
        jobs = [rt.submit(work.double, i) for i in range(1000)]
        last = rt.submit(lambda: loop.call_soon_threadsafe(all_queued.set))
        wakes = 0
        lane = rt._open_lanes().threads
        assert lane is not None
        drain = lane._drain

        def counted() -> None:
            nonlocal wakes
            wakes += 1
            drain()

        monkeypatch.setattr(lane, "_drain", counted)
        gate.set()
        time.sleep(0.05)  # the loop is busy while the thread works: that is the case in question
        assert await asyncio.gather(*jobs) == [i * 2 for i in range(1000)]
        await asyncio.gather(first, last)
        assert wakes < 100


async def test_a_cancelled_call_keeps_its_thread_until_it_ends(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    async with Runtime(threads=1) as rt:
        job = rt.submit(work.wait_for_file, str(gate), str(begun))
        await exists(begun)
        job.cancel()
        behind = rt.submit(work.double, 1)
        await asyncio.sleep(0)
        assert rt.stats().threads.running == 1 and not behind.done()
        gate.touch()
        assert await behind == 2


async def test_leaving_with_a_call_that_cannot_be_stopped_says_so(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    with pytest.warns(RuntimeWarning, match="work.wait_for_file still runs in a thread"):
        async with Runtime(threads=1, shutdown_grace=0.01) as rt:
            job = rt.submit(work.wait_for_file, str(gate), str(begun))
            waiting = rt.submit(work.double, 1)
            await exists(begun)
    with pytest.raises(RuntimeClosed, match="a thread cannot be stopped"):
        await job
    with pytest.raises(RuntimeClosed, match="was not started"):
        await waiting
    gate.touch()
    await until(lambda: not any(thread.name.startswith("hybridrt") for thread in threading.enumerate()))


async def test_stop_iteration_arrives_as_a_runtime_error() -> None:
    async with Runtime() as rt:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await rt.to_thread(next, iter(()))


async def test_a_thread_keeps_nothing_of_a_finished_call() -> None:
    import weakref

    class Big:
        pass

    async with Runtime(threads=1) as rt:
        big = Big()
        gone = weakref.ref(big)
        assert await rt.to_thread(id, big)
        del big
        await rt.to_thread(work.double, 1)
        assert gone() is None


async def test_the_executor_s_own_promises(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    async with Runtime(threads=1) as rt:
        executor = rt.threads
        running = executor.submit(work.wait_for_file, str(gate), str(begun))
        await exists(begun)
        waiting = executor.submit(work.double, 1)
        assert running.running() and not running.cancel()
        assert waiting.cancel()
        gate.touch()
        assert running.result(10) == str(gate), (
            "also in the loop's thread: it is the pool's thread that delivers"
        )
        executor.shutdown()
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(work.double, 1)
        assert await rt.to_thread(work.double, 1) == 2
