"""The process lane's executor face: usable from any thread, cancellable to the end, and never a silent deadlock."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from pathlib import Path
from typing import Any

import pytest
import work
from helpers import exists, until

from hybridrt import NotSendable, Runtime, RuntimeClosed


async def in_a_thread(function: Any, *args: Any) -> Any:
    """In a thread that is not ours."""
    return await asyncio.to_thread(function, *args)


@pytest.fixture(autouse=True)
async def no_default_executor() -> Any:
    """asyncio's own pool must not count as left behind."""
    yield
    await asyncio.get_running_loop().shutdown_default_executor()


async def test_waiting_in_the_loop_s_thread_is_refused() -> None:
    async with Runtime(processes=1) as rt:
        future = rt.processes.submit(work.double, 1)
        for wait in (future.result, future.exception):
            with pytest.raises(RuntimeError, match=r"await asyncio\.wrap_future"):
                wait()
        assert await asyncio.wrap_future(future) == 2
        assert future.result() == 2, "done: nothing to wait for"


async def test_from_another_thread_errors_show_in_the_future() -> None:
    async with Runtime(processes=1) as rt:
        executor = rt.processes

        def elsewhere() -> None:
            with pytest.raises(ValueError, match=r"^bad$"):
                executor.submit(work.fail, "bad").result(10)
            with pytest.raises(NotSendable, match=r"args\[0\]"):
                executor.submit(work.echo, threading.Lock()).result(10)
            done, pending = concurrent.futures.wait([executor.submit(work.double, i) for i in range(20)], 10)
            assert not pending
            assert sorted(future.result() for future in done) == [i * 2 for i in range(20)]

        await in_a_thread(elsewhere)


async def test_cancelling_a_future_stops_the_work(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    async with Runtime(processes=1, interrupt_grace=30) as rt:
        future = rt.processes.submit(work.note_and_wait, str(begun), str(ended))
        await exists(begun)
        assert await in_a_thread(future.cancel)
        await exists(ended)
        assert future.cancelled()
        done, _ = concurrent.futures.wait([future], 0)
        assert done, "those who wait for it are told"


async def test_run_in_executor_cancels_through(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    async with Runtime(processes=1, interrupt_grace=30) as rt:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await loop.run_in_executor(rt.processes, work.note_and_wait, str(begun), str(ended))
        if begun.exists():
            await exists(ended)


@pytest.mark.parametrize("name", ["threads", "processes"])
async def test_shutdown_closes_the_face_and_not_the_lane(name: str, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    async with Runtime(processes=1, threads=1) as rt:
        executor: concurrent.futures.Executor = getattr(rt, name)
        running = executor.submit(work.wait_for_file, str(gate), str(begun))
        await exists(begun)
        waiting = executor.submit(work.double, 1)
        executor.shutdown(wait=False, cancel_futures=True)
        await until(waiting.cancelled)
        with pytest.raises(RuntimeError, match=rf"shutdown of runtime\.{name}"):
            executor.submit(work.double, 1)
        gate.touch()
        if name == "threads":
            assert await asyncio.wrap_future(running) == str(gate)
        assert await rt.to_process(work.double, 2) == 4
        assert await rt.to_thread(work.double, 2) == 4


@pytest.mark.parametrize("name", ["threads", "processes"])
async def test_shutdown_waits_in_another_thread(name: str) -> None:
    async with Runtime(processes=1) as rt:
        executor: concurrent.futures.Executor = getattr(rt, name)

        def elsewhere() -> list[int]:
            with executor:
                futures = [executor.submit(work.double, i) for i in range(10)]
            assert all(future.done() for future in futures)
            return [future.result() for future in futures]

        assert await in_a_thread(elsewhere) == [i * 2 for i in range(10)]


def test_after_the_loop_was_closed_the_message_says_so() -> None:
    async def main() -> Any:
        async with Runtime(processes=1) as rt:
            return rt.threads, rt.processes

    for executor in asyncio.run(main()):
        with pytest.raises(RuntimeClosed, match=r"has been left|is closed"):
            executor.submit(work.double, 1)
