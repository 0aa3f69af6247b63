"""A worker's death, of whatever kind and at whatever moment, hurts the one call that it ran and is told as it was."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import deadly
import good
import pytest
from helpers import exists, is_alive, until, worker_pid
from scene import Scene, a_scene, a_short_farewell, ids, says, settled

from hybridrt import TaskExited, WorkerCrashed, WorkerStartError

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIGNALS = {
    "SIGKILL": "an operator, a supervisor or a container that is being stopped",
    "SIGSEGV": "read or wrote where it must not, or overflowed its stack",
    "SIGABRT": "gave up",
    "SIGBUS": "memory that is not there",
    "SIGFPE": "divided by zero",
    "SIGTERM": "Something sent it SIGTERM",
    "SIGHUP": "It got SIGHUP",
    "SIGSYS": "It got SIGSYS",
    "SIGILL": "It got SIGILL",
    "SIGQUIT": "It got SIGQUIT",
    "SIGTRAP": "It got SIGTRAP",
    "SIGUSR1": "It got SIGUSR1",
    "SIGALRM": "It got SIGALRM",
    "SIGRTMIN": "It got SIGRTMIN",
    "SIGINT": "It got SIGINT",
    "SIGPIPE": "It got SIGPIPE",
}

# From 3.14 on, Python sees the end of the C stack and raises RecursionError instead.
STACK_OVERFLOWS: list[Any] = (
    [(deadly.overflow_the_c_stack, (), -signal.SIGSEGV, "overflowed its stack")]
    if sys.version_info < (3, 14)
    else []
)

# How it dies, with which arguments; the exit code or minus the signal; what the message says.
DEATHS: list[Any] = [
    *[
        (deadly.get_signal, (name,), -getattr(signal, name), f"killed by {name} after .* {why}")
        for name, why in SIGNALS.items()
    ],
    (deadly.segfault, (), -signal.SIGSEGV, "killed by SIGSEGV"),
    *STACK_OVERFLOWS,
    (deadly.abort, (), -signal.SIGABRT, "killed by SIGABRT"),
    (deadly.use_up_cpu_time, (), -signal.SIGXCPU, "killed by SIGXCPU"),
    (deadly.exit_with, (0,), 0, r"exited with code 0 after .* os\._exit"),
    (deadly.exit_with, (3,), 3, r"exited with code 3 after .* os\._exit"),
    (deadly.exit_with, (255,), 255, r"exited with code 255 after .* os\._exit"),
    (deadly.kill_own_group, (), -signal.SIGKILL, "killed by SIGKILL"),
    (deadly.kill_the_parent_and_die, (), None, "How is not known, because the process that starts and reaps"),
    (deadly.die_in_a_thread, ("segfault",), -signal.SIGSEGV, "killed by SIGSEGV"),
    (deadly.die_in_a_thread, ("exit",), 11, "exited with code 11"),
    (deadly.die_while_a_thread_works, (), -signal.SIGSEGV, "killed by SIGSEGV"),
    (deadly.die_in_finally, (), -signal.SIGKILL, "killed by SIGKILL"),
    (deadly.return_dies_when_sent, (), -signal.SIGKILL, "killed by SIGKILL"),
    (deadly.raise_deadly_error, (), -signal.SIGKILL, "killed by SIGKILL"),
    (deadly.drop_it, (), 13, "exited with code 13"),
    (good.double, (deadly.DiesOnArrival(),), 12, "exited with code 12"),
]


@pytest.mark.parametrize(("fn", "args", "exitcode", "message"), DEATHS, ids=ids(DEATHS))
@pytest.mark.leaves_processes
async def test_a_death_hurts_the_call_that_it_interrupts(
    costly: Scene, fn: Any, args: tuple[Any, ...], exitcode: int | None, message: str
) -> None:
    scene = costly
    crash = await scene.outcome(fn, *args)
    name = f"{fn.__module__}.{fn.__name__}"
    says(
        crash,
        WorkerCrashed,
        f"^{name} was lost: its worker process {crash.pid} ",
        message,
        "Other calls are not affected, and the worker is replaced; this call was not run again",
    )
    assert isinstance(crash, BrokenProcessPool)
    assert (crash.function, crash.exitcode) == (name, exitcode)
    assert crash.pid not in scene.pids and not is_alive(crash.pid)
    assert 0 <= crash.seconds < 20
    assert scene.crashed == 1


FATAL_IN_C: list[Any] = [
    (deadly.segfault, (), "in segfault"),
    *[(fn, args, "in overflow_the_c_stack") for fn, args, *_ in STACK_OVERFLOWS],
    (deadly.abort, (), "in abort"),
    (deadly.die_in_a_thread, ("segfault",), "in segfault"),
    (deadly.die_while_a_thread_works, (), "in die_while_a_thread_works"),
]


@pytest.mark.parametrize(("fn", "args", "frame"), FATAL_IN_C, ids=ids(FATAL_IN_C))
@pytest.mark.leaves_processes
async def test_a_crash_in_c_code_comes_with_the_python_stack(
    costly: Scene, fn: Any, args: Any, frame: str
) -> None:
    scene = costly
    crash = await settled(scene.rt.to_process(fn, *args))
    says(crash, WorkerCrashed, "The Python stack at the crash:", f'deadly.py", line .* {frame}')
    assert frame in crash.stack


async def test_a_worker_that_becomes_another_program_is_a_dead_one() -> None:
    async with a_scene() as scene:
        crash = await scene.outcome(deadly.become_another_program)
        says(crash, WorkerCrashed, "^deadly.become_another_program was lost")
        assert not is_alive(crash.pid)


@pytest.mark.parametrize("how", ["program", "fork"])
async def test_the_death_of_a_call_s_own_child_hurts_nobody(how: str) -> None:
    async with a_scene() as scene:
        expected = -signal.SIGABRT if how == "program" else -signal.SIGKILL
        assert await scene.outcome(deadly.a_dead_child, how) == expected
        assert scene.crashed == 0


async def test_a_death_after_the_answer_is_nobody_s() -> None:
    async with a_scene() as scene:
        async with scene.good_calls(is_ordered=False):
            job = scene.submit(deadly.take_it, deadly.DiesWhenDropped())
            scene.submit_behind()
            assert await job == "taken"
        await scene.is_sound()
        assert scene.crashed == 0


async def test_a_death_in_the_middle_of_an_answer_loses_that_answer() -> None:
    async with a_scene(processes=1, arena_limit=4096) as scene:  # all of it through the socket
        await scene.rt.warm_up()
        (pid,) = scene.pids
        job = scene.submit(deadly.die_in_the_middle_of_the_answer)
        behind = [scene.submit(good.double, i) for i in range(5)]
        while is_alive(pid):  # nobody reads meanwhile: the answer gets stuck, and then its worker dies
            time.sleep(0.001)
        says(await settled(job), WorkerCrashed, "killed by SIGKILL")
        assert await asyncio.gather(*behind) == [0, 2, 4, 6, 8]
        assert scene.crashed == 1
        await scene.is_sound()


async def test_a_death_among_calls_written_ahead_loses_none_of_them() -> None:
    async with a_scene(processes=1) as scene:
        ledger = scene.path()
        append = [scene.submit(good.append, str(ledger), i) for i in range(100)]
        await asyncio.gather(*append)  # now it is known to be quick
        jobs: list[Any] = [
            scene.submit(good.append, str(ledger), i) if i % 50 else scene.submit(deadly.exit_with, 7)
            for i in range(101, 300)
        ]
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        lost = [outcome for outcome in outcomes if not isinstance(outcome, int)]
        assert len(lost) == 3
        for crash in lost:
            says(crash, WorkerCrashed, "^deadly.exit_with was lost", "exited with code 7")
        assert [int(line) for line in ledger.read_text().split()] == [
            i for i in range(300) if i < 100 or (i > 100 and i % 50)
        ]
        await scene.is_sound()


async def test_a_call_that_kills_the_zygote_goes_on_and_a_new_one_comes() -> None:
    async with a_scene() as scene:
        zygote = await scene.outcome(deadly.kill_the_parent)
        assert not is_alive(zygote)
        says(await scene.outcome(deadly.exit_with, 9), WorkerCrashed, r"code 9|How is not known")
        parents = {await scene.rt.to_process(os.getppid) for _ in range(10)}
        assert zygote not in parents


async def test_an_idle_zygote_that_dies_is_replaced_when_a_worker_is_wanted() -> None:
    async with a_scene() as scene:
        await scene.rt.warm_up()
        old = scene.pids
        zygote = await scene.rt.to_process(os.getppid)
        os.kill(zygote, signal.SIGKILL)
        await until(lambda: not is_alive(zygote))
        await scene.is_sound()
        assert scene.pids == old, "the workers that there are serve on"
        says(await settled(scene.rt.to_process(deadly.segfault)), WorkerCrashed, "How is not known")
        await scene.is_sound()
        await until(scene.is_deserted)
        await scene.is_sound()


@pytest.mark.parametrize("by_value", [False, True])
async def test_a_death_of_the_zygote_that_nobody_has_heard_of_yet_costs_no_call(by_value: bool) -> None:
    async with a_scene() as scene:
        zygote = await scene.rt.to_process(os.getppid)
        await worker_pid(scene.rt)
        for pid in (*scene.pids, zygote):
            os.kill(pid, signal.SIGKILL)
            while is_alive(pid):  # without the loop
                time.sleep(0.001)
        jobs = [scene.submit((lambda x: 2 * x) if by_value else good.double, i) for i in range(10)]
        assert await asyncio.gather(*jobs) == [*range(0, 20, 2)]
        assert scene.crashed == 0
        await scene.is_sound()


async def test_idle_workers_killed_from_outside_lose_nothing() -> None:
    async with a_scene() as scene:
        for _ in range(3):
            await scene.rt.warm_up()
            scene.is_deserted()
            async with scene.good_calls():
                pass
        assert scene.crashed == 0


async def test_a_crash_is_told_to_each_coroutine_call_that_shared_the_worker() -> None:
    async with a_scene(processes=1) as scene:
        folder = scene.path()
        folder.mkdir()
        gate, begun = scene.path(), scene.path()
        running = scene.submit(good.wait_for, str(gate), str(begun))
        await exists(begun)
        jobs = [scene.submit(deadly.meet_and_die, str(folder), 5, i) for i in range(5)]
        for crash in await asyncio.gather(*jobs, return_exceptions=True):
            says(
                crash,
                WorkerCrashed,
                "^deadly.meet_and_die was lost",
                "with 4 other coroutine calls on the same",
            )
        gate.touch()
        assert await running == str(gate), "a plain call has another worker"
        assert await scene.rt.to_process(good.co_double, 4) == 8
        await scene.is_sound()


WRECKERS: list[Any] = [
    (deadly.stop_the_loop, "stopped"),
    (deadly.exit_in_a_callback, "went on"),
    (deadly.close_the_loop, RuntimeError("Cannot close a running event loop")),
    (deadly.cancel_everybody, TaskExited("raised asyncio.CancelledError, though nobody cancelled the call")),
]


@pytest.mark.parametrize(("fn", "outcome"), WRECKERS, ids=ids(WRECKERS))
async def test_a_coroutine_call_that_wrecks_its_loop_is_survived(fn: Any, outcome: Any) -> None:
    async with a_scene(processes=1) as scene:
        gate, begun, ever = scene.path(), scene.path(), scene.path()
        running = scene.submit(good.wait_for, str(gate), str(begun))
        beside = scene.submit(deadly.wait_for_ever, str(ever))
        await exists(begun)
        await exists(ever)
        found = await settled(scene.rt.to_process(fn))
        if isinstance(outcome, Exception):
            says(found, type(outcome), str(outcome))
        else:
            assert found == outcome
        if fn is deadly.cancel_everybody:
            says(
                await settled(beside),
                TaskExited,
                "raised asyncio.CancelledError, though nobody cancelled the call",
            )
        assert await scene.rt.to_process(good.co_double, 4) == 8
        assert scene.crashed == 0
        assert beside.cancel() is (fn is not deadly.cancel_everybody)
        gate.touch()
        assert await running == str(gate)
        await scene.is_sound()


# Stopped, not dead


async def test_a_call_that_stops_its_worker_ends_with_its_time_limit() -> None:
    async with a_scene() as scene:
        begun = scene.path()
        async with scene.good_calls():
            task = asyncio.ensure_future(
                scene.rt.options(lane="process", timeout=0.2).run(deadly.stop_oneself, str(begun))
            )
            await exists(begun)
            says(await settled(task), TimeoutError, r"stop_oneself did not end within 0\.2 s")
        await scene.is_sound()


async def test_an_idle_worker_that_somebody_stops_holds_up_one_call_until_its_time_limit() -> None:
    async with a_scene() as scene:
        await scene.rt.warm_up()
        stopped = scene.pids
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        strict = scene.rt.options(lane="process", timeout=0.1)
        outcomes = await asyncio.gather(*[settled(strict.run(good.double, i)) for i in range(2)])
        for outcome in outcomes:
            says(outcome, TimeoutError, r"good\.double did not end within 0\.1 s")
        await scene.is_sound()
        assert not scene.pids & stopped
        assert not any(is_alive(pid) for pid in stopped)


async def test_stopped_workers_do_not_hold_up_leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    a_short_farewell(monkeypatch)
    async with a_scene(shutdown_grace=0.05) as scene:
        await scene.rt.warm_up()
        pids = scene.pids
        job = scene.submit(deadly.stop_oneself, str(scene.path()))
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
    assert not any(is_alive(pid) for pid in pids)
    assert job.done()


# Born dead


async def test_a_zygote_that_dies_of_a_preload_is_told_and_not_started_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly_preload.py").write_text("import os; os._exit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    async with a_scene(preload=("deadly_preload",)) as scene:
        jobs = [scene.submit(good.double, i) for i in range(10)]
        for error in await asyncio.gather(*jobs, return_exceptions=True):
            says(
                error,
                WorkerStartError,
                r"^good\.double was not started",
                "exited with 3 before it could start",
            )
        assert scene.counts() == (0, 0)


@pytest.mark.parametrize("processes", [1, 2, 5])
async def test_workers_that_die_at_birth_again_and_again_are_told_and_not_started_for_ever(
    processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    births = tmp_path / "births"
    (tmp_path / "born_dead.py").write_text(
        "import os\n"
        "def die():\n"
        f"    with open({str(births)!r}, 'a') as file: file.write('x')\n"
        "    os._exit(9)\n"
        "os.register_at_fork(after_in_child=die)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    async with a_scene(preload=("born_dead",), processes=processes, shutdown_grace=0.1) as scene:
        jobs = [scene.submit(good.double, i) for i in range(10)]
        async with asyncio.timeout(2):
            errors = await asyncio.gather(*jobs, return_exceptions=True)
        for error in errors:
            says(error, WorkerStartError, r"^good\.double was not started", "workers die, again and again")
        assert scene.counts() == (0, 0)
    assert len(births.read_text()) < 20 + 10 * processes


# Out of memory


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """A cgroup with 100 MB, for who puts itself in."""
    numbers = itertools.count()
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        folder = Path(root, f"hybridrt-{os.getpid()}-{next(numbers)}")
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / limit).write_text(str(100_000_000))
            swap = folder / ("memory.memsw.limit_in_bytes" if "limit" in limit else "memory.swap.max")
            if swap.exists():
                swap.write_text(str(100_000_000) if "limit" in limit else "0")
            yield folder
        except OSError:
            continue
        else:
            return
        finally:
            folder.rmdir()
    pytest.skip("no cgroup with a memory limit can be made here (not root, or no memory controller)")


async def test_memory_used_up_kills_one_call_and_is_told_for_what_it_is(small_memory: Path) -> None:
    async with a_scene() as scene:
        crash = await scene.outcome(deadly.eat_all_memory, str(small_memory))
        says(
            crash,
            WorkerCrashed,
            "eat_all_memory was lost",
            "killed by SIGKILL",
            "Very likely it ran out of memory",
        )
        assert crash.is_out_of_memory and scene.crashed == 1
        other = await settled(scene.rt.to_process(deadly.exit_with, 3))
        assert not other.is_out_of_memory
