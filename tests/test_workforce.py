"""Workers come and go: replaced when worn out, let go when idle, killed when stopped, given up on when none lives."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import work
from helpers import exists, is_alive, until, worker_pid

from hybridrt import Runtime, WorkerCrashed, WorkerStartError


async def test_an_idle_worker_leaves_and_a_fresh_one_comes_when_it_is_needed() -> None:
    async with Runtime(processes=2, process_idle=0.02) as rt:
        await rt.warm_up()
        pids = {worker.pid for worker in rt.stats().workers}
        await until(lambda: rt.stats().processes.workers == 0)
        assert not any(is_alive(pid) for pid in pids)
        assert await rt.to_process(work.double, 1) == 2
        assert rt.stats().processes.crashed == 0


async def test_a_busy_worker_does_not_leave(tmp_path: Path) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    async with Runtime(processes=2, process_idle=0.02) as rt:
        await rt.warm_up()
        job = rt.options(lane="process").submit(work.wait_for_file, str(gate), str(begun))
        await exists(begun)
        await until(lambda: rt.stats().processes.workers == 1)  # the idle one has left
        gate.touch()
        assert await job == str(gate)


@pytest.mark.parametrize("function", [work.pid_and_double, work.co_pid_and_double])
async def test_a_worker_is_replaced_after_so_many_calls(
    function: Callable[[int], tuple[int, int]],
) -> None:
    async with Runtime(processes=2, max_tasks_per_worker=3) as rt:
        answers = await asyncio.gather(*[rt.to_process(function, i) for i in range(60)])
        assert [result for _, result in answers] == [i * 2 for i in range(60)]
        pids = [pid for pid, _ in answers]
        assert max(pids.count(pid) for pid in pids) <= 3
        stats = rt.stats().processes
        assert (stats.crashed, stats.failed, stats.running, stats.waiting) == (0, 0, 0, 0)


async def test_no_more_calls_run_at_once_while_a_worker_is_replaced(tmp_path: Path) -> None:
    gates = [tmp_path / f"{i}" for i in range(3)]
    async with Runtime(processes=1, max_tasks_per_worker=1) as rt:
        verbs = rt.options(lane="process")
        jobs = [verbs.submit(work.wait_for_file, str(gate), f"{gate}-begun") for gate in gates]
        for i, gate in enumerate(gates):
            await exists(Path(f"{gate}-begun"))
            assert rt.stats().processes.running == 1
            assert len(list(tmp_path.glob("*-begun"))) == i + 1
            gate.touch()
            assert await jobs[i] == str(gate)


@pytest.mark.parametrize("function", [work.hoard, work.co_hoard])
async def test_a_worker_that_has_grown_is_replaced_between_two_calls(function: Callable[[int], int]) -> None:
    async with Runtime(processes=1, max_worker_memory="30MB") as rt:
        sizes = (1_000_000, 1_000_000, 40_000_000, 1_000_000)
        pids = [await rt.to_process(function, size) for size in sizes]
        assert pids[0] == pids[1] == pids[2] != pids[3]
        stats = rt.stats().processes
        assert (stats.crashed, stats.failed, stats.succeeded) == (0, 0, 4)


async def test_what_was_written_ahead_to_a_grown_worker_runs_in_a_fresh_one() -> None:
    async with Runtime(processes=1, max_worker_memory="30MB") as rt:
        verbs = rt.options(lane="process")
        for _ in range(5):  # now it is known to be quick
            await asyncio.gather(*[verbs.submit(work.hoard, 10) for _ in range(50)])
        jobs = [verbs.submit(work.hoard, 40_000_000 if i == 0 else 10) for i in range(50)]
        pids = await asyncio.gather(*jobs)
        assert len(pids) == 50
        assert rt.stats().processes.failed == 0
        assert await rt.to_process(work.hoard, 10) != pids[0]


async def test_a_replaced_worker_runs_its_atexit_hooks(tmp_path: Path) -> None:
    async with Runtime(processes=1, max_tasks_per_worker=1) as rt:
        await rt.to_process(work.touch_at_exit, str(tmp_path / "left"))
        await exists(tmp_path / "left")


async def test_a_replaced_worker_that_does_not_go_is_killed() -> None:
    async with Runtime(processes=1, max_tasks_per_worker=1) as rt:
        pid = await rt.to_process(work.stay_at_exit)
        assert await rt.to_process(work.double, 1) == 2
        await until(lambda: not is_alive(pid))


async def test_a_stopped_worker_holds_up_nobody() -> None:
    async with Runtime(processes=1) as rt:
        assert await rt.to_process(work.double, 1) == 2
        pid = await worker_pid(rt)
        os.kill(pid, signal.SIGSTOP)
        assert await rt.to_process(work.double, 2) == 4, "it was given to another worker"
        assert not is_alive(pid)
        assert rt.stats().processes.crashed == 0


async def test_calls_that_kill_their_fresh_worker_do_not_take_the_others_with_them() -> None:
    async with Runtime(processes=2) as rt:
        verbs = rt.options(lane="process")
        bad = [verbs.submit(work.die, "exit") for _ in range(20)]
        good = [verbs.submit(work.double, i) for i in range(20)]
        outcomes = await asyncio.gather(*bad, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {WorkerCrashed}
        assert await asyncio.gather(*good) == [i * 2 for i in range(20)]


async def test_workers_that_die_before_they_have_begun_anything_are_given_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Runtime(processes=1) as rt:
        # Every worker is stopped by the kernel as soon as it is there.
        (tmp_path / "deadly.py").write_text(
            "import os; os.register_at_fork(after_in_child=lambda: os._exit(3))"
        )
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(WorkerStartError, match="die, again and again, before they begin one call"):
            async with Runtime(processes=1, preload=("deadly",)) as doomed:
                try:
                    await doomed.to_process(work.double, 1)
                finally:
                    assert not doomed.stats().health.is_ok
        assert await rt.to_process(work.double, 1) == 2
        assert rt.stats().health.is_ok


async def test_workers_that_die_young_are_not_given_up_on_while_one_in_between_begins_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    births = tmp_path / "births"
    (tmp_path / "weakly.py").write_text(
        "import os\n"
        "def be_born():\n"
        f"    with open({str(births)!r}, 'a') as file: file.write('x')\n"
        f"    if os.path.getsize({str(births)!r}) % 5: os._exit(9)\n"
        "os.register_at_fork(after_in_child=be_born)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    async with Runtime(processes=1, preload=("weakly",), learn_preload=False) as rt:
        for _ in range(2):
            with pytest.raises(WorkerCrashed):
                await rt.to_process(work.die, "exit")
        assert await rt.to_process(work.double, 1) == 2
    assert len(births.read_text()) == 15


@pytest.mark.skipif(sys.platform != "linux", reason="the zygote is found in /proc")
@pytest.mark.parametrize("function", [work.double, work.co_double])
async def test_a_call_that_waits_for_its_worker_does_not_notice_that_the_zygote_dies(
    function: Callable[[int], Any],
) -> None:
    async with Runtime(processes=1) as rt:
        await rt.to_process(work.double, 1)
        worker = await worker_pid(rt)
        zygote = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(worker, signal.SIGKILL)
        await until(lambda: not rt.stats().workers)
        os.kill(zygote, signal.SIGSTOP)
        job = rt.options(lane="process").submit(function, 2)
        await until(
            lambda: rt.stats().processes.running
        )  # it is in the channel of a worker that is not there
        os.kill(zygote, signal.SIGKILL)
        assert await job == 4
        assert rt.stats().processes.crashed == 0


# Calls lost to a crash, and run again


async def test_retries_run_a_lost_call_again(tmp_path: Path) -> None:
    async with Runtime(processes=2) as rt:
        verbs = rt.options(lane="process", retries=3)
        assert await verbs.to_process(work.die_before, 3, str(tmp_path / "tries")) == 3
        assert rt.stats().processes.crashed == 3
        assert rt.stats().processes.failed == 0


async def test_a_call_that_kills_each_of_its_workers_is_named_and_stopped(tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    async with Runtime(processes=2) as rt:
        others = [rt.options(lane="process").submit(work.double, i) for i in range(40)]
        with pytest.raises(
            WorkerCrashed, match=r"work\.die_before .*run 3 times, and each time its worker"
        ) as caught:
            await rt.options(retries=2).to_process(work.die_before, 1000, str(tries))
        assert caught.value.attempts == 3
        assert len(tries.read_text().splitlines()) == 3
        assert await asyncio.gather(*others) == [i * 2 for i in range(40)]
        health = rt.stats().health
        assert (health.is_ok, health.crashes) == (True, 3)
        for _ in range(3):
            with pytest.raises(WorkerCrashed, match="was not run again, since it may have had effects"):
                await rt.to_process(work.die, "exit")
        assert not rt.stats().health.is_ok
        assert "lost to the death of their worker" in rt.stats().health.reason


async def test_a_coroutine_call_is_run_again_too(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt:
        verbs = rt.options(retries=1)
        assert await verbs.to_process(work.co_die_before, 1, str(tmp_path / "tries")) == 1


async def test_a_call_that_is_cancelled_between_two_runs_is_not_run_again(tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    async with Runtime(processes=1) as rt:
        job = rt.options(lane="process", retries=1000).submit(work.die_before, 10_000, str(tries))
        await exists(tries)
        job.cancel()
        await until(lambda: rt.stats().processes.running == rt.stats().processes.waiting == 0)
        count = len(tries.read_text().splitlines())
        assert await rt.to_process(work.double, 1) == 2
        assert len(tries.read_text().splitlines()) == count


@pytest.mark.parametrize("bad", [-1, 1.5, True, "2", None])
async def test_nonsense_retries_are_refused(bad: int) -> None:
    async with Runtime(processes=1) as rt:
        with pytest.raises(ValueError, match=r"options\(retries=.*\) must be a whole number, 0 or more"):
            rt.options(retries=bad)
