"""One bad call among good ones, on a runtime of real workers: what every fault in this folder is injected into."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import tempfile
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import good
import pytest
from helpers import exists, id_of, until

from hybridrt import Job, Runtime
from hybridrt._lanes.workforce import Workforce

LIMIT = 20.0
"""Seconds that one fault may take, start and end of the runtime included. A hang fails that one test."""

QUICK = {"processes": 2, "interrupt_grace": 0.05}


class Scene:
    """A runtime with two workers, and a folder where calls leave their traces.

    While a fault is injected, one worker runs a good call from before the fault until after it, so that all others
    pass through the second worker one after the other: there the fault has good calls in front of it and behind it.
    """

    def __init__(self, rt: Runtime, folder: Path) -> None:
        self.rt = rt
        self.submit: Callable[..., Job[Any]] = rt.options(lane="process").submit
        self.folder = folder
        self.crashed_before = 0
        self._names = itertools.count(1)

    def path(self) -> Path:
        """A name for a file that is not there yet."""
        return self.folder / f"{next(self._names)}"

    @asynccontextmanager
    async def good_calls(self, behind: int = 5, *, is_ordered: bool = True) -> AsyncIterator[None]:
        """Good calls around the body's: running, queued before it, queued after; all of them checked at its end.

        Those behind are queued by ``submit_behind``, or at the end of the body. They start in order; only where a
        worker dies between two calls (``is_ordered`` is false then) those that it had not begun wait for the news of
        its death, and others may overtake them.
        """
        gate, begun, ledger = self.path(), self.path(), self.path()
        self._ledger, self._behind = ledger, behind
        running = self.submit(good.wait_for, str(gate), str(begun))
        try:
            await exists(begun)
            self._good = [self.submit(good.append, str(ledger), i) for i in range(5)]
            yield
            self.submit_behind()
            everyone = [*range(len(self._good))]
            assert await asyncio.gather(*self._good) == everyone
            ran = [*map(int, ledger.read_text().split())]
            assert (ran if is_ordered else sorted(ran)) == everyone, f"once each, in order: {ran}"
            assert not running.done()
        finally:
            gate.touch()
        assert await running == str(gate)

    def submit_behind(self) -> None:
        """Queue the good calls that stand behind the bad one; a second time is harmless."""
        behind, self._behind = self._behind, 0
        first = len(self._good)
        self._good += [self.submit(good.append, str(self._ledger), first + i) for i in range(behind)]

    async def outcome(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What becomes of one call among good ones: its result, or the exception that the user sees."""
        async with asyncio.timeout(LIMIT):
            async with self.good_calls():
                outcome = await settled(self.rt.to_process(fn, *args, **kwargs), self.submit_behind)
            await self.is_sound()
        return outcome

    async def is_sound(self) -> None:
        """The runtime is usable: nothing runs or waits, and a good call of each kind answers right."""
        await until(lambda: self.counts() == (0, 0))
        assert await self.rt.to_process(good.double, 21) == 42
        assert await self.rt.to_process(pow, 2, 10) == 1024

    def counts(self) -> tuple[int, int]:
        """How many calls run, and how many wait."""
        stats = self.rt.stats().processes
        return stats.running, stats.waiting

    @property
    def crashed(self) -> int:
        """How many calls were lost with their workers, since the fault began."""
        return self.rt.stats().processes.crashed - self.crashed_before

    def is_deserted(self) -> bool:
        """Whether there is no worker; kills those that are known by now, one that was hired may be on its way."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return self.rt.stats().processes.workers == 0

    @property
    def pids(self) -> set[int]:
        return {worker.pid for worker in self.rt.stats().workers}


async def settled(call: Any, then: Callable[[], None] = lambda: None) -> Any:
    """The result of ``call``, or the exception that its awaiter gets; ``then`` is called once it has been submitted."""
    task = asyncio.ensure_future(call)
    asyncio.get_running_loop().call_soon(then)
    try:
        return await task
    except Exception as exc:
        return exc


@asynccontextmanager
async def a_scene(**settings: Any) -> AsyncIterator[Scene]:
    """A scene of its own for a fault that costs workers. Within ``LIMIT`` seconds it is over, and nothing is left."""
    async with asyncio.timeout(LIMIT), _a_scene(settings) as scene:
        yield scene


@asynccontextmanager
async def a_lasting_scene(**settings: Any) -> AsyncIterator[Scene]:
    """A scene for many faults that must not cost a worker: at its end the workers are those it began with."""
    async with _a_scene(settings) as scene:
        await scene.rt.warm_up()
        assert await scene.outcome(good.co_double, 4) == 8  # coroutine calls have a worker of their own
        pids = scene.pids
        yield scene
        assert scene.pids == pids and scene.crashed == 0, "no fault has cost a worker"


@asynccontextmanager
async def a_standing_scene() -> AsyncIterator[Scene]:
    """A scene for many faults that may each cost workers, or leave them in a mess; ``renewed`` after each."""
    async with _a_scene({}) as scene:
        await scene.rt.warm_up()
        yield scene


@asynccontextmanager
async def renewed(scene: Scene) -> AsyncIterator[None]:
    """Fresh workers at the end; and then we hold no more descriptors, processes and threads than at the beginning."""
    before = held()
    scene.crashed_before += scene.crashed
    async with asyncio.timeout(LIMIT):
        yield
        await until(scene.is_deserted)
        await scene.rt.warm_up()
        # Not "==": at the beginning a thread of the fault before may still have been on its way out.
        await until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))


def held() -> tuple[int, int, int]:
    """How many descriptors, child processes and threads we have."""
    children = 0
    for task in os.listdir("/proc/self/task"):
        with suppress(FileNotFoundError):  # a thread that has ended in between
            children += len(Path("/proc/self/task", task, "children").read_text().split())
    return len(os.listdir("/proc/self/fd")), children, threading.active_count()


@asynccontextmanager
async def _a_scene(settings: dict[str, Any]) -> AsyncIterator[Scene]:
    with tempfile.TemporaryDirectory() as folder:
        async with Runtime(**(QUICK | settings)) as rt:
            yield Scene(rt, Path(folder))


def a_short_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that do not go by themselves are killed after a tenth of a second."""
    monkeypatch.setattr(Workforce.close, "__defaults__", (0.1,))


def shown(exc: BaseException) -> str:
    """The exception as the user sees it in a log: message, notes, causes and the worker's frames."""
    return "".join(traceback.format_exception(exc))


def says(exc: object, kind: type[BaseException], *patterns: str) -> None:
    """Assert that ``exc`` is of exactly this type, and that its message holds each pattern."""
    assert type(exc) is kind, f"{kind.__name__} expected, not {exc!r}"
    for pattern in patterns:
        assert re.search(pattern, str(exc)), f"{pattern!r} is not in {str(exc)[:2000]!r}"


def ids(cases: Iterable[Any]) -> list[str]:
    """The names of parametrized cases: that of the function, with its plain arguments."""
    names = []
    for case in cases:
        values = case.values if hasattr(case, "values") and not callable(case.values) else case
        names.append(
            "-".join(getattr(value, "__name__", id_of(value)) for value in values[:2] if value != ())
        )
    return names
