"""Inside a call, and only there, ``cancelled()`` tells whether anybody still wants it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from helpers import PATIENCE, exists, until

import hybridrt
from hybridrt import Interrupted, Runtime, cancelled

LIMITS = (0.1, 1, 10)  # seconds: the first that lets the call begin, on whatever machine, will do


class Watcher:
    """A call in a thread that goes on until it is told that nobody wants it, or that it may end."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.ended = threading.Event()
        self.was_told: bool | None = None

    def __call__(self) -> str:
        self.begun.set()
        end = time.monotonic() + PATIENCE
        while not cancelled() and not self.may_end.is_set() and time.monotonic() < end:
            time.sleep(0.001)
        self.was_told = cancelled()
        self.ended.set()
        return "partial"


async def test_outside_a_call_it_is_false() -> None:
    assert not cancelled()
    async with Runtime() as rt:
        assert not cancelled()
        assert not await asyncio.to_thread(cancelled)

        async def on_the_loop() -> bool:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                return cancelled()
            return True

        job = rt.submit(on_the_loop)
        await asyncio.sleep(0)
        job.cancel()
        assert await job is False
    assert not contextvars.Context().run(cancelled)


async def test_a_wanted_call_in_a_thread_is_told_nothing() -> None:
    watcher = Watcher()
    async with Runtime(threads=1) as rt:
        job = rt.submit(watcher)
        await until(watcher.begun.is_set)
        watcher.may_end.set()
        assert await job == "partial"
        assert watcher.was_told is False
        assert await rt.to_thread(cancelled) is False


Stop = Callable[[Runtime, Watcher], object]


async def _cancel_job(rt: Runtime, watcher: Watcher) -> None:
    job = rt.submit(watcher)
    await until(watcher.begun.is_set)
    job.cancel()


async def _cancel_task(rt: Runtime, watcher: Watcher) -> None:
    task = asyncio.create_task(rt.to_thread(watcher))
    await until(watcher.begun.is_set)
    task.cancel()


async def _time_limit(rt: Runtime, watcher: Watcher) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit:
            task = asyncio.ensure_future(rt.to_thread(watcher))
            await until(watcher.begun.is_set)
            limit.reschedule(0)
            await task


async def _timeout_option(rt: Runtime, watcher: Watcher) -> None:
    for seconds in LIMITS:
        with pytest.raises(TimeoutError, match=r"options\(timeout="):
            await rt.options(timeout=seconds).to_thread(watcher)
        if watcher.begun.is_set():
            break


async def _executor_future(rt: Runtime, watcher: Watcher) -> None:
    future: Future[str] = rt.threads.submit(watcher)
    await until(watcher.begun.is_set)
    assert not future.cancel()  # what runs cannot be cancelled, say executors; it is told all the same
    assert await asyncio.wrap_future(future) == "partial"


async def _run_in_executor(rt: Runtime, watcher: Watcher) -> None:
    future = asyncio.get_running_loop().run_in_executor(rt.threads, watcher)
    await until(watcher.begun.is_set)
    future.cancel()


@pytest.mark.parametrize(
    "stop", [_cancel_job, _cancel_task, _time_limit, _timeout_option, _executor_future, _run_in_executor]
)
async def test_a_thread_is_told_when_its_call_is_not_wanted_any_more(stop: Stop) -> None:
    watcher = Watcher()
    async with Runtime(threads=1) as rt:
        await stop(rt, watcher)  # type: ignore[misc]
        await until(watcher.ended.is_set)
        assert watcher.was_told is True
        assert await rt.to_thread(cancelled) is False  # the next call in the same thread


@pytest.mark.parametrize("through", ["submit", "executor"])
async def test_a_thread_is_told_that_its_runtime_was_left(through: str) -> None:
    watcher = Watcher()
    with pytest.warns(RuntimeWarning, match="still runs in a thread after its runtime was left"):
        async with Runtime(threads=1, shutdown_grace=0.01) as rt:
            job = (
                rt.submit(watcher) if through == "submit" else asyncio.wrap_future(rt.threads.submit(watcher))
            )
            await until(watcher.begun.is_set)
    await until(watcher.ended.is_set)
    assert watcher.was_told is True
    if through == "submit":
        with pytest.raises(hybridrt.RuntimeClosed):
            await job
    else:
        assert await job == "partial"  # this one could not be ended for its caller: its thread did that


async def test_shutting_the_executor_face_lets_what_runs_go_on() -> None:
    watcher = Watcher()
    async with Runtime(threads=1) as rt:
        future = rt.threads.submit(watcher)
        await until(watcher.begun.is_set)
        waiting = rt.threads.submit(cancelled)
        rt.threads.shutdown(wait=False, cancel_futures=True)
        watcher.may_end.set()
        assert await asyncio.wrap_future(future) == "partial"
        assert watcher.was_told is False
        assert waiting.cancelled()


async def test_a_loop_inside_a_call_in_a_thread_is_inside_that_call() -> None:
    begun, told = threading.Event(), threading.Event()

    async def until_told() -> None:
        begun.set()
        while not cancelled():
            await asyncio.sleep(0.001)
        told.set()

    def run_a_loop() -> None:
        asyncio.run(until_told())

    async with Runtime() as rt:
        job = rt.submit(run_a_loop)
        await until(begun.is_set)
        job.cancel()
        await until(told.is_set)


# In worker processes


def note_on_the_way_out(begun: str, told: str) -> None:
    try:
        before = cancelled()
        Path(begun).touch()
        while True:
            time.sleep(0.001)
    finally:
        Path(told).write_text(f"{before} {cancelled()}")


def swallow_and_ask(begun: str, told: str) -> str:
    try:
        Path(begun).touch()
        while True:
            time.sleep(0.001)
    except Interrupted:
        Path(told).write_text(f"False {cancelled()}")
    return "unwanted"


async def co_note_on_the_way_out(begun: str, told: str) -> None:
    before = cancelled()
    try:
        Path(begun).touch()
        await asyncio.get_running_loop().create_future()
    finally:
        Path(told).write_text(f"{before} {cancelled()}")


async def co_when(gate: str, begun: str) -> bool:
    Path(begun).touch()
    while not Path(gate).exists():
        await asyncio.sleep(0.001)
    return cancelled()


async def co_ask() -> bool:
    return cancelled()


def _thread_until_told(told: str) -> None:
    end = time.monotonic() + PATIENCE
    while not cancelled() and time.monotonic() < end:
        time.sleep(0.001)
    Path(told).write_text(f"False {cancelled()}")


async def co_with_a_thread(begun: str, told: str) -> None:
    thread = asyncio.ensure_future(asyncio.to_thread(_thread_until_told, told))
    Path(begun).touch()
    await thread


async def co_with_a_task(begun: str, told: str) -> None:
    async def until_told() -> None:
        while not cancelled():
            await asyncio.sleep(0.001)
        Path(told).write_text(f"False {cancelled()}")

    task = asyncio.create_task(until_told())
    Path(begun).touch()
    await asyncio.shield(task)


UNDER_WAY = [note_on_the_way_out, swallow_and_ask, co_note_on_the_way_out, co_with_a_thread, co_with_a_task]


@pytest.mark.parametrize("fn", UNDER_WAY)
async def test_code_in_a_worker_can_tell_why_it_is_stopped(fn: Callable[..., object], tmp_path: Path) -> None:
    begun, told = tmp_path / "begun", tmp_path / "told"
    async with Runtime(processes=1, interrupt_grace=PATIENCE) as rt:
        job = rt.options(lane="process").submit(fn, str(begun), str(told))
        await exists(begun)
        job.cancel()
        await until(lambda: told.exists() and told.read_text())
        assert told.read_text() == "False True"
        assert await rt.to_process(cancelled) is False
        assert await rt.to_process(co_ask) is False


async def test_a_worker_is_told_of_timeouts_and_of_the_end_of_its_runtime(tmp_path: Path) -> None:
    async with Runtime(processes=1, shutdown_grace=0.01, interrupt_grace=PATIENCE) as rt:
        await rt.to_process(cancelled)  # so that the worker is there
        for seconds in LIMITS:
            with pytest.raises(TimeoutError):
                await rt.options(timeout=seconds).to_process(
                    note_on_the_way_out, str(tmp_path / "a"), str(tmp_path / "told")
                )
            if (tmp_path / "a").exists():
                break
        await until(lambda: (tmp_path / "told").exists() and (tmp_path / "told").read_text())
        last = rt.options(lane="process").submit(
            note_on_the_way_out, str(tmp_path / "b"), str(tmp_path / "told too")
        )
        await exists(tmp_path / "b")
    assert (tmp_path / "told").read_text() == "False True"
    assert (tmp_path / "told too").read_text() == "False True"
    with pytest.raises(hybridrt.RuntimeClosed):
        await last


async def test_a_coroutine_beside_a_cancelled_one_is_not_meant(tmp_path: Path) -> None:
    gate, begun, told, beside = (tmp_path / name for name in ("gate", "begun", "told", "beside"))
    async with Runtime(processes=1) as rt:
        submit = rt.options(lane="process").submit
        other = submit(co_when, str(gate), str(beside))
        job = submit(co_note_on_the_way_out, str(begun), str(told))
        await exists(begun)
        await exists(beside)
        job.cancel()
        await until(lambda: told.exists() and told.read_text())
        assert told.read_text() == "False True"
        gate.touch()
        assert await other is False


async def _nested() -> tuple[bool, bool, bool, bool]:
    """Before; in a nested thread that is cancelled; here meanwhile; in a nested worker."""
    watcher = Watcher()
    before = cancelled()
    async with Runtime(threads=2, processes=1) as rt:
        job = rt.submit(watcher)
        while not watcher.begun.is_set():
            await asyncio.sleep(0.001)
        job.cancel()
        while not watcher.ended.is_set():
            await asyncio.sleep(0.001)
        return before, watcher.was_told is True, cancelled(), await rt.to_process(cancelled)


def run_nested() -> tuple[bool, bool, bool, bool]:
    return asyncio.run(_nested())


async def test_a_runtime_inside_a_call_has_calls_of_its_own() -> None:
    async with Runtime(processes=1) as rt:
        assert await rt.to_process(run_nested) == (False, True, False, False)
        assert await rt.to_process(_nested) == (False, True, False, False)


async def _nested_and_shielded(begun: str, told: str) -> None:
    gate = threading.Event()

    def wait() -> None:
        gate.wait(PATIENCE)
        Path(told).write_text(f"False {cancelled()} {outer.is_set()}")

    outer = threading.Event()
    async with Runtime() as rt:
        job = rt.submit(wait)
        Path(begun).touch()
        try:
            await asyncio.shield(job)
        finally:
            if cancelled():
                outer.set()
            gate.set()


async def test_the_innermost_call_answers(tmp_path: Path) -> None:
    begun, told = tmp_path / "begun", tmp_path / "told"
    async with Runtime(processes=1, interrupt_grace=PATIENCE) as rt:
        job = rt.options(lane="process").submit(_nested_and_shielded, str(begun), str(told))
        await exists(begun)
        job.cancel()
        await until(lambda: told.exists() and told.read_text())
        assert told.read_text() == "False False True"
