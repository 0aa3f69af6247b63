"""What is started in a scope ends in it: by its result, by a failure that ends the others, or by a cancel."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from helpers import exists, until

from hybridrt import Job, Runtime, RuntimeClosed


def wait_for_ever(started: Path, ended: Path) -> None:
    try:
        started.touch()
        while True:
            time.sleep(0.001)
    finally:
        ended.touch()


def fail(text: str) -> None:
    raise LookupError(text)


async def test_the_end_of_the_block_waits_for_every_job() -> None:
    async with Runtime(processes=1) as rt:
        async with rt.scope() as scope:
            jobs = [
                scope.submit(pow, 2, 5),
                scope.options(lane="process").submit(divmod, 7, 2),
                scope.options(lane="thread", timeout=5).submit(pow, 2, 6),
            ]
        assert [job.done() for job in jobs] == [True] * 3
        assert [job.result() for job in jobs] == [32, (3, 1), 64]


async def test_the_first_failure_ends_the_others_and_the_body(tmp_path: Path) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    async with Runtime(processes=1) as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with rt.scope() as scope:
                job = scope.options(lane="process").submit(wait_for_ever, started, ended)
                await exists(started)
                scope.submit(fail, "the reason")
                await asyncio.get_running_loop().create_future()  # the body would wait for ever
        assert [str(exc) for exc in caught.value.exceptions] == ["the reason"]
        assert job.cancelled()
        await exists(ended)


async def test_a_failure_that_the_body_met_with_as_well_is_told_once() -> None:
    async with Runtime() as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with rt.scope() as scope:
                await scope.submit(fail, "met with")
        assert [str(exc) for exc in caught.value.exceptions] == ["met with"]


async def test_an_awaited_call_s_failure_is_the_body_s_to_handle() -> None:
    async with Runtime() as rt, rt.scope() as scope:
        with pytest.raises(LookupError, match="handled"):
            await scope.to_thread(fail, "handled")
        with pytest.raises(LookupError, match="too"):
            await scope.options(lane="thread").run(fail, "too")
        assert await scope.run(pow, 2, 3) == 8


async def test_an_error_of_the_body_ends_the_jobs(tmp_path: Path) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    async with Runtime(processes=1) as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with rt.scope() as scope:
                job = scope.options(lane="process").submit(wait_for_ever, started, ended)
                await exists(started)
                raise KeyError("of the body")
        assert isinstance(caught.value.exceptions[0], KeyError)
        assert job.cancelled()
        await exists(ended)


async def test_several_failures_are_all_told() -> None:
    gate = threading.Barrier(2)

    def fail_together(text: str) -> None:
        gate.wait(10)
        raise LookupError(text)

    async with Runtime(threads=2) as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with rt.scope() as scope:
                jobs = [scope.options(lane="thread").submit(fail_together, text) for text in "ab"]
                await asyncio.wait(jobs)
        assert {str(exc) for exc in caught.value.exceptions} <= {"a", "b"}
        assert caught.value.exceptions


async def test_a_cancelled_job_is_no_failure(tmp_path: Path) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    async with Runtime(processes=1) as rt:
        async with rt.scope() as scope:
            job = scope.options(lane="process").submit(wait_for_ever, started, ended)
            await exists(started)
            job.cancel()
            other = scope.submit(pow, 2, 3)
        assert other.result() == 8
        await exists(ended)


async def test_cancel_ends_all_of_it_without_an_error(tmp_path: Path) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    async with Runtime(processes=1) as rt:
        async with rt.scope() as scope:
            job = scope.options(lane="process").submit(wait_for_ever, started, ended)
            await exists(started)
            scope.cancel()
        assert job.cancelled()
        await exists(ended)


@pytest.mark.parametrize("limit", ["asyncio", "anyio", "anyio scope"])
async def test_a_time_limit_around_it_ends_the_jobs(limit: str, tmp_path: Path) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    jobs: list[Job[Any]] = []

    async def in_scope(rt: Runtime) -> None:
        async with rt.scope() as scope:
            jobs.append(scope.options(lane="process").submit(wait_for_ever, started, ended))

    async with Runtime(processes=1) as rt:
        if limit == "anyio scope":
            with anyio.CancelScope() as around:
                async with anyio.create_task_group() as group:
                    group.start_soon(in_scope, rt)
                    await exists(started)
                    around.cancel()
        else:
            with pytest.raises(TimeoutError):
                if limit == "asyncio":
                    async with asyncio.timeout(0.2):
                        await in_scope(rt)
                else:
                    with anyio.fail_after(0.2):
                        await in_scope(rt)
        assert jobs[0].cancelled()
        await until(lambda: ended.exists() or not started.exists())


async def test_the_end_waits_for_calls_that_another_task_awaits() -> None:
    release = threading.Event()
    async with Runtime() as rt:
        async with rt.scope() as scope:
            task = asyncio.create_task(scope.to_thread(release.wait, 10))
            await until(lambda: rt.stats().threads.running)
            asyncio.get_running_loop().call_later(0.01, release.set)
        assert rt.stats().threads.running == 0
        assert await task


async def test_scopes_may_be_in_one_another() -> None:
    async with Runtime() as rt:
        with pytest.raises(ExceptionGroup) as caught:
            async with rt.scope() as outer:
                kept = outer.submit(pow, 2, 3)
                async with rt.scope() as inner:
                    inner.submit(fail, "inside")
        assert caught.group_contains(LookupError, match="inside")
        assert kept.done()


async def test_calls_outside_of_the_block_are_refused() -> None:
    async with Runtime() as rt:
        scope = rt.scope()
        with pytest.raises(RuntimeClosed, match="was not entered yet"):
            scope.submit(pow, 2, 3)
        with pytest.raises(RuntimeClosed, match="was not entered"):
            scope.cancel()
        async with scope:
            pass
        with pytest.raises(RuntimeClosed, match="has ended"):
            scope.submit(pow, 2, 3)
        with pytest.raises(RuntimeClosed, match="entered once"):
            await scope.__aenter__()
        with pytest.raises(RuntimeClosed, match="without having been entered"):
            await rt.scope().__aexit__(None, None, None)
