"""Large calls and results are packed and unpacked beside the loop, in order, and can be cancelled at every point."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import os
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import heavy
import pytest
import work
from heavy import FILLER, Gate, Raises, porters
from helpers import exists, until

import hybridrt._lanes.porters as room
from hybridrt import Job, NotSendable, ProcessPoolExecutor, Runtime, RuntimeClosed, register_contextvar


@pytest.fixture(autouse=True)
def barrier() -> Iterator[threading.Event]:
    """Closed at the beginning; whoever still waits at it is let go at the end."""
    heavy.begun.clear()
    heavy.barrier.clear()
    yield heavy.barrier
    heavy.barrier.set()


class Place:
    """A runtime with a folder, and a worker that can be kept busy."""

    def __init__(self, rt: Runtime, folder: Path) -> None:
        self.rt = rt
        self.ledger = folder / "ledger"
        self.submit = rt.options(lane="process").submit
        self._gate = folder / "worker may go on"
        self._begun = folder / "worker is busy"

    async def keep_busy(self) -> Job[Any]:
        job = self.submit(work.wait_for_file, str(self._gate), str(self._begun))
        await exists(self._begun)
        return job

    def let_go(self) -> None:
        self._gate.touch()

    def note(self, text: str, *rest: Any, is_coroutine: bool = False) -> Job[Any]:
        return self.submit(work.co_note if is_coroutine else work.note, str(self.ledger), text, *rest)

    @property
    def noted(self) -> list[str]:
        return self.ledger.read_text().split() if self.ledger.exists() else []

    @property
    def counts(self) -> tuple[int, int]:
        stats = self.rt.stats().processes
        return stats.running, stats.waiting

    @property
    def outcomes(self) -> tuple[int, int, int]:
        stats = self.rt.stats().processes
        return stats.succeeded, stats.failed, stats.cancelled


@asynccontextmanager
async def a_place(folder: Path, **settings: Any) -> AsyncIterator[Place]:
    async with Runtime(**{"processes": 1, "interrupt_grace": 10, **settings}) as rt:
        yield Place(rt, folder)


async def packed(place: Place, count: int = 0) -> None:
    """Until no more than so many calls are to be packed (the lane's own count is not the tests' to see: it waits)."""
    porters_of = place.rt._open_lanes().processes._porters  # type: ignore[attr-defined]
    await until(lambda: porters_of.packing == count)


# There and back


async def test_large_calls_and_results_travel_whole_beside_the_loop(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        rt = place.rt
        assert await rt.to_process(work.double, 1) == 2
        assert not porters(), "small calls need none"
        assert await rt.to_process(work.count_of, FILLER) == len(FILLER)
        assert await rt.to_process(work.many, heavy.COUNT, "end") == [*FILLER, "end"]
        assert await rt.to_process(work.echo, FILLER, key=FILLER) == ((FILLER,), {"key": FILLER})
        assert await rt.to_process(work.co_many, heavy.COUNT) == [*FILLER, None]
        assert 1 <= len(porters()) <= room.MOST_PORTERS
        assert place.outcomes == (5, 0, 0)
        assert rt.stats().processes.run_worst > 0
    assert not porters()


@pytest.mark.parametrize("size", [70_000, 1_000_000, 3_000_000, 30_000_000])
async def test_buffers_of_every_size(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    text = data.hex()
    async with a_place(tmp_path) as place:
        assert await place.rt.to_process(work.echo, data, text) == ((data, text), {})
        assert await place.rt.to_process(bytearray, data) == data


async def test_functions_by_value_and_their_large_arguments(tmp_path: Path) -> None:
    base = FILLER[:10]

    class Local:
        def __init__(self, things: list[str]) -> None:
            self.things = things

    def merge(local: Local) -> Local:
        return Local(local.things + base)

    async with a_place(tmp_path) as place:
        for _ in range(3):
            merged = await place.rt.to_process(merge, Local(FILLER))
            assert type(merged) is Local and merged.things == FILLER + base
        filler = FILLER
        assert await place.rt.to_process(lambda: len(filler)) == len(FILLER)


async def test_a_function_that_brings_something_large_is_never_packed_on_the_loop(tmp_path: Path) -> None:
    a_filler, gate = FILLER, Gate()
    gate.open()

    def count(more: int) -> tuple[int, str]:
        return len(a_filler) + more, str(gate)

    async with a_place(tmp_path) as place:
        for i in range(4):
            assert await place.rt.to_process(count, i) == (len(FILLER) + i, "passed")
    assert gate.threads and all(name.startswith("hybridrt-porter") for name in gate.threads)


async def test_the_loop_turns_while_a_call_is_packed_and_while_its_result_is_unpacked(tmp_path: Path) -> None:
    rows = [{"i": i, "l": [i]} for i in range(300_000)]  # fewer are packed within some switches of the GIL
    async with a_place(tmp_path) as place:
        job = place.submit(work.echo, rows)
        turns = {True: 0, False: 0}
        carrying = place.rt._open_lanes().processes._porters  # type: ignore[attr-defined]
        while not job.done():
            if carrying.packing or carrying.unpacking:
                turns[bool(carrying.packing)] += 1
            await asyncio.sleep(0)
        assert (await job)[0][0] == rows
        assert min(turns.values()) >= 3, f"turns while packing, and while unpacking: {turns}"


async def test_a_large_exception_arrives_as_itself(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        with pytest.raises(ValueError, match="99999") as caught:
            await place.rt.to_process(work.fail_with, heavy.COUNT)
        assert caught.value.args[0] == [*FILLER, None]
        assert "fail_with" in [entry.name for entry in caught.traceback]
        assert place.outcomes == (0, 1, 0)


async def test_a_result_that_does_not_open_here_is_that_call_s_error(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        with pytest.raises(NotSendable, match="cannot be unpickled here"):
            await place.rt.to_process(work.echo, FILLER, lambda: 0, _explosive())
        assert await place.rt.to_process(work.double, 1) == 2


def _explosive() -> Any:
    class OnlyThere:
        """Unpickles in a worker, and not where it came from."""

        def __init__(self, home: int) -> None:
            self.home = home

        def __setstate__(self, state: dict[str, int]) -> None:
            self.__dict__ = state
            if os.getpid() == state["home"]:
                raise RuntimeError("not here")

    return OnlyThere(os.getpid())


# Order


async def test_a_large_call_takes_the_place_that_it_was_submitted_to(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        await place.keep_busy()
        gates = [Gate(), Gate()]
        jobs = [
            place.note("0"),
            place.note("1", FILLER, gates[0]),
            place.note("2"),
            place.note("3", FILLER, gates[1]),
            place.note("4"),
        ]
        await until(lambda: all(gate.passers for gate in gates))
        assert place.counts == (1, 5), "one that is being packed waits"
        gates[1].open()
        await packed(place, 1)
        gates[0].open()
        await packed(place)
        place.let_go()
        assert await asyncio.gather(*jobs) == place.noted == list("01234")


async def test_others_overtake_a_call_that_is_being_packed(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        gate = Gate()
        slow = place.note("large", FILLER, gate)
        for i in range(3):
            assert await place.note(str(i)) == str(i)
        assert not slow.done() and place.counts == (0, 1)
        gate.open()
        assert await slow == "large"
        assert place.noted == ["0", "1", "2", "large"]


@pytest.mark.parametrize("is_coroutine", [False, True])
async def test_few_calls_are_packed_ahead_of_the_workers(is_coroutine: bool, tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        busy = await place.keep_busy()
        gates = [Gate() for _ in range(6)]
        for gate in gates:
            gate.open()
        jobs = [place.note(str(i), FILLER, gate) for i, gate in enumerate(gates)]
        await packed(place, 4)
        await place.submit(work.co_double, 1)  # many turns of the loop later
        assert [gate.passers for gate in gates] == [1, 1, 0, 0, 0, 0]
        if is_coroutine:
            assert jobs[0].cancel(), "one that was packed for nothing makes room too"
            await packed(place, 3)
            assert [gate.passers for gate in gates] == [1, 1, 1, 0, 0, 0]
        place.let_go()
        await busy
        await asyncio.gather(*jobs[1:])
        assert sorted(place.noted[-5:]) == list("12345")  # the second may be packed before the first
        assert [gate.passers for gate in gates] == [1] * 6


# Cancels


async def test_a_cancel_before_packing_begins_drops_the_arguments_at_once(tmp_path: Path) -> None:
    class Held:
        pass

    async with a_place(tmp_path) as place:
        gates = [Gate() for _ in range(room.MOST_PORTERS)]
        stuck = [place.note("stuck", FILLER, gate) for gate in gates]
        await until(lambda: all(gate.passers for gate in gates))
        held, never = Held(), Gate()
        watch = weakref.ref(held)
        job = place.note("never", FILLER, never, held)
        del held
        assert job.cancel() and not job.cancel()
        gc.collect()
        assert watch() is None
        assert place.counts == (0, len(stuck))
        for gate in gates:
            gate.open()
        await asyncio.gather(*stuck)
        assert await place.note("last") == "last"
        assert never.passers == 0 and "never" not in place.noted
        assert place.outcomes == (len(stuck) + 1, 0, 1)


async def test_a_cancel_while_it_is_packed_ends_the_await_at_once_and_sends_nothing(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        gate = Gate()
        task = asyncio.create_task(place.rt.to_process(work.note, str(place.ledger), "never", FILLER, gate))
        await until(lambda: gate.passers)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert place.counts == (0, 0)
        gate.open()
        assert await place.note("large", FILLER) == "large"
        assert place.noted == ["large"] and place.outcomes == (1, 0, 1)


async def test_a_cancel_after_packing(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        await place.keep_busy()
        job = place.note("never", FILLER)
        await packed(place)
        assert place.counts == (1, 1)
        assert job.cancel()
        assert place.counts == (1, 0)
        place.let_go()
        assert await place.note("large", FILLER) == "large"
        assert place.noted == ["large"]


@pytest.mark.parametrize("fn", [heavy.many_and_slow, heavy.co_many_and_slow])
async def test_a_cancel_while_the_result_is_unpacked(
    fn: Any, tmp_path: Path, barrier: threading.Event
) -> None:
    async with a_place(tmp_path) as place:
        job = place.submit(fn, os.getpid())
        await until(heavy.begun.is_set)
        assert place.counts == (1, 0), "a call whose result is being unpacked runs"
        assert await place.note("free") == "free", "its worker is free"
        assert job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert place.counts == (0, 0)
        barrier.set()
        assert await place.rt.to_process(work.many, heavy.COUNT) == [*FILLER, None]
        assert place.outcomes == (2, 0, 1)


async def test_a_result_that_somebody_sets_takes_the_place_of_the_call(
    tmp_path: Path, barrier: threading.Event
) -> None:
    async with a_place(tmp_path) as place:
        gate = Gate()
        unpacking = place.submit(heavy.many_and_slow, os.getpid())
        await until(heavy.begun.is_set)
        packing = place.note("never", FILLER, gate)
        await until(lambda: gate.passers)
        for job in (unpacking, packing):
            job.set_result("mine")
        gate.open()
        barrier.set()
        assert [await unpacking, await packing] == ["mine", "mine"]
        await until(lambda: place.counts == (0, 0))
        assert await place.note("large", FILLER) == "large"
        assert place.noted == ["large"]


async def test_a_time_limit_counts_from_the_call(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        gate = Gate()
        with pytest.raises(TimeoutError, match="did not end within"):
            await place.rt.options(timeout=0.05).to_process(
                work.note, str(place.ledger), "never", FILLER, gate
            )
        gate.open()
        assert await place.note("large", FILLER) == "large"
        assert place.noted == ["large"]


async def test_porters_that_are_stuck_in_a_cancelled_call_hold_up_nobody(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        gates = [Gate() for _ in range(2 * room.MOST_PORTERS)]
        for gate in gates:
            job = place.note("stuck", FILLER, gate)
            await until(lambda gate=gate: gate.passers)
            job.cancel()
        assert len(porters()) == len(gates)
        assert await place.rt.to_process(work.echo, FILLER) == ((FILLER,), {})
        for gate in gates:
            gate.open()


# Errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Raises(lambda: ValueError("no")), r"args\[3\]\['x'\]: .*ValueError"),
        (lambda: Raises(lambda: SystemExit(3)), r"args\[3\]"),
        (lambda: Raises(MemoryError), "not enough memory"),
        (lambda: threading.Lock(), r"args\[3\]\['x'\]: .*_thread.lock"),
        (lambda: _nested(100_000), "nested too deeply"),
    ],
)
async def test_what_cannot_be_packed_fails_its_job_with_the_path(
    make: Any, message: str, tmp_path: Path
) -> None:
    async with a_place(tmp_path) as place:
        job = place.note("never", FILLER, {"x": make()})
        with pytest.raises(NotSendable, match=message) as caught:
            await job
        assert caught.value.__cause__ is not None
        assert place.counts == (0, 0) and place.outcomes == (0, 1, 0)
        assert await place.note("large", FILLER) == "large"
        assert place.noted == ["large"]


def _nested(depth: int) -> Any:
    thing: Any = None
    for _ in range(depth):
        thing = [thing]
    return thing


# Context

journey: contextvars.ContextVar[str] = contextvars.ContextVar("journey", default="none")


class SeesContext:
    def __reduce__(self) -> Any:
        return str, (journey.get(),)


def where_am_i(filler: Any, seen: str) -> tuple[str, str]:
    return journey.get(), seen


async def test_the_context_is_the_caller_s_at_the_time_of_the_call(tmp_path: Path) -> None:
    register_contextvar(journey)
    async with a_place(tmp_path) as place:
        gates = [Gate() for _ in range(room.MOST_PORTERS)]
        stuck = [place.note("stuck", FILLER, gate) for gate in gates]
        await until(lambda: all(gate.passers for gate in gates))
        journey.set("at the call")
        job = place.submit(where_am_i, FILLER, SeesContext())
        journey.set("later")
        for gate in gates:
            gate.open()
        assert await job == ("at the call", "at the call")
        await asyncio.gather(*stuck)


# Executors


async def test_a_call_of_an_executor_is_pending_while_it_is_packed(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        gates = [Gate(), Gate()]
        futures = [
            place.rt.processes.submit(work.note, str(place.ledger), str(i), FILLER, gate)
            for i, gate in enumerate(gates)
        ]
        await until(lambda: all(gate.passers for gate in gates))
        assert not any(future.running() for future in futures)
        assert futures[0].cancel()
        for gate in gates:
            gate.open()
        assert await asyncio.wrap_future(futures[1]) == "1"
        assert place.noted == ["1"]


def test_the_drop_in_executor_packs_beside_its_loop(tmp_path: Path) -> None:
    ledger = str(tmp_path / "ledger")
    with ProcessPoolExecutor(1) as executor:
        gate = Gate()
        large = executor.submit(work.note, ledger, "large", FILLER, gate)
        assert executor.submit(work.note, ledger, "small").result(20) == "small"
        assert not large.running() and not large.done()
        with pytest.raises(concurrent.futures.TimeoutError):
            large.result(0)
        gate.open()
        assert large.result(20) == "large"
        assert list(executor.map(work.count_of, [FILLER] * 5)) == [len(FILLER)] * 5
        unsendable = executor.submit(work.echo, FILLER, threading.Lock())
        with pytest.raises(NotSendable, match=r"args\[1\]"):
            unsendable.result(20)
        gate = Gate()
        never = executor.submit(work.note, ledger, "never", FILLER, gate)
        last = executor.submit(work.note, ledger, "last", FILLER, gate)
        executor.shutdown(wait=False, cancel_futures=True)
        gate.open()
    assert never.cancelled() and last.cancelled()
    assert Path(ledger).read_text().split() == ["small", "large"]
    assert not porters()


# Threads


async def test_there_are_few_porters_and_they_leave_when_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_IDLE_SECONDS", 0.05)
    async with a_place(tmp_path, processes=2) as place:
        for _ in range(3):
            gates = [Gate() for _ in range(6)]
            jobs = [place.note("x", FILLER, gate) for gate in gates]
            await until(lambda gates=gates: sum(gate.passers for gate in gates) == room.MOST_PORTERS)
            assert len(porters()) == room.MOST_PORTERS
            for gate in gates:
                gate.open()
            await asyncio.gather(*jobs)
            await until(lambda: not porters())
        assert len(place.noted) == 18


async def test_where_no_thread_can_be_had_the_loop_does_it_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with a_place(tmp_path) as place:
        await place.rt.warm_up()
        gates = [Gate() for _ in range(5)]
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            jobs = [place.note(str(i), FILLER, gate) for i, gate in enumerate(gates)]
            for gate in gates:
                gate.open()
            assert await asyncio.gather(*jobs) == place.noted == list("01234")
            assert await place.rt.to_process(work.many, heavy.COUNT) == [*FILLER, None]
        assert {name for gate in gates for name in gate.threads} == {threading.current_thread().name}
        assert not porters()


# Leaving


async def test_leaving_waits_for_calls_that_are_being_packed_and_results_that_are_being_unpacked(
    tmp_path: Path, barrier: threading.Event
) -> None:
    gate = Gate()
    async with a_place(tmp_path) as place:
        unpacking = place.submit(heavy.many_and_slow, os.getpid())
        await until(heavy.begun.is_set)
        packing = place.note("large", FILLER, gate)
        await until(lambda: gate.passers)
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, gate.open)
        packing.add_done_callback(lambda _: barrier.set())
    assert packing.result() == "large"
    assert unpacking.result() == [*FILLER, "arrived"]
    assert not porters()


@pytest.mark.parametrize("grace", [0.0, 0.05])
async def test_leaving_fails_what_is_not_packed_or_unpacked_in_time(
    grace: float, tmp_path: Path, barrier: threading.Event
) -> None:
    gate, never = Gate(), Gate()
    with pytest.warns(RuntimeWarning) as warned:
        async with a_place(tmp_path, shutdown_grace=grace, interrupt_grace=0.05) as place:
            jobs = [place.submit(heavy.many_and_slow, os.getpid())]
            await until(heavy.begun.is_set)
            jobs.append(place.note("never", FILLER, gate))
            await until(lambda: gate.passers)
            jobs += [place.note("never", FILLER, never) for _ in range(5)]
    assert sorted(str(w.message).partition(" is still being ")[2][:9] for w in warned) == [
        "pickled i",
        "unpickled",
    ]
    for job in jobs:
        assert isinstance(job.exception(), RuntimeClosed)
    assert not never.passers and not place.noted
    gate.open()
    barrier.set()
    await until(lambda: not porters())


async def test_a_cancel_of_leaving_leaves_no_porter(tmp_path: Path) -> None:
    gate = Gate()

    async def leave() -> Job[Any]:
        async with a_place(tmp_path) as place:
            job = place.note("never", FILLER, gate)
            await until(lambda: gate.passers)
            asyncio.get_running_loop().call_soon(task.cancel)
            jobs.append(job)
        return job

    jobs: list[Job[Any]] = []
    task = asyncio.create_task(leave())
    opener = threading.Timer(0.05, gate.open)
    opener.start()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(jobs[0].exception(), RuntimeClosed)
    await until(lambda: not porters())
    opener.join()
