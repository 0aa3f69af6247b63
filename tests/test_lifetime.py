"""A runtime that nobody leaves is closed all the same: by its loop's end, by the collector, or not at all in a fork."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import work
from helpers import exists, is_alive, until
from loops import LOOPS

from hybridrt import Runtime, RuntimeClosed, current_runtime

every_loop = pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS.keys())


async def enter(processes: int = 2) -> tuple[Runtime, set[int]]:
    rt = Runtime(processes=processes, interrupt_grace=0.05)
    await rt.__aenter__()
    await rt.warm_up()
    return rt, {worker.pid for worker in rt.stats().workers}


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def no_worker_lives(pids: set[int]) -> bool:
    return len(pids) == 2 and not any(is_alive(pid) for pid in pids)


@every_loop
@pytest.mark.parametrize("is_busy", [False, True])
def test_the_end_of_asyncio_run_closes_it(new_loop: Callable[[], Any], is_busy: bool, tmp_path: Path) -> None:
    kept = []
    begun, ended = tmp_path / "begun", tmp_path / "ended"

    async def main() -> set[int]:
        rt, pids = await enter()
        kept.append(rt)
        if is_busy:
            job = rt.options(lane="process").submit(work.note_and_wait, str(begun), str(ended))
            job.add_done_callback(lambda job: job.exception())
            await exists(begun)
        return pids

    with asyncio.Runner(loop_factory=new_loop) as runner, pytest.warns(ResourceWarning, match="never left"):
        pids = runner.run(main())
        runner.close()
    assert no_worker_lives(pids)
    assert ended.exists() is is_busy, "interrupted: its finally ran"
    with pytest.raises(RuntimeClosed, match="though it had not been left"):
        kept[0].submit(work.double, 1)


@every_loop
@pytest.mark.parametrize("is_busy", [False, True])
def test_a_loop_closed_under_it_leaves_nothing(
    new_loop: Callable[[], Any], is_busy: bool, tmp_path: Path
) -> None:
    loop = new_loop()
    loop.run_until_complete(asyncio.sleep(0))
    before = descriptors()

    async def main() -> tuple[Runtime, set[int]]:
        rt, pids = await enter()
        if is_busy:
            rt.options(lane="process").submit(pow, 3, 10**9)  # C code that does not look up
            rt.options(lane="process").submit(work.touch, str(tmp_path / "begun"))
            await exists(tmp_path / "begun")
        return rt, pids

    rt, pids = loop.run_until_complete(main())
    loop.close()
    assert no_worker_lives(pids)
    assert len(descriptors()) <= len(before), "the loop's own have gone as well"
    with pytest.raises(RuntimeClosed, match="the event loop of this runtime was closed before"):
        rt.options(lane="process").submit(work.double, 1)
    del rt
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.parametrize("is_busy", [False, True])
async def test_the_garbage_collector_closes_it(is_busy: bool, tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    with pytest.warns(ResourceWarning, match="never left"):
        rt, pids = await enter()
        job = None
        if is_busy:
            job = rt.options(lane="process").submit(work.note_and_wait, str(begun), str(ended))
            await exists(begun)
        del rt
        gc.collect()
        await until(lambda: no_worker_lives(pids))
        # The warning is given when all is closed.
        await until(lambda: len(asyncio.all_tasks()) == 1)
    if job is not None:
        with pytest.raises(RuntimeClosed, match="note_and_wait was stopped"):
            await job
        assert ended.exists()


async def test_one_that_is_only_used_through_its_context_is_not_garbage() -> None:
    async def in_between() -> int:
        gc.collect()
        return await current_runtime().to_process(work.double, 1)

    async with Runtime(processes=1):
        assert await in_between() == 2
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(Runtime(processes=1))
        assert await in_between() == 2


async def test_leaving_twice_is_leaving_once() -> None:
    rt, _ = await enter()
    await rt.__aexit__(None, None, None)
    await rt.__aexit__(None, None, None)
    with pytest.raises(RuntimeClosed, match="without having been entered"):
        await Runtime().__aexit__(None, None, None)


# A fork of our process


def in_a_fork(check: Callable[[], None]) -> None:
    """Run ``check`` in a fork of this process; fail the test where it fails."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            check()
            os.write(write_end, b"fine")
        except BaseException as exc:
            os.write(write_end, repr(exc).encode()[:4000])
        finally:
            os._exit(0)
    os.close(write_end)
    told = b""
    while piece := os.read(read_end, 4096):
        told += piece
    os.close(read_end)
    os.waitpid(pid, 0)
    assert told == b"fine", told.decode()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
async def test_a_fork_refuses_the_parent_s_runtime_and_hurts_it_not(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    async with Runtime(processes=2, loop_blocked_after=0) as rt:  # the fork is waited for on the loop
        verbs = rt.options(lane="process")
        job = verbs.submit(work.wait_for_file, str(gate), str(begun))
        await exists(begun)
        rt_threads = rt.threads
        before = descriptors()

        def check() -> None:
            # A worker's channel, the two ends of its token pipe, its pidfd and its box; the channel to the zygote, the
            # two ends for output and those of the lifeline; here are two more, of the pipe to our test.
            assert len(descriptors()) <= len(before) + 2 - 11, "our copies are given back"
            for call in (
                lambda: rt.submit(work.double, 1),
                lambda: verbs.submit(work.double, 1),
                lambda: rt_threads.submit(work.double, 1),
            ):
                with pytest.raises(
                    RuntimeError, match="belongs to the process that this one was forked from"
                ):
                    call()
            with pytest.raises(StopIteration):
                rt.__aexit__(None, None, None).send(None)  # at once
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                gc.collect()

        in_a_fork(check)
        others = await asyncio.gather(*[rt.to_process(work.double, i) for i in range(50)])
        assert others == [i * 2 for i in range(50)]
        gate.touch()
        assert await job == str(gate)
        assert rt.stats().processes.crashed == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
async def test_a_fork_makes_a_runtime_of_its_own() -> None:
    async with Runtime(processes=1, loop_blocked_after=0) as rt:
        assert await rt.to_process(work.double, 1) == 2

        def check() -> None:
            async def main() -> None:
                async with Runtime(processes=1) as own:
                    assert await own.to_process(work.double, 3) == 6
                    assert await own.to_process(os.getppid) != os.getpid()

            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                runner.get_loop()
                asyncio.events._set_running_loop(None)  # the fork is in the middle of its parent's
                runner.run(main())

        in_a_fork(check)
        assert await rt.to_process(work.double, 2) == 4


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.leaves_processes(reason="the fork is waited for by the test itself")
async def test_a_fork_that_lives_on_keeps_no_worker_alive(tmp_path: Path) -> None:
    rt, pids = await enter()
    fork = os.fork()
    if fork == 0:
        while not (tmp_path / "go").exists():
            pass
        os._exit(0)
    await rt.__aexit__(None, None, None)
    assert no_worker_lives(pids)
    (tmp_path / "go").touch()
    os.waitpid(fork, 0)
