"""Coroutine calls share a loop in their worker; each is answered and cancelled alone, and plain calls come after."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from by_hand import Whistle, Worker, Zygote, ahead, call, coroutine

from hybridrt import TaskExited
from hybridrt._engine import parcel, wire


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote("cloudpickle", "asyncio")  # so that each test need not wait for the import
    zygote.wait_until_there()
    yield zygote
    zygote.close()


@pytest.fixture
def worker(zygote: Zygote) -> Iterator[Worker]:
    worker = zygote.fork()
    yield worker
    worker.close()


@pytest.fixture
def whistle(tmp_path: Path) -> Iterator[Callable[[], Whistle]]:
    made: list[Whistle] = []

    def make() -> Whistle:
        made.append(Whistle(tmp_path / f"whistle{len(made)}"))
        return made[-1]

    yield make
    for one in made:
        one.close()


def cancel(number: int) -> bytes:
    return wire.pack(wire.CANCEL, number, 0)


def functions() -> dict[str, Callable[..., Any]]:
    """What the tests run, as a script would hold it: by value, so that no worker imports this file."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(SCRIPT, names)  # noqa: S102
    return names


SCRIPT = """
import asyncio, sys

def blow(path):
    with open(path, "wb", 0) as pipe:
        pipe.write(b"!")

async def double(x):
    await asyncio.sleep(0)
    return 2 * x

async def meet(count):
    arrived = sys.__dict__.setdefault("arrived", [])
    arrived.append(1)
    while len(arrived) < count:
        await asyncio.sleep(0)
    return len(arrived)

async def wait_for_ever(began, ended):
    try:
        blow(began)
        await asyncio.get_running_loop().create_future()
    finally:
        blow(ended)

async def swallow(began):
    try:
        blow(began)
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        return "swallowed"

async def turn(began):
    try:
        blow(began)
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        raise ValueError("instead") from None

async def fail(how):
    await asyncio.sleep(0)
    raise how

async def cancelled_by_itself():
    asyncio.current_task().cancel()
    await asyncio.sleep(0)

async def unsendable():
    return {"loop": [asyncio.get_running_loop()]}

async def loop_and_task():
    return id(asyncio.get_running_loop()), asyncio.current_task() is not None

async def forks():
    import os
    pid = os.fork()
    if pid == 0:
        return "from the child"
    os.waitpid(pid, 0)
    return "from the worker"

async def hogs(began):
    import signal
    blow(began)
    while True:
        signal.pause()
"""

F = functions()


def answers(worker: Worker, count: int) -> dict[int, Any]:
    taken = [worker.answer() for _ in range(count)]
    assert len({answer.number for answer in taken}) == count
    return {answer.number: answer for answer in taken}


def test_a_coroutine_call_is_answered_with_its_result(worker: Worker) -> None:
    worker.send(coroutine(2**40, F["double"], 21))
    answer = worker.answer()
    assert (answer.number, answer.result()) == (2**40, 42)
    assert 0 < answer.extra < 10_000_000


def test_many_run_at_once(worker: Worker) -> None:
    worker.send(*[coroutine(number, F["meet"], 100) for number in range(1, 101)])
    assert {answer.result() for answer in answers(worker, 100).values()} == {100}


def test_each_is_answered_when_it_is_done_not_when_its_turn_came(
    worker: Worker, whistle: Callable[[], Whistle]
) -> None:
    began, ended = whistle(), whistle()
    worker.send(coroutine(1, F["wait_for_ever"], began.path, ended.path))
    began.wait()
    worker.send(*[coroutine(number, F["double"], number) for number in (2, 3)])
    assert {n: a.result() for n, a in answers(worker, 2).items()} == {2: 4, 3: 6}
    assert not ended.was_blown()


def test_a_cancel_stops_one_through_its_finally_and_leaves_the_others(
    worker: Worker, whistle: Callable[[], Whistle]
) -> None:
    pairs = [(whistle(), whistle()) for _ in range(3)]
    for number, (began, ended) in enumerate(pairs, 1):
        worker.send(coroutine(number, F["wait_for_ever"], began.path, ended.path))
        began.wait()
    worker.send(cancel(2))
    answer = worker.answer()
    assert (answer.kind, answer.number, answer.payload) == (wire.STOPPED, 2, b"")
    assert [ended.was_blown() for _, ended in pairs] == [False, True, False]
    worker.send(cancel(1), cancel(3))
    assert {n: a.kind for n, a in answers(worker, 2).items()} == {1: wire.STOPPED, 3: wire.STOPPED}


def test_a_cancel_before_the_first_step_is_answered_too(
    worker: Worker, whistle: Callable[[], Whistle]
) -> None:
    began, ended = whistle(), whistle()
    worker.send(
        coroutine(1, F["wait_for_ever"], began.path, ended.path), cancel(1), coroutine(2, F["double"], 1)
    )
    taken = answers(worker, 2)
    assert taken[1].kind == wire.STOPPED
    assert taken[2].result() == 2
    assert not began.was_blown()


def test_a_cancel_for_a_call_that_is_not_there_is_ignored(worker: Worker) -> None:
    worker.send(coroutine(1, F["double"], 1))
    assert worker.answer().result() == 2
    worker.send(cancel(1), cancel(99), coroutine(2, F["double"], 2))
    assert worker.answer().result() == 4


def test_a_second_cancel_does_no_harm(worker: Worker) -> None:
    worker.send(coroutine(1, F["double"], 1), cancel(1), cancel(1), coroutine(2, F["double"], 2))
    taken = answers(worker, 2)
    assert taken[1].kind == wire.STOPPED
    assert taken[2].result() == 4


def test_what_a_call_makes_of_its_cancel_is_its_outcome(
    worker: Worker, whistle: Callable[[], Whistle]
) -> None:
    for number, name in enumerate(("swallow", "turn"), 1):
        began = whistle()
        worker.send(coroutine(number, F[name], began.path))
        began.wait()
        worker.send(cancel(number))
    taken = answers(worker, 2)
    assert taken[1].result() == "swallowed"
    assert repr(taken[2].error()) == "ValueError('instead')"


def test_a_call_that_cancels_itself_has_failed_and_was_not_stopped(worker: Worker) -> None:
    worker.send(coroutine(1, F["cancelled_by_itself"]))
    error = worker.answer().error()
    assert type(error) is TaskExited
    assert "raised asyncio.CancelledError, though nobody cancelled the call" in str(error)


@pytest.mark.parametrize("how", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_what_would_end_the_loop_ends_one_call(
    worker: Worker, whistle: Callable[[], Whistle], how: BaseException
) -> None:
    began, ended = whistle(), whistle()
    worker.send(coroutine(1, F["wait_for_ever"], began.path, ended.path))
    began.wait()
    worker.send(coroutine(2, F["fail"], how))
    error = worker.answer().error()
    assert type(error) is TaskExited
    assert type(error.__cause__) is type(how)
    worker.send(coroutine(3, F["double"], 3))
    assert worker.answer().result() == 6
    assert not ended.was_blown()


@pytest.mark.parametrize(
    ("fn", "args", "message"),
    [
        ("fail", (ValueError("mine"),), "ValueError('mine')"),
        ("fail", (StopAsyncIteration(),), "RuntimeError("),
        ("double", (), "TypeError("),
    ],
)
def test_a_failure_is_answered_and_hurts_nothing(
    worker: Worker, fn: str, args: tuple[Any, ...], message: str
) -> None:
    worker.send(coroutine(1, F[fn], *args), coroutine(2, F["double"], 2))
    taken = answers(worker, 2)
    assert repr(taken[1].error()).startswith(message)
    assert taken[2].result() == 4


def test_what_cannot_travel_is_told(worker: Worker) -> None:
    worker.send(wire.pack(wire.COROUTINE, 1, 0, b"no pickle"), coroutine(2, F["unsendable"]))
    taken = answers(worker, 2)
    assert "invalid load key" in str(taken[1].error())
    assert taken[2].kind == wire.UNSENDABLE
    assert parcel.loads(taken[2].payload)[0] == "result['loop'][0]"
    worker.send(coroutine(3, F["double"], 3))
    assert worker.answer().result() == 6


def test_what_cannot_be_awaited_is_a_failure(worker: Worker) -> None:
    worker.send(coroutine(1, abs, -1))
    said = str(worker.answer().error())
    assert "can't be used in 'await' expression" in said or "can't be awaited" in said


def test_a_function_may_be_defined_in_between(worker: Worker) -> None:
    def define(fn: Any) -> bytes:
        return wire.pack(wire.DEFINE, 0, 7, parcel.dumps(fn))

    def named(number: int, *args: Any) -> bytes:
        return wire.pack(wire.COROUTINE, number, 7, parcel.dumps((args, {})))

    worker.send(define(F["double"]), named(1, 5), define(F["meet"]), named(2, 1))
    taken = answers(worker, 2)
    assert (taken[1].result(), taken[2].result()) == (10, 1)


def test_the_loop_answers_a_ping_while_it_turns(worker: Worker, whistle: Callable[[], Whistle]) -> None:
    began, ended = whistle(), whistle()
    worker.send(coroutine(1, F["wait_for_ever"], began.path, ended.path), wire.pack(wire.PING, 1, 0))
    answer = worker.answer()
    assert (answer.kind, answer.number) == (wire.PONG, 1)


def test_a_loop_that_does_not_turn_answers_no_ping(worker: Worker, whistle: Callable[[], Whistle]) -> None:
    began = whistle()
    worker.send(coroutine(1, F["hogs"], began.path))
    began.wait()
    worker.send(wire.pack(wire.PING, 1, 0))
    assert not worker.has_answered()


def test_an_interrupt_does_not_hit_a_coroutine(worker: Worker, whistle: Callable[[], Whistle]) -> None:
    began, ended = whistle(), whistle()
    worker.send(coroutine(1, F["wait_for_ever"], began.path, ended.path))
    began.wait()
    worker.interrupt(1)
    worker.send(coroutine(2, F["double"], 2))
    assert worker.answer().result() == 4
    assert not ended.was_blown()


def test_calls_and_coroutines_take_turns_and_the_loop_stays_the_same(worker: Worker) -> None:
    loops = set()
    for number in range(1, 40, 4):
        worker.send(coroutine(number, F["loop_and_task"]))
        loop, has_task = worker.answer().result()
        assert has_task
        loops.add(loop)
        worker.allow(number + 2)
        worker.send(call(number + 1, abs, -1), ahead(number + 2, abs, -2), ahead(number + 3, abs, -3))
        assert [worker.answer().number for _ in range(2)] == [number + 1, number + 2]
    assert len(loops) == 1


def test_a_large_call_after_a_coroutine_arrives_whole(worker: Worker) -> None:
    worker.send(coroutine(1, F["double"], 1))
    assert worker.answer().result() == 2
    data = bytes(range(256)) * 8000
    worker.send(call(2, bytes, data))
    assert worker.answer().result() == data
    worker.send(coroutine(3, F["double"], data))
    assert worker.answer().result() == data * 2


def test_a_coroutine_that_forks_is_answered_once(worker: Worker) -> None:
    worker.send(coroutine(1, F["forks"]))
    assert worker.answer().result() == "from the worker"
    worker.send(coroutine(2, F["double"], 2))
    assert worker.answer().result() == 4


AT_EXIT = "import atexit, pathlib; atexit.register(lambda: pathlib.Path(path).write_bytes(b'!'))"


@pytest.mark.parametrize("how", ["quit", "end of file"])
def test_the_end_cancels_what_runs_and_runs_the_exit_hooks(
    worker: Worker, whistle: Callable[[], Whistle], how: str
) -> None:
    leaving, began, ended = whistle(), whistle(), whistle()
    worker.call(1, exec, AT_EXIT, {"path": leaving.path})
    worker.send(coroutine(2, F["wait_for_ever"], began.path, ended.path))
    began.wait()
    if how == "quit":
        worker.send(wire.pack(wire.QUIT, 0, 0))
        assert type(worker.answer().error()) is TaskExited
    else:
        worker.hang_up()
    assert worker.exitcode() == 0
    assert ended.was_blown()
    assert leaving.was_blown() is (how == "quit")  # nobody hears of an answer then, which ends it at once


def test_an_idle_loop_quits_in_order(worker: Worker, whistle: Callable[[], Whistle]) -> None:
    leaving = whistle()
    worker.call(1, exec, AT_EXIT, {"path": leaving.path})
    worker.send(coroutine(2, F["double"], 1))
    assert worker.answer().result() == 2
    worker.send(wire.pack(wire.QUIT, 0, 0))
    assert worker.exitcode() == 0
    assert leaving.was_blown()


def test_a_worker_that_has_served_both_kinds_closes_its_loop_before_it_goes(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("""
import hybridrt

async def waits():
    return 1

async def main():
    assert await hybridrt.to_process(waits) + await hybridrt.to_process(abs, -1) == 2

hybridrt.run(main, processes=1)
""")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")  # an open loop would be a ResourceWarning there
