"""What a function does is the same under ``run`` as when it is called plainly, however much it would gain elsewhere."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import effects
import pytest
from helpers import a_seed

from hybridrt import Runtime
from hybridrt._core.proof import examine
from hybridrt._core.sight import Sight

Case = tuple[Callable[..., Any], Callable[[random.Random], tuple[Any, ...]]]


def some(chance: random.Random, n: int = 5) -> list[int]:
    return [chance.randrange(100) for _ in range(chance.randrange(1, n))]


CASES: dict[str, Case] = {
    "grow": (effects.grow, lambda c: (some(c),)),
    "sort_inside": (effects.sort_inside, lambda c: ([some(c), some(c)],)),
    "rename": (effects.rename, lambda c: ({"name": str(c.random())},)),
    "the_same list": (effects.the_same, lambda c: (some(c),)),
    "the_same text": (effects.the_same, lambda c: (str(c.random()),)),
    "the_longest": (effects.the_longest, lambda c: ([some(c), some(c)],)),
    "wrap": (effects.wrap, lambda c: (some(c),)),
    "count": (effects.count, lambda c: (c.choice("abc"),)),
    "raise_level": (effects.raise_level, lambda c: (c.randrange(5),)),
    "level_plus": (effects.level_plus, lambda c: (c.randrange(5),)),
    "draw": (effects.draw, lambda c: (c.randrange(5),)),
    "take": (effects.take, lambda c: (iter(some(c, 20) * 3), 2)),
    "following": (effects.following, lambda c: ()),
    "where_it_is": (effects.where_it_is, lambda c: ("in ",)),
    "fill": (effects.fill, lambda c: (bytearray(c.randrange(9)),)),
    "remember": (effects.remember, lambda c: (c.randrange(5),)),
    "called": (effects.called, lambda c: (c.randrange(5),)),
    "half_done": (effects.half_done, lambda c: (some(c),)),
    "call_back": (effects.call_back, lambda c: (abs, -c.randrange(5))),
    "call_back with effects": (effects.call_back, lambda c: (effects.raise_level, c.randrange(5))),
    "a closure": (effects.a_closure(), lambda c: (c.randrange(5),)),
    "a method": (effects.Account().add, lambda c: (c.randrange(5),)),
    "an object": (effects.pay, lambda c: (effects.Account(), c.randrange(5))),
    "refer": (effects.refer, lambda c: (effects.Account(),)),
    "sort": (sorted, lambda c: ([some(c), some(c)],)),
    "list.sort": (list.sort, lambda c: (some(c),)),
    "max": (max, lambda c: (some(c), some(c))),
}


def identities(result: object, args: tuple[Any, ...]) -> list[bool]:
    """Which arguments, or parts of them, the result is or has."""
    parts = [
        *args,
        *(part for arg in args if isinstance(arg, list) for part in arg if isinstance(part, list)),
    ]
    inside = [result, *(result if isinstance(result, list) else ())]
    inside += result.values() if isinstance(result, dict) else ()
    return [any(part is it for it in inside) for part in parts if not isinstance(part, int | str)]


def plainly(fn: Callable[..., Any], args: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "returned", fn(*args)
    except Exception as exc:
        return "raised", repr(exc)


async def under_run(rt: Runtime, fn: Callable[..., Any], args: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "returned", await rt.run(fn, *args)
    except Exception as exc:
        return "raised", repr(exc)


def would_gain(rt: Runtime, fn: Callable[..., Any]) -> None:
    """As if it had been seen to keep the GIL for long: if it stays, it is not for want of a reason to go."""
    function = rt._book.look_up(fn)
    function.verdict = verdict = examine(fn)
    for _ in range(3):
        function.knowledge.learn(
            Sight(1.0, 1.0, 0.0, 1.0, 1.0, looks=9, verdict=verdict, shipping=0.0, obstacle="")
        )


@pytest.mark.parametrize("name", CASES)
async def test_a_function_with_effects_has_them_here(name: str) -> None:
    fn, make = CASES[name]
    seed = a_seed(None)
    async with Runtime(processes=1) as rt:
        for round_ in range(8):
            outcomes = []
            for way in ("plainly", "run"):
                chance = random.Random(seed + round_)
                subject = (
                    copy.deepcopy(fn)
                    if name == "a method"
                    else effects.a_closure()
                    if name == "a closure"
                    else fn
                )
                effects.reset()
                effects.where.set("here")
                args = make(chance)
                if way == "run":
                    would_gain(rt, subject)
                    outcome = await under_run(rt, subject, args)
                else:
                    outcome = plainly(subject, args)
                kept = [arg for arg in args if not hasattr(arg, "__next__")]
                rest = [list(arg) for arg in args if hasattr(arg, "__next__")]
                outcomes.append((outcome, kept, rest, identities(outcome[1], args), effects.state()))
            assert outcomes[0] == outcomes[1]


async def test_what_is_harmless_among_them_does_go() -> None:
    async with Runtime(processes=1) as rt:
        for fn, args in ((effects.the_same, ("text",)), (effects.wrap, ((1, 2),)), (sorted, ([3, 1, 2],))):
            would_gain(rt, fn)
            job = rt.submit(fn, *args)
            assert job.lane == "process"
            assert await job == fn(*args)
