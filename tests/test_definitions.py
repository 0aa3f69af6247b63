"""A function is named by number from its second call on, anew whenever it has changed, and forgotten when it goes."""

from __future__ import annotations

import functools
import gc
import json
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from by_hand import Worker, Zygote
from helpers import id_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from hybridrt._engine import wire
from hybridrt._engine.definitions import Definition, Definitions
from hybridrt._engine.parcel import dumps, loads


def importable(x: int = 1) -> int:
    return x + 1


class Thing:
    def method(self) -> int:
        return 4


def script(source: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "<script>", "exec", dont_inherit=True), namespace)  # noqa: S102  (its annotations are no texts)
    return namespace


@pytest.fixture
def gone() -> list[int]:
    return []


@pytest.fixture
def definitions(gone: list[int]) -> Definitions:
    return Definitions(gone.append)


def named(definitions: Definitions, fn: Callable[..., Any]) -> Definition:
    found = definitions.find(fn) or definitions.find(fn)
    assert found is not None
    return found


@pytest.mark.parametrize("fn", [importable, Thing, len, json.dumps])
def test_what_can_be_imported_is_named_at_once_and_for_good(
    definitions: Definitions, fn: Callable[..., Any]
) -> None:
    first = definitions.find(fn)
    assert first is not None
    assert loads(first.data) is fn
    assert definitions.find(fn) is first


def test_what_cannot_is_named_from_its_second_call_on(definitions: Definitions) -> None:
    fn = script("def fn(): return 5")["fn"]
    assert definitions.find(fn) is None
    second = definitions.find(fn)
    assert second is not None
    assert loads(second.data)() == 5
    assert definitions.find(fn) is second


def test_each_function_has_a_number_of_its_own_and_each_content_a_version(definitions: Definitions) -> None:
    main = script("n = 1000\ndef one(): return n\ndef two(): return n")
    found = [named(definitions, fn) for fn in (main["one"], main["two"], importable)]
    main["n"] = 2000
    found += [named(definitions, fn) for fn in (main["one"], main["two"], importable)]
    assert all(f.number > 0 for f in found)
    assert [f.number for f in found[:3]] == [f.number for f in found[3:]]
    assert len({f.number for f in found}) == 3
    assert len({f.version for f in found}) == 5
    assert [loads(f.data)() for f in found] == [1000, 1000, 2, 2000, 2000, 2]


def test_a_definition_in_the_hands_of_a_waiting_call_stays_as_it_was(definitions: Definitions) -> None:
    main = script("n = 1000\ndef fn(): return n")
    old = named(definitions, main["fn"])
    main["n"] = 2000
    new = named(definitions, main["fn"])
    assert (loads(old.data)(), loads(new.data)()) == (1000, 2000)
    assert old.version != new.version


def test_a_change_that_changes_no_byte_is_no_new_version(definitions: Definitions) -> None:
    main = script("n = 1000\nitems = [1]\ndef fixed(): return n\ndef loose(): return items")
    before = [named(definitions, main[name]) for name in ("fixed", "loose")]
    main["n"] = int("1000")
    main["items"] = [1]
    assert [named(definitions, main[name]) for name in ("fixed", "loose")] == before


def test_a_function_that_reads_a_list_is_looked_at_for_each_call(definitions: Definitions) -> None:
    main = script("items = [1]\ndef fn(): return items")
    seen = []
    for n in range(3):
        seen.append(named(definitions, main["fn"]))
        main["items"].append(n)
    assert [loads(found.data)() for found in seen] == [[1], [1, 0], [1, 0, 1]]
    assert len({found.version for found in seen}) == 3


@pytest.mark.parametrize(
    "fn",
    [Thing().method, functools.partial(importable), [].append, functools.lru_cache(importable)],
    ids=id_of,
)
def test_what_has_state_of_its_own_travels_inside_each_call(
    definitions: Definitions, fn: Callable[..., Any]
) -> None:
    assert [definitions.find(fn) for _ in range(3)] == [None] * 3


def test_a_function_that_cannot_be_pickled_raises_each_time_until_it_can(definitions: Definitions) -> None:
    main = script("def fn(): return thing")
    main["thing"] = threading.Lock()
    assert definitions.find(main["fn"]) is None  # the first call finds out by itself
    for _ in range(2):
        with pytest.raises(TypeError):
            definitions.find(main["fn"])
    main["thing"] = 7
    assert loads(named(definitions, main["fn"]).data)() == 7


def test_a_function_that_goes_is_forgotten(definitions: Definitions, gone: list[int]) -> None:
    def make(value: int) -> Callable[[], int]:
        return lambda: value

    fn = make(1)
    number = named(definitions, fn).number
    once = make(2)
    assert definitions.find(once) is None
    assert gone == []
    del fn, once
    gc.collect()
    assert gone == [number]  # of the other one no worker has heard
    assert definitions._entries == {}


def test_functions_that_hold_each_other_are_forgotten(definitions: Definitions, gone: list[int]) -> None:
    def make() -> list[Callable[..., Any]]:
        def one() -> object:
            return one, two

        def two() -> object:
            return one, table

        table = (one, two)
        return [one, two]

    functions = make()
    numbers = [named(definitions, fn).number for fn in functions]
    refs = [weakref.ref(fn) for fn in functions]
    del functions
    gc.collect()
    assert [ref() for ref in refs] == [None, None]
    assert sorted(gone) == sorted(numbers)


def test_a_new_function_at_an_old_ones_address_is_a_new_function(
    definitions: Definitions, gone: list[int]
) -> None:
    numbers = set()
    for n in range(50):
        # One inside another: a free-threaded 3.13 never lets go of a function at the top of its code.
        fn = eval(f"(lambda: lambda: {n})()", {"__name__": "__main__"})  # noqa: S307
        assert definitions.find(fn) is None
        found = named(definitions, fn)
        assert loads(found.data)() == n
        numbers.add(found.number)
        del fn, found
    gc.collect()
    assert len(numbers) == len(gone) == 50


# cloudpickle keeps one class in a worker for all functions that bring it, and sets its attributes whenever one does.
CLASS = "class Config: limit = 1\ndef reads(): return Config.limit\ndef takes(c: Config = None): return 0"


class Caller:
    """Calls by name or whole, as the process lane does, in workers that keep what was defined."""

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers
        self._known: list[dict[int, int]] = [{} for _ in workers]
        self._definitions = Definitions(lambda _: None)

    def call(self, at: int, fn: Callable[..., Any]) -> Any:
        worker, known = self._workers[at], self._known[at]
        found = self._definitions.find(fn)
        if found is None:
            return worker.call(1, fn).result()
        if known.get(found.number) != found.version:
            known[found.number] = found.version
            worker.send(wire.pack(wire.DEFINE, 0, found.number, found.data))
        worker.send(wire.pack(wire.CALL, 1, found.number, dumps(((), {}))))
        return worker.answer().result()


@pytest.fixture
def caller() -> Iterator[Caller]:
    zygote = Zygote("cloudpickle")
    workers = [zygote.fork(), zygote.fork()]
    yield Caller(workers)
    for worker in workers:
        worker.close()
    zygote.close()


def test_a_class_of_the_script_is_as_it_is_at_the_call(caller: Caller) -> None:
    main = script(CLASS)
    for limit in (1, 2, 2, 3):
        main["Config"].limit = limit
        assert caller.call(0, main["reads"]) == limit


SHARED = "cloudpickle keeps one class for all that brings it, and sets its attributes anew each time"


def test_a_class_that_changes_to_and_fro_is_as_it_is_at_the_call(caller: Caller) -> None:
    main = script(CLASS)
    for _ in range(2):
        assert caller.call(0, main["reads"]) == 1
    main["Config"].limit = 2
    caller.call(0, main["takes"])
    main["Config"].limit = 1
    assert caller.call(0, main["reads"]) == 1


def test_a_function_that_brings_a_class_is_never_named(definitions: Definitions) -> None:
    main = script(f"import enum\n{CLASS}\nclass Color(enum.Enum): RED = 1\ndef colors(): return list(Color)")
    for name in ("reads", "takes", "colors"):
        assert [definitions.find(main[name]) for _ in range(3)] == [None] * 3
    main["later"] = script("def fn(): return n\nn = 1000")
    fn = main["later"]["fn"]
    assert named(definitions, fn)
    main["later"]["n"] = main["Config"]
    assert definitions.find(fn) is None


def test_a_late_definition_does_not_set_a_class_back(caller: Caller) -> None:
    main = script(CLASS)
    for _ in range(2):
        caller.call(0, main["takes"])
    main["Config"].limit = 2
    for _ in range(2):
        assert caller.call(1, main["reads"]) == 2
    caller.call(1, main["takes"])
    assert caller.call(1, main["reads"]) == 2


CHANGING = """
n, text, pair, items = 1000, "a", (1, (2,)), [1]

def helper(x=0): return x, n

def odd(k): return k and even(k - 1)

def even(k): return text if not k else odd(k - 1)

def make():
    cell = 1.5
    def fn(a=1, *, b=2):
        return n, pair, helper(), odd(3), items, cell, a, b, fn.limit, [(lambda: text)() for _ in range(2)]
    def fixed(a=1, *, b=2):
        return n, pair, helper(), odd(3), cell, a, b, fixed.limit, [(lambda: text)() for _ in range(2)]
    def put(x):
        nonlocal cell
        cell = x
    return fn, fixed, put

fn, fixed, put = make()
fn.limit = fixed.limit = 0
"""

values = st.integers(990, 1010) | st.text("ab", max_size=2) | st.floats(0, 1) | st.booleans()


class StaleMachine(RuleBasedStateMachine):
    """A script that changes all it has, between calls."""

    @initialize()
    def begin(self) -> None:
        self.main = script(CHANGING)
        self.definitions = Definitions(lambda _: None)
        self.latest: dict[str, tuple[int, Any]] = {}

    @rule(name=st.sampled_from(["n", "text"]), value=values)
    def bind(self, name: str, value: object) -> None:
        self.main[name] = value

    @rule(value=st.recursive(values, lambda inner: st.tuples(inner, inner), max_leaves=4))
    def bind_tuple(self, value: object) -> None:
        self.main["pair"] = (value, value)

    @rule(value=values)
    def change_list(self, value: object) -> None:
        self.main["items"].append(value)

    @rule(value=values)
    def change_cell(self, value: object) -> None:
        self.main["put"](value)

    @rule(value=values, fn=st.sampled_from(["fn", "fixed", "helper"]))
    def change_default(self, value: object, fn: str) -> None:
        self.main[fn].__defaults__ = (value,)

    @rule(value=values, fn=st.sampled_from(["fn", "fixed"]))
    def change_keyword_default(self, value: object, fn: str) -> None:
        self.main[fn].__kwdefaults__["b"] = value

    @rule(value=values, fn=st.sampled_from(["fn", "fixed"]))
    def change_attribute(self, value: object, fn: str) -> None:
        self.main[fn].limit = value

    @rule(value=values)
    def replace_helper(self, value: object) -> None:
        exec(f"def helper(x={value!r}): return 'new', x, text", self.main)  # noqa: S102

    @rule()
    def replace_one_of_two(self) -> None:
        exec("def even(k): return (text, n) if not k else odd(k - 1)", self.main)  # noqa: S102

    @rule(name=st.sampled_from(["fn", "fixed"]))
    def call(self, name: str) -> None:
        fn = self.main[name]
        found = self.definitions.find(fn)
        if found is None:
            there = loads(dumps(fn))
        else:
            version, there = self.latest.get(name, (0, None))
            if version != found.version:  # as a worker keeps it
                there = loads(found.data)
                self.latest[name] = (found.version, there)
        assert repr(there()) == repr(fn())  # repr, so that 1 and True are not the same


TestNoStaleDefinitionIsEverUsed = StaleMachine.TestCase
TestNoStaleDefinitionIsEverUsed.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
