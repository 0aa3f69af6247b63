"""Random calls, cancels, time limits and kills, from a seed that a failure prints: nothing is lost, doubled or left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path
from typing import Any

import ledger
import pytest
import work
from helpers import a_seed

from hybridrt import Runtime, WorkerCrashed

CALLS = 600


def read_ledger(path: Path) -> tuple[list[int], list[int]]:
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [int(n) for what, n in lines if what == "begin"], [int(n) for what, n in lines if what == "end"]


def results(outcomes: dict[int, Any]) -> int:
    return sum(outcome == number for number, outcome in outcomes.items())


@pytest.mark.parametrize("seed", [1, 2, None])
async def test_random_cancels_and_kills(seed: int | None, tmp_path: Path) -> None:
    dice = random.Random(a_seed(seed))
    path = tmp_path / "ledger"
    outcomes: dict[int, Any] = {}

    async with Runtime(processes=3, interrupt_grace=0.02, preload=("ledger",)) as rt:
        verbs = rt.options(lane="process")

        async def one(number: int) -> None:
            seconds = dice.choice([0, 0, 0, 0.0001, 0.002, 0.01])
            await asyncio.sleep(dice.random() * 0.5)
            job = verbs.submit(ledger.keep, str(path), number, seconds)
            fate = dice.random()
            try:
                if fate < 0.15:
                    await asyncio.sleep(dice.random() * 0.01)
                    job.cancel()
                    await job
                elif fate < 0.3:
                    async with asyncio.timeout(dice.random() * 0.02):
                        await job
                outcomes[number] = await job
            except (asyncio.CancelledError, TimeoutError):
                outcomes[number] = "cancelled"
            except WorkerCrashed:
                outcomes[number] = "crashed"

        async def killer() -> None:
            """Some results apart, and not by the clock: on a busy machine no worker would live to begin a call."""
            while True:
                due = results(outcomes) + dice.randrange(1, 20)
                while results(outcomes) < due:
                    await asyncio.sleep(dice.random() * 0.005)
                pids = [worker.pid for worker in rt.stats().workers]
                if pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(dice.choice(pids), signal.SIGKILL)

        kills = asyncio.create_task(killer())
        async with asyncio.timeout(40):
            await asyncio.gather(*[one(i) for i in range(CALLS)])
        kills.cancel()
        assert await rt.to_process(work.double, 2) == 4
        stats = rt.stats().processes
        assert (stats.running, stats.waiting) == (0, 0)
        assert stats.workers <= 3

    began, ended = read_ledger(path)
    assert len(outcomes) == CALLS, "none hung"
    assert len(began) == len(set(began)), "none ran twice"
    for number, outcome in outcomes.items():
        if outcome == number:
            assert number in set(ended), "a result comes from a run to the end"
        else:
            assert outcome in ("cancelled", "crashed")
    # A time limit may pass in the very turn in which a crash is told: the caller sees the one, the lane the other.
    crashed, cancelled = (
        sum(outcome == o for outcome in outcomes.values()) for o in ("crashed", "cancelled")
    )
    assert crashed <= stats.crashed <= crashed + cancelled
    assert results(outcomes) > CALLS / 3


@pytest.mark.parametrize("seed", [3, None])
async def test_cancel_at_every_point_of_a_call_s_life(seed: int | None) -> None:
    dice = random.Random(a_seed(seed))
    async with Runtime(processes=2, interrupt_grace=20) as rt:
        verbs = rt.options(lane="process")
        for _ in range(40):
            jobs = [verbs.submit(work.double, i) for i in range(30)]
            unwanted = set(dice.sample(range(30), 12))
            for turn in range(dice.randrange(12)):
                await asyncio.sleep(0)
                if turn % 3 == 0 and unwanted:
                    jobs[unwanted.pop()].cancel()
            for i in unwanted:
                jobs[i].cancel()
            for i, outcome in enumerate(await asyncio.gather(*jobs, return_exceptions=True)):
                assert outcome == i * 2 or isinstance(outcome, asyncio.CancelledError)
        assert rt.stats().processes.crashed == 0, "no worker was killed: the interrupts found their calls"


async def test_threads_under_random_cancels() -> None:
    dice = random.Random(7)
    async with Runtime(threads=4) as rt:
        for _ in range(30):
            jobs = [rt.submit(work.double, i) for i in range(50)]
            for job in dice.sample(jobs, 20):
                if dice.random() < 0.5:
                    await asyncio.sleep(0)
                job.cancel()
            for i, outcome in enumerate(await asyncio.gather(*jobs, return_exceptions=True)):
                assert outcome == i * 2 or isinstance(outcome, asyncio.CancelledError)
        stats = rt.stats().threads
        assert (stats.running, stats.waiting) == (0, 0)
