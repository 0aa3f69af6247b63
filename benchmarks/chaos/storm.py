"""The run itself: calls made and ended in every way, workers killed meanwhile, and what the callers were told."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import anyio

import hybridrt

from .. import processes
from . import tasks
from .judge import CANCELLED, CRASHED, RIGHT, TIMED_OUT, broken_promises, read
from .plan import Call, Storm, arguments, draw
from .soundness import sound

_ZYGOTE_SHARE = 0.03
_GROUP = 4
_PAUSES = (0.0, 0.0, 0.0, 0.0001, 0.003)


class _Bomb(Exception):
    """What makes a task group fail."""


class Killer:
    """SIGKILLs, spread evenly over the calls that end: so a slow machine gets as many as a quick one."""

    def __init__(self, storm: Storm, dice: random.Random, rt: hybridrt.Runtime) -> None:
        self.workers = 0
        self.zygotes = 0
        self.is_over = False
        self._storm = storm
        self._dice = dice
        self._rt = rt
        self._due = 0
        self._ended = 0

    def call_ended(self) -> None:
        """Strike soon, where it is time."""
        self._ended += 1
        while self._due < self._ended * self._storm.kills // self._storm.tasks:
            self._due += 1
            self._strike_later(self._dice.random() * 0.003)

    def _strike_later(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._strike)

    def _strike(self) -> None:
        if self.is_over:
            return
        workers = [w for w in self._rt.stats().workers if processes.is_alive(w.pid)]
        if not workers:  # all have just been killed
            self._strike_later(0.002)
            return
        busy = [worker for worker in workers if worker.running]
        pid = self._dice.choice(busy if busy and self._dice.random() < 0.8 else workers).pid
        zygote = processes.parent_of(pid) if self._dice.random() < _ZYGOTE_SHARE else None
        if zygote in (None, 1, os.getpid()):  # 1: it has gone already, and its workers have been adopted
            zygote = None
        try:
            os.kill(zygote or pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.workers += zygote is None
        self.zygotes += zygote is not None


class Caller:
    """Makes the calls, each by its own fate, and writes down what it was told."""

    def __init__(self, rt: hybridrt.Runtime, storm: Storm, ledger: str) -> None:
        self._rt = rt
        self._ledger = ledger
        self._options: dict[str, Any] = {"retries": storm.retries} if storm.retries else {}
        self._verbs = rt.options(lane="process", **self._options)

    async def make(self, call: Call) -> None:
        """Make one call, and note its outcome."""
        try:
            result = await self._by_fate(call)
        except asyncio.CancelledError:
            outcome = CANCELLED
        except TimeoutError:
            outcome = TIMED_OUT
        except hybridrt.WorkerCrashed as exc:
            outcome = CRASHED
            call.pid = exc.pid
        except tasks.Failed as exc:
            is_right = call.function == "fail" and exc.number == call.number
            outcome = RIGHT if is_right else f"the exception of call {exc.number}"
        except BaseException as exc:
            outcome = f"{type(exc).__name__}: {exc}"
        else:
            is_right = result == tasks.right_result(call.function, call.number)
            outcome = RIGHT if is_right else f"the wrong result {str(result)[:100]}"
        call.outcome = outcome
        call.told_at = time.monotonic_ns()

    async def _by_fate(self, call: Call) -> Any:
        loop = asyncio.get_running_loop()
        fn, args = getattr(tasks, call.function), arguments(call, self._ledger)
        match call.fate:
            case "executor" if not self._options:  # it has no options, so no retries
                return await asyncio.wrap_future(self._rt.processes.submit(fn, *args))
            case "job":
                return await self._verbs.submit(fn, *args)
            case "job.cancel":
                job = self._verbs.submit(fn, *args)
                loop.call_later(call.patience, job.cancel)
                return await job
            case "task.cancel":
                task = asyncio.ensure_future(self._verbs.to_process(fn, *args))
                loop.call_later(call.patience, task.cancel)
                return await task
            case "asyncio.timeout":
                async with asyncio.timeout(call.patience):
                    return await self._verbs.to_process(fn, *args)
            case "anyio.fail_after":
                with anyio.fail_after(call.patience):
                    return await self._verbs.to_process(fn, *args)
            case "options(timeout=)":
                verbs = self._rt.options(lane="process", timeout=call.patience, **self._options)
                return await verbs.submit(fn, *args)
            case _:
                return await self._verbs.to_process(fn, *args)

    async def make_group(self, calls: list[Call]) -> None:
        """Make these calls in one task group that fails after a while."""

        async def bomb() -> None:
            await asyncio.sleep(calls[0].patience)
            raise _Bomb

        try:
            async with asyncio.TaskGroup() as group:
                for call in calls:
                    group.create_task(self.make(call))
                group.create_task(bomb())
        except* _Bomb:
            pass
        for call in calls:
            call.outcome = call.outcome or CANCELLED  # its task was cancelled before its first step


async def run(storm: Storm, folder: Path) -> tuple[dict[str, int], list[str]]:
    """What happened how often, and the broken promises."""
    dice = random.Random(storm.seed)
    limit, width = dice.choice((2, 3, 4)), dice.choice((8, 40, 120))
    settings: dict[str, Any] = {
        "processes": limit,
        "interrupt_grace": dice.choice((0.02, 0.05, 0.2)),
        "max_tasks_per_worker": dice.choice((0, 0, 25, 100)),
        "process_idle": dice.choice((60.0, 0.02)),
    }
    calls = list(draw(storm, dice))
    units = _units(calls)
    broken: list[str] = []
    ledger = folder / "ledger"
    async with hybridrt.Runtime(preload=("benchmarks.chaos.tasks",), **settings) as rt:
        killer = Killer(storm, dice, rt)
        caller = Caller(rt, storm, str(ledger))
        runners = [asyncio.ensure_future(_make_all(units, caller, killer, dice)) for _ in range(width)]
        _, hanging = await asyncio.wait(runners, timeout=storm.seconds)
        killer.is_over = True
        if hanging:
            hung = [str(call) for call in calls if call.made and not call.outcome]
            raise TimeoutError(
                f"no call hangs: after {storm.seconds:g} s {len(hung)} were not done: {', '.join(hung[:10])}; "
                f"{rt.stats().processes}"
            )
        # Nobody but the runtime itself ends these, so they would be running for ever.
        stubborn = [Call(-n, "stubborn", 600.0, "job.cancel", 0.1) for n in range(1, limit + 1)]
        await asyncio.gather(*[caller.make(call) for call in stubborn])
        calls += stubborn
        broken += await sound(rt, limit, folder)
    broken += broken_promises(storm, calls, read(ledger))
    counts = Counter(call.outcome for call in calls[: storm.tasks])
    return counts | {"worker kills": killer.workers, "zygote kills": killer.zygotes}, broken


async def _make_all(units: Iterator[list[Call]], caller: Caller, killer: Killer, dice: random.Random) -> None:
    for unit in units:
        for call in unit:
            call.made = True
        if len(unit) > 1 or unit[0].fate == "task group":
            await caller.make_group(unit)
        else:
            await caller.make(unit[0])
        for _ in unit:
            killer.call_ended()
        await asyncio.sleep(dice.choice(_PAUSES))


def _units(calls: Iterable[Call]) -> Iterator[list[Call]]:
    """One call each, but those of task groups in fours."""
    group: list[Call] = []
    for call in calls:
        if call.fate != "task group":
            yield [call]
            continue
        group.append(call)
        if len(group) == _GROUP:
            yield group
            group = []
    if group:
        yield group
