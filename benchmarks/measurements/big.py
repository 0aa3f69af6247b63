"""Large arrays: sent, sent back, and given to many calls."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from time import perf_counter
from typing import Any

from .. import work
from ..contestants.contract import Contestant
from .contract import PROCESSES, Figure, Measurement, Scale

_WARMING = 2
"""Trips that are not timed: they map the memory which later ones use again."""

_LEAST, _MOST_SECONDS = 2, 1.0
"""Trips are timed until there are ``trips`` of them, or this time is up and the least are there."""


async def array(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
    """An array sent and summed there; and one sent and returned."""
    sent = _array(scale.array_mb << 20)
    expected = float(sent.sum())
    out: list[float] = []
    back: list[float] = []
    async with contestant(scale.workers) as pool:
        for at in _trips(scale, out):
            began = perf_counter()
            total = await pool.call(work.total, sent)
            took = perf_counter() - began
            _check(total == expected)
            if at >= _WARMING:
                out.append(took)
        for at in _trips(scale, back):
            began = perf_counter()
            returned = await pool.call(work.itself, sent)
            took = perf_counter() - began
            _check(returned[-1] == sent[-1] and len(returned) == len(sent))
            del returned
            if at >= _WARMING:
                back.append(took)
    return {"sum_ms": median(out) * 1e3, "back_ms": median(back) * 1e3}


async def shared(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
    """One object for many calls, by the pool's own way of sharing; beside one plain send of it to the same call."""
    sent = _array(scale.array_mb << 20)
    one, everything, calls = [], [], []
    async with contestant(scale.workers) as pool:
        for at in range(_WARMING + scale.trips):
            began = perf_counter()
            await pool.call(work.edges, sent)
            if at >= _WARMING:
                one.append(perf_counter() - began)
        for at in range(1 + scale.trips):
            began = perf_counter()
            handle = await pool.share(sent)
            found = await pool.at_once(scale.sharers, work.edges, handle)
            took = perf_counter() - began
            _check(set(found) == {work.edges(sent)} and len(found) == scale.sharers)
            began = perf_counter()
            await pool.at_once(scale.sharers, work.edges, handle)
            if at:
                everything.append(took)
                calls.append(perf_counter() - began)
            await pool.unshare(handle)
            del handle
    return {
        "all_ms": median(everything) * 1e3,
        "calls_ms": median(calls) * 1e3,
        "send_ms": median(one) * 1e3,
        "sends": median(everything) / median(one),
        "calls_sends": median(calls) / median(one),
    }


def _trips(scale: Scale, timed: list[float]) -> Iterator[int]:
    """Numbers of trips to make, those that warm up first; ``timed`` grows by each that is timed."""
    end = perf_counter() + _MOST_SECONDS
    for at in range(_WARMING + scale.trips):
        if len(timed) >= _LEAST and perf_counter() > end:
            return
        yield at


def _array(size: int) -> Any:
    import numpy as np

    return np.arange(size // 8, dtype=np.float64)


def _check(is_right: bool) -> None:
    if not is_right:
        raise ValueError("another result came back than was expected")


ROWS = (
    Measurement(
        "array",
        "a numpy array of {array_mb} MiB as an argument and, there and back, as the result; after trips that warm up. "
        "The floor: copies into warm memory, and the same sum, in one process",
        array,
        (
            Figure("sum_ms", "{array_mb} MiB sent and summed", "ms", "lower"),
            Figure("back_ms", "{array_mb} MiB there and back", "ms", "lower"),
        ),
        PROCESSES,
        {"process": "floor-copy"},
        rounds=3,
    ),
    Measurement(
        "shared",
        "{sharers} calls at once that each get the same array of {array_mb} MiB: by rt.share, by an initializer of a "
        "new pool (stdlib), by a new pool with shared objects (mpire), by a file mapped into memory (joblib). One "
        "send: the same array as a plain argument of one call",
        shared,
        (
            Figure("all_ms", "sharing {array_mb} MiB and {sharers} calls with it", "ms", "lower"),
            Figure("calls_ms", "{sharers} more calls with it", "ms", "lower"),
            Figure("sends", "sharing and {sharers} calls, in units of one send", "x", "lower"),
            Figure("calls_sends", "{sharers} more calls, in units of one send", "x", "lower"),
            Figure("send_ms", "one send of {array_mb} MiB", "ms", "lower"),
        ),
        {"process": ("stdlib-process",)},
        {},
        rounds=3,
    ),
)
