"""Large data survives whatever dies: nothing that is viewed is overwritten, nothing is left when nobody is there."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import bulky
import numpy as np
import pytest
from helpers import exists, is_alive, until

from hybridrt import Runtime, WorkerCrashed
from hybridrt._lanes import holding

MB = 1 << 20

pytestmark = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="there is no shared memory of ours here"
)


def hold_of(rt: Runtime) -> Any:
    assert rt._lanes is not None
    lane: Any = rt._lanes.processes
    return lane.hold


async def in_use_is(rt: Runtime, nbytes: int) -> None:
    await until(lambda: hold_of(rt).arenas.in_use == nbytes)


async def test_a_view_kept_in_a_worker_is_never_overwritten() -> None:
    async with Runtime(processes=1) as rt:
        for value in (1.0, 2.0, 3.0):
            await rt.to_process(bulky.keep, np.full(MB, value))
        for _ in range(10):
            await rt.to_process(bulky.total, np.full(MB, -1.0))
        for at, value in enumerate((1.0, 2.0, 3.0)):
            assert await rt.to_process(bulky.kept_total, at) == value * MB
        await in_use_is(rt, 3 * 8 * MB)
        await rt.to_process(bulky.drop)
        await in_use_is(rt, 0)


async def test_a_result_that_is_kept_is_never_overwritten() -> None:
    async with Runtime(processes=1) as rt:
        kept = [await rt.to_process(bulky.same, np.full(MB, value)) for value in (1.0, 2.0, 3.0)]
        part = kept[0][5:10]
        for _ in range(10):
            await rt.to_process(bulky.same, np.full(MB, -1.0))
        assert [array.sum() for array in kept] == [MB, 2 * MB, 3 * MB]
        del kept
        for _ in range(10):
            await rt.to_process(bulky.same, np.full(MB, -1.0))
        assert part.sum() == 5.0
    assert part.sum() == 5.0


async def test_results_outlive_their_worker_and_their_runtime() -> None:
    async with Runtime(processes=1) as rt:
        one = await rt.to_process(bulky.same, np.ones(MB))
        pid = await rt.to_process(os.getpid)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not is_alive(pid))
        two = await rt.options(retries=3).to_process(bulky.same, np.full(MB, 2.0))
        assert (one.sum(), two.sum()) == (MB, 2 * MB)
    one += 1
    assert (one.sum(), two.sum()) == (2 * MB, 2 * MB)


async def test_a_worker_killed_in_the_middle_gives_back_what_it_viewed(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt:
        for at in range(3):
            mark = tmp_path / str(at)
            job = rt.options(lane="process").submit(bulky.holds_and_waits, np.ones(MB), str(mark))
            await exists(mark)
            await until(lambda: rt.stats().workers)
            os.kill(rt.stats().workers[0].pid, signal.SIGKILL)
            with pytest.raises(WorkerCrashed):
                await job
            await in_use_is(rt, 0)
        assert hold_of(rt).arenas.nbytes == 8 * MB


async def test_a_second_try_gets_what_was_sent(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt:
        mark = str(tmp_path / "mark")
        array = np.ones(MB)
        assert await rt.options(retries=1).to_process(bulky.spoils_and_dies_once, array, mark) == MB
        await in_use_is(rt, 0)


async def test_cancelled_calls_keep_nothing(tmp_path: Path) -> None:
    async with Runtime(processes=1, interrupt_grace=5) as rt:
        running = rt.options(lane="process").submit(bulky.holds_and_waits, np.ones(MB), str(tmp_path / "a"))
        waiting = rt.options(lane="process").submit(bulky.total, np.ones(MB))
        await exists(tmp_path / "a")
        waiting.cancel()
        running.cancel()
        assert await rt.to_process(bulky.total, np.ones(MB)) == MB
        await rt.to_process(bulky.drop)
        await in_use_is(rt, 0)


async def test_a_result_of_a_cancelled_call_is_given_back() -> None:
    async with Runtime(processes=1) as rt:
        for _ in range(30):
            job = rt.options(lane="process").submit(bulky.ones, MB)
            await asyncio.sleep(0)
            job.cancel()
        result = await rt.to_process(bulky.ones, MB)
        pid = await rt.to_process(os.getpid)
        del result
        await until(lambda: arena_bytes_of(pid) <= 16 * MB)


def arena_bytes_of(pid: int) -> int:
    """Memory in arenas that the process has open."""
    folder = Path(f"/proc/{pid}/fd")
    total = 0
    for fd in os.listdir(folder):
        try:
            if "hybridrt-arena" in os.readlink(folder / fd):
                total += (folder / fd).stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


async def test_garbage_in_a_cycle_is_given_back_when_the_worker_is_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(holding, "LEAN_SECONDS", 0.1)
    monkeypatch.setattr("hybridrt._lanes.workforce.LEAN_SECONDS", 0.1)
    async with Runtime(processes=1) as rt:
        await rt.to_process(bulky.keep_in_a_cycle, np.ones(MB))
        await in_use_is(rt, 0)
        await until(lambda: hold_of(rt).arenas.nbytes == 0)


async def test_an_idle_worker_gives_its_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybridrt._lanes.workforce.LEAN_SECONDS", 0.1)
    async with Runtime(processes=1) as rt:
        result = await rt.to_process(bulky.ones, 4 * MB)
        pid = await rt.to_process(os.getpid)
        assert arena_bytes_of(pid) == 32 * MB
        del result
        await until(lambda: arena_bytes_of(pid) == 0)
        assert (await rt.to_process(bulky.ones, MB)).sum() == MB


async def test_where_the_limit_is_reached_calls_go_on_and_it_is_told_once() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        async with Runtime(processes=1, arena_limit=40 * MB) as rt:
            kept = [await rt.to_process(bulky.same, np.full(MB, float(value))) for value in range(8)]
            assert [array.sum() for array in kept] == [value * MB for value in range(8)]
            del kept
            assert (await rt.to_process(bulky.same, np.ones(MB))).sum() == MB
    ours = [warning for warning in told if "shared memory" in str(warning.message)]
    assert len(ours) == 1
    assert "limit" in str(ours[0].message)


async def test_without_memfd_calls_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.memfd_create

    def refuse(name: str, *flags: int) -> int:
        if name == "hybridrt-arena":
            raise OSError(24, "Too many open files")
        return real(name, *flags)

    monkeypatch.setattr(os, "memfd_create", refuse)
    async with Runtime(processes=1) as rt:
        with pytest.warns(RuntimeWarning, match="memfd_create failed: Too many open files"):
            assert await rt.to_process(bulky.total, np.ones(MB)) == MB
        assert (await rt.to_process(bulky.same, bytes(3 * MB))) == bytes(3 * MB)


async def test_where_memory_cannot_be_written_calls_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    async with Runtime(processes=1) as rt:
        with monkeypatch.context() as patch, pytest.warns(RuntimeWarning, match="No space left on device"):
            patch.setattr(os, "pwrite", refuse)
            assert await rt.to_process(bulky.total, np.ones(MB)) == MB
        await in_use_is(rt, 0)
        assert await rt.to_process(bulky.total, np.ones(MB)) == MB


async def test_no_descriptor_more_after_many_calls_and_workers() -> None:
    async with Runtime(processes=1) as rt:

        async def round_trip() -> int:
            await rt.to_process(bulky.same, np.ones(MB))
            return await rt.to_process(bulky.descriptors)

        await round_trip()
        there, here = await round_trip(), bulky.descriptors()
        for _ in range(10):
            assert await round_trip() == there
        assert bulky.descriptors() == here
        for _ in range(3):
            pid = await rt.to_process(os.getpid)
            os.kill(pid, signal.SIGKILL)
            await until(lambda pid=pid: not is_alive(pid))
            await rt.options(retries=3).to_process(bulky.total, np.ones(MB))
            await round_trip()  # memory is mapped when it is used again
            assert await round_trip() == there
        gc.collect()
        assert bulky.descriptors() == here


async def test_a_forked_child_of_ours_keeps_its_arrays(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt:
        array = await rt.to_process(bulky.same, np.ones(MB))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: we have threads
            pid = bulky.total_of_a_fork(array, str(tmp_path / "go"), str(tmp_path / "out"))
        array[:] = 5
        del array
        for _ in range(5):
            await rt.to_process(bulky.same, np.full(MB, -1.0))
        (tmp_path / "go").touch()
        await exists(tmp_path / "out")
        os.waitpid(pid, 0)
        assert float((tmp_path / "out").read_text()) == MB


async def test_a_forked_child_of_a_worker_keeps_its_arguments(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt:
        out = tmp_path / "out"
        await rt.to_process(bulky.total_of_a_fork, np.ones(MB), str(tmp_path / "go"), str(out))
        for _ in range(5):
            await rt.to_process(bulky.total, np.full(MB, -1.0))
        (tmp_path / "go").touch()
        await exists(out)
        assert float(out.read_text()) == MB


async def test_a_runtime_in_a_worker_has_arenas_of_its_own() -> None:
    async with Runtime(processes=1) as rt:
        assert await rt.to_process(bulky.nested, MB) == MB
        assert await rt.to_process(bulky.total, np.ones(MB)) == MB


async def test_a_killed_parent_leaves_no_memory(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, sys; sys.path.insert(0, {tests!r})\n"
        "import bulky, numpy as np; from hybridrt import Runtime\n"
        "async def main():\n"
        "    async with Runtime(processes=1) as rt:\n"
        "        kept = await rt.to_process(bulky.same, np.ones(1 << 20))\n"
        "        pid = await rt.to_process(bulky.keep, kept)\n"
        "        print(pid, flush=True)\n"
        "        await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    code = code.format(tests=str(Path(bulky.__file__).parent))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        assert arena_bytes_of(worker) >= 16 * MB
        process.kill()
    # Memory without a name goes with the last process that has it.
    await until(lambda: not is_alive(worker))
