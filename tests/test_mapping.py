"""Executor.map, whoever runs the calls: in order, on time, no further ahead than asked, and nothing left for nobody."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import work

from hybridrt import NotSendable, ProcessPoolExecutor, WorkerCrashed
from hybridrt._lanes.mapping import map_calls


class ByHand:
    """Starts calls that end when the test says so."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.futures: list[Future[Any]] = []

    def start(self, args: tuple[Any, ...]) -> Future[Any]:
        future: Future[Any] = Future()
        self.started.append(args[0])
        self.futures.append(future)
        return future

    def map(self, *iterables: Any, **options: Any) -> Iterator[Any]:
        return map_calls(
            self.start, iterables, **{"timeout": None, "chunksize": 1, "buffersize": None} | options
        )


class Thing:
    pass


def make_thing(_: int) -> Thing:
    return Thing()


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2) as executor:
        yield executor


pytestmark = (
    pytest.mark.leaves_processes
)  # the pool of this file serves all its tests; no_orphans still looks


def test_without_a_buffersize_all_is_started_by_the_call() -> None:
    hand = ByHand()
    results = hand.map(range(5))
    assert hand.started == [0, 1, 2, 3, 4]
    for future in reversed(hand.futures):
        future.set_result(hand.futures.index(future) * 10)
    assert list(results) == [0, 10, 20, 30, 40]


def test_with_a_buffersize_no_more_is_in_flight_and_the_input_is_read_as_results_are_taken() -> None:
    hand = ByHand()
    numbers = itertools.count()
    results = hand.map(numbers, buffersize=3)
    assert hand.started == [0, 1, 2]
    for taken in range(20):
        assert sum(not future.done() for future in hand.futures) <= 3
        hand.futures[taken].set_result(taken)
        assert next(results) == taken
        assert len(hand.started) == taken + 4
    assert next(numbers) == 23, "nothing was read ahead of its call"


def test_an_input_shorter_than_the_buffer_ends_as_it_should() -> None:
    hand = ByHand()
    results = hand.map([1, 2], [3, 4, 5], buffersize=10)
    for future in hand.futures:
        future.set_result("done")
    assert list(results) == ["done", "done"]
    assert list(hand.map([], buffersize=1)) == []
    assert list(hand.map([])) == []


def test_an_input_that_fails_is_told_behind_the_results_before_it() -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)
        raise ValueError("no more numbers")

    hand = ByHand()
    results = hand.map(numbers(), buffersize=2)
    for taken in range(3):
        hand.futures[taken].set_result(taken)
        assert next(results) == taken
    with pytest.raises(ValueError, match="no more numbers"):
        next(results)
    assert next(results, "the end") == "the end"


def test_an_input_that_fails_at_once_cancels_what_was_started() -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)
        raise ValueError("no more numbers")

    hand = ByHand()
    with pytest.raises(ValueError, match="no more numbers"):
        hand.map(numbers())
    assert [future.cancelled() for future in hand.futures] == [True] * 3


@pytest.mark.parametrize("buffersize", [None, 4])
def test_a_failure_ends_it_and_cancels_the_rest(buffersize: int | None) -> None:
    hand = ByHand()
    results = hand.map(range(4), buffersize=buffersize)
    hand.futures[0].set_result("fine")
    hand.futures[1].set_exception(KeyError("bad"))
    assert next(results) == "fine"
    with pytest.raises(KeyError, match="bad"):
        next(results)
    assert [future.cancelled() for future in hand.futures] == [False, False, True, True]
    assert next(results, "the end") == "the end"


def test_a_closed_iterator_cancels_the_rest() -> None:
    hand = ByHand()
    results = hand.map(range(4))
    hand.futures[0].set_result("fine")
    with closing(results):  # type: ignore[type-var]
        assert next(results) == "fine"
    assert [future.cancelled() for future in hand.futures[1:]] == [True] * 3


def test_the_time_runs_from_the_call_and_then_all_that_is_left_is_cancelled() -> None:
    hand = ByHand()
    results = hand.map(range(3), timeout=0)
    hand.futures[0].set_result("in time")
    assert next(results) == "in time"
    with pytest.raises(TimeoutError):
        next(results)
    assert [future.cancelled() for future in hand.futures] == [False, True, True]


@pytest.mark.parametrize(
    ("sizes", "error", "says"),
    [
        ({"chunksize": 0}, ValueError, "chunksize must be >= 1"),
        ({"chunksize": -3}, ValueError, "chunksize must be >= 1"),
        ({"buffersize": 0}, ValueError, "buffersize must be None or > 0"),
        ({"buffersize": -1}, ValueError, "buffersize must be None or > 0"),
        ({"buffersize": 1.5}, TypeError, "buffersize must be an integer or None"),
        ({"buffersize": True}, TypeError, "buffersize must be an integer or None"),
        ({"buffersize": "2", "chunksize": 2}, TypeError, "buffersize must be an integer or None"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(
    sizes: dict[str, Any], error: type[Exception], says: str, pool: ProcessPoolExecutor
) -> None:
    for mapping in (ByHand().map, lambda *args, **sizes: pool.map(work.double, *args, **sizes)):
        with pytest.raises(error, match=says):
            mapping(range(3), **sizes)


# Chunks


@pytest.mark.parametrize("chunksize", [1, 2, 3, 40])
@pytest.mark.parametrize("buffersize", [None, 1, 5])
def test_chunks_and_buffers_change_no_result(
    chunksize: int, buffersize: int | None, pool: ProcessPoolExecutor
) -> None:
    results = pool.map(
        pow, range(20), itertools.repeat(2), timeout=30, chunksize=chunksize, buffersize=buffersize
    )
    assert list(results) == [n**2 for n in range(20)]


def test_a_chunk_s_failure_loses_none_of_its_earlier_results(pool: ProcessPoolExecutor) -> None:
    results = pool.map(lambda n: 12 // (3 - n), range(10), chunksize=5)
    assert [next(results) for _ in range(3)] == [4, 6, 12]
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert caught.traceback[-1].name == "<lambda>"
    assert next(results, "the end") == "the end"


def test_a_result_that_cannot_travel_loses_none_of_its_chunk_s_earlier_results(
    pool: ProcessPoolExecutor,
) -> None:
    results = pool.map(lambda n: threading.Lock() if n == 2 else n, range(4), chunksize=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(NotSendable, match=r"<lambda> ran, but its result cannot come back.*_thread\.lock"):
        next(results)
    results = pool.map(lambda n: work.ExplodesOnArrival() if n == 1 else n, range(4), chunksize=4)
    assert next(results) == 0
    with pytest.raises(NotSendable, match="cannot be unpickled here"):
        next(results)


def test_a_crash_takes_its_chunk_along_and_no_other(pool: ProcessPoolExecutor) -> None:
    def leave_at_5(n: int) -> int:
        if n == 5:
            os._exit(3)
        return n

    results = pool.map(leave_at_5, range(9), chunksize=3)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(WorkerCrashed, match=r"leave_at_5 was lost.*exited with code 3"):
        next(results)
    assert list(pool.map(leave_at_5, range(6, 9), chunksize=3)) == [6, 7, 8]


def test_what_runs_for_nobody_is_stopped(pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    from helpers import wait_until

    def call(n: int) -> None:
        if n:
            work.note_and_wait(str(tmp_path / "begun"), str(tmp_path / "ended"))
        wait = work.wait_for_file(str(tmp_path / "begun"))
        raise ValueError(wait)

    with pytest.raises(ValueError, match="begun"):
        list(pool.map(call, range(2)))
    wait_until((tmp_path / "ended").exists)


def test_coroutine_functions_run_side_by_side_whatever_the_chunksize(
    pool: ProcessPoolExecutor, tmp_path: Path
) -> None:
    names = [str(i) for i in range(10)]
    met = pool.map(work.co_meet, itertools.repeat(str(tmp_path)), names, [*names[1:], names[0]], chunksize=5)
    assert list(met) == names


@pytest.mark.parametrize("chunksize", [1, 3])
def test_the_iterator_keeps_no_result_alive(chunksize: int, pool: ProcessPoolExecutor) -> None:
    for thing in pool.map(make_thing, range(7), chunksize=chunksize):
        watched = weakref.ref(thing)
        del thing
        gc.collect()
        assert watched() is None
