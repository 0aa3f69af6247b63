"""Large calls among faults: workers that die under them, forks, a loop that is closed, an exit; and random cancels."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from pathlib import Path
from threading import Lock
from typing import Any

import good
import pytest
from helpers import a_seed, exists, until
from test_ends import LOOPS, finish, start

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # heavy.py, for the scripts as well

import ledger
import work
from heavy import FILLER, Gate, porters

from hybridrt import NotSendable, Runtime, RuntimeClosed, WorkerCrashed

# Deaths


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("is_coroutine", [False, True])
async def test_a_worker_that_dies_of_a_large_call(retries: int, is_coroutine: bool, tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    async with Runtime(processes=1) as rt:
        fn = co_die_before_large if is_coroutine else die_before_large
        call = rt.options(retries=retries).to_process(fn, 2, str(path), FILLER)
        if retries:
            assert await call == (2, len(FILLER)), "it was sent again, whole"
        else:
            with pytest.raises(WorkerCrashed):
                await call
        assert await rt.to_process(work.count_of, FILLER) == len(FILLER)
        stats = rt.stats().processes
        assert (stats.crashed, stats.running, stats.waiting) == (retries or 1, 0, 0)


def die_before_large(runs: int, path: str, filler: list[str]) -> tuple[int, int]:
    return work.die_before(runs, path), len(filler)


async def co_die_before_large(runs: int, path: str, filler: list[str]) -> tuple[int, int]:
    return die_before_large(runs, path, filler)


async def test_a_worker_that_is_killed_while_its_large_call_is_on_the_way(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt:
        pid = await rt.to_process(os.getpid)
        os.kill(pid, signal.SIGSTOP)  # it reads nothing
        job = rt.options(lane="process").submit(
            work.note, str(tmp_path / "ledger"), "x", os.urandom(30_000_000)
        )
        await until(lambda: rt.stats().processes.running)
        os.kill(pid, signal.SIGKILL)
        assert await job == "x", "it had not begun, so it runs once, elsewhere"
        assert (tmp_path / "ledger").read_text().split() == ["x"]
        assert rt.stats().processes.crashed == 0


async def test_a_worker_that_dies_when_most_of_a_large_result_is_packed() -> None:
    async with Runtime(processes=1) as rt:
        with pytest.raises(WorkerCrashed):
            await rt.to_process(return_what_kills)
        assert await rt.to_process(work.count_of, FILLER) == len(FILLER)


class Kills:
    def __reduce__(self) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)
        return str, ()


def return_what_kills() -> list[Any]:
    return [*FILLER, Kills()]


async def test_a_large_cancelled_call_whose_worker_dies_before_it_begins(tmp_path: Path) -> None:
    async with Runtime(processes=1, interrupt_grace=10) as rt:
        pid = await rt.to_process(os.getpid)
        os.kill(pid, signal.SIGSTOP)
        submit = rt.options(lane="process").submit
        job = submit(work.note, str(tmp_path / "ledger"), "never", FILLER)
        await until(lambda: rt.stats().processes.running)
        assert job.cancel()
        os.kill(pid, signal.SIGKILL)
        assert await submit(work.note, str(tmp_path / "ledger"), "next", FILLER) == "next"
        assert (tmp_path / "ledger").read_text().split() == ["next"]


async def test_no_worker_is_to_be_had_for_calls_that_are_being_packed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hybridrt._engine.staff import Staff

    def refuse(staff: Staff) -> Any:
        raise OSError(24, "Too many open files")

    async with Runtime(processes=1) as rt:
        gate = Gate()
        with monkeypatch.context() as patch:
            patch.setattr(Staff, "hire", refuse)
            jobs = [rt.options(lane="process").submit(work.echo, FILLER, gate) for _ in range(3)]
            for outcome in await asyncio.gather(*jobs, return_exceptions=True):
                assert isinstance(outcome, OSError) and "Too many open files" in str(outcome)
        gate.open()
        assert await rt.to_process(work.count_of, FILLER) == len(FILLER)
        assert not rt.stats().processes.waiting


# Ends


USES = f"""
sys.path[:0] = [{str(Path(__file__).resolve().parent.parent)!r}]
import threading
import heavy, work
from heavy import FILLER, Gate, porters
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_that_is_closed_while_calls_are_packed_and_results_unpacked(tmp_path: Path, loop: str) -> None:
    process = start(
        tmp_path,
        USES
        + """
loop = new_loop()
gate = Gate()
async def main():
    rt = await hybridrt.Runtime(processes=2).__aenter__()
    submit = rt.options(lane="process").submit
    jobs = [submit(heavy.many_and_slow, os.getpid())]
    while not heavy.begun.is_set():
        await asyncio.sleep(0.001)
    jobs += [submit(work.echo, FILLER, gate) for _ in range(5)]
    while not gate.passers:
        await asyncio.sleep(0.001)
    tell(rt)
    return rt, jobs
rt, jobs = loop.run_until_complete(main())
loop.close()
gate.open()
heavy.barrier.set()
end = time.monotonic() + 10
while porters() and time.monotonic() < end:
    time.sleep(0.001)
print("porters", len(porters()), "done", sum(job.done() for job in jobs))
""",
        loop,
    )
    lines, err = finish(process)
    assert lines == ["porters 0 done 0"], err
    assert "Traceback" not in err


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("is_left", [False, True])
def test_an_exit_while_porters_are_stuck(tmp_path: Path, loop: str, is_left: bool) -> None:
    process = start(
        tmp_path,
        USES
        + f"""
async def main():
    rt = await hybridrt.Runtime(processes=2, shutdown_grace=0).__aenter__()
    gate = Gate()
    submit = rt.options(lane="process").submit
    jobs = [submit(heavy.many_and_slow, os.getpid()), submit(work.echo, FILLER, gate)]
    while not (gate.passers and heavy.begun.is_set()):
        await asyncio.sleep(0.001)
    tell(rt)
    if {is_left}:
        await rt.__aexit__(None, None, None)
    print("bye", flush=True)
    if not {is_left}:
        globals()["kept"] = rt
        sys.exit(0)
run(main())
""",
        loop,
    )
    lines, err = finish(process)
    assert lines == ["bye"], err
    assert process.returncode == 0, err
    assert "Fatal" not in err and "Traceback" not in err


@pytest.mark.parametrize("loop", LOOPS)
def test_a_fork_while_calls_are_packed_and_results_unpacked(tmp_path: Path, loop: str) -> None:
    process = start(
        tmp_path,
        USES
        + """
async def main():
    async with hybridrt.Runtime(processes=2) as rt:
        gate = Gate()
        submit = rt.options(lane="process").submit
        jobs = [submit(heavy.many_and_slow, os.getpid()), submit(work.count_of, FILLER, gate)]
        while not (gate.passers and heavy.begun.is_set()):
            await asyncio.sleep(0.001)
        pid = os.fork()
        if not pid:
            try:
                assert gc.isenabled(), "no porter here will turn it on again"
                try:
                    rt.options(lane="process").submit(work.count_of, FILLER)
                except hybridrt.RuntimeClosed:
                    for job in jobs:
                        job.cancel()
                    gate.open()
                    print("refused", flush=True)
            finally:
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        gate.open()
        heavy.barrier.set()
        print((await jobs[0])[-1], await jobs[1])
        assert gc.isenabled()
run(main())
""",
        loop,
    )
    lines, err = finish(process)
    assert lines == ["refused", "arrived 100000"], err


def test_the_drop_in_executor_does_large_work_that_is_left_at_the_exit(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        USES
        + """
executor = hybridrt.ProcessPoolExecutor(1)
for i in range(4):
    executor.submit(work.count_of, FILLER).add_done_callback(lambda f: print(f.result(), flush=True))
""",
        "asyncio",
    )
    lines, err = finish(process)
    assert lines == ["100000"] * 4, err


# Chance


@pytest.mark.timeout(180)  # much work: 12 s of it beside nine other processes that compute
@pytest.mark.parametrize("seed", [1, None])
async def test_random_cancels_and_kills_of_large_and_small_calls(seed: int | None, tmp_path: Path) -> None:
    dice = random.Random(a_seed(seed))
    path = tmp_path / "ledger"
    outcomes: dict[int, Any] = {}
    rows = [{"i": i} for i in range(20_000)]

    async with Runtime(processes=2, interrupt_grace=0.05, preload=("ledger",)) as rt:
        verbs = rt.options(lane="process")

        def results() -> int:
            return sum(outcome == "result" for outcome in outcomes.values())

        async def one(number: int) -> None:
            await asyncio.sleep(dice.random() * 3)
            kind = dice.choice(["small", "rows", "bytes", "bad"])
            cargo: Any = {
                "small": None,
                "rows": rows,
                "bytes": b"x" * 1_000_000,
                "bad": [rows, Lock()],
            }[kind]
            job = verbs.submit(keep_and_return, str(path), number, cargo)
            try:
                if dice.random() < 0.4:
                    for _ in range(dice.choice([0, 1, 5, 50])):
                        await asyncio.sleep(dice.choice([0, 0.001]))
                    job.cancel()
                result = await job
                assert result == (number, cargo)
                outcomes[number] = "result"
            except asyncio.CancelledError:
                outcomes[number] = "cancelled"
            except WorkerCrashed:
                outcomes[number] = "crashed"
            except NotSendable:
                assert kind == "bad"
                outcomes[number] = "refused"

        count = 120
        killed = 0

        async def killer() -> None:
            nonlocal killed
            while True:
                # Not by the clock: on a busy machine too few calls would live to their end.
                due = results() + dice.randrange(1, 20)
                while results() < due:
                    await asyncio.sleep(dice.random() * 0.01)
                pids = [worker.pid for worker in rt.stats().workers]
                if pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(dice.choice(pids), signal.SIGKILL)
                        killed += 1

        kills = asyncio.create_task(killer())
        await asyncio.gather(*[one(i) for i in range(count)])
        kills.cancel()
        await until(lambda: (rt.stats().processes.running, rt.stats().processes.waiting) == (0, 0))
        assert await rt.to_process(work.count_of, FILLER) == len(FILLER)
        lane = rt._open_lanes().processes
        assert not lane._porters.is_busy and not lane._porters._line.stock  # type: ignore[attr-defined]

    lines = [line.split() for line in path.read_text().splitlines()]
    begun = [int(n) for what, n in lines if what == "begin"]
    ended = {int(n) for what, n in lines if what == "end"}
    assert len(outcomes) == count, "none hung"
    assert len(begun) == len(set(begun)), "none ran twice"
    assert {n for n, outcome in outcomes.items() if outcome == "result"} <= ended
    assert sum(outcome == "crashed" for outcome in outcomes.values()) <= killed
    assert results() > count / 10
    assert not porters()


def keep_and_return(path: str, number: int, cargo: Any) -> tuple[int, Any]:
    ledger.keep(path, number, 0)
    return number, cargo


async def test_large_calls_stand_among_good_ones(tmp_path: Path) -> None:
    """Closing refuses what comes after it, large or small, and at once."""
    async with Runtime(processes=1) as rt:
        begun, gate = tmp_path / "begun", tmp_path / "gate"
        job = rt.options(lane="process").submit(good.wait_for, str(gate), str(begun))
        await exists(begun)
        large = rt.options(lane="process").submit(work.count_of, FILLER)
        gate.touch()
    assert job.result() == str(gate) and large.result() == len(FILLER)
    with pytest.raises(RuntimeClosed):
        rt.options(lane="process").submit(work.count_of, FILLER)
