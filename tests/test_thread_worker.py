"""Threads and those who hand them calls never miss each other: no call is left lying while a thread sleeps."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import work
from helpers import exists, until

from hybridrt import Runtime
from hybridrt._lanes.thread_worker import QUICK_SECONDS
from hybridrt._lanes.threads import ThreadLane


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns at the GIL all the time, so that whatever two of them can do to each other happens."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def the_lane(rt: Runtime) -> ThreadLane:
    return rt._open_lanes().threads


async def wakeful(rt: Runtime, threads: int) -> None:
    """Until there are so many threads, all of them asleep."""
    barrier = threading.Barrier(threads)
    await asyncio.gather(*[rt.to_thread(barrier.wait, 30) for _ in range(threads)])
    await until(lambda: len(the_lane(rt)._parked) == threads == rt.stats().threads.workers)


@pytest.mark.usefixtures("hasty")
async def test_nobody_sleeps_while_a_call_waits() -> None:
    async with Runtime(threads=6, thread_idle=30.0) as rt:
        await wakeful(rt, 6)
        executor = rt.threads
        for _ in range(100):
            # By two ways and from three threads at once; whoever is forgotten is fetched by nobody for 30 seconds.
            others = [
                rt.submit(lambda: [executor.submit(work.double, i) for i in range(5)]) for _ in range(2)
            ]
            mine = [rt.submit(work.double, i) for i in range(5)]
            async with asyncio.timeout(10):
                assert await asyncio.gather(*mine) == [0, 2, 4, 6, 8]
                for futures in await asyncio.gather(*others):
                    results = await asyncio.gather(*[asyncio.wrap_future(it) for it in futures])
                    assert results == [0, 2, 4, 6, 8]


@pytest.mark.usefixtures("hasty")
async def test_threads_that_leave_take_no_call_with_them() -> None:
    async with Runtime(threads=4, thread_idle=0.0) as rt:
        for i in range(300):
            async with asyncio.timeout(10):
                assert await asyncio.gather(*[rt.to_thread(work.double, i) for _ in range(3)]) == [2 * i] * 3


async def test_blocking_calls_wake_all_the_threads_that_they_need() -> None:
    async with Runtime(threads=8) as rt:
        await wakeful(rt, 8)
        barrier = threading.Barrier(8)
        async with asyncio.timeout(10):
            await asyncio.gather(*[rt.to_thread(barrier.wait, 30) for _ in range(8)])


async def test_a_call_taken_for_quick_that_blocks_holds_up_nobody(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    gate.touch()
    async with Runtime(threads=2) as rt:
        await wakeful(rt, 2)
        function = rt._book.look_up(work.wait_for_file)
        for _ in range(50):
            function.in_thread.record(QUICK_SECONDS / 100)
        gate.unlink()
        blocking = rt.submit(work.wait_for_file, str(gate), str(begun))
        assert await asyncio.gather(*[rt.to_thread(work.double, i) for i in range(5)]) == [0, 2, 4, 6, 8]
        await exists(begun)
        assert await rt.to_thread(work.double, 1) == 2
        assert not blocking.done()
        gate.touch()
        await blocking


async def test_quick_calls_of_one_turn_wake_one_thread_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Runtime(threads=4) as rt:
        await wakeful(rt, 4)
        for _ in range(10):
            await rt.to_thread(work.double, 1)
        rings = 0
        exchange = the_lane(rt)._exchange
        wake_one = type(exchange).wake_one

        def counted(self: object) -> None:
            nonlocal rings
            rings += 1
            wake_one(exchange)

        monkeypatch.setattr(type(exchange), "wake_one", counted)
        await asyncio.gather(*[rt.to_thread(work.double, i) for i in range(2000)])
        # One, and another one for each time that the loop turns before all is done: far from one for each call.
        assert rings < 200


async def test_most_threads_cost_no_descriptors() -> None:
    async with Runtime(threads=12) as rt:
        await wakeful(rt, 12)
        swift = [thread.is_swift for thread in the_lane(rt)._threads]
        assert sum(swift) == (0 if sys.platform == "win32" else 4)
        # Calls that come one at a time are served by one of those: the others sleep on, and leave when they are due.
        bell = the_lane(rt)._parked[-1]
        assert bell.is_swift == any(swift)
        await rt.to_thread(work.double, 1)
        await until(lambda: len(the_lane(rt)._parked) == 12)
        assert the_lane(rt)._parked[-1] is bell
