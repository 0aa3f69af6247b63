"""What can be imported travels by name, all else by value, and a function's fixed state tells every change in it."""

from __future__ import annotations

import collections
import functools
import gc
import json
import math
import operator
import pickle
import random
import sys
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from helpers import id_of

from hybridrt._engine.parcel import dumps, fixed_state, is_importable, loads, same_state

HERE = __name__


def script(source: str, **names: Any) -> dict[str, Any]:
    """The globals of a script after it ran as ``__main__``."""
    namespace = {"__name__": "__main__", **names}
    exec(compile(source, "<script>", "exec", dont_inherit=True), namespace)  # noqa: S102
    return namespace


def importable(x: int = 1) -> int:
    return x + 1


def noisy(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any) -> Any:
        return fn(*args)

    return wrapper


@noisy
def decorated(x: int) -> int:
    return -x


class Thing:
    def __init__(self, value: int = 0) -> None:
        self.value = value

    def method(self) -> int:
        return self.value

    @staticmethod
    def static() -> int:
        return 3

    @classmethod
    def of_class(cls) -> str:
        return cls.__name__


def closure(value: object) -> Callable[[], object]:
    def inner() -> object:
        return value

    return inner


# dumps and loads


@pytest.mark.parametrize(
    "obj",
    [
        None,
        1,
        "text",
        b"bytes",
        [1, {"a": (2.5, None)}],
        {1, 2},
        importable,
        Thing,
        len,
        math.sqrt,
        Thing.static,
        decorated,
    ],
    ids=id_of,
)
def test_plain_things_and_what_can_be_imported_come_out_the_same(obj: object) -> None:
    assert loads(dumps(obj)) == obj


def test_an_importable_function_is_a_name_and_nothing_more() -> None:
    assert len(dumps(importable)) < 60
    assert loads(dumps(importable)) is importable
    assert loads(dumps(Thing(5).method))() == 5


def test_what_cannot_be_imported_travels_whole() -> None:
    main = script("limit = 3\ndef fn(x): return min(x, limit)\nclass Local:\n  def get(self): return limit")
    for made, args, result in (
        (lambda x: x * 2, (4,), 8),
        (closure("inside"), (), "inside"),
        (main["fn"], (9,), 3),
        (main["Local"]().get, (), 3),
        (functools.partial(main["fn"], 1), (), 1),
    ):
        copy = loads(dumps(made))
        assert copy is not made
        assert copy(*args) == result


def test_a_reference_into_main_travels_whole_although_the_pickler_would_take_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fn = script("def fn(): return 'mine'")["fn"]
    monkeypatch.setattr(sys.modules["__main__"], "fn", fn, raising=False)
    assert b"mine" not in pickle.dumps(fn)
    data = dumps({"call": [fn]})
    monkeypatch.undo()  # in a worker, __main__ is another one
    assert loads(data)["call"][0]() == "mine"


def test_a_text_that_only_looks_like_main_is_just_a_text() -> None:
    assert loads(dumps(["__main__", b"__main__"])) == ["__main__", b"__main__"]


@pytest.mark.parametrize("obj", [sys._getframe(), (n for n in ()), threading.Lock()], ids=id_of)
def test_what_cannot_travel_raises(obj: object) -> None:
    with pytest.raises((TypeError, pickle.PicklingError)):
        dumps(["before", obj])


# what a name alone can say


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (importable, True),
        (decorated, True),
        (Thing, True),
        (Thing.static, True),
        (len, True),
        (math.sqrt, True),
        (json.dumps, True),
        (collections.OrderedDict, True),
        (decorated.__wrapped__, False),  # its name leads to the wrapper
        (lambda: 1, False),
        (closure(1), False),
        (script("def fn(): ...")["fn"], False),
        (script("class C: ...")["C"], False),
        (Thing().method, False),
        (Thing.of_class, False),
        ([].append, False),
        (dict.fromkeys, False),
        (random.random, False),  # a method of a hidden generator
        (functools.partial(importable), False),
        (Thing(), False),
        (operator.itemgetter(1), False),
    ],
    ids=id_of,
)
def test_importable_is_what_a_name_alone_can_say(fn: Any, expected: bool) -> None:
    assert is_importable(fn) is expected


def test_a_function_that_was_replaced_under_its_name_is_not_importable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = importable
    monkeypatch.setattr(sys.modules[HERE], "importable", lambda: 0)
    assert not is_importable(original)


def test_a_function_of_a_module_that_is_gone_is_not_importable() -> None:
    module = types.ModuleType("hybridrt_tests_gone")
    exec("def fn(): ...", vars(module))  # noqa: S102
    assert not is_importable(module.fn)


# fixed_state: functions that have one


FIXED = {
    "nothing": "def fn(): return 1",
    "a number": "n = 5000\ndef fn(): return n",
    "constants": "a, b, c, d, e = 1.5, 'x', b'y', None, ...\ndef fn(): return a, b, c, d, e",
    "a tuple of constants": "t = (1, ('a', (2.5,)))\ndef fn(): return t",
    "a module": "import math\ndef fn(): return math.pi",
    "a package": "import os, xml\ndef fn(): return os.path.sep, xml.__name__",
    "an importable function": "from json import dumps\ndef fn(): return dumps(1)",
    "an importable class": "from collections import OrderedDict\ndef fn(): return OrderedDict()",
    "a function of C": "from math import sqrt\ndef fn(): return sqrt(len('four'))",
    "a helper": "k = 2\ndef helper(): return k\ndef fn(): return helper()",
    "itself": "def fn(n=0): return fn(n - 1) if n else 0",
    "one another": "def fn(n=4): return other(n) if n else 'fn'\ndef other(n): return fn(n - 1) if n else 'other'",
    "nested code": "k = 3\ndef fn(): return [(lambda: k)() for _ in range(2)]",
    "a closure": "def make(a):\n  def fn(): return a\n  return fn\nfn = make(5)",
    "a closure over itself": "def make():\n  def fn(n=3): return n and fn(n - 1)\n  return fn\nfn = make()",
    "defaults": "def fn(a=1, *, b='two'): return a, b",
    "a decorator": (
        "import functools\ndef deco(f):\n  @functools.wraps(f)\n  def w(*a): return f(*a)\n  return w\n"
        "@deco\ndef fn(): return 'wrapped'"
    ),
    "an attribute": "def fn(): return fn.limit\nfn.limit = 3",
    "a shadowed builtin": "def len(x): return 'mine'\ndef fn(): return len('')",
    "a name that is nowhere": "def fn(x=None): return nowhere if x else 0",
}


@pytest.mark.parametrize("source", FIXED.values(), ids=FIXED)
def test_a_function_of_fixed_things_has_a_fixed_state(source: str) -> None:
    fn = script(source)["fn"]
    state = fixed_state(fn)
    assert state is not None
    assert same_state(state, fixed_state(fn))
    assert loads(dumps(fn))() == fn()


@pytest.mark.parametrize(
    "source",
    [
        "items = []\ndef fn(): return items",
        "items = {}\ndef fn(): return items",
        "deep = (1, (2, []))\ndef fn(): return deep",
        "class C: ...\ndef fn(): return C",
        "class C: ...\nc = C()\ndef fn(): return c",
        "def fn(a=[]): return a",
        "def fn(*, a={}): return a",
        "def make(a):\n  def fn(): return a\n  return fn\nfn = make([])",
        "def make():\n  def fn(): return late\n  made = fn\n  return made\n  late = 1\nfn = make()",
        "def helper(a=[]): return a\ndef fn(): return helper()",
        "def fn(): return 1\nfn.cache = {}",
        "items = []\nadd = items.append\ndef fn(): return add(1)",
        "from random import random\ndef fn(): return random()",
        "import functools\n@functools.lru_cache\ndef helper(): return 1\ndef fn(): return helper()",
        "import types\nm = types.ModuleType('dynamic')\ndef fn(): return m.x",
    ],
)
def test_a_function_that_reads_what_can_change_unseen_has_none(source: str) -> None:
    assert fixed_state(script(source)["fn"]) is None


def test_nothing_is_the_same_as_what_has_no_state() -> None:
    state = fixed_state(closure(1))
    assert not same_state(None, None)
    assert not same_state(state, None)
    assert not same_state(None, state)


def test_a_function_that_leads_to_very_many_things_has_none() -> None:
    source = "\n".join(f"n{i} = {i}.5" for i in range(600))
    source += f"\ndef fn(): return {' + '.join(f'n{i}' for i in range(600))}"
    assert fixed_state(script(source)["fn"]) is None


# fixed_state: every change is seen

CELL = """
def make():
    a = {value}
    def fn(): return {expression}
    def put(x):
        nonlocal a
        a = x
    def drop():
        nonlocal a
        del a
    return fn, put, drop
fn, put, drop = make()
"""

CHANGES = {
    "a global is bound anew": ("n = 1000\ndef fn(): return n", "n = 1001"),
    "to something of equal worth": ("n = 1\ndef fn(): return n", "n = True"),
    "a global goes": ("n = 1\ndef fn(): return 'n' in globals() or n", "del n"),
    "a global comes": ("def fn(x=None): return later if x else 0", "later = 1"),
    "a builtin is shadowed": ("def fn(): return len('')", "def len(x): return 'mine'"),
    "a helper is replaced": ("def helper(): return 1\ndef fn(): return helper()", "def helper(): return 2"),
    "what a helper reads": ("k = 1.5\ndef helper(): return k\ndef fn(): return helper()", "k = 2.5"),
    "what nested code reads": ("k = 1.5\ndef fn(): return [(lambda: k)() for _ in 'ab']", "k = 2.5"),
    "what a class in it reads": ("k = 1.5\ndef fn():\n  class C:\n    x = k\n  return C.x", "k = 2.5"),
    "a tuple grows": ("t = (1, 2)\ndef fn(): return t", "t = (1, 2, 3)"),
    "a tuple is nested otherwise": ("t = ((1,), 2, 3)\ndef fn(): return t", "t = ((1, 2), 3)"),
    "its defaults": ("def fn(a=1): return a", "fn.__defaults__ = (2,)"),
    "its keyword defaults": ("def fn(*, a=1): return a", "fn.__kwdefaults__['a'] = 2"),
    "a helper's defaults": (
        "def helper(a=1): return a\ndef fn(): return helper()",
        "helper.__defaults__ = (2,)",
    ),
    "its code": ("def fn(): return 1\ndef other(): return 2", "fn.__code__ = other.__code__"),
    "an attribute of it": ("def fn(): return fn.limit\nfn.limit = 3", "fn.limit = 4"),
    "a new attribute": ("def fn(): return 1", "fn.limit = 4"),
    "what is wrapped": (
        "import functools\nk = 1.5\ndef inner(): return k\n@functools.wraps(inner)\ndef fn(): return inner()",
        "k = 2.5",
    ),
    "one of two that call each other": (
        "def fn(n=4): return other(n) if n else 'fn'\ndef other(n): return fn(n - 1) if n else 'other'",
        "def other(n): return 'changed'",
    ),
    "what the other one reads": (
        "k = 1.5\ndef fn(n=1): return other(n)\ndef other(n): return fn(n - 1) if n else k",
        "k = 2.5",
    ),
    "a closure's variable": (
        CELL.format(value="1.5", expression="a"),
        "put(2.5)",
    ),
    "a closure's variable goes": (
        CELL.format(value="1", expression="0 and a"),
        "drop()",
    ),
    "a closure's function": (
        CELL.format(value="lambda: 1", expression="a()"),
        "put(lambda: 2)",
    ),
    "a module under a name": ("import math as m\ndef fn(): return m.__name__", "import cmath as m"),
    "a function under a name": (
        "from json import dumps as f\ndef fn(): return f",
        "from json import loads as f",
    ),
    "a class under a name": ("from decimal import Decimal as C\ndef fn(): return C(1)", "C = complex"),
}


@pytest.mark.parametrize(("before", "change"), CHANGES.values(), ids=CHANGES)
def test_every_change_is_a_change_of_state(before: str, change: str) -> None:
    main = script(before)
    fn = main["fn"]
    state = fixed_state(fn)
    assert state is not None
    exec(change, main)  # noqa: S102
    assert main["fn"] is fn
    assert not same_state(state, fixed_state(fn))
    assert not same_state(fixed_state(fn), state)


def test_a_submodule_that_is_loaded_later_is_a_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    folder = tmp_path / "hybridrt_tests_package" / "inner"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "leaf.py").write_text("value = 5")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        main = script("import hybridrt_tests_package as p\ndef fn(): return p.inner.leaf.value")
        states = [fixed_state(main["fn"])]
        for name in ("inner", "inner.leaf"):
            exec(f"import hybridrt_tests_package.{name}", {})  # noqa: S102
            states.append(fixed_state(main["fn"]))
            assert same_state(states[-1], fixed_state(main["fn"]))
        assert not same_state(states[0], states[1])
        assert not same_state(states[1], states[2])
        data = dumps(main["fn"])
    finally:
        for name in [name for name in sys.modules if name.startswith("hybridrt_tests_package")]:
            del sys.modules[name]
    assert loads(data)() == 5  # it brings the submodules with it
    for name in [name for name in sys.modules if name.startswith("hybridrt_tests_package")]:
        del sys.modules[name]


def test_a_module_that_is_no_longer_known_by_its_name_is_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("hybridrt_tests_known")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    fn = script("def fn(): return m", m=module)["fn"]
    assert fixed_state(fn) is not None
    monkeypatch.delitem(sys.modules, module.__name__)
    assert fixed_state(fn) is None


def test_a_helper_that_is_no_longer_importable_is_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    fn = script("def fn(): return helper()", helper=importable)["fn"]
    state = fixed_state(fn)
    monkeypatch.setattr(sys.modules[HERE], "importable", lambda: 0)
    assert not same_state(state, fixed_state(fn))


def test_a_state_keeps_no_function_alive() -> None:
    def make() -> tuple[Callable[..., Any], ...]:
        def alone() -> None: ...

        def itself() -> object:
            return itself

        def first() -> object:
            return second

        def second() -> object:
            return first, table

        table = (1, (first, second))
        return alone, itself, first, second

    functions = make()
    states = [fixed_state(fn) for fn in functions]
    assert None not in states
    gone = [weakref.ref(fn) for fn in functions]
    del functions
    gc.collect()
    assert [ref() for ref in gone] == [None] * 4


def test_a_function_that_takes_a_dead_ones_place_is_not_taken_for_it() -> None:
    main = script("def fn(): return helper()")
    for n in range(20):  # the same address again, more often than not
        main["helper"] = closure(n)
        before = fixed_state(main["fn"])
        main["helper"] = None
        gc.collect()
        main["helper"] = closure(n)
        assert not same_state(before, fixed_state(main["fn"]))
