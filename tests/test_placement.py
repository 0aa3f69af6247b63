"""A call goes where its function was declared to go, else where its kind says, and the reason can be read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from hybridrt import cpu_bound, io_bound, thread_only
from hybridrt._core.explanation import explain
from hybridrt._core.function import Function
from hybridrt._core.knowledge import Knowledge
from hybridrt._core.placement import CPU_THREAD, LANES, LOOP, PROCESS, THREAD, TRIAL, place, place_measured


def plain() -> None: ...


async def coroutine() -> None: ...


@io_bound
def waits() -> None: ...


@cpu_bound
def computes() -> None: ...


@thread_only
def stays() -> None: ...


def yields() -> Any:
    yield 1


@io_bound
async def waits_on_the_loop() -> None: ...


@cpu_bound
async def computes_elsewhere() -> None: ...


@pytest.mark.parametrize(
    ("fn", "lane", "reason"),
    [
        (plain, THREAD, "nothing is known of it yet, so it runs in a thread"),
        (stays, THREAD, "it is declared @thread_only"),
        (yields, THREAD, "a generator cannot leave its process"),
        (coroutine, LOOP, "it is a coroutine function, so it runs on the loop"),
        (waits, THREAD, "it is declared @io_bound"),
        (computes, PROCESS, "it is declared @cpu_bound"),
        (
            waits_on_the_loop,
            LOOP,
            "it is declared @io_bound, and a coroutine function waits on the loop itself",
        ),
        (computes_elsewhere, PROCESS, "it is declared @cpu_bound"),
        (print, THREAD, "nothing is known of it yet"),
    ],
)
def test_each_function_has_its_lane_and_its_reason(fn: Callable[..., Any], lane: str, reason: str) -> None:
    function = Function(fn)
    explanation = explain(function)
    assert place(function) == explanation.lane == lane
    assert lane in LANES
    assert reason in explanation.reason
    assert str(explanation) == f"{function.name} -> {lane}: {explanation.reason}. Measured: nothing yet."


def test_what_was_measured_has_its_place() -> None:
    known = Knowledge()
    assert place_measured(known) == TRIAL
    known.is_settled = True
    assert place_measured(known) == THREAD
    known.releases = True
    assert place_measured(known) == CPU_THREAD
    known.is_away = True
    assert place_measured(known) == PROCESS


def test_an_explanation_tells_what_was_measured() -> None:
    function = Function(plain)
    for _ in range(2):
        function.in_thread.record(0.00025)
    function.in_process.record(2.0)
    explanation = explain(function)
    assert (explanation.runs_in_thread, explanation.runs_in_process) == (2, 1)
    assert explanation.mean_in_thread == pytest.approx(0.00025)
    assert explanation.mean_in_process == 2.0
    assert str(explanation).endswith(
        "Measured: 2 runs in a thread, 0.25 ms each; 1 runs in a process, 2e+03 ms each."
    )


@pytest.mark.parametrize("decorate", [io_bound, cpu_bound, thread_only])
def test_a_declaration_changes_nothing_but_the_mark(decorate: Callable[[Any], Any]) -> None:
    def fn(a: int) -> int:
        return a + 1

    assert decorate(fn) is fn
    assert fn(1) == 2


def test_the_last_declaration_counts() -> None:
    def fn() -> None: ...

    assert Function(io_bound(cpu_bound(fn))).declared == THREAD
    assert Function(cpu_bound(fn)).declared == PROCESS


def test_a_declaration_survives_a_well_made_decorator() -> None:
    def logged(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def wrapper(*args: Any) -> Any:
            return fn(*args)

        return wrapper

    assert place(Function(logged(computes))) == PROCESS


def test_what_takes_no_mark_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        TypeError, match=r"@cpu_bound cannot mark len: .*Wrap it in a function of your own, or say "
    ):
        cpu_bound(len)
    with pytest.raises(TypeError, match="@io_bound cannot mark int: it takes no attributes"):
        io_bound(int)
    with pytest.raises(TypeError, match=r"@io_bound cannot mark .*fn: it takes no attributes"):

        class Holder:
            def fn(self) -> None: ...

        io_bound(Holder().fn)


@pytest.mark.parametrize("thing", [3, "text", None])
def test_what_is_no_function_is_refused(thing: Any) -> None:
    with pytest.raises(TypeError, match=f"@cpu_bound decorates a function, not a {type(thing).__name__}"):
        cpu_bound(thing)


def test_where_threads_compute_the_computing_functions_go_to_them_and_nothing_else_does() -> None:
    for fn in (plain, coroutine, waits, waits_on_the_loop, computes_elsewhere):
        function = Function(fn)
        assert place(function, threads_compute=True) == place(function)
        assert explain(function, threads_compute=True) == explain(function)
    function = Function(computes)
    assert place(function, threads_compute=True) == CPU_THREAD
    assert explain(function, threads_compute=True).lane == THREAD
    assert "side by side" in explain(function, threads_compute=True).reason
