"""Facts belong to the function behind a partial, a method or an instance, and go when that function goes."""

from __future__ import annotations

import functools
import gc
import math
import operator
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from helpers import id_of
from hypothesis import given
from hypothesis import strategies as st

from hybridrt import cpu_bound, io_bound
from hybridrt._core.function import (
    COROUTINE,
    GENERATOR,
    PLAIN,
    Function,
    FunctionBook,
    Timing,
    kind_of,
    name_of,
)

HERE = __name__


def plain() -> None: ...


async def coroutine() -> None: ...


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class Thing:
    def plain(self) -> None: ...

    async def coroutine(self) -> None: ...

    def generator(self) -> Iterator[int]:
        yield 1

    @staticmethod
    async def static() -> None: ...

    @classmethod
    async def of_class(cls) -> None: ...

    async def __call__(self) -> None: ...


class Plain:
    def __call__(self) -> None: ...


class Yields:
    def __call__(self) -> Iterator[int]:
        yield 1


@functools.wraps(coroutine)
def wrapper() -> object:
    return coroutine()


@pytest.mark.parametrize(
    ("fn", "kind"),
    [
        (plain, PLAIN),
        (lambda: None, PLAIN),
        (len, PLAIN),
        ([].append, PLAIN),
        (int, PLAIN),
        (Thing, PLAIN),  # calling the class makes an instance, whatever its __call__ is
        (Plain(), PLAIN),
        (operator.itemgetter(1), PLAIN),
        (functools.lru_cache(plain), PLAIN),
        (wrapper, PLAIN),  # what it returns can be awaited, but calling it is what counts
        (coroutine, COROUTINE),
        (Thing().coroutine, COROUTINE),
        (Thing.static, COROUTINE),
        (Thing.of_class, COROUTINE),
        (Thing(), COROUTINE),
        (functools.partial(coroutine), COROUTINE),
        (functools.partial(functools.partial(Thing().coroutine)), COROUTINE),
        (functools.partial(Thing()), COROUTINE),
        (generator, GENERATOR),
        (async_generator, GENERATOR),
        (Thing().generator, GENERATOR),
        (Yields(), GENERATOR),
        (functools.partial(generator), GENERATOR),
    ],
    ids=id_of,
)
def test_the_kind_is_seen_through_whatever_holds_the_function(fn: Callable[..., Any], kind: str) -> None:
    assert kind_of(fn) == kind
    assert FunctionBook().look_up(fn).kind == kind


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (plain, f"{HERE}.plain"),
        (Thing().plain, f"{HERE}.Thing.plain"),
        (Thing, f"{HERE}.Thing"),
        (Thing(), f"a {HERE}.Thing object"),
        (functools.partial(plain, "secret"), f"partial({HERE}.plain)"),
        (functools.partial(Thing(), "secret"), f"partial(a {HERE}.Thing object)"),
        (len, "len"),
        (int, "int"),
        ("secret".upper, "str.upper"),
        (operator.itemgetter("secret"), "a operator.itemgetter object"),
    ],
    ids=id_of,
)
def test_a_name_says_where_a_function_is_and_never_what_it_holds(fn: Any, name: str) -> None:
    assert name_of(fn) == name


def test_all_ways_to_call_a_function_share_its_facts() -> None:
    book = FunctionBook()
    facts = book.look_up(plain)
    assert book.look_up(plain) is facts
    assert book.look_up(functools.partial(functools.partial(plain), 1)) is facts
    methods = {id(book.look_up(thing.plain)) for thing in (Thing(), Thing(), Thing)}
    assert len(methods) == 1
    assert book.look_up(functools.partial(Thing().plain)) is book.look_up(Thing.plain)


@pytest.mark.parametrize(
    "first", [lambda fn: fn, functools.partial, lambda fn: functools.partial(functools.partial(fn))]
)
def test_what_is_declared_holds_however_the_function_is_first_met(
    first: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> None:
    @cpu_bound
    def declared() -> None: ...

    book = FunctionBook()
    assert book.look_up(first(declared)).declared == "process"
    assert book.look_up(declared).declared == "process"
    assert book.look_up(declared).name == name_of(declared)


def test_a_declared_partial_has_facts_of_its_own() -> None:
    def fn() -> None: ...

    heavy = cpu_bound(functools.partial(fn, 1))
    book = FunctionBook()
    assert book.look_up(heavy).declared == "process"
    assert book.look_up(functools.partial(heavy, 2)) is book.look_up(heavy)
    assert book.look_up(fn).declared is None


def test_a_declared_method_is_declared_for_every_instance() -> None:
    class Declared:
        @io_bound
        def waits(self) -> None: ...

        @cpu_bound
        @staticmethod
        def outside() -> None: ...

        @staticmethod
        @cpu_bound
        def inside() -> None: ...

        @cpu_bound
        @classmethod
        def of_class(cls) -> None: ...

    book = FunctionBook()
    assert book.look_up(Declared().waits).declared == book.look_up(Declared.waits).declared == "thread"
    for fn in (Declared.outside, Declared().inside, Declared.of_class, Declared().of_class):
        assert book.look_up(fn).declared == "process"


def test_something_else_under_the_name_of_the_declaration_is_none() -> None:
    def fn() -> None: ...

    fn.__hybridrt_lane__ = 3  # type: ignore[attr-defined]
    assert Function(fn).declared is None


def test_facts_go_when_their_function_goes_and_are_not_taken_for_another_ones() -> None:
    book = FunctionBook()

    def make() -> Callable[[], None]:
        def fn() -> None: ...

        return fn

    seen = []
    for _ in range(50):  # a new function often gets the id of the one before
        fn = make()
        facts = book.look_up(fn)
        assert facts.in_thread.runs == 0
        facts.in_thread.record(1.0)
        assert book.look_up(fn) is facts
        seen.append(facts)
        del fn
    gc.collect()
    assert book._facts == {}
    assert len({id(facts) for facts in seen}) == 50


def test_an_object_that_can_be_called_is_not_kept() -> None:
    book = FunctionBook()
    assert book.look_up(Plain()).name == f"a {HERE}.Plain object"
    assert book._facts == {}


async def _left_unawaited() -> None: ...


def test_a_call_in_place_of_a_function_is_explained() -> None:
    book = FunctionBook()
    called = _left_unawaited()
    try:
        with pytest.raises(
            TypeError, match=r"the coroutine .*_left_unawaited\(\.\.\.\): pass the function itself"
        ):
            book.look_up(called)  # type: ignore[arg-type]
    finally:
        called.close()
    with pytest.raises(TypeError, match="None: was the function called, in place of being passed"):
        book.look_up(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a value of type int: pass the function itself, then its arguments"):
        book.look_up(42)  # type: ignore[arg-type]
    with pytest.raises(TypeError) as told:
        book.look_up("hunter2")  # type: ignore[arg-type]
    assert "hunter2" not in str(told.value)


def test_nothing_is_expected_of_a_function_before_its_third_run() -> None:
    timing = Timing()
    for runs in range(3):
        assert (timing.runs, timing.expected) == (runs, math.inf)
        timing.record(0.5)
    assert timing.expected == timing.mean == 0.5


@given(st.lists(st.floats(0, 1000), min_size=3))
def test_what_is_expected_lies_above_the_mean_and_the_mean_within_the_runs(seconds: list[float]) -> None:
    timing = Timing()
    for one in seconds:
        timing.record(one)
    slack = 1e-9 * max(seconds) + 1e-12
    assert timing.runs == len(seconds)
    assert min(seconds) - slack <= timing.mean <= max(seconds) + slack
    assert timing.mean <= timing.expected <= timing.mean + 2 * max(seconds) + slack


@given(st.floats(1e-6, 1), st.floats(1e-6, 1))
def test_a_function_that_changes_is_soon_expected_to_stay_so(before: float, after: float) -> None:
    timing = Timing()
    for _ in range(5):
        timing.record(before)
    for _ in range(100):
        timing.record(after)
    assert timing.mean == pytest.approx(after, rel=0.01, abs=1e-6)
    assert timing.expected == pytest.approx(after, rel=0.01, abs=1e-6)


def test_one_slow_run_is_remembered_for_a_while() -> None:
    timing = Timing()
    for seconds in (1e-5, 1e-5, 1e-5, 1.0):
        timing.record(seconds)
    assert timing.expected > 0.5
