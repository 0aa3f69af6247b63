"""No made-up function that is proven movable changes its arguments, gives back parts of them, or touches a global."""

from __future__ import annotations

import copy
import importlib.util
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hybridrt._core.proof import examine
from hybridrt._core.proof.plain import refusal_of
from hybridrt._core.proof.values import NEEDS_DEEP, NEEDS_PARTS

HEAD = """\
import copy, functools, heapq, itertools, operator
from collections import Counter, defaultdict, deque

MEMO = {}
SEEN = []
LIMIT = 3
PAIRS = ((1, "a"), (2, "b"))


def push(box, item):
    box.append(item)


def same(item, *rest, **more):
    return item


def first(items):
    for item in items:
        return item


def pairs(items, other=()):
    for item in items:
        yield item, other


def wrap(item, box=None):
    box = [] if box is None else box
    box.append(item)
    return box


def deep(item, depth=2):
    return item if depth == 0 else [deep(item, depth - 1)]


def applied(fn, *items):
    return fn(*items)
"""

NAMES = ["a", "b", "x", "y", "z", "out", "d"]


class Writer:
    """Writes functions of two arguments, statement by statement."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def name(self) -> str:
        return self.rng.choice(NAMES)

    def expression(self, depth: int = 2) -> str:
        pick = self.rng.choice
        if depth == 0:
            return pick([self.name(), self.name(), "1", "'k'", "None", "[]", "{}", "()", "LIMIT", "PAIRS"])
        e = lambda: self.expression(depth - 1)  # noqa: E731 - short, for it is in every line below
        n = self.name
        return pick(EXPRESSIONS)(n, e)

    def block(self, depth: int, indent: str) -> list[str]:
        lines = []
        for _ in range(self.rng.randint(1, 3)):
            lines += self.statement(depth, indent)
        return lines

    def statement(self, depth: int, indent: str) -> list[str]:
        e, n, pick = self.expression, self.name, self.rng.choice
        if depth and self.rng.random() < 0.35:
            inner = indent + "    "
            body = self.block(depth - 1, inner)
            fuel = [f"{inner}fuel += 1", f"{inner}if fuel > 20: break"]
            return pick(
                [
                    lambda: [f"{indent}for {n()} in {e()}:", *fuel, *body],
                    lambda: [f"{indent}for {n()}, {n()} in {e()}:", *fuel, *body],
                    lambda: [f"{indent}for {n()}[0] in {e()}:", *fuel, *body],
                    lambda: [f"{indent}if {e()}:", *body, f"{indent}else:", *self.block(0, inner)],
                    lambda: [f"{indent}try:", *body, f"{indent}except Exception as d:", f"{inner}y = {e()}"],
                    lambda: (
                        [
                            f"{indent}def g(p, q={n()}):",
                            *self.block(0, inner),
                            f"{inner}return {pick('pq')}",
                            f"{indent}{n()} = g({e()})",
                        ]
                    ),
                    lambda: [
                        f"{indent}def g(p):",
                        f"{inner}nonlocal x",
                        f"{inner}x = p",
                        f"{indent}g({e()})",
                    ],
                    lambda: [
                        f"{indent}match {n()}:",
                        f"{inner}case [p, *q]:",
                        f"{inner}    {n()} = {pick('pq')}",
                        f"{inner}case {{'k': p, **q}}:",
                        f"{inner}    {n()} = {pick('pq')}",
                        f"{inner}case p:",
                        f"{inner}    {n()} = p",
                    ],
                ]
            )()
        return [indent + pick(STATEMENTS)(n, e)]

    def function(self, name: str) -> str:
        """The text of a function; one that is no Python is thrown away."""
        while True:
            text = self._function(name)
            try:
                compile(text, name, "exec")
            except SyntaxError:
                continue
            return text

    def _function(self, name: str) -> str:
        lines = [f"def {name}(a, b, /):", "    x, y, z, d, out, fuel = [], {}, [1], {'k': 0}, [], 0"]
        for _ in range(self.rng.randint(1, 5)):
            # Most statements fail on most arguments. The ones after them shall be reached all the same.
            lines += ["    try:", *self.statement(2, "        "), "    except Exception: pass"]
        if self.rng.random() < 0.05:
            lines.append(self.rng.choice(["    SEEN.append(a)", "    MEMO['k'] = x", "    x = MEMO.get(1)"]))
        if self.rng.random() < 0.1:
            lines.append(f"    raise ValueError({self.name()})")
        given = ["out", "[x, y]", "(out, x)", self.name(), self.expression(1), self.expression(1)]
        lines.append(f"    return {self.rng.choice(given)}")
        return "\n".join(lines)


Part = Callable[[Callable[[], str], Callable[[], str]], str]
EXPRESSIONS: list[Part] = [
    lambda n, e: n(),
    lambda n, e: f"{n()}[0]",
    lambda n, e: f"{n()}[{e()}]",
    lambda n, e: f"{n()}['k']",
    lambda n, e: f"{n()}[1:]",
    lambda n, e: f"[{e()}, {e()}]",
    lambda n, e: f"({e()}, {e()})",
    lambda n, e: f"{{'k': {e()}}}",
    lambda n, e: f"{{**{n()}, 'j': {e()}}}",
    lambda n, e: f"[*{n()}, {e()}]",
    lambda n, e: f"({e()} + {e()})",
    lambda n, e: f"({n()} * 2)",
    lambda n, e: f"({e()} | {e()})",
    lambda n, e: f"({e()} or {e()})",
    lambda n, e: f"({e()} if {e()} else {e()})",
    lambda n, e: f"(z := {e()})",
    lambda n, e: f"[{n()} for x in {e()}]",
    lambda n, e: f"[x for x in {e()} if {e()}]",
    lambda n, e: f"{{y: x for x, y in {e()}}}",
    lambda n, e: f"{{'k': x for x in {e()}}}",
    lambda n, e: f"list({e()})",
    lambda n, e: f"list(x for x in {e()})",
    lambda n, e: f"tuple({e()})",
    lambda n, e: f"dict({n()})",
    lambda n, e: f"dict(k={e()})",
    lambda n, e: f"sorted({e()}, key=str)",
    lambda n, e: f"sorted({n()}, key=lambda x: {e()})",
    lambda n, e: f"list(map(lambda x: {e()}, {n()}))",
    lambda n, e: f"list(filter(None, {n()}))",
    lambda n, e: f"list(map(list, {n()}))",
    lambda n, e: f"list(map(operator.itemgetter(0), {n()}))",
    lambda n, e: f"list(zip({e()}, {e()}))",
    lambda n, e: f"list(enumerate({e()}))",
    lambda n, e: f"list(reversed({n()}))",
    lambda n, e: f"next(iter({n()}), {e()})",
    lambda n, e: f"max({e()}, {e()}, key=str)",
    lambda n, e: f"min({n()}, key=str, default={e()})",
    lambda n, e: f"sum({e()}, {n()})",
    lambda n, e: f"sum({e()}, start={n()})",
    lambda n, e: f"list(itertools.zip_longest({e()}, {n()}, fillvalue={e()}))",
    lambda n, e: f"list(itertools.accumulate({n()}, same, initial={e()}))",
    lambda n, e: f"dict.fromkeys('ab', {e()})",
    lambda n, e: f"same(**{n()}, item={e()})",
    lambda n, e: f"list(itertools.product({n()}, {e()}))",
    lambda n, e: f"slice({n()}, {e()}).stop",
    lambda n, e: f"len({e()})",
    lambda n, e: f"str({e()})",
    lambda n, e: f"f'{{{n()}}}'",
    lambda n, e: f"copy.copy({e()})",
    lambda n, e: f"copy.deepcopy({e()})",
    lambda n, e: f"functools.reduce(lambda x, y: {e()}, {n()}, {e()})",
    lambda n, e: f"functools.partial(same, {e()})({e()})",
    lambda n, e: f"functools.partial(same, {e()})()",
    lambda n, e: f"list(itertools.chain({e()}, {e()}))",
    lambda n, e: f"list(itertools.islice(itertools.repeat({e()}), 2))",
    lambda n, e: f"[list(g) for k, g in itertools.groupby({n()}, key=str)]",
    lambda n, e: f"list(itertools.accumulate({n()}, lambda x, y: {e()}))",
    lambda n, e: f"list(itertools.starmap(lambda x, y: {e()}, {n()}))",
    lambda n, e: f"heapq.nsmallest(2, {n()}, key=str)",
    lambda n, e: f"deque({e()})",
    lambda n, e: f"Counter(map(str, {n()}))",
    lambda n, e: f"defaultdict(list, {n()})",
    lambda n, e: f"{n()}.get('k', {e()})",
    lambda n, e: f"list({n()}.values())",
    lambda n, e: f"list({n()}.items())",
    lambda n, e: f"{n()}.copy()",
    lambda n, e: f"{n()}.pop()",
    lambda n, e: f"{n()}.setdefault('k', {e()})",
    lambda n, e: f"same({e()})",
    lambda n, e: f"same(*{n()})",
    lambda n, e: f"first({e()})",
    lambda n, e: f"list(pairs({n()}, {e()}))",
    lambda n, e: f"wrap({e()})",
    lambda n, e: f"wrap({e()}, {n()})",
    lambda n, e: f"deep({e()})",
    lambda n, e: f"applied(same, {e()})",
    lambda n, e: f"applied({n()}.append, {e()})",
    lambda n, e: f"applied(lambda p: {e()}, {n()})",
    lambda n, e: f"operator.getitem({n()}, 0)",
    lambda n, e: f"operator.iadd({n()}, {e()})",
    lambda n, e: f"{n()}.args",
]
STATEMENTS: list[Part] = [
    lambda n, e: f"{n()} = {e()}",
    lambda n, e: f"{n()} = {e()}",
    lambda n, e: f"{n()} = {n()} = {e()}",
    lambda n, e: f"{n()}, *{n()} = {e()}",
    lambda n, e: f"{n()}, {n()} = {e()}",
    lambda n, e: f"[{n()}, ({n()}, {n()})] = {e()}",
    lambda n, e: f"{n()} += {e()}",
    lambda n, e: f"{n()} *= 2",
    lambda n, e: f"{n()} |= {e()}",
    lambda n, e: f"{n()}[0] = {e()}",
    lambda n, e: f"{n()}['k'] = {e()}",
    lambda n, e: f"{n()}['k'] += {e()}",
    lambda n, e: f"{n()}[:] = {e()}",
    lambda n, e: f"{n()}[0], {n()} = {e()}, {e()}",
    lambda n, e: f"del {n()}[0]",
    lambda n, e: f"out.append({e()})",
    lambda n, e: f"out.extend({e()})",
    lambda n, e: f"{n()}.append({e()})",
    lambda n, e: f"{n()}.update({e()})",
    lambda n, e: f"{n()}.insert(0, {e()})",
    lambda n, e: f"{n()}.sort(key=str)",
    lambda n, e: f"{n()}.clear()",
    lambda n, e: f"{n()}.add({e()})",
    lambda n, e: f"push({n()}, {e()})",
    lambda n, e: f"(lambda p: p.append({e()}))({n()})",
    lambda n, e: f"heapq.heappush({n()}, {e()})",
    lambda n, e: f"operator.setitem({n()}, 0, {e()})",
    lambda n, e: f"list.append({n()}, {e()})",
    lambda n, e: f"list(map({n()}.append, {e()}))",
    lambda n, e: f"z = {n()}.append; z({e()})",
    lambda n, e: f"y = iter({n()})",
    lambda n, e: f"x = deque(); x.append({e()})",
    lambda n, e: f"d = defaultdict(list); d['k'].append({e()})",
    lambda n, e: f"d = {{}}; d.setdefault('k', []).append({e()})",
    lambda n, e: f"out = [[]]; out[0].append({e()}); x = out[0]",
    lambda n, e: f"assert {n()}, {e()}",
]

NESTED: list[Callable[[], tuple[Any, Any]]] = [
    lambda: ([1, [2, [3]], {"k": [4]}, "s"], {"k": [1, 2], "d": {"e": [5]}, 0: [7]}),
    lambda: ([[1, 2], [3, 4]], [[[5]], [[6]]]),
    lambda: ([{"k": [1]}, {"k": [2]}], {"k": {"k": {"k": []}}}),
    lambda: ({0: [[1]], "k": [([2],)]}, ([[1]], [[2]])),
]
PARTS: list[Callable[[], tuple[Any, Any]]] = [
    lambda: ([1, "s", (2, 3)], {"k": 1, 0: (4, 5)}),
    lambda: ([(1, 2), (3, 4)], {1, 2, "k"}),
]
DEEP: list[Callable[[], tuple[Any, Any]]] = [lambda: ((1, (2, "s")), 5), lambda: ("text", (("k", 1), (2, 3)))]


def mutable_ids(value: Any, seen: dict[int, Any]) -> dict[int, Any]:
    """All objects inside that can be changed, by id."""
    if id(value) in seen:
        return seen
    if isinstance(value, dict):
        seen[id(value)] = value
        for item in value.values():
            mutable_ids(item, seen)
    elif isinstance(value, list | set | tuple | frozenset) or type(value).__name__ == "deque":
        seen[id(value)] = value
        for item in value:
            mutable_ids(item, seen)
    return {key: item for key, item in seen.items() if not isinstance(item, tuple | frozenset)}


def load(path: Path, text: str) -> ModuleType:
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[[str], ModuleType]]:
    loaded: list[str] = []

    def make(text: str) -> ModuleType:
        loaded.append(f"made_up_{len(loaded)}")
        return load(tmp_path / f"{loaded[-1]}.py", text)

    yield make
    for name in loaded:
        del sys.modules[name]


def check(fn: Callable[..., Any], module: ModuleType, needs: int, source: str) -> None:
    kinds = [*NESTED, *PARTS, *DEEP] if not needs else DEEP if needs == NEEDS_DEEP else PARTS + DEEP
    for make in kinds:
        args, before = make(), make()
        assert refusal_of(args, {}, needs_immutable=needs) is None
        theirs = mutable_ids(args, {})
        try:
            result: Any = fn(*args)
        except Exception as error:
            result = getattr(error, "args", ())
        assert args == before, f"changed:\n{source}"
        shared = mutable_ids(result, {}).keys() & (theirs.keys() - {id(args)})
        assert not shared, f"gives back what it was given:\n{source}"
        assert module.MEMO == {} and module.SEEN == [], f"touches a global:\n{source}"


def hunt(seed: int, count: int, made: Callable[[str], ModuleType]) -> dict[int | None, int]:
    rng = random.Random(seed)
    writer = Writer(rng)
    found: dict[int | None, int] = {}
    for start in range(0, count, 100):
        sources = {f"f{start + i}": writer.function(f"f{start + i}") for i in range(100)}
        module = made(HEAD + "\n\n" + "\n\n\n".join(sources.values()) + "\n")
        for name, source in sources.items():
            fn = getattr(module, name)
            verdict = examine(fn)
            assert "went wrong" not in verdict.reason, (verdict.reason, source)
            found[verdict.needs_immutable if verdict.is_movable else None] = (
                found.get(verdict.needs_immutable if verdict.is_movable else None, 0) + 1
            )
            if verdict.is_movable:
                check(fn, module, verdict.needs_immutable, source)
    return found


def test_no_hole_is_found(made: Callable[[str], ModuleType]) -> None:
    found = hunt(20261125, 500, made)
    # Each kind of verdict has been put to the test.
    assert min(found.get(kind, 0) for kind in (None, 0, NEEDS_DEEP, NEEDS_PARTS)) > 20, found


def test_the_hunt_sees_what_it_is_for() -> None:
    module = ModuleType("scene")
    module.MEMO, module.SEEN = {}, []  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match="changed"):
        check(lambda a, b: a.append(1) if type(a) is list else None, module, 0, "")
    with pytest.raises(AssertionError, match="gives back"):
        check(lambda a, b: [a], module, 0, "")
    with pytest.raises(AssertionError, match="touches"):
        check(lambda a, b: module.SEEN.append(1), module, 0, "")
    assert copy.deepcopy(module.MEMO) == {}
