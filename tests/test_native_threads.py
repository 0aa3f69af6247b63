"""Libraries under Python code start as many threads in a worker as it was given CPUs, or as the user said."""

from __future__ import annotations

import os
from typing import Any

import pytest

from hybridrt import Runtime
from hybridrt._core.native_threads import thread_variables


def test_each_library_is_told() -> None:
    told = thread_variables(3, {})
    assert set(told.values()) == {"3"}
    assert {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"} < set(told)
    assert {"VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS"} < set(told)
    assert {"RAYON_NUM_THREADS", "POLARS_MAX_THREADS"} < set(told)


def test_the_user_s_word_wins() -> None:
    assert "POLARS_MAX_THREADS" not in thread_variables(3, {"POLARS_MAX_THREADS": "8"})
    assert thread_variables(3, {"POLARS_MAX_THREADS": ""})["POLARS_MAX_THREADS"] == "3"


def test_a_variable_that_others_obey_is_not_overridden_through_them() -> None:
    told = thread_variables(3, {"OMP_NUM_THREADS": "8"})
    assert not {
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    } & set(told)
    assert told["RAYON_NUM_THREADS"] == "3"
    assert "OPENBLAS_NUM_THREADS" not in thread_variables(3, {"GOTO_NUM_THREADS": "8"})


def blas_threads() -> list[int]:
    import numpy  # noqa: F401
    from threadpoolctl import threadpool_info

    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in thread_variables(1, {}):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="with one CPU, BLAS has one thread in any case")
@pytest.mark.parametrize(("settings", "threads"), [({"worker_threads": 1}, 1), ({"worker_threads": 2}, 2)])
async def test_blas_in_a_worker_has_that_many_threads(settings: dict[str, Any], threads: int) -> None:
    async with Runtime(processes=1, **settings) as rt:
        assert await rt.to_process(blas_threads) == [threads]
        assert await rt.to_process(os.getenv, "OPENBLAS_NUM_THREADS") == str(threads)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="with one CPU, BLAS has one thread in any case")
async def test_blas_in_a_worker_obeys_the_user_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    async with Runtime(processes=1, worker_threads=1) as rt:
        assert await rt.to_process(blas_threads) == [2]


async def test_nothing_is_set_in_our_own_process() -> None:
    before = dict(os.environ)
    async with Runtime(processes=1) as rt:
        assert await rt.to_process(os.getenv, "OMP_NUM_THREADS") == str(rt.settings.worker_threads)
    assert dict(os.environ) == before
