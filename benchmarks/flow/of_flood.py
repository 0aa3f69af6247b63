"""Ten times what the machine can do, open loop: with ``max_queue`` and deadlines, without them, and two tenants.

Open loop: calls come by the clock (a Poisson process), whether or not those before them have been answered, as requests
do. Capacity is what the same workers get done of the same calls when there is always one more to do, measured before
and after. *Goodput*: results per second that came within the deadline of when their call was due.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import hybridrt

from .. import apart
from ..goals import Verdict

_CALL_SECONDS = 0.02
_DEADLINE = 0.5
_MOST_WAITING = 20
_TIMES = 10.0
_LIGHT = 0.1
"""Of the capacity: the load of the tenant that does not flood."""
_TICK = 0.002
_SLICE = 2.0
_SPREAD = (0.25, 1.75)
"""Times ``_CALL_SECONDS``: from the shortest call to the longest."""


def compute(turns: int) -> int:
    """Pure Python."""
    total = 0
    for turn in range(turns):
        total = (total * 31 + turn) & 0xFFFF
    return total


def _turns() -> int:
    """So many take ``_CALL_SECONDS`` here."""
    best = min(_seconds(200_000) for _ in range(5))
    return int(200_000 * _CALL_SECONDS / best)


def _seconds(turns: int) -> float:
    began = perf_counter()
    compute(turns)
    return perf_counter() - began


class Load:
    """Calls by the clock, and what became of them. ``latencies`` are of those that were answered, from when due."""

    def __init__(self, verbs: Any, turns: int, per_second: float, seed: int) -> None:
        self._verbs = verbs
        self._turns = turns
        self._per_second = per_second
        self._chance = random.Random(seed)
        self.outcomes: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.accepted: list[float] = []
        """Seconds until a call that was let in was answered, or had failed."""
        self.refusing = 0.0
        """Seconds of the loop's time that refusals took."""
        self._open = 0

    async def run(self, seconds: float) -> None:
        """Submit for so long."""
        began = perf_counter()
        due = began + self._chance.expovariate(self._per_second)
        while (now := perf_counter()) < began + seconds:
            while due <= now:
                self._submit(due)
                due += self._chance.expovariate(self._per_second)
            await asyncio.sleep(_TICK)

    def _a_call(self) -> int:
        """Turns of one call: calls differ, as requests do."""
        return int(self._turns * self._chance.uniform(*_SPREAD))

    def _submit(self, due: float) -> None:
        at = perf_counter()
        try:
            job = self._verbs.submit(compute, self._a_call())
        except hybridrt.QueueFull:
            self.refusing += perf_counter() - at
            self.outcomes["refused"] += 1
            return
        self._open += 1
        job.add_done_callback(lambda job: self._ended(job, due))

    def _ended(self, job: Any, due: float) -> None:
        self._open -= 1
        took = perf_counter() - due
        error = job.exception()
        if isinstance(error, hybridrt.RuntimeClosed):
            return  # the measurement is over
        self.accepted.append(took)
        if isinstance(error, hybridrt.DeadlineExceeded):
            self.outcomes["stopped" if error.is_started else "dropped"] += 1
            return
        job.result()
        self.latencies.append(took)
        self.outcomes["in time" if took <= _DEADLINE else "late"] += 1

    async def end(self, patience: float) -> None:
        """Until all is answered, but no longer than so long."""
        until = perf_counter() + patience
        while self._open and perf_counter() < until:  # noqa: ASYNC110  (an event would be set 60,000 times)
            await asyncio.sleep(_TICK)
        if self._open:
            self.outcomes["never answered"] += self._open


def p99(latencies: list[float]) -> float:
    """The 99th percentile; infinite where there is nothing."""
    return sorted(latencies)[int(0.99 * (len(latencies) - 1))] if latencies else float("inf")


async def _capacity(rt: hybridrt.Runtime, turns: int, seconds: float) -> float:
    """Results per second when each worker always has one more call to do."""
    until = perf_counter() + seconds
    chance = random.Random(0)

    async def always() -> int:
        count = 0
        while perf_counter() < until:
            await rt.to_process(compute, int(turns * chance.uniform(*_SPREAD)))
            count += 1
        return count

    began = perf_counter()
    counts = await asyncio.gather(*[always() for _ in range(2 * rt.settings.processes)])
    return sum(counts) / (perf_counter() - began)


async def carry_out(what: str, seconds: float) -> dict[str, Any]:
    """One scene: "bounded", "deadline", "unbounded", "tenants" or "one tenant's" (without keys)."""
    turns = _turns()
    async with hybridrt.Runtime(shutdown_grace=0.0) as rt:
        await rt.warm_up()
        for _ in range(20):
            await rt.to_process(compute, turns)
        around = max(1.0, seconds / 10)
        before = await _capacity(rt, turns, around)
        scene = _tenants if what.startswith("tenants") else _flood
        found = await scene(rt, what, turns, before, seconds)
        after = await _capacity(rt, turns, around) if what != "unbounded" else before
        return {"capacity": (before + after) / 2, **found}


async def _flood(
    rt: hybridrt.Runtime, what: str, turns: int, capacity: float, seconds: float
) -> dict[str, Any]:
    verbs: Any = {
        "bounded": rt.options(lane="process", max_queue=_MOST_WAITING, deadline=_DEADLINE),
        "deadline": rt.options(lane="process", deadline=_DEADLINE),
        "unbounded": rt.options(lane="process"),
    }[what]
    load = Load(verbs, turns, _TIMES * capacity, 1)
    began = perf_counter()
    await load.run(seconds)
    lasted = perf_counter() - began
    waiting = rt.stats().processes.waiting
    await load.end(0.0 if what == "unbounded" else 2 * _DEADLINE)
    refused = load.outcomes["refused"]
    return {
        "goodput": load.outcomes["in time"] / lasted,
        "p99": p99(load.accepted),
        "last": load.latencies[-1] if load.latencies else float("inf"),
        "waiting": waiting,
        "outcomes": dict(load.outcomes),
        "refusal_us": 1e6 * load.refusing / refused if refused else 0.0,
    }


async def _tenants(
    rt: hybridrt.Runtime, what: str, turns: int, capacity: float, seconds: float
) -> dict[str, Any]:
    """One tenant alone, then the same beside one that floods."""
    has_keys = what == "tenants"

    def of(name: str) -> Any:
        key = name if has_keys else None
        return rt.options(lane="process", key=key, max_queue=_MOST_WAITING)

    alone = Load(of("light"), turns, _LIGHT * capacity, 2)
    beside = Load(of("light"), turns, _LIGHT * capacity, 2)
    flood = Load(of("flood"), turns, _TIMES * capacity, 3)
    for _ in range(
        max(1, round(seconds / _SLICE))
    ):  # by turns, so that both meet the same moments of the machine
        await alone.run(_SLICE)
        await alone.end(5.0)
        flooding = asyncio.ensure_future(flood.run(_SLICE + 0.5))
        await asyncio.sleep(0.5)
        await beside.run(_SLICE)
        await flooding
        await beside.end(5.0)
        await flood.end(5.0)
    return {
        "alone": p99(alone.accepted),
        "beside": p99(beside.accepted),
        "median alone": median(alone.accepted),
        "median beside": median(beside.accepted or [float("inf")]),
        "outcomes": dict(beside.outcomes),
    }


def measure(
    *, rounds: int, loop: str, is_quick: bool, tell: Callable[[str], None], seconds: float | None = None
) -> tuple[list[str], list[Verdict]]:
    """All scenes, in fresh interpreters: the lines to print, and the goals."""
    length = seconds or (6.0 if is_quick else 60.0)
    scenes = {
        "bounded": length,
        "deadline": length / 3,
        "unbounded": length / 3,
        "tenants": length / 2,
        "tenants without keys": length / 3,
    }
    found: dict[str, list[dict[str, Any]]] = {scene: [] for scene in scenes}
    for number in range(rounds):
        for scene, lasts in scenes.items():
            tell(f"round {number + 1}: {scene}")
            order = {"what": scene, "seconds": lasts, "loop": loop}
            found[scene].append(apart.carry_out("flow.of_flood", order, seconds=60.0 + 4 * lasts))
    lines = [
        f"  {_TIMES:g} times the capacity, calls of {_CALL_SECONDS * 1e3:g} ms in the mean, {length:g} s"
    ]
    for scene in ("bounded", "deadline", "unbounded"):
        lines += [_flood_line(scene, each) for each in found[scene]]
    for scene in ("tenants", "tenants without keys"):
        lines += [_tenant_line(scene, each) for each in found[scene]]
    goodput = median(each["goodput"] / each["capacity"] for each in found["bounded"])
    latency = median(each["p99"] for each in found["bounded"])
    ratio = median(each["beside"] / each["alone"] for each in found["tenants"])
    return lines, [
        Verdict(
            text="flood with max_queue and deadlines: goodput over capacity",
            sense="at least", bound=0.9, unit="x", value=goodput, is_met=goodput >= 0.9,
        ),
        Verdict(
            text="flood with max_queue and deadlines: p99 of accepted calls",
            sense="at most", bound=_DEADLINE * 1e3, unit=" ms", value=latency * 1e3, is_met=latency <= _DEADLINE,
        ),
        Verdict(
            text="a tenant beside one that floods, with key=: its p99 over that alone",
            sense="at most", bound=2.0, unit="x", value=ratio, is_met=ratio <= 2.0,
        ),
    ]  # fmt: skip


def _flood_line(scene: str, found: dict[str, Any]) -> str:
    outcomes = ", ".join(f"{count} {name}" for name, count in found["outcomes"].items() if count)
    refusing = f"; a refusal {found['refusal_us']:.0f} us" if found["refusal_us"] else ""
    return (
        f"  {scene:<22}capacity {found['capacity']:.0f} /s, goodput {found['goodput']:.0f} /s, p99 of accepted "
        f"{found['p99'] * 1e3:.0f} ms, the last answer after {found['last'] * 1e3:.0f} ms, {found['waiting']} waiting "
        f"at the end ({outcomes}{refusing})"
    )


def _tenant_line(scene: str, found: dict[str, Any]) -> str:
    return (
        f"  {scene:<22}median {found['median alone'] * 1e3:.0f} -> {found['median beside'] * 1e3:.0f} ms, p99 "
        f"{found['alone'] * 1e3:.0f} -> {found['beside'] * 1e3:.0f} ms ({found['outcomes']})"
    )
