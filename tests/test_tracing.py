"""The OpenTelemetry context of the caller is that of its call in a worker, and of no other call."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import work
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from hybridrt import Runtime
from hybridrt._engine import context as luggage
from hybridrt._engine import parcel


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50
    )


def ids() -> tuple[int, int, str, bool]:
    """Trace and span around here, a piece of baggage, and whether the context is empty."""
    span = trace.get_current_span().get_span_context()
    return span.trace_id, span.span_id, str(baggage.get_baggage("user")), not context.get_current()


async def co_ids() -> tuple[int, int, str, bool]:
    await asyncio.sleep(0)
    return ids()


def ids_and_fail() -> None:
    raise ValueError(str(ids()))


NOTHING = (0, 0, "None", True)


def within_span(trace_id: int, span_id: int, user: str) -> Any:
    span = NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(1)))
    return context.attach(baggage.set_baggage("user", user, trace.set_span_in_context(span)))


@pytest.fixture(autouse=True)
def fresh_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luggage, "_warned_of", set())


async def test_the_trace_goes_on_in_the_worker_and_ends_with_the_call() -> None:
    async with Runtime(processes=1) as rt:
        for fn in (ids, co_ids):
            assert await rt.to_process(fn) == NOTHING
            token = within_span(0xABC, 0xDEF, "eve")
            assert await rt.to_process(fn) == (0xABC, 0xDEF, "eve", False)
            with pytest.raises(ValueError, match=str(0xABC)):
                await rt.to_process(ids_and_fail)
            context.detach(token)
            assert await rt.to_process(fn) == NOTHING


async def test_interleaved_calls_each_have_their_own_trace() -> None:
    async with Runtime(processes=2) as rt:

        async def call(number: int) -> None:
            within_span(number, number + 1, f"u{number}")
            for fn in (ids, co_ids, ids, co_ids):
                assert await rt.to_process(fn) == (number, number + 1, f"u{number}", False)

        await asyncio.gather(*[call(number) for number in range(1, 21)])


async def test_an_empty_context_ships_nothing() -> None:
    async with Runtime(processes=1) as rt:
        job = rt.options(lane="process").submit(work.double, 1)
        assert job.payload == parcel.dumps(((1,), {}))  # type: ignore[attr-defined]
        context.attach(
            context.set_value("of this process", object())
        )  # nothing that a propagator takes along
        second = rt.options(lane="process").submit(work.double, 1)
        assert second.payload == job.payload  # type: ignore[attr-defined]
        assert await asyncio.gather(job, second) == [2, 2]


class Failing(propagate.textmap.TextMapPropagator):
    fields: Any = ()

    def inject(self, *args: Any, **kwargs: Any) -> None:
        raise OSError("no propagation today")

    def extract(self, *args: Any, **kwargs: Any) -> Any:
        raise OSError("no propagation today")


@pytest.fixture
def failing() -> Iterator[None]:
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(Failing())
    yield
    propagate.set_global_textmap(before)


async def test_a_propagator_that_fails_here_is_told_once_and_fails_no_call(failing: None) -> None:
    within_span(1, 2, "eve")
    async with Runtime(processes=1) as rt:
        with pytest.warns(RuntimeWarning) as told:
            assert [await rt.to_process(fn) for fn in (ids, ids, co_ids)] == [NOTHING] * 3
    (warning,) = told
    assert str(warning.message) == (
        "hybridrt: the current opentelemetry.context does not travel with calls to worker processes: "
        "OSError: no propagation today. The calls themselves go on"
    )


async def test_where_warnings_are_errors_it_fails_no_call_either(failing: None) -> None:
    within_span(1, 2, "eve")
    async with Runtime(processes=1) as rt:
        assert await rt.to_process(ids) == NOTHING


def test_a_propagator_that_fails_there_is_told_once_and_fails_no_call() -> None:
    """The worker has a setting under which OpenTelemetry's own code raises; here it came too late to matter."""
    ran = run(
        "import hybridrt, operator, os\n"
        "from opentelemetry import baggage, context, propagate\n"
        "os.environ['OTEL_PROPAGATORS'] = 'no_such_one'\n"
        "async def main():\n"
        "    context.attach(baggage.set_baggage('user', 'eve'))\n"
        "    print([await hybridrt.to_process(operator.neg, i) for i in range(3)])\n"
        "hybridrt.run(main, processes=1)\n"
    )
    assert ran.stdout == "[0, -1, -2]\n", ran.stderr
    assert ran.stderr.count("hybridrt: the current opentelemetry.context did not arrive with a call") == 1
    assert "no_such_one" in ran.stderr and "The calls themselves go on" in ran.stderr


def test_where_the_context_is_empty_no_propagator_is_loaded() -> None:
    ran = run(
        "import hybridrt, operator, sys\n"
        "from opentelemetry import context\n"
        "async def main():\n"
        "    print(await hybridrt.to_process(operator.neg, 1), 'opentelemetry.propagate' in sys.modules)\n"
        "hybridrt.run(main, processes=1)\n"
    )
    assert ran.stdout == "-1 False\n", ran.stderr


def test_without_opentelemetry_nothing_of_it_is_loaded() -> None:
    code = (
        "import hybridrt, sys, operator\n"
        "async def main():\n"
        "    rt = hybridrt.current_runtime()\n"
        "    seen = await rt.to_process(lambda: [name for name in sys.modules if 'telemetry' in name])\n"
        "    print(seen, [name for name in sys.modules if 'telemetry' in name])\n"
        "hybridrt.run(main, processes=1)\n"
    )
    ran = run(code)
    assert ran.stdout == "[] []\n", ran.stderr
