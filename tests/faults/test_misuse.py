"""A runtime used wrongly says what is wrong, at once and where it is done, and goes on for those who use it rightly."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import good
import pytest
from scene import LIMIT, Scene, a_scene, says

from hybridrt import Runtime, RuntimeClosed

pytestmark = pytest.mark.asyncio(loop_scope="module")


def numbers(n: int) -> Iterator[int]:
    yield from range(n)


async def anumbers(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i


class Callable:
    def __call__(self, n: int) -> Iterator[int]:
        yield from range(n)


# What cannot be called

NOT_CALLABLE: list[Any] = [
    (None, TypeError, "was the function called"),
    (5, TypeError, "pass the function itself"),
    ("good.double", TypeError, "pass the function itself"),
    ([good.double], TypeError, "pass the function itself"),
    (good, TypeError, "pass the function itself"),
    (object(), TypeError, "pass the function itself"),
    (numbers, TypeError, "numbers is a generator function, and a generator cannot leave its process"),
    (anumbers, TypeError, "anumbers is a generator function"),
    (functools.partial(numbers, 3), TypeError, "generator function"),
]


@pytest.mark.parametrize(
    ("bad", "error", "message"), NOT_CALLABLE, ids=lambda value: getattr(value, "__name__", None)
)
async def test_what_cannot_run_in_a_worker_is_refused_at_once(
    scene: Scene, bad: Any, error: type[Exception], message: str
) -> None:
    async with scene.good_calls():
        with pytest.raises(error, match=message):
            scene.submit(bad, 3)
        with pytest.raises(error, match=message):
            await scene.rt.to_process(bad, 3)
    await scene.is_sound()


async def test_a_coroutine_is_not_its_function(scene: Scene) -> None:
    coroutine = good.co_double(1)
    with pytest.raises(TypeError, match="without calling it"):
        scene.submit(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED, "it can be awaited still"
    assert await coroutine == 2
    await scene.is_sound()


async def test_a_generator_made_by_a_callable_is_told_when_it_comes_back(scene: Scene) -> None:
    says(await scene.outcome(Callable(), 3), TypeError, "generator")


async def test_no_function_at_all(scene: Scene) -> None:
    for verb in (scene.rt.to_process, scene.rt.to_thread, scene.rt.run):
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            await verb()  # type: ignore[call-overload]
    await scene.is_sound()


# Options

OPTIONS: list[Any] = [
    ({"lane": "nowhere"}, ValueError, "there is no such lane; there are loop, thread, process"),
    ({"lane": 5}, ValueError, "there is no such lane"),
    ({"timeout": -1}, ValueError, r"timeout=-1\) must be a number of seconds, 0 or more"),
    ({"timeout": float("nan")}, ValueError, "must be a number of seconds"),
    ({"timeout": "soon"}, ValueError, r"timeout='soon'\) must be a number of seconds, 0 or more"),
    ({"retries": -1}, ValueError, "must be a whole number, 0 or more"),
    ({"retries": 1.5}, ValueError, "must be a whole number, 0 or more"),
    ({"retries": True}, ValueError, "must be a whole number, 0 or more"),
    ({"colour": "red"}, TypeError, "unexpected keyword argument 'colour'"),
]


@pytest.mark.parametrize(("options", "error", "message"), OPTIONS, ids=str)
async def test_nonsense_options_are_refused(
    scene: Scene, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        scene.rt.options(**options)
    await scene.is_sound()


async def test_no_time_at_all_is_a_time_limit(scene: Scene) -> None:
    async with scene.good_calls():
        with pytest.raises(TimeoutError, match=r"good\.double did not end within 0 s"):
            await scene.rt.options(timeout=0, lane="process").run(good.double, 1)
    await scene.is_sound()


async def test_options_that_contradict_the_verb(scene: Scene) -> None:
    with pytest.raises(
        ValueError, match=r"options\(lane='thread'\)\.to_process\(\.\.\.\) contradicts itself"
    ):
        await scene.rt.options(lane="thread").to_process(good.double, 1)
    await scene.is_sound()


SETTINGS: list[Any] = [
    ({"processes": -1}, ValueError, r"processes=-1\) makes no sense"),
    ({"processes": True}, TypeError, "must be an integer, not bool"),
    ({"interrupt_grace": "1"}, TypeError, "must be a number of seconds, not str"),
    ({"interrupt_grace": float("inf")}, ValueError, "must be a finite number of seconds"),
    ({"shutdown_grace": -0.1}, ValueError, r"shutdown_grace=-0\.1\) makes no sense"),
    ({"max_tasks_per_worker": -1}, ValueError, "must be at least 0"),
    ({"max_worker_memory": 0.5}, TypeError, "must be an integer, not float"),
    ({"process_idle": None, "procces_idle": 1}, TypeError, "did you mean 'process_idle'"),
    ({"preload": ["import os; os._exit(1)"]}, ValueError, "must hold names of modules"),
]


@pytest.mark.parametrize(("settings", "error", "message"), SETTINGS, ids=str)
async def test_nonsense_settings_are_refused(settings: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Runtime(**settings)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("HYBRIDRT_PROCESSES", "many", r"HYBRIDRT_PROCESSES='many' is not a valid int"),
        ("HYBRIDRT_PROCESSES", "-3", r"HYBRIDRT_PROCESSES: .*processes=-3\) makes no sense"),
        ("HYBRIDRT_INTERRUPT_GRACE", "nan", "HYBRIDRT_INTERRUPT_GRACE"),
        ("HYBRIDRT_PRELOAD", "os,not a module", "HYBRIDRT_PRELOAD|names of modules"),
    ],
)
async def test_a_nonsense_environment_is_refused_by_its_name(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=message):
        Runtime()


# When, and from where


async def test_before_it_was_entered() -> None:
    rt = Runtime()
    for use in (lambda: rt.submit(good.double, 1), lambda: rt.processes, lambda: rt.threads, rt.stats):
        with pytest.raises(
            RuntimeClosed, match=r"entered: use 'async with Runtime\(\) as rt:'|not entered yet"
        ):
            use()
    for call in (
        rt.to_process(good.double, 1),
        rt.to_thread(good.double, 1),
        rt.run(good.double, 1),
        rt.warm_up(),
    ):
        with pytest.raises(RuntimeClosed, match="was not entered yet: use 'async with"):
            await call
    with pytest.raises(RuntimeClosed, match="left without having been entered"):
        await rt.__aexit__(None, None, None)


async def test_after_it_was_left() -> None:
    async with a_scene() as scene:
        rt, submit = scene.rt, scene.submit
        strict = rt.options(timeout=1)
        executor = rt.processes
        await scene.is_sound()
    for use in (lambda: submit(good.double, 1), lambda: executor.submit(good.double, 1)):
        with pytest.raises(RuntimeClosed, match="has been left"):
            use()
    for call in (rt.to_process(good.double, 1), strict.to_process(good.double, 1), rt.warm_up()):
        with pytest.raises(RuntimeClosed, match="has been left"):
            await call
    await rt.__aexit__(None, None, None)  # a second time is harmless
    with pytest.raises(RuntimeClosed, match="can be entered once: make another one"):
        await rt.__aenter__()
    with pytest.raises(RuntimeClosed, match="can be entered once: make another one"):
        async with rt:
            pass


async def test_entered_twice_while_it_is_open(scene: Scene) -> None:
    async with scene.good_calls():
        with pytest.raises(RuntimeClosed, match="can be entered once: make another one"):
            await scene.rt.__aenter__()
    await scene.is_sound()


async def test_a_call_while_it_is_being_left() -> None:
    async with a_scene() as scene:
        gate, begun = scene.path(), scene.path()
        running = scene.submit(good.wait_for, str(gate), str(begun))
        leaving = asyncio.ensure_future(scene.rt.__aexit__(None, None, None))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeClosed, match="has been left"):
            scene.submit(good.double, 1)
        with pytest.raises(RuntimeClosed, match="has been left"):
            await scene.rt.to_process(good.double, 1)
        gate.touch()
        assert await running == str(gate), "what was accepted before is done"
        await leaving


async def in_a_thread(work: Any) -> Any:
    """``work()`` in a plain thread of its own, with the loop going on; its result, or what it raises."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as exc:
            outcome.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    async with asyncio.timeout(LIMIT):
        while thread.is_alive():
            await asyncio.sleep(0.001)
    thread.join()
    return outcome[0]


FROM_ELSEWHERE: list[Any] = [
    lambda rt: rt.submit(good.double, 1),
    lambda rt: rt.options(lane="process").submit(good.double, 1),
    lambda rt: asyncio.run(rt.to_process(good.double, 1)),
    lambda rt: asyncio.run(rt.warm_up()),
    lambda rt: rt.open("/dev/null"),
]


@pytest.mark.parametrize("use", FROM_ELSEWHERE, ids=range(len(FROM_ELSEWHERE)))
async def test_another_thread_or_loop_is_refused_and_told_how(scene: Scene, use: Any) -> None:
    async with scene.good_calls():
        says(
            await in_a_thread(lambda: use(scene.rt)),
            RuntimeError,
            "this Runtime belongs to another event loop or thread: call it from the loop in which it was entered",
            "loop.call_soon_threadsafe or runtime.threads.submit",
        )
    await scene.is_sound()


async def test_the_executors_are_the_way_in_for_other_threads(scene: Scene) -> None:
    async with scene.good_calls():
        assert await in_a_thread(lambda: scene.rt.processes.submit(good.double, 4).result(LIMIT)) == 8
        exc = await in_a_thread(lambda: scene.rt.processes.submit(numbers, 4).result(LIMIT))
        says(exc, TypeError, "generator function")
    await scene.is_sound()


async def test_entering_in_one_loop_and_leaving_in_another() -> None:
    rt = Runtime(processes=1)
    async with rt:
        assert await rt.to_process(good.double, 1) == 2

        async def leave() -> None:
            await rt.__aexit__(None, None, None)

        exc = await in_a_thread(lambda: asyncio.run(leave()))
        says(
            exc,
            RuntimeError,
            "belongs to another event loop or thread: leave it in the loop in which it was entered",
        )
        assert await rt.to_process(good.double, 2) == 4, "it is open still"


async def test_waiting_for_an_executor_s_future_in_the_loop_s_thread(scene: Scene) -> None:
    async with scene.good_calls():
        future = scene.rt.processes.submit(good.double, 4)
        for wait in (future.result, future.exception, lambda: future.result(1)):
            with pytest.raises(
                RuntimeError, match=r"would stop the event loop .* use 'await asyncio.wrap_future"
            ):
                wait()
        assert await asyncio.wrap_future(future) == 8
        assert future.result() == 8, "once it is done nothing stands in the way"
    await scene.is_sound()


async def test_outcomes_that_somebody_else_sets(scene: Scene) -> None:
    async with scene.good_calls():
        job = scene.submit(good.double, 4)
        job.set_result(99)  # a future is a future
        assert await job == 99
        other = scene.submit(good.double, 4)
        other.set_exception(KeyError("mine"))
        with pytest.raises(KeyError, match="mine"):
            await other
    await scene.is_sound()


async def test_callbacks_that_explode(scene: Scene) -> None:
    told: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    try:
        async with scene.good_calls():
            job = scene.submit(good.double, 4)
            job.add_done_callback(lambda _: 1 / 0)
            future = scene.rt.processes.submit(good.double, 5)
            assert await job == 8
            assert await asyncio.wrap_future(future) == 10
        await scene.is_sound()
    finally:
        loop.set_exception_handler(None)
    assert [type(exc) for exc in told] == [ZeroDivisionError]
