"""``map`` gives each item's outcome once, reads no further than it may, and leaves nothing running."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, product, repeat
from pathlib import Path
from typing import Any

import mappable
import pytest
from helpers import a_seed, exists, until

import hybridrt
from hybridrt import NotSendable, Runtime, TaskExited, WorkerCrashed

LANES = ["process", "thread", None]
on_one_loop = pytest.mark.asyncio(loop_factories=["asyncio"])  # nothing in it is the loop's affair


class Watched:
    """An input that says how far it was read, and whether it was closed."""

    def __init__(self, stop: int | None = None, *, error: Exception | None = None) -> None:
        self.read = 0
        self.is_closed = False
        self._numbers = count() if stop is None else iter(range(stop))
        self._error = error

    def sync(self) -> Iterator[int]:
        try:
            for number in self._numbers:
                self.read += 1
                yield number
            if self._error is not None:
                raise self._error
        finally:
            self.is_closed = True

    async def slow(self) -> AsyncIterator[int]:
        """Waits before each item."""
        try:
            for number in self._numbers:
                await asyncio.sleep(0)
                self.read += 1
                yield number
            if self._error is not None:
                raise self._error
        finally:
            self.is_closed = True

    async def quick(self) -> AsyncIterator[int]:
        """Never waits."""
        try:
            for number in self.sync():
                yield number
        finally:
            self.is_closed = True

    def of(self, kind: str) -> Any:
        return getattr(self, kind)()


KINDS = ["sync", "slow", "quick"]


async def everything(results: AsyncIterator[Any]) -> list[Any]:
    return [result async for result in results]


async def is_idle(rt: Runtime) -> None:
    """Until no call runs or waits."""
    lanes = (lambda: rt.stats().threads, lambda: rt.stats().processes)
    await until(lambda: not any(lane().running or lane().waiting for lane in lanes))


# Results


async def test_each_item_s_result_comes_once_and_in_order() -> None:
    async with Runtime(processes=2) as rt:
        for lane, kind in product(LANES, KINDS):
            source = Watched(3000)
            results = await everything(rt.options(lane=lane).map(mappable.add_one, source.of(kind)))
            assert results == list(range(1, 3001))
            assert source.is_closed


async def test_without_an_order_each_comes_once_too() -> None:
    async with Runtime(processes=2) as rt:
        for lane, kind in product(LANES, KINDS):
            given = rt.options(lane=lane).map(mappable.add_one, Watched(3000).of(kind), ordered=False)
            assert sorted(await everything(given)) == list(range(1, 3001))


async def test_several_inputs_are_zipped_and_all_of_them_closed() -> None:
    async with Runtime(processes=2) as rt:
        for kinds in [("sync", "sync"), ("slow", "sync"), ("sync", "quick"), ("quick", "slow")]:
            long, short = Watched(), Watched(500)
            results = await everything(
                rt.options(lane="process").map(mappable.add, long.of(kinds[0]), short.of(kinds[1]))
            )
            assert results == [2 * x for x in range(500)]
            assert long.is_closed and short.is_closed


@on_one_loop
async def test_five_inputs_and_one_that_is_empty() -> None:
    async with Runtime() as rt:
        fives = rt.map(mappable.add_five, range(3), range(3), Watched(9).quick(), repeat(1), [5, 5, 5])
        assert await everything(fives) == [6, 9, 12]
        assert await everything(rt.map(mappable.add, range(3), [])) == []
        assert await everything(rt.map(mappable.add_one, Watched(0).quick())) == []


async def test_a_coroutine_function_runs_on_the_loop_limit_at_once() -> None:
    running: set[int] = set()
    most = 0

    async def work(x: int) -> int:
        nonlocal most
        running.add(x)
        most = max(most, len(running))
        await asyncio.sleep(0.001)
        running.remove(x)
        return x

    async with Runtime() as rt:
        assert await everything(rt.map(work, range(40), limit=7)) == list(range(40))
        assert most == 7
        assert await everything(rt.map(mappable.co_add_one, Watched(100).slow())) == list(range(1, 101))


@on_one_loop
async def test_coroutine_functions_run_in_processes_too() -> None:
    async with Runtime(processes=2) as rt:
        results = rt.options(lane="process").map(mappable.co_add_one, range(50))
        assert await everything(results) == list(range(1, 51))


@on_one_loop
async def test_a_function_that_travels_by_value_and_one_that_is_built_in() -> None:
    three = 3
    async with Runtime(processes=2) as rt:
        away = rt.options(lane="process")
        assert await everything(away.map(lambda x: x * three, range(1000))) == [x * 3 for x in range(1000)]
        assert await everything(away.map(abs, range(-500, 0))) == [-x for x in range(-500, 0)]


@on_one_loop
async def test_what_computes_for_long_is_moved_to_processes_and_gives_the_same() -> None:
    async with Runtime(processes=2) as rt:
        assert await everything(rt.map(mappable.weigh, range(300))) == [mappable.weigh(x) for x in range(300)]


@on_one_loop
async def test_on_somebody_else_s_executor() -> None:
    with ThreadPoolExecutor(2) as pool:
        async with Runtime(processes=pool) as rt:
            results = rt.options(lane="process").map(mappable.add_one, range(200))
            assert await everything(results) == list(range(1, 201))


@on_one_loop
async def test_large_items_and_results_among_small_ones() -> None:
    sizes = [10, 300_000, 20, 1_000_000, *([5] * 200), 200_000]
    async with Runtime(processes=2) as rt:
        away = rt.options(lane="process")
        assert [len(it) async for it in away.map(mappable.of_size, sizes)] == sizes
        assert [it async for it in away.map(len, map(bytes, sizes))] == sizes


@on_one_loop
async def test_what_was_shared_arrives_as_itself() -> None:
    async with Runtime(processes=2) as rt:
        shared = rt.share(list(range(100)))
        for lane in ("process", "thread"):
            assert await everything(rt.options(lane=lane).map(len, [shared] * 50)) == [100] * 50  # type: ignore[arg-type]


# How far it reads


@pytest.mark.parametrize("ordered", [True, False])
async def test_never_more_than_limit_are_read_and_not_yielded(ordered: bool) -> None:
    async with Runtime(processes=2) as rt:
        for limit, kind in product([1, 5, 300], KINDS):
            source = Watched()
            taken = 0
            results = rt.options(lane="process").map(
                mappable.add_one, source.of(kind), limit=limit, ordered=ordered
            )
            async for _ in results:
                taken += 1
                if taken % 50 == 0:
                    await asyncio.sleep(0.002)
                assert source.read - taken <= limit
                if taken == 5 * limit:
                    break
            del results
            await until(lambda: source.is_closed)  # noqa: B023
            assert source.read - taken <= limit


async def test_without_a_limit_a_slow_consumer_bounds_what_is_read() -> None:
    async with Runtime(processes=2) as rt:
        for kind in KINDS:
            source = Watched()
            results = rt.options(lane="process").map(mappable.add_one, source.of(kind))
            for _ in range(100):
                await anext(results)
            read = -1
            while read != source.read:
                read = source.read
                await asyncio.sleep(0.05)
            assert read <= 100 + 8 * 8192
            await results.aclose()
            assert source.is_closed


async def test_nothing_is_read_before_somebody_asks() -> None:
    async with Runtime() as rt:
        source = Watched()
        results = rt.map(mappable.add_one, source.sync())
        await asyncio.sleep(0)
        assert not source.read
        await results.aclose()
        assert await everything(results) == []


async def test_a_slow_input_is_handed_over_at_once() -> None:
    asked: asyncio.Queue[int] = asyncio.Queue()

    async def input_() -> AsyncIterator[int]:
        while True:
            yield await asked.get()

    async with (
        Runtime(processes=2) as rt,
        rt.options(lane="process").map(mappable.add_one, input_()) as results,
    ):
        for number in range(20):  # each is asked for only when the one before is there
            asked.put_nowait(number)
            assert await anext(results) == number + 1


async def test_a_sync_input_that_takes_long_leaves_the_loop_its_turns() -> None:
    def input_() -> Iterator[int]:
        for number in range(200):
            time.sleep(0.001)
            yield number

    turns = 0

    async def beat() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with Runtime(processes=2) as rt:
        beating = asyncio.create_task(beat())
        assert len(await everything(rt.options(lane="process").map(mappable.add_one, input_()))) == 200
        beating.cancel()
    assert turns > 20


async def test_a_consumer_that_never_waits_leaves_the_loop_its_turns() -> None:
    turns = 0

    async def beat() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with Runtime(processes=2) as rt:
        beating = asyncio.create_task(beat())
        async for _ in rt.options(lane="process").map(mappable.add_one, range(30_000)):
            pass
        beating.cancel()
    assert turns > 10


async def test_a_failing_input_is_told_behind_the_results_before_it() -> None:
    async with Runtime(processes=2) as rt:
        for kind in KINDS:
            source = Watched(500, error=ValueError("no more"))
            taken = []
            with pytest.raises(ValueError, match="no more"):
                async for result in rt.options(lane="process").map(mappable.add_one, source.of(kind)):
                    taken.append(result)  # noqa: PERF401  (what came before the error is kept)
            assert taken == list(range(1, 501))


# Failures


async def test_an_exception_is_raised_behind_the_results_before_it() -> None:
    async with Runtime(processes=2) as rt:
        for lane, start in product(LANES, [0, -3000]):
            taken = []
            source = Watched()
            with pytest.raises(KeyError, match="7"):
                async for result in rt.options(lane=lane).map(
                    mappable.fail_at_7, (start + x for x in source.sync())
                ):
                    taken.append(result)  # noqa: PERF401  (what came before the error is kept)
            assert taken == list(range(start, 7))
            await is_idle(rt)
            assert source.is_closed or source.read == 0


async def test_without_an_order_it_is_raised_and_ends_it() -> None:
    async with Runtime(processes=2) as rt:
        for lane in LANES:
            taken = []
            with pytest.raises(KeyError, match="7"):
                async for result in rt.options(lane=lane).map(mappable.fail_at_7, count(), ordered=False):
                    taken.append(result)  # noqa: PERF401  (what came before the error is kept)
            assert 7 not in taken and len(set(taken)) == len(taken)
            await is_idle(rt)


async def test_exceptions_are_yielded_where_asked() -> None:
    async with Runtime(processes=2) as rt:
        for lane, ordered in product(LANES, [True, False]):
            results = await everything(
                rt.options(lane=lane).map(
                    mappable.fail_at_sevens, range(2000), ordered=ordered, return_exceptions=True
                )
            )
            keys = [it.args[0] if isinstance(it, KeyError) else it for it in results]
            assert (keys if ordered else sorted(keys)) == list(range(2000))
            assert sum(isinstance(it, KeyError) for it in results) == len(range(0, 2000, 7))


@on_one_loop
async def test_what_would_end_the_loop_comes_as_task_exited() -> None:
    async with Runtime(processes=2) as rt:
        for lane in LANES:
            results = await everything(
                rt.options(lane=lane).map(mappable.exit_at_7, range(500), return_exceptions=True)
            )
            assert [x for x in range(500) if isinstance(results[x], TaskExited)] == [7]
            with pytest.raises(TaskExited):
                await everything(rt.options(lane=lane).map(mappable.exit_at_7, range(500)))


async def test_a_coroutine_that_was_cancelled_by_itself_cancels_nobody() -> None:
    async with Runtime() as rt:
        results = await everything(rt.map(mappable.co_cancelled_at_7, range(20), return_exceptions=True))
        assert [x for x in range(20) if isinstance(results[x], TaskExited)] == [7]


@on_one_loop
@pytest.mark.parametrize(
    ("fn", "says"), [(mappable.bad_at_7, "cannot be unpickled"), (mappable.lock_at_7, "lock")]
)
async def test_a_result_that_cannot_travel_hurts_no_other(fn: Any, says: str) -> None:
    async with Runtime(processes=2) as rt:
        results = await everything(
            rt.options(lane="process").map(fn, range(-400, 400), return_exceptions=True)
        )
        bad = [
            x for x, result in zip(range(-400, 400), results, strict=True) if isinstance(result, Exception)
        ]
        assert bad == [7]
        assert isinstance(results[407], NotSendable) and says in str(results[407])
        with pytest.raises(NotSendable):
            await everything(rt.options(lane="process").map(fn, range(-400, 400)))


@on_one_loop
async def test_an_item_that_cannot_travel_hurts_no_other() -> None:
    import threading

    items: list[Any] = list(range(1000))
    items[700] = threading.Lock()
    async with Runtime(processes=2) as rt:
        results = await everything(rt.options(lane="process").map(repr, items, return_exceptions=True))
        assert [x for x in range(1000) if isinstance(results[x], NotSendable)] == [700]
        assert results[701:] == [repr(x) for x in range(701, 1000)]
        opened = [mappable.Opening(x == 600) for x in range(1000)]
        results = await everything(
            rt.options(lane="process").map(mappable.is_bad, opened, return_exceptions=True)
        )
        assert [x for x in range(1000) if isinstance(results[x], ValueError)] == [600]


async def test_leaving_the_runtime_ends_a_map() -> None:
    async with Runtime(processes=2, shutdown_grace=0) as rt:
        results = rt.options(lane="process").map(mappable.add_one, count())
        assert await anext(results) == 1
    with pytest.raises(hybridrt.RuntimeClosed):
        await everything(results)


@on_one_loop
async def test_an_item_without_memory_hurts_no_other() -> None:
    sizes = [10] * 300
    sizes[200] = 4_000_000_000
    async with Runtime(processes=2, worker_memory_limit="400MB") as rt:
        results = await everything(
            rt.options(lane="process").map(mappable.size_of, sizes, return_exceptions=True)
        )
    assert [x for x in range(300) if isinstance(results[x], MemoryError)] == [200]
    assert results[:200] + results[201:] == [10] * 299


# An item that takes long


async def test_a_cancel_reaches_a_batch_that_was_cut_short(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    jobs = [(x, str(tmp_path / "never") if x in (300, 700) else "", str(ledger)) for x in range(1000)]
    async with Runtime(processes=3) as rt:
        taken: list[int] = []
        async for result in rt.options(lane="process").map(mappable.wait_for, jobs, ordered=False):
            taken.append(result)
            if len(taken) == 998:
                break
        await is_idle(rt)
        assert sorted({*range(1000)} - {*taken}) == [300, 700]


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_slow_item_keeps_neither_those_before_it_nor_those_behind_it(
    ordered: bool, tmp_path: Path
) -> None:
    go_on, ledger = tmp_path / "go on", tmp_path / "ledger"
    jobs = [(x, str(go_on) if x == 300 else "", str(ledger)) for x in range(2000)]
    async with Runtime(processes=2) as rt:
        taken: list[int] = []
        results = rt.options(lane="process").map(mappable.wait_for, jobs, ordered=ordered)
        async for result in results:
            taken.append(result)
            if len(taken) == 300:
                go_on.touch()
        assert (taken if ordered else sorted(taken)) == list(range(2000))
    assert sorted(begun(ledger)) == list(range(2000))


@on_one_loop
async def test_the_items_behind_a_slow_one_run_elsewhere(tmp_path: Path) -> None:
    go_on, ledger = tmp_path / "go on", tmp_path / "ledger"
    jobs = [(x, str(go_on) if x == 300 else "", str(ledger)) for x in range(1000)]
    async with Runtime(processes=2) as rt:
        taken = []
        async for result in rt.options(lane="process").map(mappable.wait_for, jobs, ordered=False):
            taken.append(result)
            if len(taken) == 999:
                assert 300 not in taken
                go_on.touch()
        assert sorted(taken) == list(range(1000))
    assert sorted(begun(ledger)) == list(range(1000))


@on_one_loop
async def test_a_crash_behind_a_cut_takes_the_slow_item_alone(tmp_path: Path) -> None:
    go_on, ledger = tmp_path / "go on", tmp_path / "ledger"
    jobs = [(x, str(go_on) if x == 300 else "", str(ledger)) for x in range(1000)]
    async with Runtime(processes=2) as rt:
        taken: list[Any] = []
        given = rt.options(lane="process").map(
            mappable.wait_and_die, jobs, ordered=False, return_exceptions=True
        )
        async for result in given:
            taken.append(result)
            if len(taken) == 999:
                go_on.touch()
    assert [type(x) for x in taken if not isinstance(x, int)] == [WorkerCrashed]
    assert sorted(begun(ledger)) == list(range(1000))


# Crashes


def begun(ledger: Path) -> list[int]:
    return [int(line) for line in ledger.read_text().split()]


@on_one_loop
@pytest.mark.parametrize("last", [0, 1, 399])
async def test_a_crash_hurts_the_items_of_its_batch_that_had_begun_and_no_item_runs_twice(
    tmp_path: Path, last: int
) -> None:
    ledger = tmp_path / "ledger"
    jobs = [(x, last, str(ledger)) for x in range(400)]
    async with Runtime(processes=2) as rt:
        results = await everything(
            rt.options(lane="process").map(mappable.die_at, jobs, return_exceptions=True)
        )
    assert sorted(begun(ledger)) == list(range(400))
    lost = [x for x in range(400) if isinstance(results[x], WorkerCrashed)]
    assert lost == list(range(lost[0], last + 1))
    assert "mappable.die_at" in str(results[last]) and results[last].signal == "SIGKILL"
    assert all("had run, but its result was lost" in str(results[x]) for x in lost[:-1])
    assert [results[x] for x in range(400) if x not in lost] == [x for x in range(400) if x not in lost]


async def test_a_crash_is_raised_with_the_name_of_the_function(tmp_path: Path) -> None:
    jobs = ((x, 300, str(tmp_path / "ledger")) for x in count())
    async with Runtime(processes=2) as rt:
        with pytest.raises(WorkerCrashed, match=r"mappable\.die_at was lost"):
            await everything(rt.options(lane="process").map(mappable.die_at, jobs))
        await is_idle(rt)


@on_one_loop
async def test_with_retries_what_a_crash_took_is_run_again(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    jobs = [(x, 250, str(ledger)) for x in range(400)]
    async with Runtime(processes=2) as rt:
        results = await everything(rt.options(lane="process", retries=1).map(mappable.die_once, jobs))
    assert results == list(range(400))
    assert begun(ledger).count(250) == 2
    assert all(begun(ledger).count(x) == 1 for x in range(251, 400))


# Options


async def test_a_time_limit_is_for_each_item() -> None:
    async with Runtime(processes=2) as rt:
        strict = rt.options(lane="process", timeout=0.03)
        results = await everything(strict.map(mappable.sleep, [60.0] * 5, return_exceptions=True))
        assert [type(it) for it in results] == [TimeoutError] * 5
        with pytest.raises(TimeoutError, match=r"mappable\.sleep did not end within"):
            await everything(strict.map(mappable.sleep, repeat(60.0)))
        patient = rt.options(lane="process", timeout=60.0)
        assert await everything(patient.map(mappable.add_one, range(100))) == list(range(1, 101))


@on_one_loop
async def test_each_item_sees_the_context_of_the_call_and_none_of_another_item() -> None:
    async with Runtime(processes=2) as rt:
        for lane in LANES:
            token = mappable.word.set("of the caller")
            results = rt.options(lane=lane).map(mappable.word_here, range(600))
            mappable.word.reset(token)
            assert set(await everything(results)) == {"of the caller"}


@on_one_loop
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda rt: rt.map(abs), TypeError, "at least one iterable"),
        (lambda rt: rt.map(abs, 3), TypeError, "iterable number 1 is a value of type int"),
        (
            lambda rt: rt.map(mappable.add, [], None),
            TypeError,
            "iterable number 2 is a value of type NoneType",
        ),
        (lambda rt: rt.map(abs, [], limit=0), ValueError, r"limit=0\) makes no sense"),
        (lambda rt: rt.map(abs, [], limit=-2), ValueError, "at least 1"),
        (lambda rt: rt.map(abs, [], limit=1.5), TypeError, "whole number or None, not float"),
        (lambda rt: rt.map(abs, [], limit=True), TypeError, "not bool"),
        (lambda rt: rt.map(abs, [], progress=3), TypeError, "not int"),
        (lambda rt: rt.map(3, []), TypeError, "something callable"),
        (lambda rt: rt.map(Watched(3).sync, []), TypeError, "use stream"),
        (lambda rt: rt.map(Watched(3).quick, []), TypeError, "use stream"),
        (lambda rt: rt.options(lane="thread").map(mappable.co_add_one, []), TypeError, "coroutine function"),
        (
            lambda rt: rt.options(lane="process").map(hybridrt.thread_only(lambda x: x), []),
            TypeError,
            "thread_only",
        ),
    ],
)
async def test_wrong_use_is_refused_at_the_call(call: Any, error: type[Exception], says: str) -> None:
    async with Runtime() as rt:
        with pytest.raises(error, match=says):
            call(rt)


@on_one_loop
async def test_outside_of_a_runtime_it_is_refused_at_the_call() -> None:
    rt = Runtime()
    with pytest.raises(hybridrt.RuntimeClosed):
        rt.map(abs, [])
    async with rt:
        pass
    with pytest.raises(hybridrt.RuntimeClosed):
        rt.options(lane="process").map(abs, [])


async def test_in_a_scope_what_is_left_open_ends_with_it() -> None:
    async with Runtime(processes=2) as rt:
        async with rt.scope() as scope:
            for lane in LANES:
                verbs = scope.options(lane=lane)
                assert await everything(verbs.map(mappable.add_one, range(500))) == list(range(1, 501))
            left_open = scope.options(lane="process").map(mappable.add_one, count())
            assert await anext(left_open) == 1
        await is_idle(rt)
        with pytest.raises(hybridrt.RuntimeClosed, match="the scope that it was made in has ended"):
            await everything(left_open)


# Leaving early


def at_seven(tmp_path: Path) -> Iterator[tuple[int, str, str]]:
    return ((x, str(tmp_path / "begun"), str(tmp_path / "ended")) for x in count())


async def leave_by_break(results: Any, tmp_path: Path) -> None:
    async for result in results:
        if result == 6:
            await exists(tmp_path / "begun")
            break


async def leave_by_error(results: Any, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async for result in results:
            if result == 6:
                await exists(tmp_path / "begun")
                raise ZeroDivisionError


async def leave_by_cancel_in_the_body(results: Any, tmp_path: Path) -> None:
    async def take(results: Any) -> None:
        async for result in results:
            if result == 6:
                (tmp_path / "there").touch()
                await asyncio.Event().wait()

    task = asyncio.create_task(take(results))
    await exists(tmp_path / "begun")
    await exists(tmp_path / "there")
    del results
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def leave_by_cancel_while_it_waits(results: Any, tmp_path: Path) -> None:
    task = asyncio.create_task(everything(results))
    await exists(tmp_path / "begun")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def leave_by_time_out(results: Any, tmp_path: Path) -> None:
    async def cut_short(limit: asyncio.Timeout) -> None:
        await exists(tmp_path / "begun")
        limit.reschedule(asyncio.get_running_loop().time())

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit:
            cutting = asyncio.create_task(cut_short(limit))
            await everything(results)
    await cutting


async def leave_by_aclose(results: Any, tmp_path: Path) -> None:
    async with results:
        for _ in range(7):
            await anext(results)
        await exists(tmp_path / "begun")


async def leave_to_the_garbage_collector(results: Any, tmp_path: Path) -> None:
    held: list[Any] = [results]
    held.append(held)  # a circle
    for _ in range(7):
        await anext(results)
    await exists(tmp_path / "begun")
    del results, held
    gc.collect()


LEAVE = [
    leave_by_break,
    leave_by_error,
    leave_by_cancel_in_the_body,
    leave_by_cancel_while_it_waits,
    leave_by_time_out,
    leave_by_aclose,
    leave_to_the_garbage_collector,
]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("leave", LEAVE)
async def test_whoever_leaves_early_stops_what_runs_and_closes_the_input(
    leave: Any, is_async: bool, tmp_path: Path
) -> None:
    closed = []

    async def input_() -> AsyncIterator[Any]:
        try:
            for job in at_seven(tmp_path):
                yield job
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    def sync_input() -> Iterator[Any]:
        try:
            yield from at_seven(tmp_path)
        finally:
            closed.append(True)

    async with Runtime(processes=2) as rt:
        source: Any = input_() if is_async else sync_input()
        given = [rt.options(lane="process").map(mappable.wait_at_7, source, limit=4)]  # one by one
        del source
        # One reference: what a plain `async for` over the call itself has.
        await leave(given.pop(), tmp_path)
        await exists(tmp_path / "ended")  # it was interrupted, and its finally has run
        await until(lambda: closed)
        await is_idle(rt)
        assert await rt.to_process(mappable.add_one, 1) == 2


async def test_a_cancel_at_any_turn_leaves_nothing_behind() -> None:
    async with Runtime(processes=2) as rt:
        await rt.warm_up()
        for kind, ordered, turns in product(KINDS, [True, False], [*range(10), 20, 40]):
            source = Watched()
            task = asyncio.create_task(
                everything(rt.options(lane="process").map(mappable.add_one, source.of(kind), ordered=ordered))
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            await until(lambda: source.is_closed or not source.read)  # noqa: B023
            await is_idle(rt)
            assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("chosen", [1, 2, None])
async def test_random_cancels_and_kills_lose_nothing_and_double_nothing(
    chosen: int | None, tmp_path: Path
) -> None:
    chance = random.Random(a_seed(chosen))
    async with Runtime(processes=2) as rt:
        for number in range(4):
            ledger = tmp_path / f"ledger {number}"
            items = chance.randrange(50, 800)
            last = chance.randrange(2 * items)
            ordered = chance.random() < 0.5
            jobs = [(x, last, str(ledger)) for x in range(items)]
            leave_at = chance.choice([None, chance.randrange(1, items)])
            results: list[Any] = []
            given = rt.options(lane=chance.choice(["process", None])).map(
                mappable.add_one if last >= items else mappable.fail_at_sevens,
                range(items), limit=chance.choice([None, 1, 10, 500]), ordered=ordered, return_exceptions=True,
            )  # fmt: skip
            crashing = rt.options(lane="process").map(
                mappable.die_at, jobs, ordered=ordered, return_exceptions=True
            )
            async with given, crashing:
                async for result in crashing:
                    results.append(result)
                    if len(results) == leave_at:
                        break
                    if chance.random() < 0.01:
                        await asyncio.sleep(chance.choice((0, 0.001)))
                other = await everything(given)
            assert len(other) == items
            numbers = [x for x in results if isinstance(x, int)]
            assert len(set(numbers)) == len(numbers)
            if leave_at is None:
                assert len(results) == items
                assert sorted(begun(ledger)) == list(range(items))
                assert any(isinstance(x, WorkerCrashed) for x in results) == (last < items)
            else:
                assert len(set(begun(ledger))) == len(begun(ledger))
            await is_idle(rt)


# Progress


async def test_a_progress_bar_tells_how_many_and_how_many_failed(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    async with Runtime(processes=2) as rt:
        results = rt.options(lane="process").map(
            mappable.fail_at_sevens, range(700), return_exceptions=True, progress="weighing"
        )
        assert len(await everything(results)) == 700
        said = capsys.readouterr().err
        assert "weighing: 100%" in said and "700/700" in said and "failed=100" in said and said.endswith("\n")
        async for _ in rt.map(mappable.add_one, Watched().slow(), progress=True):
            break
        await until(lambda: "add_one" in (text := capsys.readouterr().err) and text.endswith("\n"))


@on_one_loop
async def test_without_tqdm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    async with Runtime() as rt:
        with pytest.raises(hybridrt.HybridrtError, match=r"pip install 'hybridrt\[progress\]'"):
            rt.map(abs, [1], progress=True)
