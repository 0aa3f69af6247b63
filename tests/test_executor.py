"""The executor faces of the lanes: usable from any thread, cancellable to the end, and never a silent deadlock."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import subprocess
import sys
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


@pytest.mark.parametrize("name", ["threads", "processes"])
async def test_running_is_what_has_been_given_to_somebody(name: str, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    async with Runtime(processes=1, threads=1) as rt:
        executor: concurrent.futures.Executor = getattr(rt, name)
        first = executor.submit(work.wait_for_file, str(gate), str(begun))
        waiting = executor.submit(work.double, 1)
        await exists(begun)
        assert first.running() and not waiting.running()
        gate.touch()
        assert await asyncio.wrap_future(waiting) == 2
        assert not waiting.running() and waiting.done()


@pytest.mark.parametrize("name", ["threads", "processes"])
async def test_cancel_futures_leaves_what_has_begun(name: str, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    async with Runtime(processes=1, threads=1) as rt:
        executor: concurrent.futures.Executor = getattr(rt, name)
        running = executor.submit(work.wait_for_file, str(gate), str(begun))
        waiting = [executor.submit(work.double, 1) for _ in range(20)]
        await exists(begun)
        executor.shutdown(wait=True, cancel_futures=True)  # in the loop's own thread it cannot wait
        await until(lambda: all(future.cancelled() for future in waiting))
        assert running.running()
        gate.touch()
        assert await asyncio.wrap_future(running) == str(gate)


@pytest.mark.parametrize("name", ["threads", "processes"])
async def test_map_keeps_the_standard_s_promises(name: str) -> None:
    async with Runtime(processes=2) as rt:
        executor: Any = getattr(rt, name)

        def elsewhere() -> None:
            for sizes in ({}, {"chunksize": 7}, {"buffersize": 3}, {"chunksize": 2, "buffersize": 1}):
                results = executor.map(pow, range(20), itertools.repeat(2), timeout=30, **sizes)
                assert list(results) == [n**2 for n in range(20)]
            endless = executor.map(work.double, itertools.count(), buffersize=4)
            assert list(itertools.islice(endless, 10)) == list(range(0, 20, 2))
            endless.close()
            with pytest.raises(ValueError, match="chunksize must be >= 1"):
                executor.map(work.double, [1], chunksize=0)
            with pytest.raises(ZeroDivisionError):
                list(executor.map(divmod, [1, 1], [1, 0]))

        await in_a_thread(elsewhere)


async def test_a_map_in_the_loop_s_own_thread_is_refused_and_leaves_nothing_running() -> None:
    async with Runtime(processes=1) as rt:
        results = rt.processes.map(work.spin, [1000.0, 1000.0])
        with pytest.raises(RuntimeError, match=r"await asyncio\.wrap_future"):
            next(results)
        assert await rt.to_process(work.double, 1) == 2


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_a_call_handed_in_while_the_runtime_is_left_is_refused_or_answered(name: str) -> None:
    for _ in range(10):
        futures: list[concurrent.futures.Future[int]] = []
        has_begun = threading.Event()

        def submit_until_refused(
            executor: concurrent.futures.Executor,
            futures: list[concurrent.futures.Future[int]] = futures,
            has_begun: threading.Event = has_begun,
        ) -> None:
            with pytest.raises(RuntimeClosed):
                while True:
                    futures.append(executor.submit(work.double, len(futures)))
                    has_begun.set()

        async def main(
            has_begun: threading.Event = has_begun, submit: Any = submit_until_refused
        ) -> threading.Thread:
            async with Runtime(processes=1) as rt:
                thread = threading.Thread(target=submit, args=[getattr(rt, name)])
                thread.start()
                await until(has_begun.is_set)
            return thread

        asyncio.run(main()).join()
        for n, future in enumerate(futures):
            try:
                assert future.result(0) == n * 2
            except RuntimeClosed:
                pass


def test_a_thread_that_never_stops_handing_in_does_not_hold_the_loop() -> None:
    has_enough = threading.Event()

    def submit_on_and_on(executor: concurrent.futures.Executor, inbox: Any) -> None:
        while not has_enough.is_set():
            if len(inbox) < 5000:  # more at any time than the loop takes in one turn
                executor.submit(work.double, 1)

    async def main() -> None:
        async with Runtime(processes=1) as rt:
            executor: Any = rt.processes
            thread = threading.Thread(target=submit_on_and_on, args=[executor, executor._inbox])
            thread.start()
            await until(lambda: executor._inbox)
            for _ in range(20):
                await asyncio.sleep(0)  # the loop turns
            has_enough.set()
            await asyncio.to_thread(thread.join)

    asyncio.run(main())


def test_a_forked_child_is_told() -> None:
    script = """
import asyncio, hybridrt, os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks with threads: that is what this is about
async def main():
    async with hybridrt.Runtime(processes=1) as rt:
        faces = rt.threads, rt.processes
        for face in faces:
            await asyncio.wrap_future(face.submit(abs, -1))
        pid = os.fork()
        if pid == 0:
            for face in faces:
                try:
                    face.submit(abs, -1)
                except RuntimeError as exc:
                    print(exc, flush=True)
                face.shutdown()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        for face in faces:
            assert await asyncio.wrap_future(face.submit(abs, -2)) == 2
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2
    assert done.stdout.count("belongs to the process that this one was forked from; make a new one here") == 2


def test_after_the_loop_was_closed_the_message_says_so() -> None:
    async def main() -> Any:
        async with Runtime(processes=1) as rt:
            return rt.threads, rt.processes

    for executor in asyncio.run(main()):
        with pytest.raises(RuntimeClosed, match=r"has been left|is closed"):
            executor.submit(work.double, 1)
