"""Functions of which nothing is known are tried one at a time, and whoever waits is started in the end, once."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextvars import ContextVar
from itertools import count
from typing import Any

import placeable
import pytest
from helpers import a_seed, until

import hybridrt
from hybridrt import Runtime
from hybridrt._core.function import Function
from hybridrt._core.sight import Sight
from hybridrt._lanes.job import Job, ProcessJob
from hybridrt._lanes.turns import MOST_SECONDS, Turns

word: ContextVar[str] = ContextVar("word", default="nothing")


class ATrial:
    """As ``OnTrial``, under the control of a test."""

    def __init__(self, function: Function, *, computes: bool = True) -> None:
        self.function = function
        self.is_done = self.is_over = False
        self._computes = computes

    def seems_harmless(self, now: float) -> bool:
        return not self._computes

    def end(self) -> None:
        self.is_done = self.is_over = True


class Stage:
    """Turns, and the calls that were started."""

    def __init__(self) -> None:
        self.numbers = count(1)
        self.begun: list[Job[Any]] = []
        self.words: list[str] = []
        self.kind: type[Job[Any]] = Job
        self.error: Exception | None = None
        self.turns = Turns(asyncio.get_running_loop(), self.numbers, self.start)

    def start(
        self, function: Function, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], terms: Any
    ) -> Job[Any]:
        if self.error is not None:
            raise self.error
        job: Job[Any] = self.kind(loop=asyncio.get_running_loop())
        job.function, job.lane, job.number = function, "process", next(self.numbers)
        job.stop_work = lambda _: None
        self.words.append(word.get())
        self.begun.append(job)
        return job

    def try_out(self, fn: Callable[..., Any] = len, *, computes: bool = True) -> ATrial:
        trial = ATrial(Function(fn), computes=computes)
        self.turns.take(trial)  # type: ignore[arg-type]
        return trial

    def wait(self, fn: Callable[..., Any] = abs) -> Job[Any]:
        function = Function(fn)
        assert self.turns.must_wait(function)
        return self.turns.wait(function, fn, (-3,), {})


async def test_a_call_waits_while_one_computes_on_trial_and_is_its_job_s_afterwards() -> None:
    stage = Stage()
    trial = stage.try_out()
    job = stage.wait()
    await asyncio.sleep(0.01)
    assert not stage.begun
    trial.end()
    await until(lambda: stage.begun)
    inner = stage.begun[0]
    assert (job.lane, job.id) == ("process", inner.id)
    inner.set_result(3)
    assert await job == 3


async def test_nobody_waits_where_nothing_is_on_trial() -> None:
    stage = Stage()
    assert not stage.turns.must_wait(Function(abs))
    stage.try_out().end()
    assert not stage.turns.must_wait(Function(abs))


async def test_what_is_known_does_not_wait() -> None:
    stage = Stage()
    stage.try_out()
    function = Function(abs)
    assert stage.turns.must_wait(function)
    function.knowledge.learn(Sight(0.01, 0.0, 0.01, 0.0, 0.01))
    assert not stage.turns.must_wait(function)


async def test_it_is_nobody_s_turn_who_is_known_not_to_keep_the_gil() -> None:
    stage = Stage()
    trial = ATrial(Function(len))
    trial.function.knowledge.learn(Sight(0.01, 0.0, 0.01, 0.0, 0.01))
    stage.turns.take(trial)  # type: ignore[arg-type]
    assert not stage.turns.must_wait(Function(abs))


async def test_one_that_seems_harmless_keeps_nobody_waiting() -> None:
    stage = Stage()
    trial = stage.try_out(computes=False)
    stage.wait()
    await until(lambda: stage.begun)
    assert not trial.is_over
    assert trial.function.knowledge.seems_harmless
    assert not trial.function.knowledge.is_suspect
    assert not stage.turns.must_wait(trial.function)


async def test_one_that_computes_for_long_keeps_nobody_for_long() -> None:
    stage = Stage()
    began = time.perf_counter()
    stage.try_out()
    jobs = [stage.wait() for _ in range(3)]
    await until(lambda: len(stage.begun) == len(jobs))
    assert time.perf_counter() - began >= MOST_SECONDS


async def test_a_crowd_does_not_wait() -> None:
    stage = Stage()
    stage.try_out()
    started = 0
    while stage.turns.must_wait(Function(abs)):
        stage.wait()
        started += 1
        assert started < 10_000
    assert not stage.begun
    stage.turns.close()
    assert len(stage.begun) == started


async def test_cancelled_while_it_waits_it_never_starts() -> None:
    stage = Stage()
    trial = stage.try_out()
    job, other = stage.wait(), stage.wait()
    job.cancel()
    trial.end()
    await until(lambda: stage.begun)
    stage.begun[0].set_result(1)
    assert await other == 1
    assert len(stage.begun) == 1


async def test_cancelled_afterwards_what_it_became_is_cancelled() -> None:
    stage = Stage()
    trial = stage.try_out()
    job = stage.wait()
    trial.end()
    await until(lambda: stage.begun)
    job.cancel()
    assert stage.begun[0].cancelled()


async def test_its_outcome_is_that_of_what_it_became() -> None:
    stage = Stage()
    trial = stage.try_out()
    failed, cancelled = stage.wait(), stage.wait()
    trial.end()
    await until(lambda: len(stage.begun) == 2)
    stage.begun[0].set_exception(KeyError("its own"))
    stage.begun[1].cancel()
    with pytest.raises(KeyError, match="its own"):
        await failed
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_what_cannot_be_started_fails() -> None:
    stage = Stage()
    trial = stage.try_out()
    job = stage.wait()
    stage.error = hybridrt.RuntimeClosed("left")
    trial.end()
    with pytest.raises(hybridrt.RuntimeClosed, match="left"):
        await job


async def test_retries_and_the_caller_s_context_come_along() -> None:
    stage = Stage()
    stage.kind = ProcessJob
    trial = stage.try_out()
    token = word.set("of the caller")
    job = stage.wait()
    word.reset(token)
    job.retries = 2  # type: ignore[attr-defined]  # as options(retries=2) does
    trial.end()
    await until(lambda: stage.begun)
    assert stage.begun[0].retries == 2  # type: ignore[attr-defined]
    assert stage.words == ["of the caller"]


async def test_when_it_closes_everybody_is_started_and_nobody_waits_any_more() -> None:
    stage = Stage()
    stage.try_out()
    stage.wait()
    stage.turns.close()
    assert len(stage.begun) == 1
    assert not stage.turns.must_wait(Function(abs))


UNKNOWN = [placeable.squares, placeable.squares_too, placeable.squares_of, placeable.spread]


def arguments(fn: Any) -> tuple[Any, ...]:
    if fn is placeable.squares_of:
        return (list(range(20_000)),)
    return (20_000, "x") if fn is placeable.spread else (20_000,)


async def test_unknown_functions_at_once_each_do_what_they_do() -> None:
    calls = [(fn, arguments(fn)) for fn in UNKNOWN * 5]
    async with Runtime(processes=2) as rt:
        results = await asyncio.gather(
            *(rt.run(fn, *args) for fn, args in calls), *(rt.run(time.sleep, 0.001) for _ in range(5))
        )
    assert results == [fn(*args) for fn, args in calls] + [None] * 5


async def test_leaving_the_runtime_loses_nothing_that_waits() -> None:
    async with Runtime(processes=2) as rt:
        jobs = [(rt.submit(fn, *arguments(fn)), fn) for fn in UNKNOWN * 3]
    for job, fn in jobs:
        assert job.result() == fn(*arguments(fn))


async def test_a_time_limit_holds_for_what_waits() -> None:
    async with Runtime(processes=1) as rt:
        slow = rt.submit(placeable.squares, 1_000_000)
        job = rt.options(timeout=0.0, retries=1).submit(placeable.squares_too, 1_000_000)
        with pytest.raises(TimeoutError, match="squares_too did not end within 0 s"):
            await job
        assert await slow == placeable.squares(1_000_000)


@pytest.mark.parametrize("chosen", [1, 2, None])
async def test_cancels_at_any_time_leave_every_other_call_s_result_right(chosen: int | None) -> None:
    chance = random.Random(a_seed(chosen))
    async with Runtime(processes=2) as rt:
        for _ in range(5):
            jobs = [(rt.submit(fn, *arguments(fn)), fn) for fn in chance.choices(UNKNOWN, k=12)]
            wanted = []
            for job, fn in jobs:
                await asyncio.sleep(chance.choice((0, 0, 0.001, 0.01)))
                if chance.random() < 0.4:
                    job.cancel()
                else:
                    wanted.append((job, fn))
            for job, fn in wanted:
                assert await job == fn(*arguments(fn))
