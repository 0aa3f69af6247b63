"""A call that takes more memory than its worker may gets MemoryError, and the worker goes on with the next."""

from __future__ import annotations

import asyncio
import os
import sys
import warnings
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

import pytest
from helpers import FREE_THREADED
from hungry import (
    LIMIT,
    MB,
    caught_by_the_call,
    copies_of,
    deep_in_a_cause,
    in_a_coroutine,
    length_of,
    many_small,
    many_small_in_a_coroutine,
    many_threads,
    one_block,
    result_of,
    result_that_only_the_pickle_makes_too_large,
    waits_for_the_end_of_that,
)

from hybridrt import NotSendable, Runtime, WorkerCrashed
from hybridrt._core.settings import LEAST_WORKER_MEMORY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit holds on Linux alone")


COARSE = pytest.mark.skipif(
    FREE_THREADED,
    reason="its allocator takes 32 MB at a time, and keeps them when what is in there was freed",
)
TOO_MUCH: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (
        one_block,
        (2 * LIMIT,),
    ),  # LIMIT itself may just fit: a worker may give back some of what it had at its birth
    (many_small, ()),
    (result_of, (2 * LIMIT,)),
    (length_of, (bytes(2 * LIMIT),)),
    (copies_of, (bytes(10 * MB),)),
    (in_a_coroutine, (2 * LIMIT,)),
    (many_small_in_a_coroutine, ()),
]


@pytest.mark.parametrize(
    ("fn", "args"),
    [
        pytest.param(
            fn, args, id=f"{fn.__name__}-{at}", marks=COARSE if fn is many_small_in_a_coroutine else ()
        )
        for at, (fn, args) in enumerate(TOO_MUCH)
    ],
)
async def test_too_much_is_a_memory_error_and_the_worker_goes_on(
    fn: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    # Preloaded: an import that finds no memory is an ImportError.
    async with Runtime(processes=1, worker_memory_limit=LIMIT, preload=("hungry",)) as rt:
        pid = await rt.to_process(os.getpid)
        for _ in range(3):
            with pytest.raises(MemoryError) as caught:
                await rt.to_process(fn, *args)
            assert type(caught.value) is MemoryError
            (note,) = caught.value.__notes__
            assert "may take at most 67.1 MB of memory of its own" in note
            assert f"the worker process {pid} may" in note or iscoroutinefunction(fn)
            assert f"because the setting worker_memory_limit is {LIMIT}" in note
            assert "Raise it, or give the call less to do at once" in note
            assert await rt.to_process(one_block, MB) == MB
        assert await rt.to_process(os.getpid) == pid


# These fit, but their pickles do not fit beside them. In shared memory, which does not count, they do.
ONLY_IN_BAND: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (result_that_only_the_pickle_makes_too_large, ()),
    (length_of, (bytes(40 * MB),)),
]


@pytest.mark.parametrize(("fn", "args"), ONLY_IN_BAND)
async def test_without_shared_memory_a_pickle_takes_too_much_as_well(
    fn: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    async with Runtime(processes=1, worker_memory_limit=LIMIT, arena_limit=4096, preload=("hungry",)) as rt:
        pid = await rt.to_process(os.getpid)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "hybridrt has no shared memory", RuntimeWarning)
            for _ in range(2):
                with pytest.raises(MemoryError) as caught:
                    await rt.to_process(fn, *args)
                # From 3.14 on pickle itself notes what it was at.
                assert any("worker_memory_limit" in note for note in caught.value.__notes__)
        assert await rt.to_process(one_block, MB) == MB
        assert await rt.to_process(os.getpid) == pid


@COARSE
async def test_shared_memory_does_not_count() -> None:
    async with Runtime(processes=1, worker_memory_limit=LIMIT, preload=("hungry",)) as rt:
        for fn, args in ONLY_IN_BAND:
            await rt.to_process(fn, *args)
        assert len(await rt.to_process(result_of, 40 * MB)) == 40 * MB
        assert await rt.to_process(length_of, memoryview(bytes(4 * LIMIT))) == 4 * LIMIT


async def test_what_fits_is_no_error() -> None:
    async with Runtime(processes=1, worker_memory_limit="64MiB") as rt:
        assert await rt.to_process(one_block, 40 * MB) == 40 * MB
        assert await rt.to_process(length_of, bytes(20 * MB)) == 20 * MB
        assert len(await rt.to_process(result_of, 20 * MB)) == 20 * MB
        assert await rt.to_process(in_a_coroutine, 20 * MB) == 20 * MB
        assert await rt.to_process(caught_by_the_call) == "smaller, then"


@COARSE
async def test_shortages_by_other_names_get_the_note_too() -> None:
    async with Runtime(processes=1, worker_memory_limit=LIMIT) as rt:
        with pytest.raises(RuntimeError, match="can't start new thread") as thread:
            await rt.to_process(many_threads)
        assert "worker_memory_limit" in thread.value.__notes__[0]
    async with Runtime(
        processes=1, worker_memory_limit=LIMIT
    ) as rt:  # malloc keeps some of the threads' stacks
        with pytest.raises(LookupError) as lookup:
            await rt.to_process(deep_in_a_cause)
        assert not hasattr(lookup.value, "__notes__")
        assert lookup.value.__cause__ is not None
        assert "worker_memory_limit" in lookup.value.__cause__.__notes__[0]


async def test_other_errors_are_left_alone() -> None:
    async with Runtime(processes=1, worker_memory_limit=LIMIT) as rt:
        with pytest.raises(ValueError, match="invalid literal") as caught:
            await rt.to_process(int, "x")
        assert not hasattr(caught.value, "__notes__")
        with pytest.raises(NotSendable, match="result"):
            await rt.to_process(eval, "(i for i in ())")


async def test_coroutines_beside_one_that_takes_too_much_go_on() -> None:
    async with Runtime(processes=1, worker_memory_limit=LIMIT) as rt:
        calls = [rt.to_process(in_a_coroutine, size) for size in (MB, 2 * LIMIT, 2 * MB, 3 * LIMIT, 3 * MB)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [result if isinstance(result, int) else type(result) for result in results] == [
            MB,
            MemoryError,
            2 * MB,
            MemoryError,
            3 * MB,
        ]


async def test_every_coroutine_is_answered_where_memory_is_used_up_to_the_last_object() -> None:
    async with Runtime(processes=1, worker_memory_limit=LIMIT) as rt:
        calls = [rt.to_process(waits_for_the_end_of_that) for _ in range(20)]
        for _ in range(5):
            results = await asyncio.gather(
                rt.to_process(many_small_in_a_coroutine), *calls, return_exceptions=True
            )
            # Memory is one for all of them. Who is short of it at the wrong moment fails, or its worker does.
            assert {type(result) for result in results} <= {MemoryError, WorkerCrashed, int}
            assert not isinstance(results[0], int)
            calls = [rt.to_process(waits_for_the_end_of_that) for _ in range(20)]
        assert await asyncio.gather(*calls) == [3] * 20


async def test_the_least_limit_lets_a_worker_live() -> None:
    async with Runtime(processes=1, worker_memory_limit=LEAST_WORKER_MEMORY) as rt:
        assert await rt.to_process(in_a_coroutine, MB) == MB
        assert await rt.to_process(lambda: 3) == 3
        with pytest.raises(MemoryError):
            await rt.to_process(one_block, LEAST_WORKER_MEMORY)
        assert await rt.to_process(one_block, 4 * MB) == 4 * MB


async def test_what_is_preloaded_does_not_count() -> None:
    async with Runtime(processes=1, worker_memory_limit=LIMIT, preload=("numpy",)) as rt:
        assert await rt.to_process(one_block, 40 * MB) == 40 * MB


async def test_code_that_cannot_bear_it_takes_its_worker_along_and_the_limit_is_named() -> None:
    async with Runtime(processes=1, worker_memory_limit=LIMIT) as rt:
        with pytest.raises(WorkerCrashed, match="exited with code 1") as caught:
            await rt.to_process(os._exit, 1)  # as OpenBLAS does where it gets no memory
        assert "Or its memory limit did it (worker_memory_limit, 67.1 MB)" in str(caught.value)
        with pytest.raises(WorkerCrashed, match="SIGABRT") as caught:
            await rt.to_process(os.abort)
        assert "Or its memory limit did it (worker_memory_limit, 67.1 MB)" in str(caught.value)
        assert not caught.value.is_out_of_memory


async def test_without_a_limit_nothing_is_said_of_one() -> None:
    async with Runtime(processes=1) as rt:
        with pytest.raises(MemoryError) as caught:
            await rt.to_process(one_block, 1 << 60)
        assert not hasattr(caught.value, "__notes__")
        with pytest.raises(WorkerCrashed) as crash:
            await rt.to_process(os.abort)
        assert "memory limit" not in str(crash.value)
