"""What is shared is sent once to each worker, arrives as the object itself, and is forgotten with its handle."""

from __future__ import annotations

import gc
import os
import pickle
import signal
from typing import Any

import bulky
import numpy as np
import pytest
from helpers import until

from hybridrt import NotSendable, Runtime, RuntimeClosed

MB = 1 << 20


class CountsPickling:
    """Anything that tells how often it was pickled."""

    def __init__(self) -> None:
        self.array = np.ones(MB)
        self.pickled = 0

    def __reduce__(self) -> Any:
        self.pickled += 1
        return bulky.same, (self.array,)


async def test_it_arrives_as_the_object_once_in_each_worker() -> None:
    thing = CountsPickling()
    async with Runtime(processes=2) as rt:
        shared = rt.share(thing)
        jobs = [rt.options(lane="process").submit(bulky.id_and_total, shared) for _ in range(20)]
        results: list[Any] = [await job for job in jobs]
        assert {result[1:] for result in results} == {(float(MB), False)}
        assert len({result[0] for result in results}) <= 2
        assert thing.pickled == 1


async def test_anything_may_be_shared_and_stand_anywhere() -> None:
    table = {"numbers": list(range(100_000)), "array": np.ones(MB), "text": "é" * 2 * MB}
    async with Runtime(processes=1) as rt:
        shared = rt.share(table)
        assert len(await rt.to_process(bulky.same, [{"a": (shared,)}])) == 1
        got = await rt.to_process(bulky.same, shared)
        assert got["numbers"] == table["numbers"]
        assert got["text"] == table["text"]
        assert got["array"].sum() == MB
        array = rt.share(np.ones(MB))
        assert await rt.to_process(bulky.total_inside, {"deep": [array]}) == MB
        assert await rt.to_process(bulky.total, array=array) == MB
        assert await rt.to_process(bulky.total_in_a_coroutine, array) == MB
        assert await rt.to_process(lambda x: float(x.sum()), array) == MB
        assert rt.share(array) is array
        assert await rt.to_process(bulky.same, rt.share(5)) == 5
        assert (await rt.to_process(bulky.same, (shared, 1)))[1] == 1


async def test_in_this_process_it_is_the_object_itself() -> None:
    array = np.ones(10)
    async with Runtime(processes=1) as rt:
        shared = rt.share(array)
        assert await rt.to_thread(bulky.same, shared) is array
        assert await rt.run(bulky.total_in_a_coroutine, shared) == 10
        assert await rt.to_thread(bulky.total, array=shared) == 10
        assert await rt.to_thread(bulky.same, 3) == 3


async def test_a_worker_that_comes_later_gets_it_too() -> None:
    async with Runtime(processes=1, max_tasks_per_worker=1) as rt:
        shared = rt.share(np.ones(MB))
        pids = set()
        for _ in range(3):
            assert await rt.to_process(bulky.total, shared) == MB
            pids.add(await rt.to_process(bulky.keep, shared))
        assert len(pids) == 3


async def test_with_its_handle_it_is_forgotten_everywhere() -> None:
    async with Runtime(processes=1) as rt:
        shared = rt.share(np.ones(MB))
        await rt.to_process(bulky.total, shared)
        lane: Any = rt._open_lanes().processes
        assert lane.hold.arenas.in_use >= MB
        del shared
        gc.collect()
        await until(lambda: lane.hold.arenas.in_use == 0)


async def test_a_queued_call_keeps_what_its_handle_stands_for() -> None:
    async with Runtime(processes=1) as rt:
        shared = rt.share(np.ones(MB))
        jobs = [rt.options(lane="process").submit(bulky.total, shared) for _ in range(5)]
        del shared
        gc.collect()
        assert [await job for job in jobs] == [float(MB)] * 5


async def test_another_runtime_refuses_it_and_so_does_a_left_one() -> None:
    async with Runtime(processes=1) as rt, Runtime(processes=1) as other:
        shared = rt.share(np.ones(MB))
        for _ in range(2):
            with pytest.raises(NotSendable, match="one runtime shared was used in a call of another"):
                await other.to_process(bulky.total, shared)
            with pytest.raises(TypeError, match="one runtime shared was used in a call of another"):
                await other.to_thread(bulky.total, shared)
            other.share([])
        other_job = other.to_process(bulky.total, np.ones(MB))
        assert await other_job == MB
    with pytest.raises(RuntimeClosed):
        rt.share([])
    async with Runtime(processes=1) as rt:
        with pytest.raises(NotSendable, match="shared by a runtime that takes no more calls"):
            await rt.to_process(bulky.total, shared)
        with pytest.raises(TypeError, match="shared by a runtime that takes no more calls"):
            await rt.to_thread(bulky.total, shared)


async def test_the_handle_is_not_the_object_and_says_so() -> None:
    async with Runtime(processes=1) as rt:
        shared: Any = rt.share(np.ones(MB))
        with pytest.raises(AttributeError, match=r"stands for the object in the arguments of calls.*'shape'"):
            _ = shared.shape
        with pytest.raises(TypeError, match="stands for the object in the arguments"):
            pickle.dumps(shared)
        assert repr(shared) == "<shared ndarray>"


async def test_what_cannot_be_shared_is_its_callers_error() -> None:
    async with Runtime(processes=1) as rt:
        shared = rt.share([np.ones(MB), (i for i in ())])
        for _ in range(2):
            with pytest.raises(NotSendable, match="generator"):
                await rt.to_process(bulky.same, shared)
        inner = rt.share([1])
        with pytest.raises(NotSendable, match="stands for the object"):
            await rt.to_process(bulky.same, rt.share([inner]))
        with pytest.raises(NotSendable, match=r"args\[1\]"):
            await rt.to_process(bulky.same, inner, (i for i in ()))
        assert await rt.to_process(bulky.same, inner) == [1]


async def test_a_worker_killed_with_it_costs_its_call_alone() -> None:
    async with Runtime(processes=1) as rt:
        shared = rt.share(np.ones(MB))
        for _ in range(3):
            pid = await rt.to_process(bulky.keep, shared)
            os.kill(pid, signal.SIGKILL)
            job = rt.options(lane="process", retries=5).submit(bulky.total, shared)
            assert await job == MB


async def test_a_hundred_calls_make_one_copy() -> None:
    async with Runtime(processes=1) as rt:
        shared = rt.share(np.ones(MB))
        for _ in range(100):
            assert await rt.to_process(bulky.total, shared) == MB
        assert rt._lanes is not None
        lane: Any = rt._lanes.processes
        assert 8 * MB <= lane.hold.arenas.in_use < 16 * MB
