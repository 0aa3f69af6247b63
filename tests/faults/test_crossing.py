"""What cannot cross to a worker or back is told with its place and a way out; it costs no worker and no other call."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import socket
import sys
import threading
import types
from pathlib import Path
from typing import Any

import crossing
import good
import pytest
from scene import Scene, ids, says, settled, shown

from hybridrt import NotSendable, TaskExited

pytestmark = pytest.mark.asyncio(loop_scope="module")


# Results

# What is called, with which arguments; where the culprit is; why it cannot cross, and what to do.
BAD_RESULTS: list[Any] = [
    (crossing.make, ("lock",), "result", "_thread.lock.*a copy would guard nothing"),
    (crossing.make, ("nested",), "result['rows'][1]['guard']", "RLock.*a copy would guard nothing"),
    (crossing.make, ("attribute",), "result.value", "_thread.lock"),
    (crossing.make, ("generator",), "result", "generator.*send what it yields"),
    (crossing.make, ("coroutine",), "result", "coroutine.*send the coroutine function and its arguments"),
    (crossing.make, ("socket",), "result", "socket.*open it inside the function"),
    (crossing.make, ("file",), "result", "TextIOWrapper.*send the path"),
    (crossing.make, ("frame",), "result", "frame.*send the text that is needed"),
    (crossing.make, ("context",), "result", "Context.*send the values that are needed"),
    (crossing.make, ("thread",), "result", "Thread.*start it inside the function"),
    (crossing.make, ("weak",), "result", "weak.*send the object itself"),
    (crossing.make, ("deep",), None, "nested too deeply to be pickled"),
    (
        crossing.fails_when_sent,
        ("raises",),
        "result['deep'][0]",
        "FailsWhenSent: pickling it raises RuntimeError",
    ),
    (crossing.reduce_gives, (None,), "result[0]", "__reduce__ must return a string or tuple"),
    (crossing.reduce_gives, ((int,),), "result[0]", "ReduceGives"),
    (crossing.endless, (), None, "nested too deeply to be pickled"),
    (crossing.liar, (), "result", "Liar"),
]


@pytest.mark.parametrize(("fn", "args", "where", "why"), BAD_RESULTS, ids=ids(BAD_RESULTS))
async def test_a_result_that_cannot_be_pickled(
    scene: Scene, fn: Any, args: Any, where: str | None, why: str
) -> None:
    error = await scene.outcome(fn, *args)
    name = f"crossing.{fn.__name__}"
    says(error, NotSendable, f"^{name} ran, but its result cannot come back from the worker process: ", why)
    assert isinstance(error, TypeError)
    assert error.where.startswith("result") and (where is None or error.where == where)


LOST_RESULTS: list[Any] = [
    (crossing.only_at_home, ("raises",), r"\(unpickling it raises RuntimeError\)", RuntimeError),
    (crossing.only_at_home, ("exits",), "TaskExited", TaskExited),
    (crossing.only_at_home, ("interrupts",), "TaskExited", TaskExited),
    (crossing.only_at_home, ("stops",), "unpickling it raises RuntimeError", RuntimeError),
    (crossing.only_at_home, ("memory",), "not enough memory to unpickle it", MemoryError),
    (crossing.state_explodes, (), "unpickling it raises ValueError", ValueError),
    (crossing.return_broken_exception, (), "TypeError", TypeError),
    (crossing.unknown_to_the_parent, (), "No module named 'made_in_the_worker'", ModuleNotFoundError),
]


@pytest.mark.parametrize(("fn", "args", "why", "cause"), LOST_RESULTS, ids=ids(LOST_RESULTS))
async def test_a_result_that_cannot_be_unpickled_here(
    scene: Scene, fn: Any, args: Any, why: str, cause: type[Exception]
) -> None:
    error = await scene.outcome(fn, *args)
    says(
        error,
        NotSendable,
        f"^the result of crossing.{fn.__name__} is lost: it arrived, but cannot be unpickled",
        why,
    )
    assert type(error.__cause__) is cause
    assert error.where == "result"


@pytest.mark.parametrize(
    ("how", "says_"), [("exits", r"called sys\.exit\(3\)"), ("interrupts", "raised KeyboardInterrupt")]
)
async def test_a_result_whose_pickling_would_end_the_worker(scene: Scene, how: str, says_: str) -> None:
    says(await scene.outcome(crossing.fails_when_sent, how), TaskExited, says_)


async def test_a_result_that_there_is_no_memory_for(scene: Scene) -> None:
    says(await scene.outcome(crossing.fails_when_sent, "memory"), MemoryError)


async def test_results_that_only_look_bad_arrive(scene: Scene) -> None:
    returned = await scene.outcome(crossing.return_exception)
    says(returned, ValueError, "^returned, not raised$")
    assert type(await scene.rt.to_process(crossing.return_exit)) is SystemExit
    assert (await scene.rt.to_process(crossing.return_lambda))[0](1) == 2
    assert (await scene.rt.to_process(crossing.return_local_class)).value == 5
    assert type(await scene.rt.to_process(crossing.hostile)) is crossing.Hostile
    assert await scene.rt.to_process(crossing.make, "module") is sys


# Arguments


def bad_argument(what: str) -> Any:
    """Made in the test, so that a parametrized name is all that lasts."""
    if what == "loop":
        return asyncio.get_running_loop()
    if what == "future":
        return asyncio.get_running_loop().create_future()
    if what == "task":
        return asyncio.current_task()
    if what == "concurrent future":
        return concurrent.futures.Future()
    return {
        "fails": lambda: crossing.FailsWhenSent("raises"),
        "memory": lambda: crossing.FailsWhenSent("memory"),
        "endless": crossing.Endless,
        "liar": crossing.Liar,
        "none": lambda: crossing.ReduceGives(None),
    }.get(what, crossing.MAKERS.get(what))()


BAD_ARGUMENTS = {
    "lock": ("args[1]['bad']", "a copy would guard nothing"),
    "attribute": ("args[1]['bad'].value", "_thread.lock"),
    "generator": ("args[1]['bad']", "send what it yields"),
    "coroutine": ("args[1]['bad']", "send the coroutine function and its arguments"),
    "context": ("args[1]['bad']", "send the values that are needed"),
    "frame": ("args[1]['bad']", "send the text that is needed"),
    "loop": ("args[1]['bad']", "belongs to this process's event loop|cannot pickle"),
    "future": ("args[1]['bad']", "await it here and send the result"),
    "task": ("args[1]['bad']", "await it here and send the result"),
    "concurrent future": ("args[1]['bad']", "wait for it here and send its result"),
    "deep": ("args[1]", "nested too deeply"),
    "endless": ("args[1]", "nested too deeply"),
    "fails": ("args[1]['bad']", "FailsWhenSent: pickling it raises RuntimeError"),
    "memory": ("args[1]", "not enough memory"),
    "liar": ("args[1]['bad']", "Liar"),
    "none": ("args[1]['bad']", "__reduce__ must return a string or tuple"),
}


@pytest.mark.shares_a_runtime
@pytest.mark.parametrize("what", BAD_ARGUMENTS)
async def test_an_argument_that_cannot_be_pickled_is_refused_at_once(scene: Scene, what: str) -> None:
    where, why = BAD_ARGUMENTS[what]
    bad = bad_argument(what)
    async with scene.good_calls():
        before = scene.rt.stats().processes
        with pytest.raises(NotSendable) as caught:
            call = scene.submit(crossing.identity, 1, {"bad": bad})
            if what == "loop" or (what == "endless" and sys.version_info >= (3, 14)):
                # It may outgrow what is pickled at once: a loop knows all that is going on, and 3.14 recurses by the
                # size of the stack.
                await call
        assert scene.rt.stats().processes.waiting <= before.waiting, "it has touched no worker"
        says(caught.value, NotSendable, "^crossing.identity cannot be sent to a worker process: ", why)
        assert caught.value.where.startswith(where)
    await scene.is_sound()


async def test_a_bound_method_s_object_and_a_closure_are_named(scene: Scene) -> None:
    guard = threading.Lock()
    error = await scene.outcome(crossing.Holder(guard).__init__, 1)
    says(error, NotSendable, "cannot be sent to a worker process: function", "_thread.lock")
    error = await scene.outcome(lambda: guard)
    says(error, NotSendable, "cannot be sent to a worker process: function.*guard", "_thread.lock")
    with socket.socket() as sock:
        error = await scene.outcome(sock.fileno)
    says(error, NotSendable, "cannot be sent to a worker process: function", "socket.*open it inside")


async def test_the_runtime_itself_is_no_argument(scene: Scene) -> None:
    error = await scene.outcome(crossing.identity, scene.rt)
    says(error, NotSendable, r"args\[0\]", "it lives in the process of the runtime: send plain data")


async def test_an_argument_that_exits_while_it_is_pickled_is_refused(scene: Scene) -> None:
    with pytest.raises(NotSendable, match=r"args\[0\]"):
        try:
            scene.submit(crossing.identity, crossing.FailsWhenSent("exits"))
        except SystemExit as exc:
            raise AssertionError("it flies on") from exc
    await scene.is_sound()


async def test_ctrl_c_while_an_argument_is_pickled_is_ctrl_c(scene: Scene) -> None:
    async with scene.good_calls():
        with pytest.raises(KeyboardInterrupt):
            scene.submit(crossing.identity, crossing.FailsWhenSent("interrupts"))
    await scene.is_sound()


EXPLODING_ARGUMENTS: list[Any] = [
    ("raises", RuntimeError, "^not here$"),
    ("exits", TaskExited, r"called sys\.exit\(3\)"),
    ("interrupts", TaskExited, "raised KeyboardInterrupt"),
    ("stops", RuntimeError, "raised StopIteration"),
    ("memory", MemoryError, ""),
]


@pytest.mark.parametrize(("how", "error", "message"), EXPLODING_ARGUMENTS)
async def test_an_argument_that_explodes_in_the_worker(
    scene: Scene, how: str, error: type[Exception], message: str
) -> None:
    exc = await scene.outcome(crossing.identity, crossing.OnlyAtHome(how))
    says(exc, error, message)
    assert "fail_elsewhere" in shown(exc), "its traceback shows what exploded"


async def test_an_argument_whose_state_explodes_in_the_worker(scene: Scene) -> None:
    exc = await scene.outcome(crossing.identity, crossing.StateExplodes())
    says(exc, ValueError, "^no state$")
    assert "in __setstate__" in shown(exc)


async def test_a_module_unknown_to_the_worker_is_named(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("only_in_the_parent")
    exec("class Thing: pass\ndef function(): pass", vars(module))  # noqa: S102
    monkeypatch.setitem(sys.modules, "only_in_the_parent", module)
    error = await scene.outcome(crossing.identity, module.Thing())
    says(error, ModuleNotFoundError, "No module named 'only_in_the_parent'")
    for _ in range(2):  # the worker keeps the failure as it keeps a function
        error = await scene.outcome(module.function)
        says(error, ModuleNotFoundError, "No module named 'only_in_the_parent'")


async def test_wrong_arguments_are_the_function_s_own_type_error(scene: Scene) -> None:
    says(await scene.outcome(good.double), TypeError, "missing 1 required positional argument: 'x'")
    says(await scene.outcome(good.double, 1, y=2), TypeError, "unexpected keyword argument 'y'")


async def test_arguments_that_only_look_bad_travel(scene: Scene) -> None:
    back = await scene.outcome(crossing.identity, [crossing.Hostile(), "\udcff", {None: ...}])
    assert type(back[0]) is crossing.Hostile
    assert back[1:] == ["\udcff", {None: ...}]


@pytest.mark.shares_a_runtime
@pytest.mark.parametrize("size", [10_000_000])
async def test_huge_values_go_both_ways_among_small_ones(scene: Scene, size: int) -> None:
    big = os.urandom(1000) * (size // 1000)
    assert await scene.outcome(crossing.identity, big) == big
    assert await scene.outcome(crossing.return_huge, size) == b"r" * size
    outcomes = await asyncio.gather(
        *[settled(scene.rt.to_process(crossing.identity, big if i % 5 == 0 else i)) for i in range(10)]
    )
    assert [outcome if isinstance(outcome, int) else outcome == big for outcome in outcomes] == [
        True if i % 5 == 0 else i for i in range(10)
    ]


async def test_a_huge_value_that_is_cancelled_on_its_way_harms_nothing(scene: Scene, tmp_path: Path) -> None:
    big = bytes(10_000_000)
    async with scene.good_calls():
        jobs = [scene.submit(crossing.identity, big) for _ in range(3)]
        for job in jobs:
            assert job.cancel()
    await scene.is_sound()
