"""Every lane keeps the same contract: results, errors, cancels, limits, the executor face, and a close that ends."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import work
from helpers import exists, until

from hybridrt import HybridrtError, Runtime, RuntimeClosed

LANES = ["thread", "process", "foreign"]


class Place:
    """A runtime, and the one lane of it that the test is about."""

    def __init__(self, rt: Runtime, name: str) -> None:
        self.rt = rt
        self.name = "thread" if name == "thread" else "process"
        self.verbs = rt.options(lane=self.name)  # type: ignore[arg-type]
        self.submit = self.verbs.submit
        self.call = rt.to_thread if self.name == "thread" else rt.to_process

    @property
    def executor(self) -> Executor:
        return self.rt.threads if self.name == "thread" else self.rt.processes


@contextlib.asynccontextmanager
async def a_place(name: str, **settings: Any) -> AsyncIterator[Place]:
    with contextlib.ExitStack() as stack:
        if name == "foreign":
            settings["processes"] = stack.enter_context(ThreadPoolExecutor(2))
        else:
            settings.setdefault("processes", 2)
        async with Runtime(**settings) as rt:
            yield Place(rt, name)


@pytest.fixture(params=LANES)
def lane(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def test_a_call_returns_its_result(lane: str) -> None:
    async with a_place(lane) as place:
        assert await place.call(work.double, 21) == 42
        assert await place.call(work.echo, 1, "a", key=[2]) == ((1, "a"), {"key": [2]})


async def test_an_exception_arrives_as_itself_with_the_frames_of_the_function(lane: str) -> None:
    async with a_place(lane) as place:
        with pytest.raises(ValueError, match=r"^too bad$") as caught:
            await place.call(work.fail, "too bad")
        assert "fail" in [entry.name for entry in caught.traceback]


async def test_options_named_like_ours_belong_to_the_function(lane: str) -> None:
    async with a_place(lane) as place:
        assert await place.call(work.echo, fn=1, self=2, timeout=3, lane=4) == (
            (),
            {"fn": 1, "self": 2, "timeout": 3, "lane": 4},
        )


async def test_many_at_once_come_back_in_their_places(lane: str) -> None:
    async with a_place(lane) as place:
        results = await asyncio.gather(*[place.call(work.double, i) for i in range(500)])
        assert results == [i * 2 for i in range(500)]
        jobs = [place.submit(work.double, i) for i in range(500)]
        assert [await job for job in jobs] == [i * 2 for i in range(500)]
        assert {job.lane for job in jobs} == {place.name}


async def test_a_failure_among_many_is_its_own(lane: str) -> None:
    async with a_place(lane) as place:
        jobs = [
            place.submit(work.fail, str(i)) if i % 10 == 3 else place.submit(work.double, i)
            for i in range(200)
        ]
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        for i, outcome in enumerate(outcomes):
            if i % 10 == 3:
                assert isinstance(outcome, ValueError) and outcome.args == (str(i),)
            else:
                assert outcome == i * 2


async def test_a_waiting_call_that_is_cancelled_never_starts(lane: str, tmp_path: Path) -> None:
    gate, trace = tmp_path / "gate", tmp_path / "trace"
    async with a_place(lane, threads=2) as place:
        blockers = [place.submit(work.wait_for_file, str(gate), str(tmp_path / f"{i}")) for i in range(2)]
        for i in range(2):
            await exists(tmp_path / f"{i}")
        waiting = [place.submit(work.touch, str(trace)) for _ in range(20)]
        for job in waiting:
            assert job.cancel()
            assert not job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        gate.touch()
        assert [await job for job in blockers] == [str(gate)] * 2
        assert await place.call(work.double, 1) == 2
    assert not trace.exists()


async def test_large_things_go_there_and_back_among_small_ones_in_their_places(lane: str) -> None:
    rows = [{"i": i, "s": str(i)} for i in range(20_000)]
    things = [rows, 1, "x" * 2_000_000, 2, b"y" * 2_000_000, rows, 3]
    async with a_place(lane) as place:
        jobs = [place.submit(work.echo, thing) for thing in things * 3]
        assert [await job for job in jobs] == [((thing,), {}) for thing in things * 3]
        unwanted = place.submit(work.echo, rows)
        assert unwanted.cancel()  # before the loop turns: however quick a lane is, this is in time
        assert await place.call(work.echo, rows) == ((rows,), {})
        assert await asyncio.wrap_future(place.executor.submit(work.echo, rows)) == ((rows,), {})


async def test_cancelling_the_task_that_awaits_ends_the_await(lane: str, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    async with a_place(lane) as place:
        task = asyncio.create_task(place.call(work.wait_for_file, str(gate), str(begun)))
        await exists(begun)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.touch()
        assert await place.call(work.double, 3) == 6


async def test_it_is_a_real_executor(lane: str) -> None:
    async with a_place(lane) as place:
        loop = asyncio.get_running_loop()
        executor = place.executor
        assert isinstance(executor, Executor)
        assert await loop.run_in_executor(executor, work.double, 4) == 8
        with pytest.raises(ValueError, match=r"^bad$"):
            await loop.run_in_executor(executor, work.fail, "bad")
        assert await asyncio.wrap_future(executor.submit(work.double, 5)) == 10


async def test_its_executor_serves_other_threads(lane: str) -> None:
    async with a_place(lane) as place:
        executor = place.executor

        def elsewhere() -> list[int]:
            return [
                executor.submit(work.double, 6).result(10),
                *executor.map(work.double, range(5), timeout=10),
            ]

        found: list[int] = []
        thread = threading.Thread(target=lambda: found.extend(elsewhere()))
        thread.start()
        await until(lambda: not thread.is_alive())
        thread.join()
        assert found == [12, 0, 2, 4, 6, 8]


async def test_a_call_after_the_runtime_was_left_is_refused(lane: str) -> None:
    async with a_place(lane) as place:
        pass
    with pytest.raises(RuntimeClosed, match="has been left"):
        await place.call(work.double, 1)
    with pytest.raises(RuntimeClosed, match="has been left"):
        place.submit(work.double, 1)


async def test_leaving_waits_for_what_was_accepted(lane: str, tmp_path: Path) -> None:
    async with a_place(lane) as place:
        jobs = [place.submit(work.append, str(tmp_path / "ledger"), str(i)) for i in range(50)]
    assert [job.exception() for job in jobs] == [None] * 50
    assert sorted(map(int, (tmp_path / "ledger").read_text().split())) == list(range(50))


async def test_an_exit_from_the_function_does_not_end_the_loop(lane: str) -> None:
    async with a_place(lane) as place:
        with pytest.raises(HybridrtError, match=r"sys\.exit\(3\)") as caught:
            await place.call(work.leave, 3)
        assert isinstance(caught.value.__cause__, SystemExit)
        assert await place.call(work.double, 2) == 4


async def test_stats_count_what_happened(lane: str) -> None:
    async with a_place(lane) as place:
        await asyncio.gather(*[place.call(work.double, i) for i in range(10)])
        with pytest.raises(ValueError, match=r"^$"):
            await place.call(work.fail, "")
        stats = place.rt.stats()
        mine = stats.threads if place.name == "thread" else stats.processes
        assert (mine.succeeded, mine.failed, mine.waiting, mine.running) == (10, 1, 0, 0)


@pytest.mark.leaves_processes  # the standard library's resource tracker stays for good
def test_a_standard_process_pool_can_stand_behind_a_runtime() -> None:
    async def main() -> None:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            async with Runtime(processes=pool) as rt:
                assert await rt.to_process(work.double, 2) == 4
                assert await rt.to_process(work.co_double, 2) == 4

    asyncio.run(main())
