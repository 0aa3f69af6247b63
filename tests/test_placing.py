"""Calls of ``run`` find their place by measurement, mean the same there, and come back where that cannot be."""

from __future__ import annotations

import asyncio
import functools
import pickle
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import placeable
import pytest
import work
from helpers import until

import hybridrt
from hybridrt import Runtime
from hybridrt._core.function import Function
from hybridrt._core.gil import is_gil_off
from hybridrt._core.knowledge import UNKNOWN
from hybridrt._core.proof import examine
from hybridrt._core.sight import Sight

N = 100_000
"""Some milliseconds of computing."""
MANY = 3000
"""Calls after which a place is found, also where the machine is so busy that the probe hardly has a CPU."""

needs_gil = pytest.mark.skipif(is_gil_off(), reason="nothing keeps a GIL from others where there is none")


def function_of(rt: Runtime, fn: Callable[..., Any]) -> Function:
    return rt._book.look_up(fn)


def make_known(rt: Runtime, fn: Callable[..., Any], seconds: float = 0.02) -> Function:
    """As if two calls had been seen that keep the GIL for so long."""
    function = function_of(rt, fn)
    function.verdict = examine(fn)
    for _ in range(2):
        function.knowledge.learn(
            Sight(seconds, seconds, 0.0, seconds, seconds, looks=9, verdict=function.verdict, shipping=0.0)
        )
    return function


async def settle(rt: Runtime, fn: Callable[..., Any], *args: Any) -> str:
    """Call it until its place is found; the lane."""
    known = function_of(rt, fn).knowledge
    for _ in range(MANY):
        await rt.run(fn, *args)
        lane = rt.explain(fn).lane
        if known.is_settled and not known.is_doubtful and known.kind != UNKNOWN:
            return lane
    raise AssertionError(str(rt.explain(fn)))


@needs_gil
async def test_what_keeps_the_gil_goes_to_a_process() -> None:
    async with Runtime() as rt:
        assert rt.explain(placeable.squares).lane == "thread"
        assert await settle(rt, placeable.squares, N) == "process"
        job = rt.submit(placeable.squares, N)
        assert job.lane == "process"
        assert await job == placeable.squares(N)
        explanation = rt.explain(placeable.squares)
        assert explanation.may_move and explanation.seen >= 2 and explanation.cpu and explanation.gil_share
        assert "keeps the GIL" in explanation.reason and "keeps the GIL" in str(explanation)


async def test_what_waits_or_is_quick_stays_in_a_thread() -> None:
    async with Runtime() as rt:
        assert await settle(rt, time.sleep, 0.01) == "thread"
        assert rt.explain(time.sleep).reason == "it mostly waits"
        assert await settle(rt, abs, -1) == "thread"
        assert rt.explain(abs).reason.startswith("it is done in ")
        assert rt.stats().processes.workers == 0


@pytest.mark.parametrize(
    ("fn", "args", "reason"),
    [
        (placeable.changes_its_argument, ([0] * N,), ""),
        (placeable.keeps_count, (N,), "SEEN"),
        (placeable.draws, (N,), "random"),
        (placeable.counts_under, (threading.Lock(), N), ""),
        (placeable.Counter().count, (N,), "bound method"),
        (placeable.returns_a_lock, (N,), ""),
    ],
    ids=["argument", "global", "random", "lock", "method", "result"],
)
async def test_what_might_mean_something_else_elsewhere_stays_and_says_why(
    fn: Callable[..., Any], args: tuple[Any, ...], reason: str
) -> None:
    async with Runtime() as rt:
        assert await settle(rt, fn, *args) == "thread"
        for _ in range(10):
            job = rt.submit(fn, *args)
            assert job.lane == "thread"
            await job
        explanation = rt.explain(fn)
        if not is_gil_off():
            assert "stays in a thread" in explanation.reason and reason in explanation.reason
        assert rt.stats().processes.workers == 0


async def test_declarations_win_over_measurement() -> None:
    @hybridrt.io_bound
    def waits(n: int) -> int:
        return placeable.squares(n)

    @hybridrt.thread_only
    def stays(n: int) -> int:
        return placeable.squares(n)

    async with Runtime() as rt:
        for fn in (waits, stays):
            make_known(rt, fn)
            assert rt.submit(fn, 10).lane == "thread"
        with pytest.raises(
            TypeError, match=r"stays is declared @thread_only, so it cannot be sent to a process"
        ):
            await rt.to_process(stays, 10)
        assert await rt.to_thread(stays, 10) == await rt.run(stays, 10) == placeable.squares(10)


@pytest.mark.parametrize(
    ("fn", "args"),
    [
        (placeable.squares_of, ([1, 2, object()],)),
        (placeable.squares_of, ([threading.Lock()],)),
        (placeable.Counter.count, (placeable.Counter(), 3)),
        (functools.partial(placeable.squares_of, [object()]), ()),
    ],
    ids=["object", "lock", "self", "partial"],
)
async def test_a_call_with_what_is_no_plain_data_stays_though_others_go(
    fn: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    async with Runtime() as rt:
        make_known(rt, placeable.squares_of)
        assert rt.submit(placeable.squares_of, [1, 2]).lane == "process"
        job = rt.submit(fn, *args)
        assert job.lane == "thread"
        await asyncio.wait([job])
        job.exception()


async def test_a_partial_of_plain_data_goes() -> None:
    async with Runtime() as rt:
        make_known(rt, placeable.squares_of)
        job = rt.submit(functools.partial(placeable.squares_of, [1, 2, 3]))
        assert job.lane == "process"
        assert await job == placeable.squares_of([1, 2, 3])


async def test_a_helper_that_was_exchanged_keeps_the_call_here(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Runtime() as rt:
        make_known(rt, placeable.squares)
        assert rt.submit(placeable.squares, 10).lane == "process"
        monkeypatch.setattr(placeable, "LIMIT", 7)
        job = rt.submit(placeable.squares, 10)
        assert job.lane == "thread"
        assert await job == sum(i * i % 7 for i in range(10))


class Opaque:
    """May be pickled, and be anything."""


@pytest.mark.parametrize("size", [1000, 300_000], ids=["on the loop", "by a porter"])
async def test_what_turns_up_deep_inside_keeps_the_call_here(size: int) -> None:
    value: list[Any] = [0] * size
    value[size // 2] = Opaque()
    async with Runtime() as rt:
        function = make_known(rt, placeable.squares_of)
        if function.verdict is not None and function.verdict.needs_immutable:
            pytest.skip("then all of it is looked at beforehand")
        job = rt.submit(placeable.squares_of, value)
        with pytest.raises(TypeError, match="unsupported operand"):
            await job
        assert job.lane == "thread"
        assert "could not be sent" in rt.explain(placeable.squares_of).reason or size == 1000


_where: ContextVar[str] = ContextVar("where", default="nowhere")


def asks(n: int) -> Any:
    return _where.get(), threading.current_thread().name, Opaque if n else Opaque()


async def test_where_the_result_cannot_come_back_the_call_is_run_again_here_in_its_context() -> None:
    async with Runtime() as rt:
        function = make_known(rt, asks)
        function.verdict = function.knowledge.verdict = examine(
            placeable.squares
        )  # as if it were as harmless
        function.knowledge.is_away = True
        token = _where.set("there")
        job = rt.submit(_unsendable_maker, 1)
        _where.reset(token)
        assert job.lane in ("thread", "process")
        await job

        function = make_known(rt, placeable.returns_a_lock)
        function.verdict = function.knowledge.verdict = examine(placeable.squares)
        function.knowledge.is_away = True
        job = rt.submit(placeable.returns_a_lock, 3)
        assert job.lane == "process"
        assert isinstance(await job, type(threading.Lock()))
        assert job.lane == "thread"
        assert rt.explain(placeable.returns_a_lock).lane == "thread"


def _unsendable_maker(n: int) -> str:
    return _where.get()


async def test_a_call_that_is_run_again_is_in_the_caller_s_context_where_nothing_is_strict() -> None:
    async with Runtime() as rt:
        function = make_known(rt, placeable.pickles_and_returns_a_lock)
        function.verdict = function.knowledge.verdict = examine(placeable.squares)
        function.knowledge.is_away = True
        job = rt.submit(placeable.pickles_and_returns_a_lock)
        assert job.lane == "process"
        kind, _ = await job
        assert job.lane == "thread"
        assert kind is pickle.Pickler


async def test_a_call_that_is_run_again_can_be_cancelled() -> None:
    async with Runtime() as rt:
        function = make_known(rt, placeable.returns_a_lock)
        function.verdict = function.knowledge.verdict = examine(placeable.squares)
        function.knowledge.is_away = True
        jobs = [rt.submit(placeable.returns_a_lock, 3) for _ in range(50)]
        while all(job.lane == "process" for job in jobs):
            await asyncio.sleep(0)
        for job in jobs:
            job.cancel()
        await asyncio.wait(jobs)
        assert all(job.cancelled() or job.lane == "thread" for job in jobs)


async def test_exceptions_arrive_as_themselves_from_every_place() -> None:
    async with Runtime() as rt:
        for _ in range(3):
            with pytest.raises(LookupError, match="10"):
                await rt.run(placeable.fails, 10)
        make_known(rt, placeable.fails)
        job = rt.submit(placeable.fails, 10)
        with pytest.raises(LookupError, match="10"):
            await job


@needs_gil
async def test_it_comes_back_when_it_has_become_quick_and_goes_when_it_has_become_long() -> None:
    async with Runtime() as rt:
        assert await settle(rt, placeable.grows, 10) == "thread"
        for _ in range(MANY):
            await rt.run(placeable.grows, 1_000_000)
            latest = function_of(rt, placeable.grows).latest
            # Settled: until then one call or another is a trial, in a thread.
            if latest is not None and latest.knowledge.is_settled and latest.knowledge.is_away:
                break
        else:
            raise AssertionError(str(rt.explain(placeable.grows)))
        for _ in range(MANY):
            await rt.run(placeable.grows, 10)
            if rt.explain(placeable.grows).lane == "thread":
                break
        else:
            raise AssertionError(str(rt.explain(placeable.grows)))
        assert "depends on the size" in rt.explain(placeable.grows).reason
        assert rt.submit(placeable.grows, 1_000_000).lane == "process"
        assert rt.submit(placeable.grows, 10).lane == "thread"


async def test_a_short_call_does_not_wait_behind_long_ones(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with Runtime(processes=1) as rt:
        make_known(rt, placeable.squares, 0.002)
        make_known(rt, placeable.squares_too, 0.02)
        blockers = [asyncio.ensure_future(rt.to_process(work.wait_for_file, str(gate))) for _ in range(2)]
        placing = rt._open_lanes().placing
        await until(lambda: placing.crew is not None and placing.crew.is_clogged(time.monotonic()))
        assert await rt.run(placeable.squares, 10) == placeable.squares(10)
        job = rt.submit(placeable.squares_too, 10)
        assert job.lane == "process"  # here it would keep the GIL for long
        gate.touch()
        await asyncio.gather(*blockers)
        assert await job == placeable.squares_too(10)


async def test_a_function_that_killed_a_worker_is_never_run_here() -> None:
    async with Runtime() as rt:
        with pytest.raises(hybridrt.WorkerCrashed):
            await rt.to_process(placeable.dies, True)
        for _ in range(3):
            job = rt.submit(placeable.dies, False)
            assert job.lane == "process"
            assert await job == "lives"
        with pytest.raises(hybridrt.WorkerCrashed):
            await rt.run(placeable.dies, True)
        assert rt.explain(placeable.dies).lane == "process"
        assert "a worker died of it" in rt.explain(placeable.dies).reason
        with pytest.raises(hybridrt.NotSendable):  # nor where it cannot be sent
            await rt.run(placeable.dies, threading.Lock())


async def test_lambdas_of_one_code_are_learned_once_and_stay() -> None:
    async with Runtime() as rt:
        functions = [lambda: placeable.squares(N) for _ in range(12)]
        for fn in functions:
            await rt.run(fn)
        assert len({id(function_of(rt, fn).knowledge) for fn in functions}) == 1
        assert function_of(rt, functions[0]).knowledge.sights >= 2


async def test_with_another_executor_for_processes_everything_stays() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        async with Runtime(processes=pool) as rt:
            make_known(rt, placeable.squares)
            assert rt.submit(placeable.squares, 10).lane == "thread"


async def test_what_was_shared_is_the_thing_itself() -> None:
    async with Runtime() as rt:
        make_known(rt, placeable.squares_of)
        numbers = [1, 2, 3]
        job = rt.submit(placeable.squares_of, rt.share(numbers))
        assert job.lane == "thread"
        assert await job == placeable.squares_of(numbers)


async def test_cancelled_at_any_moment_a_trial_lets_go() -> None:
    async with Runtime() as rt:
        for turns in range(6):
            task = asyncio.create_task(rt.run(placeable.squares, N))
            for _ in range(turns):
                await asyncio.sleep(0)
            if task.cancel():  # else it was quicker
                with pytest.raises(asyncio.CancelledError):
                    await task
        assert await rt.run(placeable.squares, 10) == placeable.squares(10)
    assert "hybridrt-probe" not in {thread.name for thread in threading.enumerate()}
