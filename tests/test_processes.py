"""The process lane: what travels and how, cancel that stops the work, deaths that hurt one call, and nothing left."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import signal
import sys
import threading
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import work
from helpers import exists, is_alive, until, worker_pid

from hybridrt import NotSendable, RemoteError, Runtime, RuntimeClosed, TaskExited, WorkerCrashed

GLOBAL = [1]


def read_global() -> list[int]:
    return GLOBAL


# What travels


async def test_functions_of_all_kinds_travel() -> None:
    base = 10

    def closure(x: int) -> int:
        return x + base

    class Local:
        def method(self, x: int) -> int:
            return x + 1

    async with Runtime(processes=1) as rt:
        assert await rt.to_process(lambda: "lambda") == "lambda"
        for _ in range(3):
            assert await rt.to_process(closure, 1) == 11
        assert await rt.to_process(Local().method, 1) == 2
        assert await rt.to_process(work.Greeter("Ann").greet, "Bob") == "Ann greets Bob"
        assert await rt.to_process(work.Greeter("Ann"), "Bob") == "Ann greets Bob"
        assert await rt.to_process(functools.partial(work.echo, 1, key=2), 3) == ((1, 3), {"key": 2})
        assert await rt.to_process(len, "four") == 4
        assert await rt.to_process(str.upper, "up") == "UP"
        assert isinstance(await rt.to_process(work.Greeter, "Ann"), work.Greeter)


async def test_a_closure_is_never_stale() -> None:
    count = 0

    def current() -> int:
        return count

    async with Runtime(processes=1) as rt:
        for count in range(6):
            assert await rt.to_process(current) == count


async def test_a_local_class_comes_back_as_itself() -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    def move(point: Point) -> Point:
        return Point(point.x + 1)

    async with Runtime(processes=1) as rt:
        for _ in range(3):
            moved = await rt.to_process(move, Point(1))
            assert type(moved) is Point and moved.x == 2


async def test_big_arguments_and_results_travel_whole() -> None:
    async with Runtime(processes=1) as rt:
        big = os.urandom(5_000_000)
        assert await rt.to_process(bytes, big) == big
        small_after = [rt.options(lane="process").submit(work.double, i) for i in range(10)]
        assert [await job for job in small_after] == [i * 2 for i in range(10)]


async def test_a_module_made_importable_after_the_workers_started_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "latecomer.py").write_text("def answer():\n    return 42\n")
    async with Runtime(processes=1) as rt:
        await rt.warm_up()
        monkeypatch.syspath_prepend(tmp_path)
        import latecomer  # type: ignore[import-not-found]

        try:
            assert await rt.to_process(latecomer.answer) == 42
        finally:
            del sys.modules["latecomer"]


async def test_what_cannot_be_sent_is_named_and_the_worker_is_well() -> None:
    async with Runtime(processes=1) as rt:
        with pytest.raises(NotSendable, match=r"args\[1\]\['guard'\].*_thread.lock") as caught:
            await rt.to_process(work.echo, 1, {"guard": threading.Lock()})
        assert caught.value.where == "args[1]['guard']"
        with pytest.raises(NotSendable, match=r"kwargs\['guard'\]"):
            await rt.to_process(work.echo, guard=threading.Lock())
        guard = threading.Lock()
        with pytest.raises(NotSendable, match=r"function.*guard"):
            await rt.to_process(lambda: guard)
        with pytest.raises(NotSendable, match=r"result of .*|result\['rows'\]\[1\]\['guard'\]"):
            await rt.to_process(work.nested_lock)
        with pytest.raises(NotSendable, match="ran, but its result cannot come back"):
            await rt.to_process(work.lock)
        with pytest.raises(NotSendable, match="cannot be unpickled here"):
            await rt.to_process(work.explodes_on_arrival)
        assert await rt.to_process(work.double, 1) == 2


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (5, "pass the function itself"),
        (None, "was the function called"),
        ("text", "pass the function itself"),
        (work.numbers, "generator function"),
    ],
)
async def test_what_cannot_be_called_is_refused_at_once(bad: Any, message: str) -> None:
    async with Runtime(processes=1) as rt:
        with pytest.raises(TypeError, match=message):
            await rt.to_process(bad, 1)
        coroutine = work.co_double(1)
        with pytest.raises(TypeError, match="without calling it"):
            await rt.to_process(coroutine)  # type: ignore[call-overload]
        coroutine.close()


@pytest.mark.parametrize("raiser", [work.raise_two_arguments, work.raise_bad_reduce])
async def test_an_exception_that_cannot_travel_hurts_nobody(raiser: Any) -> None:
    async with Runtime(processes=1) as rt:
        with pytest.raises((work.TwoArguments, RemoteError), match=r"this and that|explodes"):
            await rt.to_process(raiser)
        assert await rt.to_process(work.double, 1) == 2


# Coroutine functions


async def test_coroutine_functions_run_many_at_a_time_in_one_worker(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt:
        names = [f"{i}" for i in range(20)]
        met = await asyncio.gather(
            *[rt.to_process(work.co_meet, str(tmp_path), me, names[i - 1]) for i, me in enumerate(names)]
        )
        assert met == names
        assert await rt.to_process(work.double, 1) == 2
        assert await rt.to_process(work.co_double, 2) == 4
        assert await rt.to_process(work.Greeter("Ann").greet_later, "Bob") == "Ann greets Bob"
        assert rt.stats().processes.workers == 1


async def test_a_coroutine_call_that_is_cancelled_is_cancelled_there(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    async with Runtime(processes=1) as rt:
        other = asyncio.create_task(rt.to_process(work.co_meet, str(tmp_path), "me", "go"))
        task = asyncio.create_task(rt.to_process(work.co_wait, str(begun), str(ended)))
        await exists(begun)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await exists(ended)
        (tmp_path / "go").touch()
        assert await other == "me"


async def test_exit_in_a_coroutine_ends_neither_loop(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt:
        other = asyncio.create_task(rt.to_process(work.co_meet, str(tmp_path), "me", "go"))
        await exists(tmp_path / "me")
        with pytest.raises(TaskExited, match=r"sys\.exit\(4\)"):
            await rt.to_process(work.co_leave, 4)
        (tmp_path / "go").touch()
        assert await other == "me"


# Cancel


async def test_a_running_call_is_interrupted_and_its_finally_runs(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    async with Runtime(processes=1, interrupt_grace=30) as rt:
        job = rt.options(lane="process").submit(work.note_and_wait, str(begun), str(ended))
        await exists(begun)
        pid = await worker_pid(rt)
        job.cancel()
        await exists(ended)
        assert await rt.to_process(os.getpid) == pid, "interrupting needs no new worker"


async def test_code_that_swallows_the_interrupt_is_killed_and_the_worker_replaced(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    async with Runtime(processes=1, interrupt_grace=0.05) as rt:
        job = rt.options(lane="process").submit(work.swallow_interrupts, str(begun))
        await exists(begun)
        pid = await worker_pid(rt)
        waiting = rt.options(lane="process").submit(work.pid_and_double, 4)
        job.cancel()
        new_pid, result = await waiting
        assert result == 8 and new_pid != pid
        assert not is_alive(pid)


async def test_an_interrupt_leaves_no_half_a_module_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slow_to_load.py").write_text(
        "import pathlib\n"
        "here = pathlib.Path(__file__).parent\n"
        "(here / 'begun').touch(exist_ok=False)\n"  # asyncio, for one, cannot be imported twice
        "while not (here / 'gate').exists(): pass\n"
    )

    def load() -> str:
        import slow_to_load  # type: ignore[import-not-found]

        return str(slow_to_load.__name__)

    async with Runtime(processes=1, interrupt_grace=30) as rt:
        job = rt.options(lane="process").submit(load)
        await exists(tmp_path / "begun")
        pid = await worker_pid(rt)
        job.cancel()
        waiting = rt.options(lane="process").submit(load)
        (tmp_path / "gate").touch()
        assert await waiting == "slow_to_load", "the import has come to its end"
        assert await rt.to_process(os.getpid) == pid


async def test_an_import_that_never_ends_is_killed_with_its_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "never_loaded.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('begun').touch()\nwhile True: pass\n"
    )

    def load() -> None:
        import never_loaded  # type: ignore[import-not-found]  # noqa: F401

    async with Runtime(processes=1, interrupt_grace=0.02) as rt:
        job = rt.options(lane="process").submit(load)
        await exists(tmp_path / "begun")
        job.cancel()
        assert await rt.to_process(work.double, 1) == 2


async def test_a_call_cancelled_before_its_worker_is_there_never_runs(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    async with Runtime(processes=1) as rt:
        job = rt.options(lane="process").submit(work.touch, str(trace))
        job.cancel()
        assert await rt.to_process(work.double, 1) == 2
    assert not trace.exists()


async def test_a_time_limit_around_a_call_is_true() -> None:
    async with Runtime(processes=1) as rt:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await rt.to_process(work.spin, 1000)
        with pytest.raises(TimeoutError, match=r"work\.spin did not end within 0\.05 s"):
            await rt.options(timeout=0.05).to_process(work.spin, 1000)
        assert await rt.to_process(work.double, 1) == 2


async def test_quick_calls_written_behind_one_that_turns_slow_are_taken_back(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    async with Runtime(processes=2) as rt:
        verbs = rt.options(lane="process")
        for _ in range(5):  # now it is known to be quick
            await asyncio.gather(*[verbs.submit(work.wait_for_file, str(gate)) for _ in range(50)])
        never = tmp_path / "never"
        jobs = [verbs.submit(work.wait_for_file, str(never if i == 0 else gate)) for i in range(60)]
        assert await asyncio.gather(*jobs[1:]) == [str(gate)] * 59
        assert not jobs[0].done()
        never.touch()
        assert await jobs[0] == str(never)


@pytest.mark.parametrize("in_place", [1, 7, 40])
async def test_answers_before_a_call_that_turns_slow_do_not_wait_for_it(
    in_place: int, tmp_path: Path
) -> None:
    gate, never = tmp_path / "gate", tmp_path / "never"
    gate.touch()
    async with Runtime(processes=1) as rt:
        verbs = rt.options(lane="process")
        for _ in range(5):
            await asyncio.gather(*[verbs.submit(work.wait_for_file, str(gate)) for _ in range(50)])
        jobs = [
            verbs.submit(work.wait_for_file, str(never if i == in_place else gate))
            for i in range(in_place + 1)
        ]
        assert await asyncio.gather(*jobs[:-1]) == [str(gate)] * in_place
        assert not jobs[-1].done()
        never.touch()
        assert await jobs[-1] == str(never)


async def test_answers_that_a_worker_held_when_it_died_are_not_lost(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    async with Runtime(processes=1) as rt:
        verbs = rt.options(lane="process")
        await asyncio.gather(*[verbs.submit(work.die_at, str(ledger), "", 0) for _ in range(50)])
        jobs = [verbs.submit(work.die_at, str(ledger), str(i), i % 20 == 19) for i in range(200)]
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        for i, outcome in enumerate(outcomes):
            assert isinstance(outcome, WorkerCrashed) if i % 20 == 19 else outcome is None
        assert [int(line) for line in ledger.read_text().split()] == list(range(200))


# Deaths


@pytest.mark.parametrize(
    ("how", "says"),
    [("SIGKILL", "SIGKILL"), ("segfault", "SIGSEGV"), ("exit", "code 7"), ("SIGABRT", "SIGABRT")],
)
async def test_a_death_hurts_one_call(how: str, says: str) -> None:
    async with Runtime(processes=2) as rt:
        verbs = rt.options(lane="process")
        assert await rt.to_process(work.double, 1) == 2
        beside = [verbs.submit(work.double, i) for i in range(100)]
        victim = verbs.submit(work.die, how)
        after = [verbs.submit(work.double, i) for i in range(100)]
        with pytest.raises(WorkerCrashed, match=says) as caught:
            await victim
        crash = caught.value
        assert isinstance(crash, BrokenProcessPool)
        assert "work.die was lost" in str(crash) and str(crash.pid) in str(crash)
        assert crash.function == "work.die" and crash.signal == (None if how == "exit" else says)
        if how == "segfault":
            assert 'work.py", line' in crash.stack and "in die" in crash.stack
        assert await asyncio.gather(*beside, *after) == [i * 2 for i in range(100)] * 2
        assert rt.stats().processes.crashed == 1


async def test_workers_killed_from_outside_while_idle_are_replaced() -> None:
    async with Runtime(processes=2) as rt:
        await rt.warm_up()
        for worker in rt.stats().workers:
            os.kill(worker.pid, signal.SIGKILL)
        await until(lambda: rt.stats().processes.workers == 0)
        assert await asyncio.gather(*[rt.to_process(work.double, i) for i in range(10)]) == [
            i * 2 for i in range(10)
        ]


async def test_a_killed_zygote_is_replaced_and_running_calls_go_on(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    async with Runtime(processes=2) as rt:
        job = rt.options(lane="process").submit(work.wait_for_file, str(gate), str(begun))
        await exists(begun)
        zygote = int(await rt.to_process(os.getppid))
        os.kill(zygote, signal.SIGKILL)
        await until(lambda: not is_alive(zygote))
        gate.touch()
        assert await job == str(gate)
        with pytest.raises(WorkerCrashed):
            await rt.to_process(work.die, "SIGKILL")
        assert await rt.to_process(work.double, 1) == 2


async def test_a_function_that_forks_answers_once() -> None:
    def forks() -> int:
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        return pid

    async with Runtime(processes=1) as rt:
        assert await rt.to_process(forks) > 0
        assert await rt.to_process(work.double, 1) == 2


async def test_a_task_that_closes_every_descriptor_harms_itself_alone() -> None:
    async with Runtime(processes=2) as rt:
        others = [rt.options(lane="process").submit(work.double, i) for i in range(20)]
        with pytest.raises(WorkerCrashed):
            await rt.to_process(os.closerange, 3, 500)
        assert await asyncio.gather(*others) == [i * 2 for i in range(20)]
        assert await rt.to_process(work.double, 1) == 2


# Life


async def test_workers_start_when_needed_and_warm_up_starts_all() -> None:
    async with Runtime(processes=3) as rt:
        assert rt.stats().processes.workers == 0
        for i in range(5):
            await rt.to_process(work.double, i)
        assert rt.stats().processes.workers == 1
        await rt.warm_up()
        assert rt.stats().processes.workers == 3
        assert all(is_alive(worker.pid) for worker in rt.stats().workers)


async def test_leaving_stops_what_does_not_end_in_time(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    async with Runtime(processes=1, shutdown_grace=0.05) as rt:
        verbs = rt.options(lane="process")
        running = verbs.submit(work.note_and_wait, str(begun), str(ended))
        await exists(begun)
        waiting = verbs.submit(work.double, 1)
        pid = await worker_pid(rt)
    assert ended.exists(), "interrupted: its finally ran"
    assert not is_alive(pid)
    with pytest.raises(RuntimeClosed, match=r"note_and_wait was stopped: it was still running"):
        await running
    with pytest.raises(RuntimeClosed, match=r"double was stopped: it was still waiting"):
        await waiting


async def test_leaving_kills_what_swallows_the_interrupt(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    async with Runtime(processes=1, shutdown_grace=0.02, interrupt_grace=0.02) as rt:
        job = rt.options(lane="process").submit(work.swallow_interrupts, str(begun))
        await exists(begun)
        pid = await worker_pid(rt)
    assert not is_alive(pid)
    with pytest.raises(RuntimeClosed):
        await job


async def test_a_cancel_while_leaving_is_immediate_and_leaves_nothing(tmp_path: Path) -> None:
    begun, leaving = tmp_path / "begun", asyncio.Event()
    pids: list[int] = []

    async def main() -> None:
        async with Runtime(processes=1, shutdown_grace=1000, interrupt_grace=1000) as rt:
            job = rt.options(lane="process").submit(work.swallow_interrupts, str(begun))
            job.add_done_callback(lambda job: job.exception())
            await exists(begun)
            pids.append(await worker_pid(rt))
            leaving.set()

    task = asyncio.create_task(main())
    await leaving.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_alive(pids[0])


async def test_a_cancel_while_leaving_does_not_wait_for_atexit_hooks(tmp_path: Path) -> None:
    pids: list[int] = []
    leaving = asyncio.Event()

    async def main() -> None:
        async with Runtime(processes=1) as rt:
            pids.append(await rt.to_process(work.stay_at_exit))
            running = rt.options(lane="process").submit(
                work.note_and_wait, str(tmp_path / "b"), str(tmp_path / "e")
            )
            running.add_done_callback(lambda job: job.exception())
            await exists(tmp_path / "b")
            leaving.set()

    task = asyncio.create_task(main())
    await leaving.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_alive(pids[0])


async def test_a_preloaded_module_is_there_in_a_fresh_worker() -> None:
    def loaded() -> bool:
        return "colorsys" in sys.modules

    async with Runtime(processes=1, preload=("colorsys",)) as rt:
        assert await rt.to_process(loaded)


async def test_a_preload_that_fails_warns_and_does_no_harm() -> None:
    with pytest.warns(RuntimeWarning, match="could not preload 'no_such_module'"):
        async with Runtime(processes=1, preload=("no_such_module",)) as rt:
            assert await rt.to_process(work.double, 1) == 2


async def test_ctrl_c_reaches_no_worker() -> None:
    async with Runtime(processes=1) as rt:
        await rt.warm_up()
        pid = await worker_pid(rt)
        os.kill(pid, signal.SIGINT)
        assert await rt.to_process(os.getpid) == pid
        assert os.getpgid(pid) != os.getpgid(0)


async def test_a_worker_is_light() -> None:
    async with Runtime(processes=1) as rt:
        await rt.to_process(abs, -1)
        rollup = Path(f"/proc/{await worker_pid(rt)}/smaps_rollup").read_text()
        private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private"))
        # 3.14 and 3.15 take 5.8 MB.
        assert private < (4096 if sys.version_info < (3, 14) else 8192), f"{private} kB of its own"


async def test_a_call_sent_to_a_worker_that_has_just_died_idle_is_not_lost() -> None:
    async with Runtime(processes=1) as rt:
        for _ in range(10):
            assert await rt.to_process(work.double, 1) == 2
            os.kill(await worker_pid(rt), signal.SIGKILL)
            # No await in between: the runtime cannot have heard of it.
            jobs = [rt.options(lane="process").submit(work.double, i) for i in range(3)]
            assert await asyncio.gather(*jobs) == [0, 2, 4]
        assert rt.stats().processes.crashed == 0


async def test_a_function_that_is_gone_is_forgotten_by_its_worker() -> None:
    async with Runtime(processes=1) as rt:
        verbs = rt.options(lane="process")
        for _ in range(3):
            jobs = [
                verbs.submit(lambda: 1) for _ in range(3)
            ]  # a new function each time, gone while its job waits
            assert await asyncio.gather(*jobs) == [1, 1, 1]

        def twice() -> int:
            return 2

        jobs = [verbs.submit(twice) for _ in range(4)]
        del twice
        assert await asyncio.gather(*jobs) == [2] * 4
        del jobs
        gc.collect()
        assert await rt.to_process(abs, -3) == 3
        lane: Any = rt._open_lanes().processes
        (child,) = lane._seats
        assert len(child.known) == 1, "abs alone"


@pytest.mark.parametrize("nice", [0, 7])
async def test_workers_yield_to_the_loop_s_process(nice: int) -> None:
    async with Runtime(processes=1, nice=nice) as rt:
        assert await rt.to_process(os.nice, 0) == min(19, os.nice(0) + nice)
