"""What a method's call of an actor costs beside a plain call; and the example's batched inference beside unbatched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from importlib import import_module
from statistics import median
from time import perf_counter
from typing import Any

import hybridrt

from .. import apart
from ..goals import Verdict

_SLICE = 200
"""Calls in one slice: ways take turns that often, so that both meet the same moments of the machine."""
_AT_ONCE = 256


class Nothing:
    """An instance with a method that does nothing, and with one on an event loop."""

    def nothing(self) -> None:
        """Nothing."""


class NothingLater:
    """The same on the worker's event loop."""

    async def nothing(self) -> None:
        """Nothing."""


def nothing() -> None:
    """A plain call that does nothing."""


async def nothing_later() -> None:
    """The same on an event loop of a worker."""


async def carry_out(slices: int, what: str) -> dict[str, list[float]]:
    """The figure of each way, slice by slice: seconds of a call, or calls per second."""
    async with hybridrt.Runtime(processes=1, worker_threads=1, preload=("numpy",)) as rt:
        await rt.warm_up()
        return await (_calls(rt, slices) if what == "calls" else _inference(rt, slices))


async def _calls(rt: hybridrt.Runtime, slices: int) -> dict[str, list[float]]:
    async with (
        rt.actor(Nothing) as plain,
        rt.actor(NothingLater) as later,
        rt.options(lane="thread").actor(Nothing) as thread,
    ):
        ways: dict[str, Callable[[], Awaitable[Any]]] = {
            "process": lambda: rt.to_process(nothing),
            "actor": plain.nothing,
            "coroutine": lambda: rt.to_process(nothing_later),
            "coroutine actor": later.nothing,
            "thread": lambda: rt.to_thread(nothing),
            "thread actor": thread.nothing,
        }
        found: dict[str, list[float]] = {}
        for at in range(slices + 1):
            for name, way in ways.items():
                one, many = await _one_by_one(way), await _at_once(way)
                if at:  # the first slice warms up
                    found.setdefault(f"{name}, one", []).append(one)
                    found.setdefault(f"{name}, at once", []).append(many)
        return found


async def _one_by_one(way: Callable[[], Awaitable[Any]]) -> float:
    began = perf_counter()
    for _ in range(_SLICE):
        await way()
    return (perf_counter() - began) / _SLICE


async def _at_once(way: Callable[[], Awaitable[Any]]) -> float:
    began = perf_counter()
    await asyncio.gather(*[way() for _ in range(_SLICE)])
    return (perf_counter() - began) / _SLICE


async def _inference(rt: hybridrt.Runtime, slices: int) -> dict[str, list[float]]:
    model_class: Any = import_module("examples.model_server").Model
    found: dict[str, list[float]] = {"unbatched": [], "batched": []}
    async with rt.actor(model_class, 1) as model:
        for at in range(slices + 1):
            for name, method in (("unbatched", model.language_of_one), ("batched", model.language)):
                began = perf_counter()
                await asyncio.gather(*[method(f"text {number}") for number in range(_AT_ONCE)])
                if at:
                    found[name].append(_AT_ONCE / (perf_counter() - began))
    return found


def measure(
    *, rounds: int, loop: str, is_quick: bool, tell: Callable[[str], None]
) -> tuple[list[str], list[Verdict]]:
    """Both parts, in fresh interpreters: the lines to print, and the goals."""
    slices = 5 if is_quick else 30
    calls: list[dict[str, list[float]]] = []
    inference: list[dict[str, list[float]]] = []
    for number in range(rounds):
        tell(f"round {number + 1}: calls")
        calls.append(apart.carry_out("flow.of_actor", {"slices": slices, "what": "calls", "loop": loop}))
        tell(f"round {number + 1}: inference")
        inference.append(
            apart.carry_out(
                "flow.of_actor", {"slices": max(2, slices // 5), "what": "inference", "loop": loop}
            )
        )
    cost = {name: median(median(of[name]) for of in calls) for name in calls[0]}
    per_second = {name: median(median(of[name]) for of in inference) for name in inference[0]}
    gain = median(_ratios(inference, "batched", "unbatched"))
    return list(_lines(cost, per_second, gain)), [
        *(_at_most(calls, *goal) for goal in _GOALS),
        Verdict(
            text=f"batched inference, {_AT_ONCE} callers: throughput over unbatched",
            sense="at least", bound=3.0, unit="x", value=gain, is_met=gain >= 3.0,
        ),
    ]  # fmt: skip


_GOALS = (
    ("an actor's call, one at a time: time over to_process's", "actor, one", "process, one"),
    ("an actor's calls, at once: time over to_process's", "actor, at once", "process, at once"),
    (
        "an actor's coroutine call, one at a time: time over to_process's",
        "coroutine actor, one",
        "coroutine, one",
    ),
)


def _ratios(rounds: list[dict[str, list[float]]], ours: str, theirs: str) -> list[float]:
    return [a / b for of in rounds for a, b in zip(of[ours], of[theirs], strict=True)]


def _at_most(rounds: list[dict[str, list[float]]], text: str, ours: str, theirs: str) -> Verdict:
    value = median(_ratios(rounds, ours, theirs))
    return Verdict(text=text, sense="at most", bound=1.3, unit="x", value=value, is_met=value <= 1.3)


def _lines(cost: dict[str, float], per_second: dict[str, float], gain: float) -> Iterator[str]:
    yield f"  {'a call that does nothing':<28}{'one at a time':>16}{f'{_SLICE} at once':>16}"
    for name in dict.fromkeys(key.partition(",")[0] for key in cost):
        one, many = cost[f"{name}, one"] * 1e6, cost[f"{name}, at once"] * 1e6
        yield f"  {name:<28}{one:>13.1f} us{many:>13.1f} us"
    yield ""
    yield f"  inference of examples/model_server.py, {_AT_ONCE} callers at once"
    for name, value in per_second.items():
        yield f"  {name:<28}{value:>13,.0f} /s"
    yield f"  {'batched over unbatched':<28}{gain:>13.1f} x"
