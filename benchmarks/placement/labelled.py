"""The labelled set is called through ``run``, a few calls each, and then asked where it is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import hybridrt

from .. import apart
from . import data
from .case import Case
from .catalogue import BY_NAME


@dataclass(frozen=True, slots=True)
class Placed:
    """One function after its calls."""

    name: str
    kind: str
    label: str
    lane: str
    calls: int | None
    """After how many it was in its place for good; None where it is not."""
    explanation: str
    error: str | None = None

    @property
    def is_right(self) -> bool:
        """Whether it is where its label says, and every call gave an answer."""
        return self.lane == self.label and self.error is None


async def carry_out(
    names: list[str], calls: int, seed: int, at_once: int = 1, **settings: Any
) -> list[dict[str, Any]]:
    """Each function ``calls`` times in a runtime of its own, in turns and shuffled; ``Placed`` as dicts."""
    cases = [BY_NAME[name] for name in names]
    random.Random(seed).shuffle(cases)
    lanes: dict[str, list[str]] = {name: [] for name in names}
    errors: dict[str, str] = {}
    try:
        async with hybridrt.Runtime(**settings) as rt:
            for _ in range(calls):
                for start in range(0, len(cases), at_once):
                    await _call(rt, cases[start : start + at_once], lanes, errors)
            return [_placed(rt, case, lanes[case.name], errors.get(case.name)) for case in cases]
    finally:
        data.clear()


async def _call(
    rt: hybridrt.Runtime, cases: list[Case], lanes: dict[str, list[str]], errors: dict[str, str]
) -> None:
    arguments = [case.args() for case in cases]
    jobs = [rt.submit(case.fn, *args) for case, args in zip(cases, arguments, strict=True)]
    for case, args, job in zip(cases, arguments, jobs, strict=True):
        try:
            await job
        except Exception as exc:
            errors[case.name] = f"{type(exc).__name__}: {exc}"
        for argument in args:
            if hasattr(argument, "close"):
                argument.close()
        lanes[case.name].append(rt.explain(case.fn).lane)


def _placed(rt: hybridrt.Runtime, case: Case, lanes: list[str], error: str | None) -> dict[str, Any]:
    explanation = rt.explain(case.fn)
    calls: int | None = None
    for at in range(len(lanes), 0, -1):
        if lanes[at - 1] != case.lane:
            break
        calls = at
    return {
        "name": case.name,
        "kind": case.kind,
        "label": case.lane,
        "lane": explanation.lane,
        "calls": calls,
        "explanation": str(explanation),
        "error": error,
    }


def runs(
    count: int, loop: str, *, is_busy: bool, names: list[str], calls: int = 5, at_once: int = 1
) -> Iterator[list[Placed]]:
    """Run after run, each in a fresh process with a fresh runtime, as they end."""
    for seed in range(count):
        with apart.a_busy_core(is_busy):
            order = {"names": names, "calls": calls, "seed": seed, "at_once": at_once, "loop": loop}
            yield [Placed(**row) for row in apart.carry_out("placement.labelled", order)]


def share(placed: list[Placed]) -> float:
    """Of the functions, how many are right."""
    return sum(one.is_right for one in placed) / len(placed)


def lines(found: list[list[Placed]]) -> Iterator[str]:
    """Each run with those that are misplaced, and the sum of it."""
    for number, placed in enumerate(found, 1):
        right = sum(one.is_right for one in placed)
        yield f"  run {number}: {right} of {len(placed)} placed right, {share(placed):.1%}"
        for one in sorted(placed, key=lambda one: (one.kind, one.name)):
            if not one.is_right:
                yield f"    {one.name} ({one.kind}) belongs in a {one.label}: {one.error or one.explanation}"
    needed = sorted(one.calls for placed in found for one in placed if one.calls is not None)
    if needed:
        yield f"  in its place after {needed[len(needed) // 2]} calls (median), {needed[-1]} at most"


def by_kind(found: list[list[Placed]]) -> dict[str, float]:
    """The share placed right of each kind, over all runs."""
    kinds: dict[str, list[bool]] = {}
    for placed in found:
        for one in placed:
            kinds.setdefault(one.kind, []).append(one.is_right)
    return {kind: sum(right) / len(right) for kind, right in kinds.items()}
