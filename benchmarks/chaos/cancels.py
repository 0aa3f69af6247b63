"""Cancels at every point of a call's life: while it is pickled, queued, sent, claimed, run, answered, delivered.

The grace is long, so no worker is ever killed: an interrupt that comes too late for its call must find nothing, and
the calls beside it must have their results.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

import hybridrt

from . import tasks
from .plan import Storm
from .soundness import sound

_WAVE = 60
_WORKERS = 2
_MOST_TURNS = 8
_MOST_SECONDS = 0.003
_FUNCTIONS: tuple[Callable[[int], Any], ...] = (
    *[tasks.tiny] * 7,
    tasks.tiny_spin,
    tasks.tiny_coroutine,
)


class _Bomb(Exception):
    """What makes a task group fail."""


class Canceller:
    """Makes waves of calls, some of which it cancels, and looks at what became of each."""

    def __init__(self, rt: hybridrt.Runtime, dice: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self.cancels = 0
        """Those that came before the result."""
        self.broken: list[str] = []
        self._verbs = rt.options(lane="process")
        self._dice = dice
        self._number = 0
        self._ways = (
            self._by_job,
            self._by_job,
            self._by_task,
            self._by_group,
            self._by_timeout,
            self._by_scope,
        )

    async def wave(self) -> None:
        """So many calls at once; each of the ways leaves about every second call alone."""
        ways = [asyncio.ensure_future(self._dice.choice(self._ways)()) for _ in range(_WAVE // 4)]
        await asyncio.gather(*ways)
        await self._by_hunting()

    async def _by_hunting(self) -> None:
        """Calls that idle workers get at once and never end: a worker that misses the interrupt does not come back."""
        numbers = [self._next()[1] for _ in range(self._dice.randint(1, _WORKERS))]
        jobs = [self._verbs.submit(tasks.endless, number) for number in numbers]
        await self._moment()
        for job in jobs:
            job.cancel()
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        for number, outcome in zip(numbers, outcomes, strict=True):
            self._judge(number, outcome, True, "hunting")

    def _next(self) -> tuple[Callable[[int], Any], int]:
        self._number += 1
        return self._dice.choice(_FUNCTIONS), self._number

    async def _moment(self) -> None:
        """Some turns of the loop, or some microseconds."""
        if self._dice.random() < 0.7:
            for _ in range(self._dice.randrange(_MOST_TURNS)):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(self._dice.random() * _MOST_SECONDS)

    def _judge(self, number: int, outcome: object, is_unwanted: bool, way: str) -> None:
        if outcome == tasks.answer(number):
            self.counts["right"] += 1
        elif isinstance(outcome, asyncio.CancelledError) and is_unwanted:
            self.cancels += 1
            self.counts[f"by {way}"] += 1
        else:
            self.broken.append(
                f"{'a cancelled' if is_unwanted else 'no other'} call is harmed by a cancel: call {number} beside "
                f"cancels by {way} ended with {type(outcome).__name__}: {outcome}"
            )

    async def _by_job(self) -> None:
        calls = [self._next() for _ in range(4)]
        jobs = [self._verbs.submit(fn, number) for fn, number in calls]
        await self._moment()
        unwanted = self._dice.sample(range(4), 2)
        for at in unwanted:
            jobs[at].cancel()
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        for at, ((_, number), outcome) in enumerate(zip(calls, outcomes, strict=True)):
            self._judge(number, outcome, at in unwanted, "Job.cancel")

    async def _by_task(self) -> None:
        calls = [self._next() for _ in range(4)]
        tasks_ = [asyncio.ensure_future(self._verbs.to_process(fn, number)) for fn, number in calls]
        await self._moment()
        unwanted = self._dice.sample(range(4), 2)
        for at in unwanted:
            tasks_[at].cancel()
        outcomes = await asyncio.gather(*tasks_, return_exceptions=True)
        for at, ((_, number), outcome) in enumerate(zip(calls, outcomes, strict=True)):
            self._judge(number, outcome, at in unwanted, "task.cancel")

    async def _by_group(self) -> None:
        calls = [self._next() for _ in range(2)]
        fn, other = self._next()
        beside = self._verbs.submit(fn, other)
        members: list[asyncio.Task[Any]] = []
        try:
            async with asyncio.TaskGroup() as group:
                for fn, number in calls:
                    members.append(group.create_task(self._verbs.to_process(fn, number)))
                await self._moment()
                raise _Bomb
        except* _Bomb:
            pass
        outcomes = await asyncio.gather(*members, return_exceptions=True)
        for (_, number), outcome in zip(calls, outcomes, strict=True):
            self._judge(number, outcome, True, "task group")
        self._judge(other, await _settled(beside), False, "task group")

    async def _by_timeout(self) -> None:
        fn, number = self._next()
        other_fn, other = self._next()
        beside = self._verbs.submit(other_fn, other)
        outcome: object
        try:
            async with asyncio.timeout(self._dice.random() * _MOST_SECONDS):
                outcome = await self._verbs.to_process(fn, number)
        except TimeoutError:
            outcome = asyncio.CancelledError()
        except Exception as exc:
            outcome = exc
        self._judge(number, outcome, True, "asyncio.timeout")
        self._judge(other, await _settled(beside), False, "asyncio.timeout")

    async def _by_scope(self) -> None:
        fn, number = self._next()
        other_fn, other = self._next()
        beside = self._verbs.submit(other_fn, other)
        outcome: object = asyncio.CancelledError()
        with anyio.move_on_after(self._dice.random() * _MOST_SECONDS):
            try:
                outcome = await self._verbs.to_process(fn, number)
            except Exception as exc:
                outcome = exc
        self._judge(number, outcome, True, "anyio.move_on_after")
        self._judge(other, await _settled(beside), False, "anyio.move_on_after")


async def _settled(job: asyncio.Future[Any]) -> object:
    outcomes: list[object] = await asyncio.gather(job, return_exceptions=True)
    return outcomes[0]


async def run(storm: Storm, folder: Path) -> tuple[dict[str, int], list[str]]:
    """What happened how often, and the broken promises."""
    dice = random.Random(storm.seed)
    async with hybridrt.Runtime(
        processes=_WORKERS, interrupt_grace=60.0, preload=("benchmarks.chaos.tasks",)
    ) as rt:
        await rt.warm_up()
        canceller = Canceller(rt, dice)
        before: set[int] = set()
        try:
            async with asyncio.timeout(storm.seconds):
                while canceller.cancels < storm.cancels and not canceller.broken:
                    await canceller.wave()
                    before |= {worker.pid for worker in rt.stats().workers}
        except TimeoutError:
            raise TimeoutError(
                f"no call hangs: after {storm.seconds:g} s there were {canceller.cancels} of {storm.cancels} cancels; "
                f"{rt.stats().processes}"
            ) from None
        broken = canceller.broken[:10] + await sound(rt, _WORKERS, folder)
        stats = rt.stats()
        gone = before - {worker.pid for worker in stats.workers}
        if gone or stats.processes.crashed:
            broken.append(
                f"an interrupt that finds its call kills no worker: {len(gone)} workers went, "
                f"{stats.processes.crashed} calls crashed"
            )
    return dict(canceller.counts), broken
