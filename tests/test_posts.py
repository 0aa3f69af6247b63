"""A worker of one's own runs its owner's calls alone, in order; its death is told, and given up clean it is reused."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import work
from helpers import exists, is_alive, until

from hybridrt import HybridrtError, NotSendable, QueueFull, Runtime, RuntimeClosed, WorkerCrashed
from hybridrt._core.function import Function
from hybridrt._lanes.contract import Post
from hybridrt._lanes.job import Job
from hybridrt.lifetime import OpenLanes


def lanes_of(rt: Runtime) -> OpenLanes:
    return rt._open_lanes()


def call(post: Post, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job[Any]:
    return post.submit(Function(fn), fn, args, kwargs)


@asynccontextmanager
async def a_post(
    rt: Runtime, lane: str = "process", *, is_clean: bool = False, **options: Any
) -> AsyncIterator[Any]:
    post = await lanes_of(rt).open_post(lane, **options)
    try:
        yield post
    finally:
        await post.leave(is_clean=is_clean)


_kept: list[Any] = []


def keep(thing: Any) -> int:
    _kept.append(thing)
    return os.getpid()


def kept() -> list[Any]:
    return list(_kept)


def pids(rt: Runtime) -> set[int]:
    return {worker.pid for worker in rt.stats().workers}


# Whose it is


async def test_calls_run_in_one_process_one_at_a_time_in_their_order() -> None:
    async with Runtime(processes=2) as rt, a_post(rt) as post:
        jobs = [call(post, keep, number) for number in range(500)]
        assert {await job for job in jobs} == {post.pid}
        assert await call(post, kept) == list(range(500))


async def test_large_calls_keep_their_place(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt, a_post(rt) as post:
        large = [list(range(100_000)), b"x" * 3_000_000]
        jobs = [
            call(
                post,
                work.note,
                str(tmp_path / "order"),
                f"{number} ",
                large[number % 4] if number % 4 < 2 else 0,
            )
            for number in range(24)
        ]
        await asyncio.gather(*jobs)
        assert (tmp_path / "order").read_text().split() == [str(number) for number in range(24)]
        assert len(await call(post, work.many, 300_000)) >= 300_000


async def test_it_takes_nobody_else_s_calls() -> None:
    async with Runtime(processes=1) as rt, a_post(rt) as post:
        mine = await call(post, os.getpid)
        others = await asyncio.gather(*[rt.to_process(os.getpid) for _ in range(50)])
        assert mine not in others
        assert set(await asyncio.gather(*[call(post, os.getpid) for _ in range(50)])) == {mine}


async def test_the_pool_s_queue_is_not_its_own(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    async with Runtime(processes=1, max_queue=1) as rt, a_post(rt) as post:
        pool = rt.options(lane="process")
        jobs = [pool.submit(work.wait_for_file, str(gate), str(begun))]
        await exists(begun)
        jobs.append(pool.submit(work.wait_for_file, str(gate)))
        with pytest.raises(QueueFull):
            pool.submit(work.double, 1)
        assert await asyncio.gather(*[call(post, work.double, n) for n in range(20)]) == [*range(0, 40, 2)]
        gate.touch()
        await asyncio.gather(*jobs)


async def test_an_idle_worker_is_taken_and_comes_back_when_it_is_clean() -> None:
    async with Runtime(processes=1) as rt:
        await rt.warm_up()
        pooled = await rt.to_process(os.getpid)
        async with a_post(rt, is_clean=True) as post:
            assert post.pid == await call(post, os.getpid) == pooled
        assert await rt.to_process(os.getpid) == pooled
        assert len(pids(rt)) == 1


async def test_a_busy_pool_lends_nobody(tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    async with Runtime(processes=1) as rt:
        job = rt.options(lane="process").submit(work.wait_for_file, str(go_on))
        async with a_post(rt) as post:
            assert await call(post, work.double, 2) == 4
        go_on.touch()
        await job


async def test_one_that_is_not_clean_is_dismissed_and_says_farewell(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt:
        async with a_post(rt) as post:
            pid = post.pid
            await call(post, work.touch_at_exit, str(tmp_path / "bye"))
        assert (tmp_path / "bye").exists()
        assert not is_alive(pid)
        await rt.to_process(work.double, 1)
        assert pid not in pids(rt)


async def test_one_that_stays_at_its_farewell_is_killed() -> None:
    async with Runtime(processes=1) as rt:
        async with a_post(rt) as post:
            pid = post.pid
            await call(post, work.stay_at_exit)
        assert not is_alive(pid)


@pytest.mark.parametrize("is_clean", [True, False])
async def test_a_second_time_is_harmless_and_what_comes_later_is_refused(is_clean: bool) -> None:
    async with Runtime(processes=1) as rt:
        post = await lanes_of(rt).open_post("process")
        await asyncio.gather(*[post.leave(is_clean=is_clean) for _ in range(3)])
        await post.leave(is_clean=is_clean)
        with pytest.raises((RuntimeClosed, WorkerCrashed), match="double"):
            call(post, work.double, 1)
        assert await rt.to_process(work.double, 1) == 2


async def test_it_is_not_worn_out_and_not_idle(tmp_path: Path) -> None:
    async with (
        Runtime(processes=1, max_tasks_per_worker=2, max_worker_memory=1, process_idle=0.02) as rt,
        a_post(rt) as post,
    ):
        pid = await call(post, os.getpid)
        for number in range(10):
            await call(post, keep, number)
        one = await rt.to_process(os.getpid)
        await until(lambda: one not in pids(rt))  # the idle are let go
        assert await call(post, kept) == list(range(10))
        assert await call(post, os.getpid) == pid


# Coroutines


async def test_coroutines_run_side_by_side_and_plain_calls_in_order(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt, a_post(rt, coroutines=True) as post:
        here, there = (call(post, work.co_meet, str(tmp_path), *names) for names in (("a", "b"), ("b", "a")))
        await asyncio.gather(here, there)
        jobs = [call(post, keep, number) for number in range(100)]
        assert {await job for job in jobs} == {post.pid}
        assert await call(post, kept) == list(range(100))
        large = [0] * 200_000
        assert await call(post, work.count_of, large) == 200_000
        assert len(await call(post, work.co_many, 200_000)) >= 200_000


async def test_a_worker_that_ran_coroutines_is_of_the_pool_again() -> None:
    async with Runtime(processes=1) as rt:
        async with a_post(rt, is_clean=True, coroutines=True) as post:
            pid, _ = await call(post, work.co_pid_and_double, 1)
        assert await rt.to_process(work.pid_and_double, 4) == (pid, 8)
        assert await rt.to_process(work.co_pid_and_double, 4) == (pid, 8)


async def test_a_coroutine_function_needs_a_post_for_them() -> None:
    async with Runtime(processes=1) as rt, a_post(rt) as post:
        with pytest.raises(TypeError, match="co_double is a coroutine function"):
            call(post, work.co_double, 1)
        with pytest.raises(TypeError, match="generator"):
            call(post, work.numbers, 1)


# Cancel


async def test_a_cancelled_call_is_interrupted_and_the_worker_lives_on(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    async with Runtime(processes=1, interrupt_grace=10.0) as rt, a_post(rt) as post:
        pid = await call(post, os.getpid)
        job = call(post, work.note_and_wait, str(begun), str(ended))
        waiting = call(post, work.touch, str(tmp_path / "never"))
        behind = call(post, os.getpid)
        await exists(begun)
        waiting.cancel()
        job.cancel()
        assert await behind == pid
        assert ended.exists() and not (tmp_path / "never").exists()


async def test_one_of_quick_calls_that_were_written_ahead_is_dropped(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt, a_post(rt) as post:
        function = Function(work.append)
        ledger = str(tmp_path / "ledger")
        for _ in range(30):  # so that it is known to be quick
            await post.submit(function, work.append, (ledger, "0 "), {})
        jobs = [post.submit(function, work.append, (ledger, f"{number} "), {}) for number in range(1, 51)]
        for job in jobs[1::2]:
            job.cancel()
        await asyncio.gather(*jobs[::2])
        got = [int(word) for word in Path(ledger).read_text().split() if word != "0"]
        assert got == sorted(got)
        assert {*range(1, 51, 2)} <= set(got)


async def test_a_call_that_does_not_stop_takes_the_worker_along(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    async with Runtime(processes=1, interrupt_grace=0.05) as rt, a_post(rt) as post:
        job = call(post, work.swallow_interrupts, str(begun))
        behind = call(post, work.double, 1)
        await exists(begun)
        job.cancel()
        with pytest.raises(
            WorkerCrashed, match=r"double was not started.*cancelled and did not stop"
        ) as caught:
            await behind
        assert caught.value.attempts == 0
        with pytest.raises(WorkerCrashed, match="open another one"):
            call(post, work.double, 1)


async def test_a_large_call_that_is_cancelled_holds_nobody_up() -> None:
    async with Runtime(processes=1) as rt, a_post(rt) as post:
        jobs = [call(post, work.count_of, [0] * 300_000) for _ in range(6)]
        last = call(post, work.double, 3)
        for job in jobs:
            job.cancel()
        assert await last == 6


async def test_what_cannot_be_sent_holds_nobody_up() -> None:
    async with Runtime(processes=1) as rt, a_post(rt) as post:
        with pytest.raises(NotSendable, match=r"args\[0\]"):
            call(post, work.count_of, threading.Lock())
        large = call(post, work.count_of, [b"x" * 300_000, *[[n] for n in range(100_000)], threading.Lock()])
        behind = call(post, work.double, 3)
        with pytest.raises(NotSendable, match=r"args\[0\]"):
            await large
        assert await behind == 6


# Death


@pytest.mark.parametrize("coroutines", [False, True])
async def test_its_death_fails_what_ran_what_waited_and_what_comes(coroutines: bool) -> None:
    deaths: list[str] = []
    async with (
        Runtime(processes=1) as rt,
        a_post(rt, coroutines=coroutines, on_death=lambda: deaths.append("dead")) as post,
    ):
        pid = await call(post, os.getpid)
        running, *behind = (
            call(post, work.die, "SIGKILL"),
            call(post, work.double, 1),
            call(post, work.double, 2),
        )
        large = call(post, work.count_of, [0] * 300_000)
        with pytest.raises(
            WorkerCrashed, match=r"die was lost.*what lived in this worker, which was.* gone"
        ) as caught:
            await running
        assert (caught.value.attempts, caught.value.pid) == (1, pid)
        for job in behind if not coroutines else []:
            with pytest.raises(WorkerCrashed, match=f"double was not started.* {pid}, is gone") as caught:
                await job
            assert (caught.value.attempts, caught.value.signal) == (0, "SIGKILL")
        with pytest.raises(WorkerCrashed):
            await large
        await asyncio.gather(*behind, return_exceptions=True)
        with pytest.raises(WorkerCrashed, match="double was not started"):
            call(post, work.double, 3)
        await until(lambda: deaths)
        assert deaths == ["dead"]
        assert await rt.to_process(work.double, 4) == 8


async def test_it_may_die_while_it_has_nothing_to_do() -> None:
    died = asyncio.Event()
    async with Runtime(processes=1) as rt, a_post(rt, on_death=died.set) as post:
        os.kill(post.pid, signal.SIGKILL)
        await died.wait()
        with pytest.raises(WorkerCrashed, match=r"was killed by SIGKILL"):
            call(post, work.double, 3)


async def test_retries_are_not_for_a_worker_of_one_s_own(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt, a_post(rt) as post:
        job: Any = call(post, work.die_before, 1, str(tmp_path / "ledger"))
        job.retries = 5
        with pytest.raises(WorkerCrashed):
            await job
        assert (tmp_path / "ledger").read_text() == "run\n"


async def test_no_death_is_told_to_who_gave_it_up() -> None:
    deaths: list[str] = []
    async with Runtime(processes=1) as rt:
        async with a_post(rt, on_death=lambda: deaths.append("dead")):
            pass
        await rt.to_process(work.double, 1)
    assert not deaths


async def test_a_worker_that_dies_before_it_is_there_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Runtime(processes=1) as rt:
        await rt.warm_up()
        async with a_post(rt):  # the idle one is taken, so the next is forked
            lane: Any = lanes_of(rt).processes
            workforce = lane._workforce
            zygote = workforce.zygote_pid
            os.kill(zygote, signal.SIGSTOP)
            opening = asyncio.ensure_future(lanes_of(rt).open_post("process"))
            await until(lambda: workforce._arrivals)
            os.kill(zygote, signal.SIGKILL)
            post = await opening
            assert await call(post, work.double, 1) == 2
            await post.leave(is_clean=False)


# Cancelled while it opens, or leaves


async def test_a_cancel_while_it_opens_leaves_an_ordinary_worker() -> None:
    async with Runtime(processes=1, own_workers=1) as rt:
        lanes = lanes_of(rt)
        opening = asyncio.ensure_future(lanes.open_post("process"))
        lane: Any = lanes.processes
        await until(lambda: lane._workforce._arrivals)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert await rt.to_process(work.double, 1) == 2
        assert len(pids(rt)) == 1
        async with a_post(rt) as post:  # its place is free
            assert await call(post, work.double, 1) == 2


@pytest.mark.parametrize("is_clean", [True, False])
async def test_a_cancel_while_it_is_given_up_dismisses_it_all_the_same(
    is_clean: bool, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    async with Runtime(processes=1, own_workers=1, interrupt_grace=0.05) as rt:
        post = await lanes_of(rt).open_post("process")
        pid = post.pid  # type: ignore[attr-defined]
        job = call(post, work.swallow_interrupts, str(begun))
        await exists(begun)
        leaving = asyncio.ensure_future(post.leave(is_clean=is_clean))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        with pytest.raises(RuntimeClosed, match="was still running when the worker of its own"):
            await job
        await until(lambda: not is_alive(pid))
        async with a_post(rt) as another:
            assert await call(another, work.double, 1) == 2


@pytest.mark.parametrize("coroutines", [False, True])
async def test_given_up_clean_while_it_is_busy_it_is_stopped_first(coroutines: bool, tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    async with Runtime(processes=1, interrupt_grace=10.0) as rt:
        async with a_post(rt, is_clean=True, coroutines=coroutines) as post:
            pid = post.pid
            job = call(post, work.co_wait if coroutines else work.note_and_wait, str(begun), str(ended))
            waiting = call(post, work.co_double if coroutines else work.double, 3)
            await exists(begun)
        with pytest.raises(RuntimeClosed, match="was still running when the worker of its own"):
            await job
        await asyncio.gather(waiting, return_exceptions=True)
        assert ended.exists()
        assert (await rt.to_process(work.pid_and_double, 1))[0] == pid


# How many


@pytest.mark.parametrize("lane", ["process", "thread"])
async def test_who_finds_no_place_waits_for_one(lane: str) -> None:
    async with Runtime(processes=1, own_workers=2) as rt:
        posts = [await lanes_of(rt).open_post(lane) for _ in range(2)]
        third, fourth = (asyncio.ensure_future(lanes_of(rt).open_post(lane)) for _ in range(2))
        await until(lambda: lanes_of(rt)._places.waiting == 2)
        third.cancel()
        await asyncio.gather(third, return_exceptions=True)
        assert not fourth.done()
        await posts[0].leave(is_clean=True)
        posts.append(await fourth)
        for post in posts:
            await post.leave(is_clean=True)


async def test_a_death_makes_a_place_free() -> None:
    async with Runtime(processes=1, own_workers=1) as rt:
        first: Any = await lanes_of(rt).open_post("process")
        second = asyncio.ensure_future(lanes_of(rt).open_post("process"))
        await until(lambda: lanes_of(rt)._places.waiting)
        os.kill(first.pid, signal.SIGKILL)
        assert await call(await second, work.double, 1) == 2


async def test_warm_up_and_the_pool_do_not_count_them() -> None:
    async with Runtime(processes=2) as rt, a_post(rt) as post, a_post(rt), a_post(rt):
        await rt.warm_up()
        assert len(pids(rt)) == 5
        await call(post, work.double, 1)


# The end of the runtime


async def test_leaving_the_runtime_ends_them_and_what_waits_for_one(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    async with Runtime(processes=1, own_workers=1, shutdown_grace=0.05, interrupt_grace=0.05) as rt:
        post: Any = await lanes_of(rt).open_post("process")
        pid = post.pid
        job = call(post, work.swallow_interrupts, str(begun))
        large = call(post, work.count_of, [0] * 300_000)
        await exists(begun)
        waits = asyncio.ensure_future(lanes_of(rt).open_post("process"))
        await until(lambda: lanes_of(rt)._places.waiting)
    assert not is_alive(pid)
    for lost in (job, large, waits):
        with pytest.raises(RuntimeClosed):
            await lost
    with pytest.raises((RuntimeClosed, WorkerCrashed)):
        call(post, work.double, 1)
    await post.leave(is_clean=True)
    with pytest.raises(RuntimeClosed):
        await lanes_of(rt).open_post("process")


async def test_leaving_the_runtime_waits_for_their_calls(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt:
        post = await lanes_of(rt).open_post("process")
        jobs = [call(post, work.note, str(tmp_path / "notes"), f"{number} ") for number in range(20)]
    assert len((tmp_path / "notes").read_text().split()) == 20
    assert all(job.done() for job in jobs)


# Threads


async def test_a_thread_of_one_s_own_stays_the_same() -> None:
    async with Runtime(threads=1, thread_idle=0.0) as rt, a_post(rt, "thread") as post:
        connection = await call(post, partial(sqlite3.connect, ":memory:"))
        await call(post, connection.execute, "create table t (x)")
        await rt.to_thread(threading.get_ident)
        jobs = [call(post, connection.execute, "insert into t values (?)", (n,)) for n in range(50)]
        await asyncio.gather(*jobs)
        cursor = await call(post, connection.execute, "select x from t")
        assert [x for (x,) in await call(post, cursor.fetchall)] == list(range(50))
        await call(post, cursor.close)
        await call(post, connection.close)
        with pytest.raises(TypeError, match="coroutine function"):
            call(post, work.co_double, 1)


async def test_a_thread_that_is_given_up_fails_what_waits_and_tells_what_runs() -> None:
    async with Runtime(threads=1) as rt:
        post = await lanes_of(rt).open_post("thread")
        begun, go_on = threading.Event(), threading.Event()

        def wait_until_told() -> None:
            begun.set()
            go_on.wait()

        running, waiting = call(post, wait_until_told), call(post, work.double, 1)
        await rt.to_thread(begun.wait)
        leaving = asyncio.ensure_future(post.leave(is_clean=True))
        await until(running.done)
        go_on.set()
        await leaving
        for job in (running, waiting):
            with pytest.raises(RuntimeClosed, match="was stopped"):
                await job
        await post.leave(is_clean=True)
        with pytest.raises(RuntimeClosed, match="given up"):
            call(post, work.double, 1)


async def test_leaving_the_runtime_ends_the_threads_too() -> None:
    async with Runtime(threads=1) as rt:
        post = await lanes_of(rt).open_post("thread")
        assert await call(post, work.double, 1) == 2
    with pytest.raises(RuntimeClosed):
        call(post, work.double, 1)
    await post.leave(is_clean=True)


# Where there are none


async def test_where_there_are_none() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        async with Runtime(processes=executor) as rt:
            with pytest.raises(HybridrtError, match="this Runtime has ThreadPoolExecutor in their place"):
                await lanes_of(rt).open_post("process")
    async with Runtime(processes=1) as rt:
        for lane, coroutines in (("loop", False), ("thread", True)):
            with pytest.raises(ValueError, match=lane):
                await lanes_of(rt).open_post(lane, coroutines=coroutines)
