"""Calls with one item each are collected into one: by size, by time, and each caller has its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from acting import LoopModel, Model
from helpers import exists, until

import hybridrt
from hybridrt import HybridrtError, Runtime, RuntimeClosed, TaskExited
from hybridrt._core.batch import Batch
from hybridrt.actors.collecting import Collector

# The decorator


def test_on_a_plain_object_it_takes_one_item() -> None:
    model = Model()
    assert [model.square(number) for number in range(4)] == [0, 1, 4, 9]
    assert model.sizes == [1] * 4
    assert model.invert(2) == 0.5
    with pytest.raises(ZeroDivisionError, match="no inverse"):
        model.invert(0)
    assert asyncio.run(LoopModel().square(3)) == 9


def test_what_cannot_be_batched_is_told_when_it_is_decorated() -> None:
    def no_items(self: Any) -> list[Any]:
        return []

    def too_many(self: Any, items: list[Any], more: int) -> list[Any]:
        return []

    def by_name(self: Any, *, items: list[Any]) -> list[Any]:
        return []

    def yields(self: Any, items: list[Any]) -> Any:
        yield items

    decorate: Callable[[Any], Any] = hybridrt.batched()
    for method in (no_items, too_many, by_name):
        with pytest.raises(TypeError, match=rf"{method.__name__} must take self and a list of items"):
            decorate(method)
    with pytest.raises(TypeError, match="must return a list"):
        decorate(yields)
    with pytest.raises(TypeError, match="with parentheses"):
        decorate(len)
    with pytest.raises(TypeError):
        hybridrt.batched(no_items)  # type: ignore[call-arg, arg-type]
    for wrong in ({"max_size": 0}, {"max_size": True}, {"max_delay": -1}, {"max_delay": "1"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            hybridrt.batched(**wrong)  # type: ignore[arg-type]


# How they are collected


class Far:
    """Takes batches, and answers each when it is told to."""

    def __init__(self, batch: Batch, instances: int = 1) -> None:
        self.sent: list[list[Any]] = []
        self.answers: list[asyncio.Future[Any]] = []
        loop = asyncio.get_running_loop()
        self.collector = Collector(loop, "pkg.Model.run", batch, instances, self.send)

    async def send(self, items: list[Any]) -> Any:
        self.sent.append(items)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        return await answer

    def call(self, item: Any) -> asyncio.Task[Any]:
        return asyncio.ensure_future(self.collector.call(item))

    def answer(self, number: int) -> None:
        self.answers[number].set_result(list(self.sent[number]))


NEVER = 3600.0


async def test_a_full_batch_leaves_at_once_and_a_late_one_after_its_delay() -> None:
    far = Far(Batch(3, 0.01))
    calls = [far.call(number) for number in range(4)]
    await until(lambda: len(far.sent) == 2)
    assert far.sent == [[0, 1, 2], [3]]
    far.answer(0)
    far.answer(1)
    assert await asyncio.gather(*calls) == [0, 1, 2, 3]


async def test_while_every_instance_is_busy_batches_grow() -> None:
    far = Far(Batch(4, 0.0))
    first, second = far.call("a"), None
    await until(lambda: len(far.sent) == 1)
    second = far.call("b")
    await until(lambda: len(far.sent) == 2)
    others = [far.call(number) for number in range(6)]
    await asyncio.sleep(0.01)
    assert far.sent == [["a"], ["b"]], "one runs, and one is ready behind it"
    far.answer(0)
    assert await first == "a"
    await until(lambda: len(far.sent) == 3)
    assert far.sent[2] == [0, 1, 2, 3]
    far.answer(1)
    await until(lambda: len(far.sent) == 4)
    assert far.sent[3] == [4, 5]
    far.answer(2)
    far.answer(3)
    assert await asyncio.gather(second, *others) == ["b", *range(6)]


async def test_who_is_cancelled_in_time_is_left_out() -> None:
    far = Far(Batch(3, NEVER))
    calls = [far.call(number) for number in range(2)]
    await asyncio.sleep(0)
    calls[0].cancel()
    await asyncio.sleep(0)
    calls += [far.call(number) for number in (2, 3)]
    await until(lambda: far.sent)
    assert far.sent == [[1, 2, 3]]
    far.answer(0)
    assert await asyncio.gather(*calls[1:]) == [1, 2, 3]
    with pytest.raises(asyncio.CancelledError):
        await calls[0]


async def test_a_batch_that_nobody_wants_any_more_is_cancelled() -> None:
    far = Far(Batch(2, NEVER))
    calls = [far.call(number) for number in range(2)]
    await until(lambda: far.sent)
    calls[0].cancel()
    await asyncio.sleep(0.01)
    assert not far.answers[0].cancelled(), "the other wants it"
    calls[1].cancel()
    await until(far.answers[0].cancelled)
    await asyncio.gather(*calls, return_exceptions=True)
    far.call("x"), far.call("y")
    await until(lambda: len(far.sent) == 2)
    far.answer(1)


async def test_all_of_them_cancelled_in_time_nothing_is_sent() -> None:
    far = Far(Batch(3, 0.005))
    calls = [far.call(number) for number in range(2)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.sleep(0.02)
    assert far.sent == []
    late = far.call("late")
    await until(lambda: far.sent)
    assert far.sent == [["late"]]
    far.answer(0)
    assert await late == "late"


async def test_in_a_hurry_nobody_is_waited_for() -> None:
    far = Far(Batch(9, NEVER))
    far.collector.hurry()  # nobody waits
    calls = [far.call(number) for number in range(2)]
    await asyncio.sleep(0)
    assert not far.sent
    far.collector.hurry()
    await until(lambda: far.sent)
    far.answer(0)
    assert await asyncio.gather(*calls) == [0, 1]


@pytest.mark.parametrize(
    ("result", "told"),
    [([1], "1 results"), ([1, 2, 3], "3 results"), (None, "a value of type NoneType")],
)
async def test_as_many_results_as_items(result: Any, told: str) -> None:
    far = Far(Batch(2, NEVER))
    calls = [far.call(number) for number in range(2)]
    await until(lambda: far.answers)
    far.answers[0].set_result(result)
    for call in calls:
        with pytest.raises(HybridrtError, match=rf"pkg.Model.run is batched.*2 items, but returned {told}"):
            await call


async def test_each_has_its_own_outcome_and_none_can_stop_the_others() -> None:
    far = Far(Batch(4, NEVER))
    calls = [far.call(number) for number in range(4)]
    await until(lambda: far.answers)
    far.answers[0].set_result([StopIteration(), SystemExit(3), ValueError("mine"), 4])
    with pytest.raises(RuntimeError, match="StopIteration"):
        await calls[0]
    with pytest.raises(TaskExited):
        await calls[1]
    with pytest.raises(ValueError, match="mine"):
        await calls[2]
    assert await calls[3] == 4


# On actors


@pytest.mark.parametrize("lane", ["process", "thread"])
async def test_many_callers_share_a_call(lane: Any) -> None:
    async with Runtime(processes=1) as rt, rt.options(lane=lane).actor(Model) as model:
        assert await asyncio.gather(*[model.square(n) for n in range(20)]) == [n * n for n in range(20)]
        sizes = await model.sizes_so_far()
        assert sum(sizes) == 20 and sizes[0] == 8 and len(sizes) <= 4
        assert await model.call(Model.square, 5) == 25
        outcomes = await asyncio.gather(*[model.invert(n) for n in (0, 1, 2, 0)], return_exceptions=True)
        assert outcomes[1:3] == [1.0, 0.5]
        assert all(isinstance(it, ZeroDivisionError) for it in (outcomes[0], outcomes[3]))
        with pytest.raises(HybridrtError, match=r"acting.Model.too_few is batched"):
            await model.too_few(1)
        with pytest.raises(HybridrtError, match="NoneType"):
            await model.nothing(1)
        for error in await asyncio.gather(*[model.fail(n) for n in range(4)], return_exceptions=True):
            assert isinstance(error, LookupError)
        with pytest.raises(TypeError, match="positional argument"):
            await model.square(1, 2)
        assert await model.square(3) == 9


async def test_coroutine_methods_and_replicas() -> None:
    async with Runtime(processes=1) as rt, rt.options(replicas=2).actor(LoopModel) as model:
        assert await asyncio.gather(*[model.square(n) for n in range(40)]) == [n * n for n in range(40)]


async def test_large_items() -> None:
    async with Runtime(processes=1) as rt, rt.actor(Model) as model:
        things = [list(range(50_000)), b"x" * 2_000_000]
        assert await asyncio.gather(*[model.pairs(thing) for thing in things]) == things


async def test_leaving_sends_what_waits_for_others() -> None:
    async with Runtime(processes=1) as rt:
        async with rt.actor(Model) as model:
            waiting = asyncio.ensure_future(model.pairs("alone"))
            await asyncio.sleep(0.01)
            assert not waiting.done()
        assert await waiting == "alone"
        with pytest.raises(RuntimeClosed):
            await model.pairs("late")


async def test_a_time_limit_is_each_caller_s(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt, rt.options(timeout=0.05).actor(Model) as model:
        with pytest.raises(TimeoutError, match=r"acting.Model.pairs did not end within"):
            await model.pairs("alone")


async def test_a_batch_whose_callers_are_all_cancelled_is_interrupted(tmp_path: Path) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    async with Runtime(processes=1, interrupt_grace=10.0) as rt, rt.actor(Model) as model:
        calls = [asyncio.ensure_future(model.wait_for_files((str(gate), str(begun)))) for _ in range(2)]
        await exists(begun)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert await model.square(2) == 4, "the worker is free"


async def test_its_death_fails_all_callers_of_the_batch(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt, rt.actor(Model) as model:
        import os
        import signal

        begun = tmp_path / "begun"
        calls = [
            asyncio.ensure_future(model.wait_for_files((str(tmp_path / "never"), str(begun))))
            for _ in range(2)
        ]
        await exists(begun)
        await until(lambda: rt.stats().workers)
        os.kill(rt.stats().workers[0].pid, signal.SIGKILL)
        for call in calls:
            with pytest.raises(hybridrt.WorkerCrashed, match=r"acting.Model.wait_for_files was lost"):
                await call
