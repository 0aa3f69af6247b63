"""Strictly, only plain data is pickled, however deep in it something else is; and what is plain comes out as ever."""

from __future__ import annotations

import datetime
import decimal
import io
import pathlib
import pickle
import re
import threading
import uuid
from typing import Any

import numpy
import pytest
import work

from hybridrt._engine.packing import Outgrown, Refused, pack, pack_any, pickle_to
from hybridrt._engine.strict import Meter, strictly

PLAIN = [
    {"a": [1, 2.5, (None, True, "text", b"bytes")], "b": {3, 4}, "c": frozenset({5})},
    [
        datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        datetime.timedelta(1),
        decimal.Decimal("1.5"),
        uuid.UUID(int=3),
    ]
    * 20,
    [pathlib.PurePosixPath("/a/b"), re.compile("a+")] * 20,
    [numpy.arange(100), numpy.float64(1.5), numpy.zeros((3, 4))] * 20,
    bytearray(b"12345"),
    list(range(10_000)),
]


class Thing:
    pass


class MyList(list[int]):
    pass


OTHER: list[Any] = [
    threading.Lock,
    io.StringIO,
    Thing,
    MyList,
    lambda: work.double,
    lambda: Thing,
    lambda: iter([1]),
]


@pytest.mark.parametrize("value", PLAIN, ids=range(len(PLAIN)))
def test_plain_data_goes_as_ever(value: Any) -> None:
    with strictly():
        data = pack_any(value)
    again = pickle.loads(data)
    if not isinstance(value, list) or not isinstance(value[0], numpy.ndarray):
        assert again == value
    assert data == pack_any(value)


@pytest.mark.parametrize("make", OTHER, ids=range(len(OTHER)))
def test_anything_else_is_refused_wherever_it_is(make: Any) -> None:
    path = pathlib.PurePosixPath("/a")
    for value in (make(), [make()], {"deep": [[(1, make())]] * 3}, [*range(1000), make()], [path, make()]):
        with strictly(), pytest.raises(Refused):
            pickle_to(Meter(), Meter.leave_out, value)


def test_it_is_strict_in_there_only() -> None:
    call = (([Thing] * 40,), {})
    with strictly(), pytest.raises(Refused):
        pack(call)
    assert pickle.loads(pack(call)) == call


def test_what_is_large_is_still_for_others_to_pack() -> None:
    with strictly(), pytest.raises(Outgrown):
        pack((("x" * 1_000_000,), {}))
    with strictly(), pytest.raises(Outgrown):
        pack_any(list(range(1_000_000)))


def test_a_meter_keeps_nothing() -> None:
    meter = Meter()
    assert meter.write(b"12345") == 5
    pickle_to(meter, Meter.leave_out, numpy.zeros(1_000_000))
