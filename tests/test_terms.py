"""The terms of a call hold in every lane: its turn, its share, its time, and how many may wait or run beside it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import weakref
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import work
from helpers import PATIENCE, exists, until

import hybridrt
from hybridrt import DeadlineExceeded, HybridrtError, LaneStats, QueueFull, Runtime, RuntimeClosed

LANES = ["thread", "process"]
LONG = 30.0
"""Seconds that no test waits for."""


@pytest.fixture(params=LANES)
def lane(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


class OneWorker:
    """A runtime whose lane has one worker, which is busy until it is told to go on."""

    def __init__(self, rt: Runtime, lane: str, tmp_path: Path) -> None:
        self.rt = rt
        self.lane: Any = lane
        self.order = tmp_path / "order"
        self._folder = tmp_path

    def stats(self) -> LaneStats:
        stats = self.rt.stats()
        return stats.threads if self.lane == "thread" else stats.processes

    def submit(self, name: str, **options: Any) -> hybridrt.Job[Any]:
        """A call that notes its name when it is run."""
        return self.rt.options(lane=self.lane, **options).submit(work.append, str(self.order), f"{name} ")

    def ran(self) -> list[str]:
        return self.order.read_text().split() if self.order.exists() else []

    @contextlib.asynccontextmanager
    async def busy(self, **options: Any) -> AsyncIterator[hybridrt.Job[Any]]:
        gate, begun = self._folder / "gate", self._folder / "begun"
        job = self.rt.options(lane=self.lane, **options).submit(work.wait_for_file, str(gate), str(begun))
        await exists(begun)
        try:
            yield job
        finally:
            gate.touch()
        await job


@contextlib.asynccontextmanager
async def one_worker(lane: str, tmp_path: Path, **settings: Any) -> AsyncIterator[OneWorker]:
    async with Runtime(threads=1, processes=1, **settings) as rt:
        yield OneWorker(rt, lane, tmp_path)


# Turns and shares


async def test_the_urgent_go_first_also_past_calls_without_terms(lane: str, tmp_path: Path) -> None:
    async with one_worker(lane, tmp_path) as one:
        async with one.busy():
            jobs = [
                one.submit("first"),
                one.submit("low", priority=-5),
                one.submit("high", priority=5),
                one.submit("second"),
                one.submit("highest", priority=50),
            ]
        await asyncio.gather(*jobs)
        assert one.ran() == ["highest", "high", "first", "second", "low"]


async def test_a_key_that_floods_does_not_hold_up_another(lane: str, tmp_path: Path) -> None:
    async with one_worker(lane, tmp_path) as one:
        async with one.busy(key="flood"):
            jobs = [one.submit("flood", key="flood") for _ in range(40)]
            jobs += [one.submit("other", key="other") for _ in range(3)]
        await asyncio.gather(*jobs)
        assert "other" not in one.ran()[10:]


async def test_a_key_has_no_more_running_than_its_limit_and_others_go_past_it(
    lane: str, tmp_path: Path
) -> None:
    async with Runtime(threads=3, processes=3) as rt:
        capped = rt.options(lane=lane, key="a", key_limit=1)  # type: ignore[arg-type]
        gate, begun = tmp_path / "gate", tmp_path / "begun"
        first = capped.submit(work.wait_for_file, str(gate), str(begun))
        await exists(begun)
        second = capped.submit(work.touch, str(tmp_path / "second"))
        await rt.options(lane=lane, key="b").submit(work.double, 1)  # type: ignore[arg-type]
        await rt.options(lane=lane).submit(work.double, 1)  # type: ignore[arg-type]
        assert not second.done()
        assert not (tmp_path / "second").exists()
        gate.touch()
        await asyncio.gather(first, second)


async def test_plain_calls_are_as_they_were_when_terms_are_no_more_in_use(lane: str, tmp_path: Path) -> None:
    async with one_worker(lane, tmp_path) as one:
        async with one.busy(key="a", deadline=LONG):
            job = one.submit("urgent", priority=1)
        await job
        lanes = one.rt._open_lanes()
        if lane == "thread":
            await until(lambda: not lanes.threads._is_in_turn)
        else:
            crew: Any = lanes.processes.crew  # type: ignore[attr-defined]
            await until(lambda: not crew.on_terms.is_in_use)
        plain = [one.submit(str(n)) for n in range(100)]
        await asyncio.gather(*plain)
        assert one.ran() == ["urgent", *map(str, range(100))]


# Limits of functions


@hybridrt.limit(1)
def alone(folder: str, name: str) -> int:
    """How many of these ran at once, this one included."""
    mine = Path(folder, name)
    mine.touch()
    here = len(list(Path(folder).iterdir()))
    time.sleep(0.005)
    mine.unlink()
    return here


@hybridrt.limit(2)
async def co_pair(folder: str, name: str) -> int:
    mine = Path(folder, name)
    mine.touch()
    here = len(list(Path(folder).iterdir()))
    await asyncio.sleep(0.005)
    mine.unlink()
    return here


async def test_a_function_s_limit_holds_over_all_lanes(tmp_path: Path) -> None:
    async with Runtime(threads=4, processes=2) as rt:
        calls = [
            call(alone, str(tmp_path), f"{n}-{number}")
            for n in range(6)
            for number, call in enumerate((rt.to_thread, rt.to_process, rt.run))
        ]
        assert set(await asyncio.gather(*calls)) == {1}


async def test_a_coroutine_function_s_limit_holds_on_the_loop_and_in_workers(tmp_path: Path) -> None:
    async with Runtime(processes=2) as rt:
        calls = [
            call(co_pair, str(tmp_path), f"{call.__name__}{n}")
            for n in range(8)
            for call in (rt.run, rt.to_process)
        ]
        most = await asyncio.gather(*calls)
        assert max(most) == 2


async def test_what_is_at_its_limit_blocks_no_other(lane: str, tmp_path: Path) -> None:
    waits = hybridrt.limit(1)(lambda gate, begun: work.wait_for_file(gate, begun))
    async with Runtime(threads=2, processes=2) as rt:
        verbs = rt.options(lane=lane)  # type: ignore[arg-type]
        gate, begun = tmp_path / "gate", tmp_path / "begun"
        first = verbs.submit(waits, str(gate), str(begun))
        await exists(begun)
        others = [verbs.submit(waits, str(gate), str(tmp_path / f"begun{n}")) for n in range(5)]
        assert await asyncio.gather(*[verbs.submit(work.double, n) for n in range(20)]) == [
            n * 2 for n in range(20)
        ]
        assert not any((tmp_path / f"begun{n}").exists() for n in range(5))
        others[0].cancel()
        gate.touch()
        await asyncio.gather(first, *others[1:])
        assert not (tmp_path / "begun0").exists()


async def test_a_place_is_free_again_however_a_call_ends(lane: str, tmp_path: Path) -> None:
    limited = hybridrt.limit(1)
    ends = [limited(work_of) for work_of in (lambda: 1 / 0, lambda: "well")]
    async with Runtime(threads=2, processes=2) as rt:
        verbs = rt.options(lane=lane, retries=1)  # type: ignore[arg-type]
        for end in ends:
            for _ in range(3):
                with contextlib.suppress(ZeroDivisionError):
                    await verbs.submit(end)
        if lane == "process":
            dies = limited(lambda ledger, runs: work.die_before(runs, ledger))
            assert await verbs.submit(dies, str(tmp_path / "ledger"), 1) is not None
            with pytest.raises(hybridrt.WorkerCrashed):
                await verbs.submit(dies, str(tmp_path / "another"), 9)
            assert await verbs.submit(dies, str(tmp_path / "third"), 0) is not None
        waits = limited(lambda gate, begun: work.wait_for_file(gate, begun))
        for n in range(2):
            gate, begun = tmp_path / f"gate{n}", tmp_path / f"begun{n}"
            job = verbs.submit(waits, str(gate), str(begun))
            await exists(begun)
            job.cancel()
            gate.touch()
        gate.touch()
        await verbs.submit(waits, str(gate), str(tmp_path / "last"))


async def test_a_cancelled_call_in_a_thread_keeps_its_place_until_it_ends(tmp_path: Path) -> None:
    waits = hybridrt.limit(1)(lambda gate, begun: work.wait_for_file(gate, begun))
    async with Runtime(threads=4) as rt:
        gate = tmp_path / "gate"
        first = rt.options(lane="thread").submit(waits, str(gate), str(tmp_path / "first"))
        await exists(tmp_path / "first")
        first.cancel()
        second = rt.options(lane="thread").submit(waits, str(gate), str(tmp_path / "second"))
        for _ in range(5):
            await rt.to_thread(work.double, 1)
        assert not (tmp_path / "second").exists()
        gate.touch()
        await second


class Clerk:
    @hybridrt.limit(1)
    def method(self, folder: str, name: str) -> int:
        return alone(folder, name)

    @staticmethod
    @hybridrt.limit(1)
    def below(folder: str, name: str) -> int:
        return alone(folder, name)

    @hybridrt.limit(1)
    @staticmethod
    def above(folder: str, name: str) -> int:
        return alone(folder, name)


@pytest.mark.parametrize("way", ["method", "below", "above"])
async def test_methods_have_one_limit_for_all_instances(way: str, tmp_path: Path) -> None:
    async with Runtime(threads=4) as rt:
        calls = [rt.to_thread(getattr(Clerk(), way), str(tmp_path), str(n)) for n in range(8)]
        assert set(await asyncio.gather(*calls)) == {1}


async def test_a_limit_goes_with_the_other_declarations(tmp_path: Path) -> None:
    declared = hybridrt.limit(1)(
        hybridrt.thread_only(alone.__wrapped__ if hasattr(alone, "__wrapped__") else alone)
    )
    async with Runtime(threads=4) as rt:
        assert set(await asyncio.gather(*[rt.run(declared, str(tmp_path), str(n)) for n in range(6)])) == {1}
        with pytest.raises(TypeError, match="thread_only"):
            await rt.to_process(declared, str(tmp_path), "x")
        del declared.__hybridrt_lane__  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("most", "error", "message"),
    [
        (0, ValueError, "at least one call"),
        (-3, ValueError, "at least one call"),
        (True, TypeError, r"@hybridrt.limit\(4\)"),
        (2.5, TypeError, "not a float"),
        (work.double, TypeError, "not a function"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(most: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        hybridrt.limit(most)


def test_what_takes_no_attributes_cannot_be_limited() -> None:
    with pytest.raises(TypeError, match="Wrap it in a function"):
        hybridrt.limit(2)(len)


# Deadlines


async def test_what_waits_at_its_deadline_is_dropped_then_and_never_starts(lane: str, tmp_path: Path) -> None:
    async with one_worker(lane, tmp_path) as one:
        async with one.busy():
            late, fine = one.submit("late", deadline=0.02), one.submit("fine", deadline=LONG)
            with pytest.raises(
                DeadlineExceeded, match=r"append was not started: it has waited for .* of the 20 ms"
            ) as caught:
                await late
            assert one.stats().waiting == 1
            assert one.stats().dropped == 1
        await fine
        assert one.ran() == ["fine"]
        error = caught.value
        assert isinstance(error, HybridrtError)
        assert isinstance(error, TimeoutError)
        assert error.deadline == pytest.approx(0.02)
        assert error.waited >= 0.02
        assert not error.is_started


async def test_what_cannot_make_it_any_more_is_dropped_before_its_deadline(lane: str, tmp_path: Path) -> None:
    async with one_worker(lane, tmp_path) as one:
        naps = one.rt.options(lane=one.lane, deadline=LONG)
        for _ in range(4):
            await naps.submit(time.sleep, 0.05)
        async with one.busy():
            # Less than it takes is left when its turn comes, and a moment before that it is not over.
            tight = one.rt.options(lane=one.lane, deadline=LONG + 0.051).submit(time.sleep, 0.05)
            entry_of(one, tight).due = time.monotonic() + 0.04
        with pytest.raises(DeadlineExceeded, match="its calls take") as caught:
            await tight
        assert caught.value.takes is not None
        assert caught.value.takes >= 0.05
        assert not caught.value.is_started


def entry_of(one: OneWorker, job: hybridrt.Job[Any]) -> Any:
    lanes: Any = one.rt._open_lanes()
    queue = lanes.threads._queue._calls if one.lane == "thread" else lanes.processes.crew.calls
    return queue._entries[job.number]


async def test_what_runs_at_its_deadline_is_stopped(lane: str, tmp_path: Path) -> None:
    async with one_worker(lane, tmp_path) as one:
        await one.submit("warm")
        gate, begun = tmp_path / "gate", tmp_path / "begun"
        job = one.rt.options(lane=one.lane, deadline=0.5).submit(work.wait_for_file, str(gate), str(begun))
        await exists(begun)
        with pytest.raises(DeadlineExceeded, match="did not end in the 500 ms that it had") as caught:
            await job
        assert caught.value.is_started
        if lane == "thread":
            gate.touch()  # nothing can stop it
        await one.submit("next")  # its worker is free
        assert one.ran() == ["warm", "next"]


async def test_a_coroutine_on_the_loop_is_cancelled_at_its_deadline() -> None:
    async with Runtime() as rt:
        ended = asyncio.Event()

        async def waits() -> None:
            try:
                await asyncio.sleep(LONG)
            finally:
                ended.set()

        with pytest.raises(DeadlineExceeded):
            await rt.options(deadline=0.02).run(waits)
        await asyncio.wait_for(ended.wait(), PATIENCE)


async def test_a_large_call_has_its_deadline_while_it_is_packed_and_while_it_waits(tmp_path: Path) -> None:
    async with one_worker("process", tmp_path) as one:
        async with one.busy():
            late = one.rt.options(lane="process", deadline=0.05, key="a").submit
            with pytest.raises(DeadlineExceeded, match="was not started"):
                await late(work.count_of, bytes(1 << 20))
            fits = one.rt.options(lane="process", deadline=LONG, key="a").submit(
                work.count_of, bytes(1 << 20)
            )
        assert await fits == 1 << 20
        await until(lambda: not one.rt._open_lanes().processes.crew.on_terms.accounts.held)  # type: ignore[attr-defined]


async def test_a_deadline_holds_while_an_unknown_function_waits_for_its_turn() -> None:
    def computes(seconds: float) -> int:
        end, n = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            n += 1
        return n

    def other() -> str:
        return "done"

    async with Runtime() as rt:
        job = rt.submit(computes, 0.3)
        results = await asyncio.gather(*[rt.options(deadline=LONG, key="k").run(other) for _ in range(3)])
        assert results == ["done"] * 3
        assert await job > 0


async def test_nothing_is_kept_of_calls_that_have_ended(lane: str, tmp_path: Path) -> None:
    async with one_worker(lane, tmp_path) as one:
        verbs = one.rt.options(lane=one.lane, deadline=LONG, key="k")
        kept = weakref.ref(await verbs.submit(Thing))
        for _ in range(4):
            await asyncio.gather(*[verbs.submit(work.double, n) for n in range(100)])
        await until(lambda: gc.collect() >= 0 and kept() is None)
        lanes: Any = one.rt._open_lanes()
        gate = lanes.threads._queue._gate if lane == "thread" else lanes.processes._terms._gate
        assert len(gate._dues) < 300


class Thing:
    pass


# How many may wait


async def test_one_too_many_is_refused_at_once_with_an_estimate(lane: str, tmp_path: Path) -> None:
    async with one_worker(lane, tmp_path) as one:
        naps = one.rt.options(lane=one.lane)
        async with one.busy():
            waiting = [one.submit("waits", max_queue=2) for _ in range(2)]
            with pytest.raises(
                QueueFull, match=r"append was refused: 2 calls wait in the .* is not known yet"
            ) as caught:
                one.submit("refused", max_queue=2)
            assert caught.value.waiting == 2
            assert caught.value.estimated_wait is None
            more = one.submit("more", max_queue=0)
        await asyncio.gather(*waiting, more)
        for _ in range(3):
            await naps.submit(time.sleep, 0.02)
        async with contextlib.AsyncExitStack() as stack:
            (tmp_path / "gate").unlink()
            (tmp_path / "begun").unlink()
            await stack.enter_async_context(one.busy())
            jobs = [naps.submit(time.sleep, 0.02) for _ in range(4)]
            with pytest.raises(QueueFull, match="started in about") as caught:
                one.submit("refused", max_queue=4)
        assert caught.value.estimated_wait == pytest.approx(4 * 0.02, rel=0.5)
        assert one.stats().refused == 2
        await asyncio.gather(*jobs)
        assert "refused" not in one.ran()


async def test_the_setting_bounds_each_lane_and_options_may_say_otherwise(lane: str, tmp_path: Path) -> None:
    async with one_worker(lane, tmp_path, max_queue=1) as one:
        async with one.busy():
            first = one.submit("first")
            with pytest.raises(QueueFull):
                one.submit("refused")
            second = one.submit("second", max_queue=2)
            with pytest.raises(QueueFull):
                one.rt.threads.submit(work.double, 1) if lane == "thread" else one.rt.processes.submit(
                    work.double, 1
                )
            third = one.submit("third", max_queue=0)
        await asyncio.gather(first, second, third)
        assert one.ran() == ["first", "second", "third"]


async def test_in_another_thread_the_executors_refuse_in_the_future_or_at_once(
    lane: str, tmp_path: Path
) -> None:
    async with one_worker(lane, tmp_path, max_queue=1) as one:
        executor = one.rt.threads if lane == "thread" else one.rt.processes
        async with one.busy():
            first = one.submit("first")

            def from_outside() -> Any:
                return executor.submit(work.double, 1).result(PATIENCE)

            with ThreadPoolExecutor(1) as outside, pytest.raises(QueueFull):
                await asyncio.get_running_loop().run_in_executor(outside, from_outside)
        await first


async def test_calls_for_which_workers_are_free_do_not_count_as_waiting(lane: str) -> None:
    async with Runtime(threads=3, processes=3, max_queue=1) as rt:
        verbs = rt.options(lane=lane)  # type: ignore[arg-type]
        jobs = [verbs.submit(time.sleep, 0.02) for _ in range(4)]
        with pytest.raises(QueueFull):
            verbs.submit(time.sleep, 0.02)
        await asyncio.gather(*jobs)


async def test_a_key_that_floods_does_not_shut_the_door_to_another(lane: str, tmp_path: Path) -> None:
    async with one_worker(lane, tmp_path, max_queue=8) as one:
        async with one.busy():
            flood = [one.submit("flood", key="flood") for _ in range(8)]
            with pytest.raises(QueueFull):
                one.submit("refused", key="flood")
            others = [one.submit("other", key="other") for _ in range(4)]
            with pytest.raises(QueueFull):
                one.submit("refused", key="other")
        await asyncio.gather(*flood, *others)


async def test_a_refused_call_leaves_nothing_behind(lane: str, tmp_path: Path) -> None:
    async with one_worker(lane, tmp_path) as one:
        async with one.busy():
            first = one.submit("first", key="k")
            for _ in range(100):
                with pytest.raises(QueueFull):
                    one.submit("refused", max_queue=1, key="k", deadline=LONG)
            assert one.stats().waiting == 1
        await first


# Cancels, ends


async def test_a_cancelled_call_never_starts_and_is_counted_out_at_once(lane: str, tmp_path: Path) -> None:
    async with one_worker(lane, tmp_path) as one:
        async with one.busy():
            jobs = [one.submit(str(n), key=n % 3, priority=n) for n in range(30)]
            for job in jobs[::2]:
                job.cancel()
            assert one.stats().waiting == 15
            assert one.stats().cancelled == 15
        await asyncio.gather(*jobs[1::2])
        assert sorted(map(int, one.ran())) == list(range(1, 30, 2))


async def test_leaving_the_runtime_does_what_waits_in_its_order(lane: str, tmp_path: Path) -> None:
    async with one_worker(lane, tmp_path) as one, one.busy():
        jobs = [one.submit("low", priority=-1), one.submit("high", priority=1)]
    assert one.ran() == ["high", "low"]
    assert all(job.done() for job in jobs)


async def test_what_still_waits_at_the_end_of_the_grace_is_told_so(lane: str, tmp_path: Path) -> None:
    waits = hybridrt.limit(1)(lambda gate, begun: work.wait_for_file(gate, begun))
    gate = tmp_path / "gate"
    with contextlib.ExitStack() as stack:
        if lane == "thread":  # nothing can stop the first
            stack.enter_context(pytest.warns(RuntimeWarning, match="still runs in a thread"))
        async with Runtime(threads=2, processes=2, shutdown_grace=0.01) as rt:
            verbs = rt.options(lane=lane, key="k")  # type: ignore[arg-type]
            first = verbs.submit(waits, str(gate), str(tmp_path / "begun"))
            await exists(tmp_path / "begun")
            second = verbs.submit(waits, str(gate), str(tmp_path / "second"))
    gate.touch()
    for job in (first, second):
        with pytest.raises(RuntimeClosed):
            await job
    assert not (tmp_path / "second").exists()


async def test_a_limited_coroutine_that_waits_at_the_end_is_told_so() -> None:
    @hybridrt.limit(1)
    async def waits() -> None:
        await asyncio.sleep(LONG)

    async with Runtime(shutdown_grace=0.01) as rt:
        first, second, third = (rt.submit(waits) for _ in range(3))
        third.cancel()
        await asyncio.sleep(0)
    with pytest.raises(RuntimeClosed, match="before its turn came"):
        await second
    assert third.cancelled()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


# Beside the verbs


async def test_a_map_keeps_the_terms_of_its_calls(lane: str, tmp_path: Path) -> None:
    limited = hybridrt.limit(1)(lambda number: alone(str(tmp_path), str(number)))
    async with Runtime(threads=3, processes=3) as rt:
        assert {most async for most in rt.options(lane=lane).map(limited, range(20))} == {1}  # type: ignore[arg-type]
        urgent = rt.options(lane=lane, priority=3, key="a", deadline=LONG)  # type: ignore[arg-type]
        assert [n async for n in urgent.map(work.double, range(20))] == [n * 2 for n in range(20)]


async def test_actors_and_streams_have_no_queue_and_say_so() -> None:
    async with Runtime(processes=1) as rt:
        urgent = rt.options(priority=3)
        with pytest.raises(ValueError, match="a worker of its own"):
            urgent.actor(Thing)
        with pytest.raises(ValueError, match="a worker of its own"):
            urgent.stream(work.numbers, 3)


# What makes no sense


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"priority": float("nan")}, ValueError),
        ({"priority": float("inf")}, ValueError),
        ({"priority": "high"}, ValueError),
        ({"deadline": 0}, ValueError),
        ({"deadline": -1.0}, ValueError),
        ({"deadline": float("nan")}, ValueError),
        ({"key": ["a"]}, TypeError),
        ({"key": "a", "weight": 0}, ValueError),
        ({"key": "a", "weight": float("inf")}, ValueError),
        ({"weight": 2.0}, ValueError),
        ({"key_limit": 3}, ValueError),
        ({"key": "a", "key_limit": 0}, ValueError),
        ({"key": "a", "key_limit": 1.5}, ValueError),
        ({"max_queue": -1}, ValueError),
        ({"max_queue": True}, ValueError),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"options\("):
        Runtime().options(**options)


async def test_another_s_executor_takes_deadlines_and_refuses_what_needs_a_queue(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        async with Runtime(processes=executor) as rt:
            assert await rt.options(deadline=LONG).to_process(work.double, 2) == 4
            for options in ({"priority": 1}, {"key": "a"}, {"max_queue": 5}):
                with pytest.raises(TypeError, match="ThreadPoolExecutor"):
                    await rt.options(**options).to_process(work.double, 2)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="@limit"):
                await rt.to_process(alone, str(tmp_path), "x")
            gate = tmp_path / "gate"
            with pytest.raises(DeadlineExceeded):
                await rt.options(deadline=0.02).to_process(work.wait_for_file, str(gate))
            gate.touch()
