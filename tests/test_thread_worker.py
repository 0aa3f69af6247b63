"""Threads and those who hand them calls never miss each other: no call is left lying while a thread sleeps."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from pathlib import Path
from typing import Any, Self

import pytest
import work
from helpers import exists, until, wait_until

from hybridrt import Runtime
from hybridrt._lanes.bell import Bell, new_bell
from hybridrt._lanes.thread_executor import ThreadFuture
from hybridrt._lanes.thread_worker import QUICK_SECONDS, Exchange, ThreadWorker
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


class Threads:
    """Some threads and their exchange without a lane, whose timer would fetch in time whoever was forgotten."""

    def __init__(self, number: int) -> None:
        self._left = threading.Semaphore(0)
        self.exchange = Exchange(self, self._drain)  # type: ignore[arg-type]
        self.workers = [
            ThreadWorker(self.exchange, new_bell(60.0, is_first=True), f"hybridrt-{i}", 0)
            for i in range(number)
        ]

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
        callback()

    def _drain(self) -> None:
        self.exchange.is_drain_due = False
        while True:
            try:
                who, *_ = self.exchange.outbox.popleft()
            except IndexError:
                return
            if isinstance(who, ThreadWorker):
                self._left.release()

    def submit(self, fn: Callable[..., Any], *args: Any) -> ThreadFuture:
        future = ThreadFuture()
        self.exchange.put((future, copy_context(), fn, args, {}))
        return future

    def __enter__(self) -> Self:
        for worker in self.workers:
            worker.start()
        self.wait_until_asleep()
        return self

    def wait_until_asleep(self) -> None:
        wait_until(lambda: len(self.exchange.parked) == len(self.workers))

    def __exit__(self, *_: object) -> None:
        for _worker in self.workers:
            self.exchange.put(None)
        for _worker in self.workers:
            assert self._left.acquire(timeout=30)
        for worker in self.workers:
            worker.join()


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("number", [1, 3])
def test_who_falls_asleep_looks_once_more(number: int) -> None:
    with Threads(number) as threads:
        for i in range(3000):
            assert threads.submit(work.double, i).result(10) == 2 * i


def test_who_falls_asleep_looks_once_more_before() -> None:
    class Bed(deque[Bell]):
        def append(self, bell: Bell) -> None:
            """A moment before, somebody has put in a call and has seen nobody sleep."""
            if not futures:
                futures.append(ThreadFuture())
                exchange.inbox.append((futures[0], copy_context(), work.double, (4,), {}))
            super().append(bell)

    futures: list[ThreadFuture] = []
    threads = Threads(1)
    exchange = threads.exchange
    exchange.parked = Bed()
    with threads:
        assert futures[0].result(10) == 8


async def test_a_call_that_counted_on_a_thread_that_left_finds_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Bed(deque[Bell]):
        def remove(self, bell: Bell) -> None:
            """A moment later somebody puts in a call: nobody sleeps, and there seems to be a thread for it."""
            super().remove(bell)
            if not futures:
                futures.append(rt.threads.submit(work.double, 4))

    futures: list[Future[int]] = []
    async with Runtime(thread_idle=0.0) as rt:
        lane = the_lane(rt)
        lane._parked = lane._exchange.parked = Bed()
        assert await rt.to_thread(work.double, 1) == 2
        await until(lambda: futures)
        async with asyncio.timeout(10):
            assert await asyncio.wrap_future(futures[0]) == 8


@pytest.mark.usefixtures("hasty")
def test_who_is_woken_wakes_the_next() -> None:
    with Threads(3) as threads:
        barrier = threading.Barrier(3)
        for _ in range(100):
            for future in [threads.submit(barrier.wait, 10) for _ in range(3)]:
                future.result(10)


@pytest.mark.usefixtures("hasty")
def test_calls_from_many_threads_are_all_taken() -> None:
    with Threads(3) as threads:
        outcomes: list[list[int]] = []

        def call() -> None:
            outcomes.append([threads.submit(work.double, i).result(10) for i in range(500)])

        callers = [threading.Thread(target=call) for _ in range(3)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(60)
        assert outcomes == [[2 * i for i in range(500)]] * 3


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
                assert await rt.to_thread(work.double, i) == 2 * i


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
        behind = [rt.submit(work.double, i) for i in range(5)]
        async with asyncio.timeout(10):
            assert await asyncio.gather(*behind) == [0, 2, 4, 6, 8]
        await exists(begun)
        assert await rt.to_thread(work.double, 1) == 2
        assert not blocking.done()
        gate.touch()
        await blocking


@pytest.mark.usefixtures("hasty")
async def test_quick_calls_of_one_turn_wake_one_thread_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Runtime(threads=4) as rt:
        await wakeful(rt, 4)
        for _ in range(10):
            await rt.to_thread(work.double, 1)
        rings = 0
        exchange = the_lane(rt)._exchange
        monkeypatch.setattr(
            the_lane(rt), "_need_threads", lambda: None
        )  # which would wake some after a while
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
        # The last is rung first: calls that come one at a time are served by those that wake swiftly.
        for _ in range(20):
            await rt.to_thread(work.double, 1)
            await until(lambda: len(the_lane(rt)._parked) == 12)
            order = [bell.is_swift for bell in the_lane(rt)._parked]
            assert order == sorted(order)
