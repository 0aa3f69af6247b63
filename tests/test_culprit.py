"""What cannot be pickled is found inside whatever holds it: the path, a reason, advice, and never a value."""

from __future__ import annotations

import asyncio
import collections
import functools
import io
import pickle
import socket
import sqlite3
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridrt._engine.culprit import MOST_DEPTH, MOST_TRIES, Culprit, find_culprit, reason_of
from hybridrt._engine.hints import hint_for, type_name_of

LOCK = threading.Lock()


def by_value(obj: object) -> bytes:
    """As a script's own functions are pickled: cloudpickle takes this module's by value."""
    return cloudpickle.dumps(obj, 5)


@pytest.fixture(autouse=True, scope="module")
def _as_in_main() -> Iterator[None]:
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


def find(obj: object, root: str = "x", dumps: Callable[[Any], bytes] = by_value, **more: Any) -> Culprit:
    found = find_culprit(obj, root=root, dumps=dumps, **more)
    assert found is not None
    return found


@dataclass
class Config:
    name: str
    lock: object


class Slotted:
    __slots__ = ("empty", "full")

    def __init__(self) -> None:
        self.full = LOCK


class Both(Slotted):
    def __init__(self) -> None:
        self.plain = [1, LOCK]


class Pair(NamedTuple):
    left: object
    right: object


class OwnState:
    def __getstate__(self) -> object:
        return ["version 2", LOCK]


class OwnList(list[object]):
    pass


class OwnTuple(tuple[object, ...]):
    __slots__ = ()


class WithClassLock:
    guard = LOCK

    def method(self) -> object:
        return LOCK


def closure() -> Callable[[], object]:
    conn, other = LOCK, 1

    def inner() -> object:
        return conn, other, late

    if other is None:
        late = 1
    return inner


def reads_global() -> object:
    return [LOCK for _ in range(2)]


def attribute_of_that_name(thing: Any) -> object:
    return thing.LOCK


def with_defaults(a: int = 1, b: object = LOCK, *, c: object = LOCK) -> None: ...


def keyword_default(*, c: object = LOCK) -> None: ...


def with_attribute() -> None: ...


with_attribute.owner = {"guard": LOCK}  # type: ignore[attr-defined]


def own_list() -> OwnList:
    made = OwnList([1, LOCK])
    made.label = "a"  # type: ignore[attr-defined]
    return made


PATHS: list[tuple[Callable[[], object], str]] = [
    (lambda: (1, {"config": Config("a", LOCK)}), "x[1]['config'].lock"),
    (lambda: LOCK, "x"),
    (lambda: [[[LOCK]]], "x[0][0][0]"),
    (lambda: {"a": {3: (0, LOCK)}}, "x['a'][3][1]"),
    (lambda: {"content-type": LOCK}, "x['content-type']"),
    (lambda: {LOCK: 1}, "x.<key 0>"),
    (lambda: {(1, LOCK): 1}, "x.<key 0>[1]"),
    (lambda: {1, "a", LOCK}, "x.<member of the set>"),
    (lambda: frozenset([(LOCK,)]), "x.<member of the set>[0]"),
    (Slotted, "x.full"),
    (Both, "x.plain[1]"),
    (lambda: Pair(1, LOCK), "x.right"),
    (lambda: OwnTuple([0, LOCK]), "x[1]"),
    (OwnState, "x.<state>[1]"),
    (own_list, "x[1]"),
    (lambda: types.SimpleNamespace(rows=[0, 0, 0, LOCK]), "x.rows[3]"),
    (lambda: collections.deque([0, LOCK]), "x[1]"),
    (lambda: collections.OrderedDict(a=LOCK), "x['a']"),
    (lambda: collections.defaultdict(list, a=LOCK), "x['a']"),
    (lambda: functools.partial(print, 1, LOCK), "x.args[1]"),
    (lambda: functools.partial(print, end=LOCK), "x.keywords['end']"),
    (lambda: functools.partial(reads_global), "x.func.<globals of reads_global>.LOCK"),
    (lambda: ValueError("a", LOCK), "x.args[1]"),
    (lambda: Config("a", LOCK).__eq__, "x.__self__.lock"),
    (closure, "x.<closure of inner>.conn"),
    (lambda: reads_global, "x.<globals of reads_global>.LOCK"),
    (lambda: with_defaults, "x.<defaults of with_defaults>[1]"),
    (lambda: keyword_default, "x.<defaults of keyword_default>.c"),
    (lambda: with_attribute, "x.owner['guard']"),
    (lambda: WithClassLock, "x.guard"),
    (WithClassLock, "x.__class__.guard"),
    (lambda: [0] * 5000 + [Config("a", LOCK)] + [0] * 5000, "x[5000].lock"),
]


@pytest.mark.parametrize(("make", "path"), PATHS, ids=[path for _, path in PATHS])
def test_the_path_leads_to_the_culprit(make: Callable[[], object], path: str) -> None:
    found = find(make())
    assert (found.path, found.type_name) == (path, "_thread.lock")
    assert "_thread.lock" in found.reason
    assert found.hint is not None


@given(
    st.recursive(
        st.just(LOCK) | st.none(),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
        ),
        max_leaves=20,
    )
)
def test_the_path_is_python_that_gives_the_culprit(obj: object) -> None:
    found = find_culprit(obj, root="x", dumps=pickle.dumps)
    if found is None:
        pickle.dumps(obj)
    else:
        assert eval(found.path, {"x": obj}) is LOCK  # noqa: S307  (made here)


def test_an_empty_root_begins_with_the_first_step() -> None:
    assert find(closure(), root="").path == "<closure of inner>.conn"
    assert find([LOCK], root="").path == "[0]"
    assert find(Slotted(), root="").path == "full"


def test_what_can_be_pickled_has_no_culprit() -> None:
    assert find_culprit([1, {"a": Config("b", None)}], root="x", dumps=by_value) is None
    assert find_culprit(attribute_of_that_name, root="x", dumps=by_value) is None


def test_the_first_of_several_is_found() -> None:
    assert find([0, LOCK, 0, LOCK]).path == "x[1]"


def test_a_well_known_one_is_not_looked_into() -> None:
    found = find([threading.Event()])
    assert (found.path, found.type_name) == ("x[0]", "threading.Event")
    assert found.explain().startswith("threading.Event: cannot pickle '_thread.lock' object; it belongs to")


def make_generator() -> Iterator[int]:
    yield 1


async def make_coroutine() -> None: ...


WELL_KNOWN: list[tuple[Callable[[], object], str, str]] = [
    (threading.Lock, "_thread.lock", "a copy would guard nothing"),
    (threading.RLock, "_thread.RLock", "a copy would guard nothing"),
    (threading.Condition, "threading.Condition", "a copy would guard nothing"),
    (threading.Thread, "threading.Thread", "start it inside the function"),
    (threading.local, "_thread._local", "send the value"),
    (make_generator, "generator", "send what it yields"),
    (lambda: socket.socket.__new__(socket.socket), "socket.socket", "open it inside the function"),
    (lambda: memoryview(b""), "memoryview", "send bytes(view)"),
    (lambda: {}.keys(), "dict_keys", "send list(view)"),
    (lambda: types.MappingProxyType({}), "mappingproxy", "send dict(proxy)"),
    (lambda: sys, "module", "import it inside the function"),
    (lambda: weakref.ref(Config), "weakref.ReferenceType", "send the object itself"),
    (sys._getframe, "frame", "part of running code"),
]


@pytest.mark.parametrize(("make", "name", "hint"), WELL_KNOWN, ids=[name for _, name, _ in WELL_KNOWN])
def test_a_well_known_one_comes_with_advice(make: Callable[[], object], name: str, hint: str) -> None:
    thing = make()
    found = find({"a": [thing]}, dumps=_refuse(type(thing)))
    assert (found.path, found.type_name) == ("x['a'][0]", name)
    assert hint in (found.hint or "")


def _refuse(cls: type) -> Callable[[Any], bytes]:
    """A pickler that takes all but instances of one type, for what only some Python versions refuse."""

    class Pickler(pickle.Pickler):
        def reducer_override(self, obj: object) -> Any:
            if type(obj) is cls:
                raise TypeError("no")
            return NotImplemented

    def dumps(obj: object) -> bytes:
        if cls in (type(obj), *(map(type, obj) if isinstance(obj, list) else ())):
            raise TypeError("no")
        Pickler(io.BytesIO(), 5).dump(obj)
        return b""

    return dumps


def test_what_needs_closing_comes_with_advice(tmp_path: Any) -> None:
    with open(tmp_path / "f", "wb") as file:
        assert "send the path" in (find([file]).hint or "")
    connection = sqlite3.connect(":memory:")
    assert "open it inside the function" in (find([connection]).hint or "")
    connection.close()
    coroutine = make_coroutine()
    assert "send the coroutine function" in (find([coroutine]).hint or "")
    coroutine.close()


async def test_tasks_futures_and_the_loop_come_with_advice() -> None:
    loop = asyncio.get_running_loop()
    for thing, advice in (
        (loop.create_future(), "await it here"),
        (asyncio.current_task(), "await it here"),
        (loop, "keep it here"),
    ):
        assert advice in (hint_for(type(thing)) or "")


def test_what_is_ours_comes_with_advice_and_our_errors_do_not() -> None:
    from hybridrt.errors import NotSendable

    ours = type("Thing", (), {"__module__": "hybridrt.somewhere"})
    assert "runtime" in (hint_for(type("Sub", (ours,), {})) or "")
    assert hint_for(NotSendable) is None
    assert hint_for(Config) is None


def test_a_circle_does_not_hide_the_culprit() -> None:
    a: dict[str, Any] = {"name": "a"}
    b: dict[str, Any] = {"back": a}
    a["b"] = b
    a["late"] = [LOCK]
    assert find(a).path == "x['late'][0]"
    me: list[Any] = []
    me += [me, me, (me,), LOCK]
    assert find(me).path == "x[3]"


class Tree:
    def __init__(self, parent: Tree | None) -> None:
        self.parent = parent
        self.children: list[Tree] = []
        if parent is not None:
            parent.children.append(self)


def test_a_tree_with_links_to_parents_is_searched_to_its_leaves() -> None:
    root = Tree(None)
    for _ in range(40):
        Tree(root)
    Tree(root.children[30]).bad = make_generator()  # type: ignore[attr-defined]
    assert find(root).path == "x.children[30].children[0].bad"


class Hostile:
    def __getattr__(self, name: str) -> object:
        raise RuntimeError("secret")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("secret")

    def __hash__(self) -> int:
        raise RuntimeError("secret")

    def __repr__(self) -> str:
        raise RuntimeError("secret")

    def __reduce_ex__(self, protocol: object) -> Any:
        raise RuntimeError(f"secret {id(self)}")


class Getattribute:
    def __getattribute__(self, name: str) -> object:
        raise SystemExit(name)


class LyingReduce:
    def __init__(self, reduced: object) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


class BadMeta(type):
    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise RuntimeError(f"secret {id(cls)}")

    def __getattribute__(cls, name: str) -> object:
        raise RuntimeError(f"secret {id(cls)}")


def of_bad_meta() -> object:
    class OfBadMeta(metaclass=BadMeta):
        def __reduce__(self) -> Any:
            raise RuntimeError(f"secret {id(self)}")

    return OfBadMeta()


class BadText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("secret")


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (Hostile, "x[1][0]"),
        (Getattribute, "x"),  # SystemExit: at once
        (of_bad_meta, "x[1][0]"),
        (lambda: LyingReduce(None), "x[1][0]"),
        (lambda: LyingReduce(3), "x[1][0]"),
        (lambda: LyingReduce((1,)), "x[1][0]"),
        (lambda: LyingReduce((LOCK, 5)), "x[1][0].<constructor>"),
        (lambda: LyingReduce((list, (), 7, 8, 9)), "x[1][0]"),
        (lambda: LyingReduce((print, (LOCK,), None, 8)), "x[1][0]"),
    ],
)
def test_hostile_objects_are_found_and_cannot_break_the_search(make: Callable[[], object], path: str) -> None:
    found = find([1, [make()]], dumps=pickle.dumps)
    assert found.path == path
    assert "secret" not in found.explain()


def test_an_error_whose_text_explodes_gives_its_type() -> None:
    def dumps(obj: object) -> bytes:
        raise BadText

    assert find([1], dumps=dumps).reason.endswith("BadText")


def test_an_error_that_is_false_is_an_error() -> None:
    class Falsy(Exception):
        def __bool__(self) -> bool:
            return False

    class Bad:
        def __reduce__(self) -> Any:
            raise Falsy

    assert find([1, [Bad()]], dumps=pickle.dumps).path == "x[1][0]"


@pytest.mark.parametrize("stop", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_is_meant_for_the_interpreter_ends_the_search_there(stop: type[BaseException]) -> None:
    tries = []

    def dumps(obj: object) -> bytes:
        tries.append(obj)
        raise stop

    found = find([[[1]]], dumps=dumps)
    assert (found.path, len(tries)) == ("x", 1)
    assert stop.__name__ in found.reason


def counting(dumps: Callable[[Any], bytes]) -> tuple[Callable[[Any], bytes], list[int]]:
    count = [0]

    def counted(obj: object) -> bytes:
        count[0] += 1
        return dumps(obj)

    return counted, count


def test_a_long_list_takes_few_tries() -> None:
    dumps, count = counting(pickle.dumps)
    items: list[object] = list(range(50_000))
    items[31_415] = Hostile()
    assert find(items, dumps=dumps).path == "x[31415]"
    assert count[0] < 40


def test_tries_are_bounded() -> None:
    def refuse(obj: object) -> bytes:
        raise TypeError("no")

    wide: list[Any] = []
    wide += [[wide] for _ in range(1000)]  # each refused for the sake of the whole
    dumps, count = counting(refuse)
    assert find(wide, dumps=dumps).path == "x"
    assert count[0] == MOST_TRIES


def test_depth_is_bounded() -> None:
    deep: list[Any] = [LOCK]
    for _ in range(MOST_DEPTH * 2):
        deep = [deep]
    found = find(deep, dumps=pickle.dumps)
    assert (found.path, found.type_name) == ("x" + "[0]" * MOST_DEPTH, "list")


@pytest.mark.parametrize("dumps", [pickle.dumps, by_value])
def test_what_is_nested_too_deeply_is_said_to_be(dumps: Callable[[Any], bytes]) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    found = find([1, deep], dumps=dumps)
    assert (found.path, found.reason) == ("x", "it is nested too deeply to be pickled")
    while deep:
        deep = deep.pop()


def test_time_is_bounded() -> None:
    ticks = iter([0.0, 0.1, 0.2, 99.0])
    dumps, count = counting(pickle.dumps)
    found = find([[[LOCK]]], dumps=dumps, clock=lambda: next(ticks, 99.0))
    assert found.path == "x[0]"[: len(found.path)]
    assert count[0] <= 4


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("user_name", "'user_name'"),
        ("x" * 41, "<str, key 0>"),
        ("someone@example.org", "<str, key 0>"),
        ("two words", "<str, key 0>"),
        (-3, "-3"),
        (4111111111111111, "<int, key 0>"),
        (b"raw", "<bytes, key 0>"),
        (("a", 1), "<tuple, key 0>"),
        (None, "<NoneType, key 0>"),
    ],
)
def test_only_keys_that_look_like_names_are_shown(key: object, shown: str) -> None:
    assert find({key: LOCK}).path == f"x[{shown}]"


def test_odd_names_of_attributes_are_not_shown() -> None:
    odd = types.SimpleNamespace(**{"not a name": LOCK})
    assert find(odd).path == "x.<attribute>"


class Says:
    def __init__(self, value: str) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        if self.value:
            raise TypeError(f"cannot send {self.value}")
        raise TypeError("make it over there")


@pytest.mark.parametrize(
    ("obj", "reason"),
    [
        (LOCK, "cannot pickle '_thread.lock' object"),
        (Says(""), "make it over there"),
        (Says("hunter2"), "pickling it raises TypeError"),
    ],
)
def test_the_reason_keeps_what_is_no_value(obj: object, reason: str) -> None:
    assert find(obj).reason == reason


def test_a_name_that_leads_elsewhere_is_the_reason() -> None:
    def local() -> None: ...

    assert "local object" in find(local, dumps=pickle.dumps).reason
    local.__qualname__ = "gone"
    reason = find(local, dumps=pickle.dumps).reason
    assert reason.startswith("it cannot be found by its name (")
    assert " at 0x" not in reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "there is not enough memory to pickle it"),
        (RecursionError("too deep"), "it is nested too deeply to be pickled"),
        (
            pickle.PicklingError("Can't pickle 'hunter2': attribute lookup a.b on c.d failed"),
            "attribute lookup a.b",
        ),
        (TypeError("h5py objects cannot be pickled"), "h5py objects cannot be pickled"),
        (
            TypeError("no default __reduce__ due to non-trivial __cinit__\nmore"),
            "no default __reduce__ due to",
        ),
        (KeyError("hunter2"), "pickling it raises KeyError"),
    ],
)
def test_reasons(error: Exception, reason: str) -> None:
    assert reason in reason_of(error)
    assert "hunter2" not in reason_of(error)


def test_type_names_of_odd_types() -> None:
    assert type_name_of(int) == "int"
    assert type_name_of(type(LOCK)) == "_thread.lock"
    assert type_name_of(type(of_bad_meta())).endswith("OfBadMeta")
    assert type_name_of(type("A", (), {"__module__": 3})) == "A"
