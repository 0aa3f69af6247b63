"""A call on trial does what the call does, and reports what was found out about it."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import placeable
import pytest
from helpers import wait_until

from hybridrt._core.function import Function
from hybridrt._core.proof.verdict import Verdict
from hybridrt._lanes.probe import Probe
from hybridrt._lanes.trials import OnTrial, Report, cost_of_shipping

MOVABLE = Verdict(True, "it may")
N = 50_000


@pytest.fixture
def probe() -> Any:
    probe = Probe(threading.get_ident())
    yield probe
    probe.close()


def in_a_thread(fn: Any, *args: Any) -> list[Any]:
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(fn(*args))
        except BaseException as exc:
            outcome.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcome


def report_on(probe: Probe, fn: Any, *args: Any) -> tuple[Any, Report]:
    reports: deque[Report] = deque()
    outcome = in_a_thread(OnTrial(probe, Function(fn), fn, reports), *args)[0]
    wait_until(lambda: probe.has_seen(reports[0].trial))
    return outcome, reports[0]


def test_it_returns_what_the_call_returns_and_tells_what_it_took(probe: Probe) -> None:
    result, report = report_on(probe, placeable.squares, N)
    assert result == placeable.squares(N)
    sight = report.sight()
    assert 0.0 < sight.cpu <= sight.wall * 1.1
    assert sight.verdict is not None and sight.verdict.is_movable
    assert sight.shipping is not None and 0.0 <= sight.shipping < 0.1
    assert sight.obstacle == ""


def test_it_raises_what_the_call_raises(probe: Probe) -> None:
    error, report = report_on(probe, placeable.fails, N)
    assert isinstance(error, LookupError)
    assert report.sight().cpu > 0.0
    assert (report.verdict, report.shipping, report.obstacle) == (None, None, None)


def test_what_is_quick_is_not_examined(probe: Probe) -> None:
    _, report = report_on(probe, placeable.squares, 3)
    assert (report.verdict, report.shipping, report.obstacle) == (None, None, None)


def test_one_of_many_at_once_examines(probe: Probe) -> None:
    function = Function(placeable.squares)
    function.examiner = "another trial"
    reports: deque[Report] = deque()
    in_a_thread(OnTrial(probe, function, placeable.squares, reports), N)
    assert reports[0].verdict is None


def test_without_the_probe_it_is_a_plain_call(probe: Probe) -> None:
    probe.close()
    reports: deque[Report] = deque()
    assert in_a_thread(OnTrial(probe, Function(abs), abs, reports), -3) == [3]
    assert not reports


class Opaque:
    """May be pickled, and be anything."""


@pytest.mark.parametrize(
    ("args", "result", "why"),
    [
        (([1, 2, 3],), {"a": 1}, ""),
        ((threading.Lock(),), None, "lock"),
        (([Opaque()],), None, "Opaque"),
        (([*range(1000), Opaque()],), None, "Opaque"),
        ((1,), Opaque(), "Opaque"),
        ((1,), threading.Lock(), "lock"),
    ],
    ids=["plain", "lock", "object", "deep", "result", "lock-result"],
)
def test_shipping_is_tried_with_plain_data_only(args: tuple[Any, ...], result: object, why: str) -> None:
    seconds, obstacle = cost_of_shipping(args, {}, result, MOVABLE)
    assert why in obstacle
    assert (seconds is None) == bool(why)


def test_more_costs_more() -> None:
    little = cost_of_shipping(([0] * 10,), {}, None, MOVABLE)[0]
    much = cost_of_shipping(([[i] for i in range(100_000)],), {}, None, MOVABLE)[0]
    assert little is not None and much is not None and much > little
