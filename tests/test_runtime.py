"""The Runtime: every way to await a call, where run puts it, options, files, snapshots, and clear refusals."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
import work
from helpers import exists, until

import hybridrt
from hybridrt import HybridrtError, Job, Runtime, RuntimeClosed, cpu_bound, io_bound


@io_bound
def waits() -> int:
    return threading.get_ident()


@cpu_bound
def computes() -> int:
    return os.getpid()


@cpu_bound
async def computes_async() -> int:
    return os.getpid()


@io_bound
async def waits_async() -> int:
    return threading.get_ident()


# Every call works wherever people put one


async def test_gather_and_task_groups() -> None:
    async with Runtime(processes=2) as rt:
        assert await asyncio.gather(rt.to_thread(work.double, 1), rt.to_process(work.double, 2)) == [2, 4]
        async with asyncio.TaskGroup() as group:
            one = group.create_task(rt.to_thread(work.double, 1))
            two = group.create_task(rt.to_process(work.double, 2))
            three = group.create_task(rt.run(work.double, 3))
        assert (one.result(), two.result(), three.result()) == (2, 4, 6)


async def test_start_soon(tmp_path: Path) -> None:
    async with Runtime(processes=2) as rt:
        async with anyio.create_task_group() as group:
            for verb in (rt.to_thread, rt.to_process, rt.run):
                group.start_soon(verb, work.append, str(tmp_path / "ledger"), verb.__name__)
        assert set((tmp_path / "ledger").read_text().split()) == {"to_thread", "to_process", "run"}


async def test_a_failing_task_group_stops_the_others(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"

    async def fail_when_begun() -> None:
        await exists(begun)
        raise ZeroDivisionError

    async with Runtime(processes=2, interrupt_grace=30) as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(rt.to_process(work.note_and_wait, str(begun), str(ended)))
                group.create_task(fail_when_begun())
        assert [type(exc) for exc in caught.value.exceptions] == [ZeroDivisionError]
        await exists(ended)


async def test_wait_for_and_shield(tmp_path: Path) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    async with Runtime(processes=2) as rt:
        assert await asyncio.wait_for(rt.to_process(work.double, 2), 30) == 4
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(rt.to_process(work.spin, 1000), 0.01)
        job = rt.options(lane="process").submit(work.wait_for_file, str(gate), str(begun))
        await exists(begun)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(job), 0.01)
        assert not job.done()
        gate.touch()
        assert await job == str(gate)


async def test_wait_and_as_completed() -> None:
    async with Runtime(processes=2) as rt:
        jobs = {rt.submit(work.double, i): i for i in range(10)}
        done, pending = await asyncio.wait(jobs)
        assert not pending and {job.result() for job in done} == {i * 2 for i in range(10)}
        process = rt.options(lane="process")
        assert sorted(
            [await job for job in asyncio.as_completed([process.submit(abs, -i) for i in range(9)])]
        ) == [*range(9)]


@pytest.mark.parametrize("inner_first", [True, False])
async def test_nested_timeouts(inner_first: bool) -> None:
    inner, outer = (0.02, 30) if inner_first else (30, 0.02)
    async with Runtime(processes=1) as rt:
        reached = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(outer):
                try:
                    async with asyncio.timeout(inner):
                        await rt.to_process(work.spin, 1000)
                except TimeoutError:
                    reached.append("inner")
                    raise
        assert reached == (["inner"] if inner_first else [])
        with pytest.raises(TimeoutError), anyio.fail_after(outer), anyio.fail_after(inner):
            await rt.to_process(work.spin, 1000)
        assert await rt.to_process(work.double, 1) == 2


async def test_anyio_cancel_scopes_stop_the_work(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    async with Runtime(processes=1, interrupt_grace=30) as rt:
        async with anyio.create_task_group() as group:
            group.start_soon(rt.to_process, work.note_and_wait, str(begun), str(ended))
            await exists(begun)
            group.cancel_scope.cancel()
        await exists(ended)


async def test_a_job_is_a_future_with_a_lane() -> None:
    async with Runtime(processes=1) as rt:
        jobs = [rt.submit(work.double, 1), rt.submit(computes), rt.submit(work.co_double, 2)]
        assert all(isinstance(job, Job) and isinstance(job, asyncio.Future) for job in jobs)
        assert [job.lane for job in jobs] == ["thread", "process", "loop"]
        assert await jobs[0] == 2
        assert await jobs[1] != os.getpid()
        assert await jobs[2] == 4


# Where run puts a call


async def test_run_decides_by_declaration_and_kind() -> None:
    here = threading.get_ident()
    async with Runtime(processes=1) as rt:
        assert await rt.run(threading.get_ident) != here
        assert await rt.run(waits) != here
        assert await rt.run(computes) != os.getpid()
        assert await rt.run(computes_async) != os.getpid()
        assert await rt.run(waits_async) == here, "a coroutine function waits on the loop"
        assert await rt.run(work.co_double, 4) == 8
        assert await rt.options(lane="loop").run(threading.get_ident) == here
        assert await rt.options(lane="process").run(os.getpid) != os.getpid()


async def test_declarations_change_nothing_else() -> None:
    async with Runtime(processes=1) as rt:
        assert computes() == os.getpid()
        assert await rt.to_thread(computes) == os.getpid()
        assert computes.__name__ == "computes"


async def test_explain_says_where_and_why() -> None:
    async with Runtime(processes=1) as rt:
        assert rt.explain(computes).lane == "process" and "@cpu_bound" in rt.explain(computes).reason
        assert rt.explain(waits).lane == "thread" and "@io_bound" in str(rt.explain(waits))
        assert rt.explain(work.co_double).lane == "loop"
        assert "nothing yet" in str(rt.explain(work.double))
        await rt.run(work.double, 1)
        await rt.to_process(work.double, 1)
        text = str(rt.explain(work.double))
        assert (
            "work.double -> thread" in text and "1 runs in a thread" in text and "1 runs in a process" in text
        )


async def test_a_coroutine_on_the_loop_is_cancelled_like_a_task(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    async with Runtime() as rt:
        job = rt.submit(work.co_wait, str(begun), str(ended))
        await exists(begun)
        assert job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert ended.exists()
        with pytest.raises(ValueError, match=r"^no$"):
            await rt.submit(_co_fail, "no")


async def _co_fail(text: str) -> None:
    raise ValueError(text)


async def test_context_variables_travel_to_threads() -> None:
    who = contextvars.ContextVar("who", default="nobody")
    async with Runtime() as rt:
        who.set("ann")
        assert await rt.to_thread(who.get) == "ann"
        assert await asyncio.get_running_loop().run_in_executor(rt.threads, who.get) == "ann"


# Options


async def test_options_are_reusable_and_refuse_nonsense() -> None:
    async with Runtime(processes=1) as rt:
        process = rt.options(lane="process")
        assert await process.run(work.double, 1) == 2
        assert await process.submit(work.double, 2) == 4
        bad: Any = "nowhere"
        with pytest.raises(ValueError, match="no such lane; there are loop, thread, process"):
            rt.options(lane=bad)
        with pytest.raises(ValueError, match="timeout"):
            rt.options(timeout=-1)
        with pytest.raises(ValueError, match="contradicts itself"):
            await process.to_thread(work.double, 1)
        with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
            rt.options(colour="red")  # type: ignore[call-arg]


@pytest.mark.parametrize("lane", ["loop", "thread", "process"])
async def test_a_timeout_option_says_so_and_stops_the_work(lane: Any, tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    async with Runtime(processes=1, interrupt_grace=30) as rt:
        verbs = rt.options(lane=lane, timeout=0.3)
        if lane == "thread":
            gate = tmp_path / "gate"
            job: Job[Any] = verbs.submit(work.wait_for_file, str(gate), str(begun))
        else:
            job = verbs.submit(work.co_wait if lane == "loop" else work.note_and_wait, str(begun), str(ended))
        with pytest.raises(TimeoutError, match=r"did not end within 0\.3 s"):
            await job
        if lane == "thread":
            gate.touch()
        elif begun.exists():
            await exists(ended)
        assert await rt.options(timeout=30).run(work.double, 2) == 4


# Files


async def test_files_on_our_threads(tmp_path: Path) -> None:
    path = tmp_path / "file"
    async with Runtime() as rt:
        async with rt.open(path, "w", encoding="utf-8") as text:
            await text.write("one\ntwo\n")
        async with rt.open(path) as text:
            assert await text.read() == "one\ntwo\n"
        async with rt.open(path, "rb") as data:
            assert [line async for line in data] == [b"one\n", b"two\n"]
        assert rt.stats().threads.succeeded > 4
        with pytest.raises(FileNotFoundError):
            async with rt.open(tmp_path / "none"):
                pass


# Refusals


async def test_a_call_before_entering_and_after_leaving() -> None:
    rt = Runtime()
    for call in (lambda: rt.submit(work.double, 1), lambda: rt.threads, lambda: rt.processes, rt.stats):
        with pytest.raises(RuntimeClosed, match=r"not entered yet|never entered"):
            call()
    with pytest.raises(RuntimeClosed, match="not entered yet"):
        await rt.to_thread(work.double, 1)
    async with rt:
        executor = rt.threads
    with pytest.raises(RuntimeClosed, match="has been left"):
        await rt.run(work.double, 1)
    with pytest.raises(RuntimeClosed, match="has been left"):
        rt.open("x")
    with pytest.raises(RuntimeClosed, match="has been left"):
        executor.submit(work.double, 1)
    with pytest.raises(RuntimeClosed, match="entered once"):
        async with rt:
            pass
    assert isinstance(RuntimeClosed(), HybridrtError) and isinstance(RuntimeClosed(), RuntimeError)


async def test_a_call_from_another_thread_or_loop() -> None:
    async with Runtime() as rt:

        def elsewhere() -> str:
            async def call() -> None:
                await rt.to_thread(work.double, 1)

            with pytest.raises(RuntimeError, match="belongs to another event loop") as caught:
                asyncio.run(call())
            with pytest.raises(RuntimeError, match=r"another event loop or thread|no running event loop"):
                rt.submit(work.double, 1)
            return str(caught.value)

        assert "call_soon_threadsafe" in await rt.to_thread(elsewhere)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"processes": -1}, ValueError, r"processes=-1\) makes no sense"),
        ({"threads": 0}, ValueError, r"threads=0\) makes no sense"),
        ({"threads": "many"}, TypeError, "must be an integer, not str"),
        ({"processes": 1.5}, TypeError, "must be an integer, not float"),
        ({"nice": -1}, ValueError, r"nice=-1\) makes no sense"),
        ({"nice": 20}, ValueError, "at most 19"),
        ({"shutdown_grace": -1}, ValueError, "finite number of seconds"),
        ({"interrupt_grace": float("nan")}, ValueError, "finite number of seconds"),
        ({"preload": "numpy"}, TypeError, "tuple of module names"),
        ({"preload": ("not a module",)}, ValueError, "names of modules"),
        ({"shutdown_grce": 1}, TypeError, "did you mean 'shutdown_grace'"),
        ({"colour": "red"}, TypeError, "no setting 'colour'"),
    ],
)
def test_a_nonsense_setting_is_refused_at_once(settings: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Runtime(**settings)


async def test_threads_take_no_coroutine_functions_and_nothing_that_cannot_be_called() -> None:
    async with Runtime() as rt:
        with pytest.raises(TypeError, match="needs an event loop and not a thread"):
            await rt.to_thread(work.co_double, 1)
        with pytest.raises(TypeError, match="only run something callable"):
            await rt.to_thread("text")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="@io_bound decorates a function"):
            io_bound(5)  # type: ignore[type-var]
        with pytest.raises(TypeError, match="Wrap it in a function of your own"):
            cpu_bound(len)


# Life


async def test_entering_is_cheap_and_leaving_leaves_no_thread() -> None:
    before = threading.active_count()
    async with Runtime(loop_blocked_after=0) as rt:
        assert threading.active_count() == before
        await asyncio.gather(*[rt.to_thread(work.double, i) for i in range(50)])
        assert threading.active_count() > before
    assert threading.active_count() == before


async def test_the_body_s_exception_comes_out_unchanged() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with Runtime(processes=1) as rt:
            await rt.to_process(work.double, 1)
            raise KeyError("mine")


async def test_two_runtimes_on_one_loop_keep_apart() -> None:
    async with Runtime(processes=1) as one, Runtime(processes=1) as two:
        assert await one.to_process(os.getpid) != await two.to_process(os.getpid)
        assert hybridrt.current_runtime() is two


async def test_loop_lag_is_measured() -> None:
    async with Runtime(loop_lag=0.001) as rt:
        await until(lambda: rt.stats().loop_lag.samples > 3)
        lag = rt.stats().loop_lag
        assert 0 <= lag.p50 <= lag.p99 <= lag.worst
    async with Runtime(loop_lag=0) as rt:
        assert rt.stats().loop_lag.samples == 0
