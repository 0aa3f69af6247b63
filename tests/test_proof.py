"""A function is called movable where that is proven, as long as it holds; a call, where its arguments are plain."""

from __future__ import annotations

import array
import builtins
import datetime
import decimal
import enum
import json
import math
import pathlib
import re
import socket
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import provable
import pytest

from hybridrt._core.proof import examine
from hybridrt._core.proof.plain import may_travel, refusal_of
from hybridrt._core.proof.values import NEEDS_DEEP, NEEDS_NOTHING, NEEDS_PARTS


@pytest.mark.parametrize("name", provable.expected)
def test_each_function_is_judged_as_labelled(name: str) -> None:
    fn, what = provable.expected[name]
    verdict = examine(fn)
    if isinstance(what, str):
        assert not verdict.is_movable
        assert what in verdict.reason
    else:
        assert (verdict.is_movable, verdict.needs_immutable) == (True, what), verdict.reason
        assert verdict.still_holds()


def test_a_reason_names_what_and_where() -> None:
    text = pathlib.Path(provable.__file__).read_text()
    line = text[: text.index('row["seen"] = True', text.index("def marks_rows"))].count("\n") + 1
    assert f"(line {line})" in examine(provable.marks_rows).reason
    assert examine(provable.memoised).reason == "it reads the module's variable CACHE, which can change"


def test_nothing_makes_it_raise() -> None:
    class Odd:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __call__(self) -> None: ...

    for fn in (Odd(), Odd, None, 5, Odd().__call__, type, object()):
        verdict = examine(fn)  # type: ignore[arg-type]
        assert not verdict.is_movable
        assert verdict.reason


# --- how long it holds ---


@pytest.mark.parametrize(
    ("fn", "owner", "name", "other"),
    [
        (provable.through_helper, provable, "_push", lambda box, item: None),
        (provable.lines_long, provable, "LIMIT", 4),
        (provable.round_trip, json, "loads", lambda text: None),
        (provable.uses_constants, math, "pi", 3.0),
        (provable.digest, provable, "zlib", json),
        (provable.primes, builtins, "range", list),
        (provable.is_even, provable, "is_odd", None),
    ],
)
def test_it_holds_until_something_is_exchanged(
    fn: Callable[..., Any], owner: Any, name: str, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = examine(fn)
    assert verdict.is_movable
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, other)
        assert not verdict.still_holds()
        # What is proven now is what a worker, which knows nothing of the exchange, would not do.
        assert not examine(fn).is_movable
    assert verdict.still_holds()


def test_a_builtin_that_is_covered_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = examine(provable.primes)
    monkeypatch.setattr(provable, "range", lambda *args: [], raising=False)
    assert not verdict.still_holds()
    assert not examine(provable.primes).is_movable


def test_an_exchanged_code_or_default_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(n: int) -> str:
        return str(n)

    def keyed(n: int, *, step: int = 0, names: tuple[str, ...] = ()) -> int:
        return n

    verdict = examine(provable.with_defaults)
    for name, value in (("__code__", keyed.__code__), ("__defaults__", (5,))):
        with monkeypatch.context() as patch:
            patch.setattr(provable.with_defaults, name, value)
            assert not verdict.still_holds(), name
    keywords: Any = provable.with_defaults.__kwdefaults__
    with monkeypatch.context() as patch:
        patch.setitem(keywords, "step", 3)
        assert not verdict.still_holds()
    assert verdict.still_holds()
    assert other(1) == "1"


def test_a_closure_that_gets_another_content_ends_it() -> None:
    fn = provable.over("x")
    verdict = examine(fn)
    assert verdict.is_movable
    cell: Any = fn.__closure__[0]  # type: ignore[attr-defined]
    cell.cell_contents = "y"
    assert not verdict.still_holds()


def test_the_verdict_keeps_no_function_alive() -> None:
    verdict = examine(provable.over("x"))
    assert verdict.is_movable
    assert not verdict.still_holds()


# --- arguments ---


class Colour(enum.Enum):
    RED = 1
    BLUE = "b"


class Talking(enum.Enum):
    YES = 1

    def __str__(self) -> str:
        provable.CACHE["said"] = True
        return "yes"


class Words(list[str]):
    pass


class Zone(datetime.tzinfo):
    pass


IMMUTABLE: list[Any] = [
    None,
    True,
    5,
    2.5,
    1j,
    "text",
    b"bytes",
    range(3),
    (1, ("a", b"b")),
    frozenset({1, (2, 3)}),
    slice(1, 2),
    datetime.date(2026, 1, 1),
    datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    datetime.timedelta(1),
    decimal.Decimal("1.5"),
    Fraction(1, 2),
    uuid.UUID(int=1),
    pathlib.Path("a"),
    pathlib.PurePosixPath("a"),
    re.compile("a"),
    Colour.RED,
    np.float64(1.5),
    np.int8(1),
]
FLAT: list[Any] = [
    [],
    [1, "a"],
    {"a": 1},
    {1, 2},
    [(1, 2)] * 500,
    {i: str(i) for i in range(500)},
    bytearray(b"a"),
]
NESTED: list[Any] = [
    [[]],
    [1, {"a": 1}],
    {"a": [1]},
    ([1],),
    np.zeros(3),
    array.array("i", [1]),
    [[i] for i in range(500)],
]


@pytest.mark.parametrize("arg", IMMUTABLE, ids=lambda arg: type(arg).__name__)
@pytest.mark.parametrize("needs", [NEEDS_NOTHING, NEEDS_PARTS, NEEDS_DEEP])
def test_immutable_arguments_always_travel(arg: Any, needs: int) -> None:
    assert refusal_of((arg,), {}, needs_immutable=needs) is None
    assert refusal_of((), {"x": arg}, needs_immutable=needs) is None
    assert refusal_of((1, (arg,)), {}, needs_immutable=needs) is None
    assert may_travel(arg)


@pytest.mark.parametrize("arg", FLAT + NESTED, ids=lambda arg: type(arg).__name__)
def test_containers_travel_as_far_as_nobody_can_change_them(arg: Any) -> None:
    is_flat = any(arg is item for item in FLAT)
    assert refusal_of((arg,), {}, needs_immutable=NEEDS_NOTHING) is None
    assert (refusal_of((arg,), {}, needs_immutable=NEEDS_PARTS) is None) == is_flat
    why = refusal_of((), {"x": arg}, needs_immutable=True)
    assert why is not None and "may change or return it" in why
    assert refusal_of(((arg,),), {}, needs_immutable=NEEDS_PARTS) is not None


def no_travellers() -> Iterator[Any]:
    yield socket.socket
    yield threading.Lock()
    yield object()
    yield iter([1])
    yield (i for i in [1])
    yield len
    yield provable.primes
    yield Words(["a"])
    yield OrderedDict()
    yield memoryview(b"a")
    yield np.array([{}], dtype=object)
    yield Talking.YES
    yield datetime.datetime(2026, 1, 1, tzinfo=Zone())
    yield provable.Point(1)
    yield threading.current_thread()


@pytest.mark.parametrize("arg", list(no_travellers()), ids=lambda arg: type(arg).__name__)
def test_objects_with_an_identity_stay_here(arg: Any) -> None:
    for held in (arg, [arg], {"a": arg}, (1, [arg]), [1] * 40 + [arg]):
        why = refusal_of((held,), {}, needs_immutable=NEEDS_NOTHING)
        assert why is not None
        assert "object of type" in why
    assert not may_travel(arg)


def test_an_open_file_is_called_that(tmp_path: pathlib.Path) -> None:
    with open(tmp_path / "x", "w") as file:
        why = refusal_of((1, [file]), {}, needs_immutable=NEEDS_NOTHING)
    assert why == "an argument is or holds an open file (_io.TextIOWrapper)"


def test_a_refusal_never_shows_a_value() -> None:
    why = refusal_of((["secret", threading.Lock()],), {"password": ["secret"]}, needs_immutable=NEEDS_DEEP)
    assert why is not None
    assert "secret" not in why


def test_what_a_sample_misses_the_pickler_is_told() -> None:
    hidden = [1] * 100_000 + [threading.Lock()]
    assert refusal_of((hidden,), {}, needs_immutable=NEEDS_NOTHING) is None
    assert not may_travel(hidden[-1])
    # Where the parts matter, there is no sample: all of them are looked at.
    assert refusal_of((hidden,), {}, needs_immutable=NEEDS_PARTS) is not None


def test_a_large_nest_is_not_looked_through_on_the_loop() -> None:
    why = refusal_of(([(i, (i,)) for i in range(100_000)],), {}, needs_immutable=NEEDS_PARTS)
    assert why == "an argument is too large to look at every part of it"


def test_a_container_that_holds_itself_ends() -> None:
    own: list[Any] = []
    own.append(own)
    assert refusal_of((own,), {}, needs_immutable=NEEDS_NOTHING) is None
    assert refusal_of((own,), {}, needs_immutable=NEEDS_PARTS) is not None


def test_decimals_stay_where_arithmetic_is_set_otherwise() -> None:
    with decimal.localcontext(prec=5):
        assert refusal_of((decimal.Decimal(1),), {}, needs_immutable=NEEDS_NOTHING) is not None
    assert refusal_of((decimal.Decimal(1),), {}, needs_immutable=NEEDS_NOTHING) is None
