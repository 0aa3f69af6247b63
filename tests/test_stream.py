"""Streams: everything a generator yields arrives, in order and in time, it never runs far ahead, and however the stream
ends, its ``finally`` runs and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yielding
from helpers import a_seed, exists, is_alive, until

from hybridrt import NotSendable, Runtime, RuntimeClosed, TaskExited, WorkerCrashed
from hybridrt._engine import producer
from hybridrt._engine.batch import MOST_ITEMS
from hybridrt.streams.stream import Stream
from hybridrt.verbs import LaneName

WAYS: dict[str, tuple[LaneName, bool]] = {
    "process": ("process", False),
    "process-async": ("process", True),
    "thread": ("thread", False),
}


in_process_and_thread = pytest.mark.parametrize("lane", ["process", "thread"])


class Source:
    """A runtime's streams in one of the ways that there are."""

    def __init__(self, rt: Runtime, way: str) -> None:
        self.rt = rt
        self.way = way
        self.lane, self.is_async = WAYS[way]
        self.verbs = rt.options(lane=self.lane)

    def __call__(self, name: str, *args: Any) -> Stream[Any]:
        """A stream of this generator function of ``yielding``, or of the async one that does the same."""
        return self.verbs.stream(getattr(yielding, f"a{name}" if self.is_async else name), *args)

    def workers(self) -> list[int]:
        return [worker.pid for worker in self.rt.stats().workers]


@contextlib.asynccontextmanager
async def in_each_way(*ways: str, grace: float = 5.0) -> AsyncIterator[list[Source]]:
    """The ways to stream from one runtime; a test goes through them, which is quicker than a runtime for each."""
    async with Runtime(processes=1, interrupt_grace=grace) as rt:
        yield [Source(rt, way) for way in ways or WAYS]


async def all_of(stream: Stream[Any]) -> list[Any]:
    return [item async for item in stream]


async def take(stream: Stream[Any], count: int) -> list[Any]:
    return [await anext(stream) for _ in range(count)]


# What arrives


async def test_everything_arrives_in_order() -> None:
    mixed = [
        1,
        "two",
        b"3",
        None,
        [4, {"five": (6,)}],
        7.5,
        {8},
        "ä" * 50_000,
        True,
        bytes(200_000),
        [9],
        1 << 70,
    ]
    async with in_each_way() as sources:
        for source in sources:
            assert await all_of(source("numbers", 20_000)) == list(range(20_000))
            assert await all_of(source("given", *mixed)) == mixed
            assert await all_of(source("given")) == []
            assert [item async for item in source("given", ("a tuple",))] == [("a tuple",)]
            stream = source("numbers", 3)
            assert await take(stream, 2) == [0, 1]
            assert await all_of(stream) == [2]
            assert await all_of(stream) == []


async def test_methods_partials_and_lambdas_are_streamed_too() -> None:
    reader = yielding.Reader(["a", "b"])
    async with Runtime(processes=1) as rt:
        assert await all_of(rt.stream(reader.upper)) == ["A", "B"]
        assert await all_of(rt.stream(reader)) == ["a", "b"]
        assert await all_of(rt.stream(functools.partial(yielding.given, 1), 2)) == [1, 2]
        assert await all_of(rt.stream(lambda: (yield "lambda"))) == ["lambda"]


async def test_an_item_is_as_it_was_when_it_was_yielded() -> None:
    async with Runtime(processes=1) as rt:
        assert await all_of(rt.stream(yielding.one_list, 100)) == [[number] for number in range(100)]


async def test_arrays_arrive_without_a_copy_and_their_memory_is_used_again() -> None:
    pytest.importorskip("numpy")
    async with Runtime(processes=1) as rt:
        got = [
            (item[0], item[-1], item.base is None) async for item in rt.stream(yielding.arrays, 30, 1 << 16)
        ]
        assert got == [(number, number, False) for number in range(30)]
        kept = await all_of(rt.stream(yielding.arrays, 5, 1 << 16))
        assert [item[7] for item in kept] == list(range(5))


async def test_large_arguments_and_shared_ones_travel() -> None:
    big = list(range(100_000))
    async with Runtime(processes=1) as rt:
        for source in (rt, rt.options(lane="thread")):
            assert [len(item) async for item in source.stream(yielding.given, big)] == [len(big)]
            assert [len(item) async for item in source.stream(yielding.given, rt.share(big))] == [len(big)]
        with pytest.raises(NotSendable, match=r"args.100000..*lock") as caught:
            await all_of(rt.stream(yielding.given, *big, threading.Lock()))
        assert caught.value.where == "args[100000]"


# When it arrives


@pytest.mark.parametrize("first", [1, 5000])
async def test_no_item_waits_for_another(first: int, tmp_path: Path) -> None:
    async with in_each_way() as sources:
        for source in sources:
            gate = tmp_path / source.way
            async with source("bursts", first, str(gate)) as stream:
                assert await take(stream, first) == list(range(first))
                gate.touch()
                assert await all_of(stream) == [first]


async def test_a_consumer_who_stops_leaves_the_generator_waiting(tmp_path: Path) -> None:
    async with in_each_way() as sources:
        for source in sources:
            path = tmp_path / source.way
            async with source("counted", str(path)) as stream:
                await take(stream, 10_000)
                made = await standstill(path)
                assert made <= 10_000 + 3 * MOST_ITEMS
                await take(stream, made)
                assert await standstill(path) <= 10_000 + made + 3 * MOST_ITEMS
            path.unlink()
            async with source("counted", str(path), 1 << 20) as stream:
                await take(stream, 4)
                assert await standstill(path) <= 4 + 3


async def standstill(path: Path) -> int:
    """The size of a file, as soon as it does not grow any more."""
    size, looks = -1, 0
    while looks < 30:
        await asyncio.sleep(0.002)
        now = path.stat().st_size
        size, looks = now, looks + 1 if now == size else 0
    return size


@in_process_and_thread
async def test_the_loop_turns_while_items_are_there(lane: LaneName) -> None:
    turns = 0
    turning = True

    def turn() -> None:
        nonlocal turns
        turns += 1
        if turning:
            asyncio.get_running_loop().call_soon(turn)

    async with Runtime(processes=1) as rt:
        stream = rt.options(lane=lane).stream(yielding.numbers, 4 * MOST_ITEMS)
        await anext(stream)
        turn()
        before = in_a_row = longest = 0
        async for _ in stream:
            in_a_row = in_a_row + 1 if turns == before else 0
            before, longest = turns, max(longest, in_a_row)
            end = time.perf_counter() + 2e-5
            while time.perf_counter() < end:
                pass
        turning = False
    assert longest <= 512, "the clock is looked at after every 256, and they take 5 ms"


# What goes wrong


async def test_an_exception_arrives_as_itself_after_the_items() -> None:
    async with in_each_way() as sources:
        for source in sources:
            for count in (0, 1, 100):
                stream, got = source("failing", count, KeyError("spam")), []
                with pytest.raises(KeyError, match="spam") as caught:
                    async for item in stream:
                        got.append(item)  # noqa: PERF401
                assert got == list(range(count))
                assert any(entry.name.endswith("failing") for entry in caught.traceback)
                with pytest.raises(StopAsyncIteration):
                    await anext(stream)
            for error in (SystemExit(3), GeneratorExit(), KeyboardInterrupt(), asyncio.CancelledError()):
                with pytest.raises(TaskExited):
                    await all_of(source("failing", 2, error))
            for error in (StopIteration(), StopAsyncIteration()):
                with pytest.raises((RuntimeError, StopAsyncIteration)):
                    await all_of(source("failing", 2, error))
            assert await all_of(source("numbers", 3)) == [0, 1, 2]


async def test_wrong_arguments_are_told_by_the_function() -> None:
    async with Runtime(processes=1) as rt:
        for source in (rt, rt.options(lane="thread")):
            with pytest.raises(TypeError, match="missing 1 required positional argument"):
                await all_of(source.stream(yielding.numbers))  # type: ignore[call-overload]


async def test_an_item_that_cannot_travel_comes_after_those_that_can() -> None:
    async with in_each_way("process", "process-async") as sources:
        for source in sources:
            got = []
            with pytest.raises(NotSendable, match="lock") as caught:
                async for item in source("then_a_lock", 50):
                    got.append(item)  # noqa: PERF401
            assert got == list(range(50))
            assert caught.value.where == "item['lock']"
            stream = source("opens_not")
            assert await anext(stream) == 1
            with pytest.raises(NotSendable, match="cannot be unpickled here"):
                await anext(stream)
            assert await all_of(stream) == []


async def test_what_is_no_stream_is_refused_at_the_call() -> None:
    async with Runtime(processes=1) as rt:
        with pytest.raises(TypeError, match=r"range is no generator function.* run, .* map"):
            rt.stream(range, 3)
        with pytest.raises(
            TypeError, match=r"only_here is an async generator .*needs an event loop and not a thread"
        ):
            rt.stream(yielding.only_here)
        with pytest.raises(TypeError, match="anumbers is an async generator"):
            rt.options(lane="thread").stream(yielding.anumbers, 1)
        with pytest.raises(TypeError, match=r"'for ... in numbers"):
            rt.options(lane="loop").stream(yielding.numbers, 1)
        with pytest.raises(TypeError, match=r"'async for ... in anumbers"):
            rt.options(lane="loop").stream(yielding.anumbers, 1)
        with pytest.raises(TypeError, match="declared @thread_only"):
            rt.options(lane="process").stream(yielding.pid_in_thread)
        with pytest.raises(ValueError, match="cannot be run again"):
            rt.options(retries=1).stream(yielding.numbers, 1)
        with pytest.raises(NotSendable, match=r"lane='thread'") as caught:
            rt.stream(yielding.given, threading.Lock())
        assert caught.value.where == "args[0]"
        assert not rt.stats().workers, "nothing was started for any of these"
    with pytest.raises(RuntimeClosed):
        rt.stream(yielding.numbers, 1)


async def test_it_runs_where_it_is_declared_to() -> None:
    me = os.getpid()
    async with Runtime(processes=1) as rt:
        for fn in (yielding.pid_in_thread, yielding.pid_of_waiting):
            [(pid, name)] = await all_of(rt.stream(fn))
            assert pid == me
            assert name.startswith("hybridrt-own-thread")
        for other in (rt.stream(yielding.pid), rt.stream(yielding.apid_of_waiting)):
            assert await all_of(other) != [me]
        assert await all_of(rt.options(lane="thread").stream(yielding.pid)) == [me]


async def test_a_worker_s_death_ends_the_stream_and_nothing_else(tmp_path: Path) -> None:
    async with in_each_way("process", "process-async") as sources:
        for source in sources:
            gate = tmp_path / source.way
            stream = source.rt.stream(yielding.dying, 20, str(gate))
            assert await take(stream, 20) == list(range(20))
            other = source("numbers", 100_000)
            assert await anext(other) == 0
            gate.touch()
            with pytest.raises(WorkerCrashed, match=r"dying"):
                await anext(stream)
            assert await all_of(stream) == []
            assert len(await all_of(other)) == 99_999
            assert await all_of(source("numbers", 3)) == [0, 1, 2]


# How it ends


ENDINGS: dict[str, tuple[str, str]] = {
    "at a yield": ("yield", "GeneratorExit"),
    "asleep": ("sleep", "Interrupted"),
    "computing": ("compute", "Interrupted"),
}


def each_ending(sources: list[Source], *endings: str) -> Iterator[tuple[Source, str]]:
    for source, ending in itertools.product(sources, endings or ENDINGS):
        # An async generator that computes without end holds up its loop, and is killed.
        if not (source.is_async and ending == "computing"):
            yield source, ending


def tidy(source: Source, tmp_path: Path, how: str, count: int = 1) -> tuple[Stream[Any], Path, Path]:
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    if source.lane == "thread" and how != "yield":
        how = "ask"
    return (
        source("tidy", str(folder / "begun"), str(folder / "ended"), how, count),
        folder / "begun",
        folder / "ended",
    )


def expected(source: Source, ending: str) -> set[str]:
    """What the generator may say it was ended by."""
    how, what = ENDINGS[ending]
    if how == "yield":  # or it was on its way to the next one
        return {what, "Interrupted"} if source.way == "process" else {what}
    if source.is_async:
        return {"CancelledError"}
    return {""} if source.lane == "thread" else {what}


async def test_break_runs_the_finally(tmp_path: Path) -> None:
    async with in_each_way() as sources:
        for source, ending in each_ending(sources):
            stream, begun, ended = tidy(source, tmp_path, ENDINGS[ending][0])
            async for item in stream:
                assert item == 0
                await exists(begun)
                break
            del stream
            await exists(ended)
            await until(functools.partial(says, ended, expected(source, ending)))
            assert await all_of(source("numbers", 3)) == [0, 1, 2]


async def test_aclose_waits_for_the_finally_and_gives_the_worker_back(tmp_path: Path) -> None:
    async with in_each_way() as sources:
        for source, ending in each_ending(sources):
            stream, begun, ended = tidy(source, tmp_path, ENDINGS[ending][0])
            async with stream as rows:
                assert await anext(rows) == 0
                await exists(begun)
            assert ended.read_text() in expected(source, ending)
            await stream.aclose()
            assert await all_of(stream) == []
            if source.lane == "process":
                workers = source.workers()
                assert await all_of(source("numbers", 3)) == [0, 1, 2]
                assert source.workers() == workers, "it was given back"


async def test_an_error_in_the_body_runs_the_finally(tmp_path: Path) -> None:
    async with in_each_way() as sources:
        for source in sources:
            stream, _, ended = tidy(source, tmp_path, "yield")
            with pytest.raises(ZeroDivisionError):
                async with stream as rows:
                    async for _ in rows:
                        raise ZeroDivisionError
            assert ended.read_text() in expected(source, "at a yield")


async def test_a_stream_that_nobody_holds_ends(tmp_path: Path) -> None:
    async with in_each_way() as sources:
        for source, ending in each_ending(sources, "at a yield", "asleep"):
            stream, begun, ended = tidy(source, tmp_path, ENDINGS[ending][0])
            circle: list[Any] = [stream]
            circle.append(circle)
            await anext(stream)
            await exists(begun)
            del stream, circle
            gc.collect()
            await exists(ended)
            unused = source("numbers", 3)
            del unused


async def test_another_task_may_close_it(tmp_path: Path) -> None:
    async with in_each_way() as sources:
        for source in sources:
            stream, begun, ended = tidy(source, tmp_path, "sleep")
            assert await anext(stream) == 0
            consumer = asyncio.create_task(all_of(stream))
            await exists(begun)
            await stream.aclose()
            assert ended.exists()
            assert await consumer == []


async def test_what_is_raised_at_the_closing_is_told_who_closes() -> None:
    async with in_each_way() as sources:
        for source in sources:
            stream = source("untidy", KeyError("at the end"))
            assert await anext(stream) == 1
            with pytest.raises(KeyError, match="at the end"):
                await stream.aclose()
            await stream.aclose()
            with pytest.raises(KeyError, match="at the end"):
                async with source("untidy", KeyError("at the end")) as rows:
                    await anext(rows)


async def test_a_generator_that_goes_on_is_killed(tmp_path: Path) -> None:
    async with in_each_way("process", grace=0.05) as [source]:
        stream, begun, ended = tidy(source, tmp_path, "ignore")
        async with stream as rows:
            await anext(rows)
            await exists(begun)
            [pid] = source.workers()
        await until(lambda: not is_alive(pid))
        assert not ended.exists()
        assert await all_of(source("numbers", 3)) == [0, 1, 2]


async def test_a_time_limit_is_for_the_whole_stream(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    async with Runtime(processes=1) as rt:
        await rt.warm_up()
        got = []
        with pytest.raises(TimeoutError, match=r"yielding.tidy did not end within 0.5 s"):
            async for item in rt.options(timeout=0.5).stream(
                yielding.tidy, str(begun), str(ended), "sleep", 3
            ):
                got.append(item)  # noqa: PERF401
        assert got == list(range(len(got)))
        assert not begun.exists() or says(ended, {"Interrupted"})
        assert await all_of(rt.options(timeout=60).stream(yielding.numbers, 3)) == [0, 1, 2]
        with pytest.raises(TimeoutError):
            async for _ in rt.options(timeout=0.05).stream(yielding.numbers, 10_000):
                await asyncio.sleep(0.01)  # it is the stream's time, whoever spends it


# Cancels


async def test_a_cancel_while_an_item_is_waited_for_or_used(tmp_path: Path) -> None:
    async with in_each_way() as sources:
        for source, ending in each_ending(sources, "at a yield", "asleep"):
            stream, begun, ended = tidy(source, tmp_path, ENDINGS[ending][0])
            task = asyncio.create_task(dwell_on(stream, 2 if ending == "at a yield" else 10))
            await exists(begun)
            if ending == "at a yield":
                await until(lambda stream=stream: not running(stream))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await exists(ended)
            await until(functools.partial(says, ended, expected(source, ending)))
            assert await all_of(source("numbers", 3)) == [0, 1, 2]


def says(path: Path, words: set[str]) -> bool:
    return path.read_text() in words


async def dwell_on(stream: Stream[Any], item: int) -> None:
    """Take the items up to that one, and use it for long."""
    async with stream as rows:
        for _ in range(item):
            await anext(rows)
        await asyncio.sleep(60)


def running(stream: Stream[Any]) -> bool:
    """Whether somebody waits for an item."""
    return stream._rows.ag_running


async def test_a_cancel_at_every_step_of_its_life() -> None:
    """The loop's turns are counted: the cancel comes at the first, the second, and so on, until all is over before."""
    async with in_each_way() as sources:
        for source in sources:
            assert await all_of(source("numbers", 3)) == [0, 1, 2]
            turns = 0
            while True:
                turns += 1
                task = asyncio.create_task(consume_a_little(source("numbers", 5000)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                if not task.cancel():
                    await task
                    break
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                    break
            assert turns > 3
            assert await all_of(source("numbers", 3)) == [0, 1, 2]


async def consume_a_little(stream: Stream[Any]) -> None:
    async with stream as rows:
        await anext(rows)
        await asyncio.sleep(0)
        await anext(rows)


async def test_a_cancel_of_aclose_does_not_stop_the_closing(tmp_path: Path) -> None:
    async with in_each_way() as sources:
        for source in sources:
            stream, begun, ended = tidy(source, tmp_path, "sleep")
            await anext(stream)
            await exists(begun)
            closing = asyncio.create_task(stream.aclose())
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            await exists(ended)


async def test_a_cancel_while_no_worker_is_to_be_had() -> None:
    async with Runtime(processes=1, own_workers=1) as rt:
        async with rt.stream(yielding.numbers, 100_000) as first:
            await anext(first)
            waiting = asyncio.create_task(all_of(rt.stream(yielding.numbers, 3)))
            await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with pytest.raises(TimeoutError):
                await all_of(rt.options(timeout=0.01).stream(yielding.numbers, 3))
        assert await all_of(rt.stream(yielding.numbers, 3)) == [0, 1, 2]


# The runtime is left


async def test_leaving_the_runtime_ends_its_streams(tmp_path: Path) -> None:
    held, awaited = [], []
    async with in_each_way() as sources:
        for source in sources:
            stream, _, ended = tidy(source, tmp_path, "yield")
            assert await anext(stream) == 0
            held.append((stream, ended, expected(source, "at a yield")))
            stream, begun, ended = tidy(source, tmp_path, "sleep")
            awaited.append((asyncio.create_task(all_of(stream)), ended))
            await exists(begun)
    for stream, ended, words in held:
        assert ended.read_text() in words
        with pytest.raises(RuntimeClosed):
            while True:  # what had arrived before is not given out any more
                await anext(stream)
        await stream.aclose()
    for consumer, ended in awaited:
        assert ended.exists()
        with pytest.raises(RuntimeClosed, match=r"the stream of yielding.a?tidy was stopped"):
            await consumer


async def test_a_stream_that_was_started_in_a_scope_ends_with_it(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    async with Runtime(processes=1) as rt:
        async with rt.scope() as scope:
            stream = scope.options(lane="process").stream(yielding.tidy, str(begun), str(ended), "yield")
            assert await take(stream, 3) == [0, 1, 1]
            assert await all_of(scope.stream(yielding.numbers, 3)) == [0, 1, 2]
        assert says(ended, {"GeneratorExit", "Interrupted"})
        assert await all_of(stream) == []
        with pytest.raises(RuntimeClosed, match="this scope has ended"):
            scope.stream(yielding.numbers, 3)


async def test_a_worker_that_leaves_closes_what_is_open_in_it(tmp_path: Path) -> None:
    call = (yielding.tidy, (str(tmp_path / "begun"), str(tmp_path / "ended"), "yield"), {})
    async with Runtime(processes=1) as rt:
        assert (await rt.to_process(producer.begin, 1, b"", call)).items == [0]
    assert (tmp_path / "ended").read_text() == "GeneratorExit"


# Context


async def test_the_context_is_that_of_the_call_and_one_for_the_whole_stream() -> None:
    async with in_each_way() as sources:
        for source in sources:
            token = yielding.word.set("the caller's")
            stream = source("words", 3000)
            yielding.word.reset(token)
            pairs = await all_of(stream)
            assert pairs[0] == ("the caller's", "word 0")
            assert pairs[1:] == [(f"word {number - 1}", f"word {number}") for number in range(1, 3000)]
            assert await anext(source("words", 1)) == ("nothing", "word 0")
            if source.is_async:
                assert await all_of(source.rt.stream(yielding.in_a_group, 3000)) == list(range(3000))


# Everything at once


@pytest.mark.parametrize("seed", [1, None])
@pytest.mark.parametrize("kills", [False, True], ids=["", "kills"])
async def test_random_streams(seed: int | None, kills: bool) -> None:
    dice = random.Random(a_seed(seed))

    async def one(source: Source) -> None:
        count = dice.choice([0, 1, 3, 100, 5000])
        wanted = dice.choice([0, 1, 50, count, count + 1])
        name, fate = dice.choice(["numbers", "failing"]), dice.random()
        stream = source(name, count, *([KeyError("spam")] if name == "failing" else []))
        got: list[int] = []
        try:
            async with asyncio.timeout(dice.random() * 0.02 if fate < 0.3 else None), stream as rows:
                async for item in rows:
                    got.append(item)
                    if len(got) == wanted:
                        break
                    if dice.random() < 0.001:
                        await asyncio.sleep(dice.random() * 0.005)
                    if kills and fate > 0.9 and len(got) == 10:
                        os.kill(dice.choice([pid for pid in source.workers() if pid]), signal.SIGKILL)
        except TimeoutError:
            assert fate < 0.3
        except KeyError:
            assert name == "failing"
            assert len(got) == count
        except WorkerCrashed:
            assert kills
            assert source.lane == "process"
        else:
            assert len(got) == (min(count, wanted) if wanted else count)
            assert name == "numbers" or 0 < wanted <= count
        assert got == list(range(len(got)))

    async with Runtime(processes=2, own_workers=3) as rt:
        sources = [Source(rt, way) for way in WAYS]
        async with asyncio.TaskGroup() as group:
            for _ in range(60):
                group.create_task(one(dice.choice(sources)))
        for source in sources:
            assert await all_of(source("numbers", 3)) == [0, 1, 2]
