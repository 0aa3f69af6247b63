"""Whatever a call is doing when it is cancelled, the await ends at once, and the work is stopped and no other."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import good
import pytest
import stubborn
from helpers import exists, is_alive, until, worker_pid
from scene import LIMIT, Scene, a_scene, ids, says, settled

from hybridrt import RuntimeClosed, TaskExited

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def stop(scene: Scene, fn: Any, *args: Any) -> tuple[bool, bool]:
    """Cancel one call among good ones while it is stuck; whether its worker then lives on, and its finally has run."""
    begun, ended = scene.path(), scene.path()
    args = args or (str(begun), str(ended))
    if args == ("on arrival",):
        args = (stubborn.LingersOnArrival(str(begun), str(ended)),)
    async with asyncio.timeout(LIMIT):
        await scene.rt.warm_up()
        async with scene.good_calls():
            job = scene.submit(fn, *args)
            scene.submit_behind()
            await exists(begun)
            before = scene.pids
            assert job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job
        await until(lambda: scene.counts() == (0, 0))
        await scene.is_sound()
        assert scene.crashed == 0, "a call that was cancelled is no crash"
        return before == scene.pids and all(map(is_alive, before)), ended.exists()


STOPPED: list[Any] = [
    (stubborn.loop, ()),
    (stubborn.sleep, ()),
    (stubborn.match, ()),
    (stubborn.multiply, ()),
    (stubborn.wait_for_a_lock, ()),
    (stubborn.wait_for_a_thread, ()),
    (stubborn.wait_for_a_program, ()),
    (stubborn.read_a_pipe, ()),
    (stubborn.hold_a_lock, ()),
    (stubborn.linger_in_finally, ()),
    (stubborn.linger_in_exit, ()),
    (stubborn.linger_in_except, ()),
    (stubborn.linger_in_generator, ()),
    (stubborn.return_lingering, ()),
    (stubborn.take, ("on arrival",)),
    (stubborn.interrupt_turns_into_another, ()),
    (stubborn.interrupt_turns_into_a_result, ()),
    (stubborn.interrupt_turns_into_exit, ()),
    (stubborn.co_wait, ()),
    (stubborn.co_thread, ()),
]


@pytest.mark.parametrize(("fn", "args"), STOPPED, ids=ids(STOPPED))
async def test_an_interrupt_stops_it_and_its_worker_serves_on(patient: Scene, fn: Any, args: Any) -> None:
    scene = patient
    lives_on, has_ended = await stop(scene, fn, *args)
    assert lives_on and has_ended
    if fn is stubborn.hold_a_lock:
        for _ in range(10):
            assert await scene.rt.to_process(stubborn.is_the_lock_free)


KILLED: list[Any] = [
    (stubborn.swallow, ()),
    (stubborn.count_in_c, ()),
    (stubborn.hash_in_c, ()),
    (stubborn.linger_in_del, ()),
    (stubborn.ignore_the_signal, ()),
    (stubborn.take_the_signal, ()),
    (stubborn.block_the_signal, ()),
    (stubborn.default_the_signal, ()),
    (stubborn.raise_lingering, ()),
    (stubborn.co_swallow, ()),
    (stubborn.co_block, ()),
]


@pytest.mark.parametrize(("fn", "args"), KILLED, ids=ids(KILLED))
@pytest.mark.leaves_processes
async def test_what_no_interrupt_stops_is_killed_and_its_worker_replaced(
    costly: Scene, fn: Any, args: Any
) -> None:
    scene = costly
    lives_on, _ = await stop(scene, fn, *args)
    assert not lives_on


async def test_an_import_that_is_cancelled_is_killed_and_leaves_no_half_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    (tmp_path / "slow_to_import.py").write_text(
        f"import good\ngood.wait_for({str(gate)!r}, {str(begun)!r})\ndef answer(): return 42\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    gate.touch()  # here it is quick
    import slow_to_import  # type: ignore[import-not-found]

    gate.unlink()
    begun.unlink()
    try:
        async with a_scene() as scene:
            async with scene.good_calls():
                job = scene.submit(slow_to_import.answer)
                await exists(begun)
                assert job.cancel()
                scene.submit_behind()
            gate.touch()
            assert await scene.rt.to_process(slow_to_import.answer) == 42
            await scene.is_sound()
    finally:
        del sys.modules["slow_to_import"]


@pytest.mark.parametrize("what", ["ignored", "blocked"])
async def test_a_worker_left_deaf_by_an_earlier_call_is_killed(what: str) -> None:
    async with a_scene(processes=1) as scene:
        begun, ended = scene.path(), scene.path()
        await scene.rt.to_process(stubborn.forget_the_signals, what)
        pid = await worker_pid(scene.rt)
        job = scene.submit(stubborn.loop, str(begun), str(ended))
        await exists(begun)
        assert job.cancel()
        await until(lambda: not is_alive(pid))
        await scene.is_sound()


# Ways to cancel


async def by_task(scene: Scene, call: Callable[[], Awaitable[Any]], begun: Path) -> None:
    task = asyncio.ensure_future(call())
    await exists(begun)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_timeout(scene: Scene, call: Callable[[], Awaitable[Any]], begun: Path) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await call()


async def by_wait_for(scene: Scene, call: Callable[[], Awaitable[Any]], begun: Path) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call(), 0.2)


async def by_fail_after(scene: Scene, call: Callable[[], Awaitable[Any]], begun: Path) -> None:
    with pytest.raises(TimeoutError), anyio.fail_after(0.2):
        await call()


async def by_move_on_after(scene: Scene, call: Callable[[], Awaitable[Any]], begun: Path) -> None:
    with anyio.move_on_after(0.2) as scope:
        await call()
    assert scope.cancelled_caught


async def by_a_failing_group(scene: Scene, call: Callable[[], Awaitable[Any]], begun: Path) -> None:
    async def fail() -> None:
        await exists(begun)
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(call())  # type: ignore[arg-type]
            group.create_task(fail())
    assert caught.group_contains(ZeroDivisionError)


async def by_a_cancelled_gather(scene: Scene, call: Callable[[], Awaitable[Any]], begun: Path) -> None:
    everyone = asyncio.gather(call(), call())
    await exists(begun)
    everyone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await everyone


WAYS = [
    by_task,
    by_timeout,
    by_wait_for,
    by_fail_after,
    by_move_on_after,
    by_a_failing_group,
    by_a_cancelled_gather,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_every_way_to_cancel_stops_the_work(patient: Scene, way: Any) -> None:
    scene = patient
    await scene.rt.warm_up()
    pids = scene.pids
    begun, ended = scene.path(), scene.path()
    async with scene.good_calls():
        await way(scene, lambda: scene.rt.to_process(stubborn.loop, str(begun), str(ended)), begun)
    if begun.exists():  # on a slow day a time limit has passed before
        await exists(ended)
    await scene.is_sound()
    assert scene.pids == pids


async def test_a_time_limit_of_the_options_stops_the_work(patient: Scene) -> None:
    scene = patient
    await scene.rt.warm_up()
    begun, ended = scene.path(), scene.path()
    async with scene.good_calls():
        strict = scene.rt.options(lane="process", timeout=0.2)
        says(
            await settled(strict.run(stubborn.loop, str(begun), str(ended))),
            TimeoutError,
            r"^stubborn\.loop did not end within 0\.2 s \(options\(timeout=\.\.\.\)\)$",
        )
    await scene.is_sound()


async def test_a_future_of_the_executor_stops_the_work(patient: Scene) -> None:
    scene = patient
    begun, ended = scene.path(), scene.path()
    async with scene.good_calls():
        future = scene.rt.processes.submit(stubborn.loop, str(begun), str(ended))
        await exists(begun)
        assert future.cancel()
        await exists(ended)
    await scene.is_sound()


async def test_leaving_interrupts_and_then_kills() -> None:
    async with a_scene(shutdown_grace=0.05) as scene:
        paths = [scene.path() for _ in range(4)]
        gentle = scene.submit(stubborn.loop, str(paths[0]), str(paths[1]))
        stubborn_one = scene.submit(stubborn.swallow, str(paths[2]), str(paths[3]))
        await exists(paths[0])
        await exists(paths[2])
        waiting = [scene.submit(good.double, i) for i in range(20)]
        pids = scene.pids
        everyone = asyncio.gather(gentle, stubborn_one, *waiting, return_exceptions=True)
    for exc in await everyone:
        says(exc, RuntimeClosed, "was stopped: it was still (running|waiting)")
    assert not any(map(is_alive, pids))


# Moments


async def test_a_cancel_before_the_start_means_it_never_runs() -> None:
    async with a_scene() as scene:
        ledger = scene.path()
        async with scene.good_calls():
            unwanted = [scene.submit(good.append, str(ledger), i) for i in range(20)]
            for job in unwanted:
                assert job.cancel()
                assert not job.cancel()
            scene.submit_behind()
        await scene.is_sound()
        ran = ledger.read_text().split() if ledger.exists() else []
        assert len(ran) <= 1, "all but the one that may have begun before"


async def test_a_second_cancel_does_nothing_more(patient: Scene) -> None:
    scene = patient
    begun, ended = scene.path(), scene.path()
    async with scene.good_calls():
        task = asyncio.ensure_future(scene.rt.to_process(stubborn.loop, str(begun), str(ended)))
        await exists(begun)
        task.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not task.cancel()
        await exists(ended)
    await scene.is_sound()


async def test_a_cancel_after_the_end_changes_nothing() -> None:
    async with a_scene() as scene:
        job = scene.submit(good.double, 4)
        assert await job == 8
        assert not job.cancel()
        assert not job.cancelled() and job.result() == 8
        failed = scene.submit(good.double)
        assert isinstance(await settled(failed), TypeError)
        assert not failed.cancel()
        assert isinstance(failed.exception(), TypeError)
        await scene.is_sound()


async def test_a_cancel_in_the_turn_of_the_answer_is_one_or_the_other(patient: Scene) -> None:
    scene = patient
    await scene.rt.warm_up()
    pids = scene.pids
    for i in range(200):
        job = scene.submit(good.double, i)
        other = scene.submit(good.double, -i)
        for _ in range(i % 7):
            await asyncio.sleep(0)
        was_cancelled = job.cancel()
        outcome = await asyncio.gather(job, return_exceptions=True)
        assert isinstance(outcome[0], asyncio.CancelledError) if was_cancelled else outcome == [2 * i]
        assert await other == -2 * i, "the interrupt did not land in the next call"
    await scene.is_sound()
    assert scene.pids == pids


async def test_all_calls_in_flight_are_cancelled_at_once(patient: Scene) -> None:
    scene = patient
    await scene.rt.warm_up()
    pids = scene.pids
    paths = [(scene.path(), scene.path()) for _ in range(2)]
    running = [scene.submit(stubborn.loop, str(begun), str(ended)) for begun, ended in paths]
    for begun, _ in paths:
        await exists(begun)
    waiting = [scene.submit(stubborn.loop, str(scene.path()), str(scene.path())) for _ in range(200)]
    for job in running + waiting:
        assert job.cancel()
    for _, ended in paths:
        await exists(ended)
    await scene.is_sound()
    assert scene.pids == pids


async def test_coroutine_calls_beside_one_that_swallows_its_cancel_go_on() -> None:
    async with a_scene(processes=1) as scene:
        begun, ended, gate = scene.path(), scene.path(), scene.path()
        bad = scene.submit(stubborn.co_swallow, str(begun), str(ended))
        beside = scene.submit(co_until, str(gate))
        await exists(begun)
        assert bad.cancel()
        await exists(ended)
        gate.touch()
        assert await beside == os.path.basename(gate)
        await until(lambda: scene.counts() == (0, 0))
        assert await scene.rt.to_process(good.co_double, 4) == 8
        await scene.is_sound()


async def co_until(path: str) -> str:
    while not os.path.exists(path):
        await asyncio.sleep(0.001)
    return os.path.basename(path)


async def test_an_interrupt_with_nobody_s_name_on_it_does_nothing() -> None:
    async with a_scene() as scene:
        begun, gate = scene.path(), scene.path()
        job = scene.submit(good.wait_for, str(gate), str(begun))
        await exists(begun)
        for pid in scene.pids:
            for _ in range(20):
                os.kill(pid, stubborn.INTERRUPT)
        gate.touch()
        assert await job == str(gate)
        await scene.is_sound()
        assert scene.crashed == 0


async def test_a_result_made_of_an_interrupt_is_lost_with_its_call(patient: Scene) -> None:
    scene = patient
    begun, ended = scene.path(), scene.path()
    job = scene.submit(stubborn.interrupt_turns_into_exit, str(begun), str(ended))
    outcomes: list[Any] = []
    job.add_done_callback(outcomes.append)
    await exists(begun)
    job.cancel()
    await exists(ended)
    await scene.is_sound()
    assert outcomes == [job] and job.cancelled(), "told once, and not TaskExited"
    assert not issubclass(asyncio.CancelledError, TaskExited)
