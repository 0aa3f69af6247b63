"""Inside the probe's own process: open the pool, cause the failure, write down what is seen, stage by stage.

Only facts are written here, into ``answer.json``; ``verdicts`` puts them into words. A probe whose event loop is
blocked, or that is killed, has written what it saw before.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from ..processes import is_alive, wants_cpu
from . import tasks
from .pools import POOLS, Pool

COMMAND = "from benchmarks.failures.probes import main; main()"
"""Run by ``python -c``: a ``__main__`` that is a file would be imported anew by each worker of some pools."""

SETTLE_SECONDS = 6.0
"""What has not ended by then hangs: the good tasks take half a second, a new worker at most as long."""
STOP_SECONDS = 4.0
"""What a cancelled task has to stop."""
_LONG_SECONDS = 0.5
_QUICK = 6
_SAMPLES = 20
_SAMPLE_SECONDS = 0.02
_IDLE_SHARE = 0.2


class Answer:
    """The facts, on disk at all times."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "answer.json"
        self._facts: dict[str, Any] = {}

    def say(self, **facts: Any) -> None:
        """Add these."""
        self._facts |= facts
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self._facts))
        part.rename(self._path)


Fact = dict[str, Any]


async def _outcome(pool: Pool, fact: Fact, fn: Callable[..., Any], *args: Any) -> None:
    """Fill ``fact`` with how the call ended; it stays empty while the call has not."""
    try:
        value = await pool.call(fn, *args)
        fact |= {"value": value if type(value) is int else repr(value)}
    except Exception as exc:
        fact |= {"error": type(exc).__name__, "message": str(exc)[:500]}
    except anyio.get_cancelled_exc_class():
        fact |= {"cancelled": True}
        raise


async def _until(condition: Callable[[], object], seconds: float) -> None:
    with anyio.move_on_after(seconds):
        while not condition():  # noqa: ASYNC110  # files and other processes have no event
            await anyio.sleep(0.02)


async def bad_among_good(bad: Callable[[], Any], pool: Pool, answer: Answer, folder: Path) -> None:
    """A good task is running and others wait when the bad one comes; then the pool is asked for more."""
    facts: list[Fact] = [{} for _ in range(1 + _QUICK)]
    bad_fact: Fact = {}
    after: list[Fact] = [{}, {}]
    warm: list[Fact] = [{}, {}]

    def say() -> None:
        answer.say(good=facts, bad=bad_fact, after=after, warm=warm)

    async with anyio.create_task_group() as group:

        def start(fact: Fact, fn: Callable[..., Any], *args: Any) -> None:
            group.start_soon(partial(_outcome, pool, fact, fn, *args))

        for fact in warm:
            start(fact, tasks.square, 2, 0.2)
        await _until(lambda: all(warm), SETTLE_SECONDS)
        say()
        start(facts[0], tasks.square, 1, _LONG_SECONDS)
        start(bad_fact, bad)
        for number in range(2, 2 + _QUICK):
            start(facts[number - 1], tasks.square, number)
        await _until(lambda: bad_fact and all(facts), SETTLE_SECONDS)
        say()
        for at, fact in enumerate(after):
            start(fact, tasks.square, 10 + at)
        await _until(lambda: all(after), SETTLE_SECONDS)
        say()
        os._exit(0)  # what hangs would be waited for, here or in the pool's own exit


async def cancel(spin: Callable[[str], None], pool: Pool, answer: Answer, folder: Path) -> None:
    """Cancel the await of a task that needs the CPU, and look at what its process does with it then."""
    begun = folder / "begun"
    fact: Fact = {}
    scope = anyio.CancelScope()

    async def cancellable() -> None:
        with scope:
            await _outcome(pool, fact, spin, str(begun))

    async with anyio.create_task_group() as group:
        group.start_soon(cancellable)
        await _until(begun.exists, SETTLE_SECONDS)
        pid = int(begun.read_text())
        answer.say(pid=pid, stopped=False)
        scope.cancel()
        began = anyio.current_time()
        while anyio.current_time() - began < STOP_SECONDS:
            wants = 0
            for _ in range(_SAMPLES):
                wants += wants_cpu(pid)
                await anyio.sleep(_SAMPLE_SECONDS)
            if wants < _SAMPLES * _IDLE_SHARE:
                answer.say(stopped=True, killed=not is_alive(pid), seconds=anyio.current_time() - began)
                break
        answer.say(ended=fact)
        os._exit(0)


async def wait_to_be_killed(
    works: tuple[Callable[[str], None], ...], pool: Pool, answer: Answer, folder: Path
) -> None:
    """Have two workers that are idle, or busy with ``works``; then wait."""
    warm: list[Fact] = [{}, {}]
    async with anyio.create_task_group() as group:
        for fact in warm:
            group.start_soon(_outcome, pool, fact, tasks.square, 2, 0.2)
        await _until(lambda: all(warm), SETTLE_SECONDS)
        answer.say(warm=warm)
        for at, work in enumerate(works):
            group.start_soon(_outcome, pool, {}, work, str(folder / f"begun{at}"))
        begun = [folder / f"begun{at}" for at in range(len(works))]
        await _until(lambda: all(path.exists() for path in begun), SETTLE_SECONDS)
        answer.say(pids=[int(path.read_text()) for path in begun if path.exists()], ready=True)
        await anyio.sleep_forever()


PROBES: dict[str, Callable[[Pool, Answer, Path], Awaitable[None]]] = {
    "segfault": partial(bad_among_good, tasks.segfault),
    "two-arguments": partial(bad_among_good, tasks.raise_two_arguments),
    "unpicklable": partial(bad_among_good, tasks.unpicklable),
    "cancel-python": partial(cancel, tasks.spin_in_python),
    "cancel-c": partial(cancel, tasks.spin_in_c),
    "cancel-c-without-gil": partial(cancel, tasks.spin_in_c_without_the_gil),
    "killed-idle": partial(wait_to_be_killed, ()),
    "killed-busy": partial(wait_to_be_killed, (tasks.spin_in_python, tasks.spin_in_c)),
    "killed-grandchild": partial(wait_to_be_killed, (tasks.start_a_program_and_spin,)),
}


def main() -> None:
    """``python -c COMMAND POOL PROBE FOLDER``."""
    key, probe, folder = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump of the segfault would only take time
    pool_class = POOLS[key]

    async def run() -> None:
        pool = pool_class()
        await pool.open()
        await PROBES[probe](pool, Answer(Path(folder)), Path(folder))

    anyio.run(run, backend=pool_class.backend)
