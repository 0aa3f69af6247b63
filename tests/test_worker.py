"""A worker runs each call of its own once and answers it before the next one; an interrupt hits its own call alone."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from by_hand import PATIENCE, Whistle, Worker, Zygote, ahead, call, coroutine, is_readable

from hybridrt import TaskExited
from hybridrt._engine import parcel, wire


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote("cloudpickle")
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
    """A new one for each call."""
    made: list[Whistle] = []

    def make() -> Whistle:
        made.append(Whistle(tmp_path / f"whistle{len(made)}"))
        return made[-1]

    yield make
    for one in made:
        one.close()


def wait_between(began: str, go_on: str) -> str:
    """Say that it has begun, and wait for a sign to end."""
    with open(began, "wb", 0) as pipe:
        pipe.write(b"!")
    with open(go_on, "rb", 0) as pipe:
        pipe.read(1)
    return "went on"


def by_value(fn: Callable[..., Any]) -> Callable[..., Any]:
    """``fn`` as if it were a script's: a worker that imported this file would import pytest."""
    return type(fn)(fn.__code__, {"__name__": "__main__", "__builtins__": __builtins__}, fn.__name__)


waits = by_value(wait_between)


class Busy:
    """The worker at work on a call, until it is told to go on."""

    def __init__(self, worker: Worker, whistle: Callable[[], Whistle], number: int = 1) -> None:
        self._worker = worker
        self._go_on = whistle()
        began = whistle()
        worker.send(call(number, waits, began.path, self._go_on.path))
        began.wait()

    def go_on(self) -> None:
        self._go_on.blow()


# calls


def test_a_call_is_answered_with_its_result_and_the_time_it_took(worker: Worker) -> None:
    answer = worker.call(2**40, divmod, 7, 2)
    assert answer.result() == (3, 1)
    assert 0 < answer.extra < 10_000_000
    worker.send(wire.pack(wire.CALL, 3, 0, parcel.dumps((sorted, ([1, 3, 2],), {"reverse": True}))))
    assert worker.answer().result() == [3, 2, 1]


def test_calls_are_answered_in_their_order(worker: Worker) -> None:
    worker.send(*[call(number, abs, -number) for number in range(1, 200)])
    answers = [worker.answer() for _ in range(1, 200)]
    assert [(a.number, a.result()) for a in answers] == [(n, n) for n in range(1, 200)]


def test_an_answer_leaves_before_the_next_call_begins(worker: Worker) -> None:
    worker.send(call(1, abs, -1), call(2, os._exit, 5))
    assert worker.answer().result() == 1
    assert worker.channel.recv(1) == b""
    assert worker.exitcode() == 5


@pytest.mark.parametrize("size", [0, 1, 65_515, 65_536, 3_000_000])
def test_arguments_and_results_of_any_size_cross(worker: Worker, size: int) -> None:
    data = random.Random(size).randbytes(size)
    worker.send(call(1, bytes, data), call(2, abs, -2))
    assert worker.answer().result() == data
    assert worker.answer().result() == 2


def test_a_failure_is_answered_and_hurts_nothing(worker: Worker) -> None:
    error = worker.call(1, int, "x").error()
    assert type(error) is ValueError
    assert "invalid literal" in str(error)
    assert worker.call(2, abs, -2).result() == 2


def test_a_traceback_shows_the_users_frames_only(worker: Worker) -> None:
    def inner() -> None:
        raise LookupError("in here")

    def outer() -> None:
        inner()

    error = worker.call(1, outer).error()
    names = []
    tb = error.__traceback__
    while tb:
        names.append(tb.tb_frame.f_code.co_name)
        tb = tb.tb_next
    assert names == ["outer", "inner"]


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("raise SystemExit(3)", SystemExit),
        ("raise KeyboardInterrupt", KeyboardInterrupt),
        ("raise GeneratorExit", GeneratorExit),
        ("import asyncio; raise asyncio.CancelledError", None),
    ],
)
def test_what_would_end_an_interpreter_ends_the_call_alone(
    worker: Worker, code: str, cause: type[BaseException] | None
) -> None:
    error = worker.call(1, exec, code, {}).error()
    assert type(error) is TaskExited
    assert cause is None or type(error.__cause__) is cause
    assert worker.call(2, abs, -2).result() == 2


def test_arguments_that_explode_are_this_calls_failure(worker: Worker) -> None:
    class Explodes:
        def __reduce__(self) -> Any:
            return int, ("not a number",)

    assert "not a number" in str(worker.call(1, abs, Explodes()).error())
    worker.send(wire.pack(wire.CALL, 2, 0, b"no pickle"))
    assert repr(worker.answer().error()) == """UnpicklingError("invalid load key, 'n'.")"""
    assert worker.call(3, abs, -2).result() == 2


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: threading.Lock(), "result"),
        (lambda: {"rows": [1, threading.Lock()]}, "result['rows'][1]"),
        (lambda: (n for n in range(3)), "result"),
    ],
)
def test_a_result_that_cannot_travel_is_named(worker: Worker, make: Callable[[], object], where: str) -> None:
    answer = worker.call(1, make)
    assert answer.kind == wire.UNSENDABLE
    told, reason = parcel.loads(answer.payload)
    assert told == where
    assert reason.startswith(f"{where}: ")
    assert worker.call(2, abs, -2).result() == 2


def test_no_worker_loads_asyncio_for_a_plain_call(worker: Worker) -> None:
    assert worker.call(1, eval, "'asyncio' in __import__('sys').modules").result() is False


def test_what_a_call_prints_disturbs_nothing(worker: Worker, capfd: pytest.CaptureFixture[str]) -> None:
    code = "import os; os.write(1, b'\\0' * 100); os.write(2, b'\\0' * 100)"
    assert worker.call(1, exec, code, {}).kind == wire.RESULT
    assert worker.call(2, abs, -2).result() == 2
    capfd.readouterr()


def test_ctrl_c_is_not_the_workers_business(worker: Worker, whistle: Callable[[], Whistle]) -> None:
    busy = Busy(worker, whistle)
    worker.signal(signal.SIGINT)
    busy.go_on()
    assert worker.answer().result() == "went on"


# functions by number


def define(number: int, fn: Any) -> bytes:
    return wire.pack(wire.DEFINE, 0, number, parcel.dumps(fn))


def named(number: int, function: int, *args: Any, kind: int = wire.CALL) -> bytes:
    return wire.pack(kind, number, function, parcel.dumps((args, {})))


def test_a_function_is_called_by_its_number_until_it_is_defined_anew(worker: Worker) -> None:
    worker.send(define(7, abs), define(8, lambda x: x * 10), named(1, 7, -3), named(2, 8, -3))
    worker.send(define(7, str), named(3, 7, -3), named(4, 8, 1))
    assert [worker.answer().result() for _ in range(4)] == [3, -30, "-3", 10]


def test_a_function_that_is_forgotten_is_let_go(worker: Worker) -> None:
    def make() -> Any:
        import sys

        def fn() -> None: ...

        class Tells:
            def __del__(self) -> None:
                sys.was_let_go = True  # type: ignore[attr-defined]

        fn.attribute = Tells()  # type: ignore[attr-defined]
        return fn

    was_let_go = "getattr(__import__('sys'), 'was_let_go', False)"
    worker.send(define(7, make()), named(1, 7))
    assert worker.answer().result() is None
    assert worker.call(1, eval, was_let_go).result() is False
    worker.send(wire.pack(wire.FORGET, 0, 7), wire.pack(wire.FORGET, 0, 99))
    assert worker.call(2, eval, f"__import__('gc').collect() and 0 or {was_let_go}").result() is True
    worker.send(define(7, abs), named(3, 7, -1))
    assert worker.answer().result() == 1


def test_a_function_that_cannot_be_loaded_fails_each_call_of_it_alike(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "hybridrt_tests_broken.py").write_text("def fn(): ...\n1 / 0")
    worker.send(wire.pack(wire.PATH, 0, 0, parcel.dumps([str(tmp_path), *sys.path])))
    worker.send(wire.pack(wire.DEFINE, 0, 7, b"chybridrt_tests_broken\nfn\n."))
    worker.send(*[named(number, 7) for number in (1, 2, 3)])
    errors = [worker.answer().error() for _ in range(3)]
    assert [type(error) for error in errors] == [ZeroDivisionError] * 3
    depths = []
    for error in errors:
        tb, depth = error.__traceback__, 0
        while tb:
            tb, depth = tb.tb_next, depth + 1
        depths.append(depth)
    assert depths[0] == depths[1] == depths[2]
    worker.send(define(7, abs), named(4, 7, -1))
    assert worker.answer().result() == 1


def test_the_path_is_the_parents(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "hybridrt_tests_found.py").write_text("def fn(): return 'found'")
    worker.send(wire.pack(wire.PATH, 0, 0, parcel.dumps([*sys.path, str(tmp_path)])))
    worker.send(wire.pack(wire.DEFINE, 0, 7, b"chybridrt_tests_found\nfn\n."), named(1, 7))
    assert worker.answer().result() == "found"


# calls written ahead


def test_a_call_ahead_runs_with_its_token_only(worker: Worker) -> None:
    worker.allow(2)
    worker.send(call(1, abs, -1), ahead(2, abs, -2), ahead(3, abs, -3), call(4, abs, -4))
    assert [worker.answer().number for _ in range(3)] == [1, 2, 4]
    assert worker.take_back() == []


def test_a_number_beyond_32_bits_has_its_token(worker: Worker) -> None:
    number = (5 << 32) + 7
    worker.allow(number)
    worker.send(ahead(number, abs, -2))
    assert worker.answer().number == number


def test_what_is_taken_back_while_the_worker_is_busy_is_not_run(
    worker: Worker, whistle: Callable[[], Whistle]
) -> None:
    busy = Busy(worker, whistle)
    worker.allow(2, 3)
    worker.send(ahead(2, os._exit, 2), ahead(3, os._exit, 3))
    assert worker.take_back() == [2, 3]
    busy.go_on()
    assert worker.answer().number == 1
    assert worker.call(4, abs, -4).result() == 4


def test_a_token_for_a_later_call_is_kept_for_it(worker: Worker, whistle: Callable[[], Whistle]) -> None:
    busy = Busy(worker, whistle)
    worker.allow(2)
    worker.send(ahead(2, os._exit, 2))
    assert worker.take_back() == [2]
    worker.allow(3, 4)
    worker.send(ahead(3, abs, -3))
    busy.go_on()
    assert [worker.answer().number for _ in range(2)] == [1, 3]  # at 2 it drew the token of 3
    worker.send(call(9, abs, -9))
    assert worker.answer().number == 9
    worker.send(ahead(4, abs, -4))
    assert worker.answer().number == 4


def test_a_call_taken_back_and_given_again_runs_once(worker: Worker, whistle: Callable[[], Whistle]) -> None:
    for again in itertools.permutations([2, 3, 4]):
        busy = Busy(worker, whistle)
        worker.allow(2, 3, 4)
        worker.send(*[ahead(number, abs, -number) for number in (2, 3, 4)])
        assert worker.take_back() == [2, 3, 4]
        worker.allow(*again)
        worker.send(*[ahead(number, abs, -number) for number in again])
        busy.go_on()
        assert sorted(worker.answer().number for _ in range(4)) == [1, 2, 3, 4]
        assert worker.call(9, abs, -9).number == 9  # and nothing more came before it


def test_a_call_taken_back_and_given_again_at_once_runs_once(
    worker: Worker, whistle: Callable[[], Whistle]
) -> None:
    busy = Busy(worker, whistle)
    worker.allow(2, 3)
    worker.send(ahead(2, abs, -2), ahead(3, abs, -3))
    assert worker.take_back() == [2, 3]
    worker.send(call(3, abs, -30))  # no token: for a worker that has nothing else, as the parent sees it
    worker.allow(2)
    worker.send(ahead(2, abs, -20))
    busy.go_on()
    answers = {answer.number: answer for answer in (worker.answer() for _ in range(3))}
    assert [answers[number].result() for number in (1, 2, 3)] == [
        "went on",
        2,
        30,
    ]  # 2 had its token at the first
    assert worker.call(9, abs, -9).number == 9


@pytest.mark.parametrize("seed", range(4))
def test_no_call_is_lost_or_run_twice_while_both_sides_grab_for_tokens(
    worker: Worker, seed: int, tmp_path: Path
) -> None:
    """The parent takes back at any moment what the worker is about to start, and gives it out again."""
    rng = random.Random(seed)
    ledger = tmp_path / "ledger"

    def note(path: str, number: int) -> int:
        import os

        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, b"%d\n" % number)
        os.close(fd)
        return number

    worker.send(define(1, note))
    waiting = list(range(1, 301))
    held: list[int] = []  # as the crew sees the worker
    answered: list[int] = []
    while waiting or held:
        if waiting and len(held) < 8:
            batch = [waiting.pop(0) for _ in range(min(len(waiting), rng.randint(1, 6)))]
            frames = []
            if not held:
                frames.append(named(batch[0], 1, str(ledger), batch[0]))
            rest = batch[len(frames) :]
            frames += [named(n, 1, str(ledger), n, kind=wire.AHEAD) for n in rest]
            worker.allow(*rest)
            worker.send(*frames)
            held += batch
        if rng.random() < 0.6:
            taken = worker.take_back()
            if taken:
                again = held[-len(taken) :]
                del held[-len(taken) :]
                assert again == taken
                rng.shuffle(again)
                waiting[:0] = again
        while held and (worker.has_answered() or rng.random() < 0.3 or not waiting):
            number = worker.answer().result()
            held.remove(number)
            answered.append(number)
    assert sorted(answered) == list(range(1, 301))
    assert sorted(map(int, ledger.read_text().split())) == list(range(1, 301))


# interrupts


def blocks(began: str, ended: str) -> None:
    import signal

    try:
        with open(began, "wb", 0) as pipe:
            pipe.write(b"!")
        while True:
            signal.pause()
    finally:
        with open(ended, "wb", 0) as pipe:
            pipe.write(b"!")


def spins(began: str, ended: str) -> None:
    try:
        with open(began, "wb", 0) as pipe:
            pipe.write(b"!")
        while True:
            pass
    finally:
        with open(ended, "wb", 0) as pipe:
            pipe.write(b"!")


def handles(began: str, ended: str) -> None:
    """Is interrupted while it handles an exception of its own."""
    import signal

    try:
        raise ValueError("its own")
    except ValueError:
        with open(began, "wb", 0) as pipe:
            pipe.write(b"!")
        while True:
            signal.pause()
    finally:
        with open(ended, "wb", 0) as pipe:
            pipe.write(b"!")


@pytest.mark.parametrize("fn", [blocks, spins, handles])
def test_an_interrupt_stops_the_running_call_through_its_finally(
    worker: Worker, whistle: Callable[[], Whistle], fn: Callable[..., Any]
) -> None:
    for number in (1, 2):  # twice, because it disarms itself
        began, ended = whistle(), whistle()
        worker.send(call(number, by_value(fn), began.path, ended.path))
        began.wait()
        worker.interrupt(number)
        answer = worker.answer()
        assert (answer.kind, answer.number, answer.payload) == (wire.STOPPED, number, b"")
        assert ended.was_blown()
    assert worker.call(3, abs, -3).result() == 3


def test_an_interrupt_stops_a_call_written_ahead_as_well(
    worker: Worker, whistle: Callable[[], Whistle]
) -> None:
    began, ended = whistle(), whistle()
    worker.allow(2)
    worker.send(call(1, abs, -1), ahead(2, by_value(blocks), began.path, ended.path))
    assert worker.answer().number == 1
    began.wait()
    worker.interrupt(2)
    assert worker.answer().kind == wire.STOPPED


def test_an_interrupt_for_another_call_leaves_this_one_alone(
    worker: Worker, whistle: Callable[[], Whistle]
) -> None:
    busy = Busy(worker, whistle, number=5)
    for number in (4, 6, 5 + (1 << 32)):
        worker.interrupt(number)
    busy.go_on()
    assert worker.answer().result() == "went on"
    assert worker.call(7, abs, -7).result() == 7


def test_an_interrupt_that_comes_too_late_hurts_nobody(worker: Worker) -> None:
    assert worker.call(1, abs, -1).result() == 1
    worker.interrupt(1)
    assert [worker.call(number, abs, -number).result() for number in (2, 3)] == [2, 3]


def test_an_interrupt_that_comes_before_its_call_stops_it_when_it_comes(
    worker: Worker, whistle: Callable[[], Whistle]
) -> None:
    busy = Busy(worker, whistle, number=1)
    worker.interrupt(3)
    worker.send(call(2, abs, -2), call(3, os._exit, 3), call(4, abs, -4))
    busy.go_on()
    assert [(a.number, a.kind) for a in (worker.answer() for _ in range(4))] == [
        (1, wire.RESULT),
        (2, wire.RESULT),
        (3, wire.STOPPED),
        (4, wire.RESULT),
    ]


def test_a_call_that_swallows_the_interrupt_is_not_interrupted_again(
    worker: Worker, whistle: Callable[[], Whistle]
) -> None:
    def swallows(began: str, swallowed: str, go_on: str) -> list[str]:
        import signal

        seen = []
        try:
            with open(began, "wb", 0) as pipe:
                pipe.write(b"!")
            while True:
                signal.pause()
        except BaseException as exc:
            seen.append(type(exc).__name__)
        with open(swallowed, "wb", 0) as pipe:
            pipe.write(b"!")
        with open(go_on, "rb", 0) as pipe:
            pipe.read(1)
        return seen

    began, swallowed, go_on = whistle(), whistle(), whistle()
    worker.send(call(1, swallows, began.path, swallowed.path, go_on.path))
    began.wait()
    worker.interrupt(1)
    swallowed.wait()
    worker.interrupt(1)
    go_on.blow()
    assert worker.answer().result() == ["Interrupted"]


def test_a_call_may_raise_what_it_was_interrupted_with_into_something_else(
    worker: Worker, whistle: Callable[[], Whistle]
) -> None:
    def turns(began: str) -> None:
        import signal

        try:
            with open(began, "wb", 0) as pipe:
                pipe.write(b"!")
            while True:
                signal.pause()
        except BaseException:
            raise ValueError("instead") from None

    began = whistle()
    worker.send(call(1, turns, began.path))
    began.wait()
    worker.interrupt(1)
    assert repr(worker.answer().error()) == "ValueError('instead')"
    assert worker.call(2, abs, -2).result() == 2


def test_a_storm_of_interrupts_stops_only_the_calls_that_it_names(worker: Worker) -> None:
    """Signals land anywhere in the engine: what counts is that each call has one answer, and a right one."""
    rng = random.Random(0)
    previous = 0
    for number in range(1, 400):
        worker.send(call(number, sum, range(rng.choice([1, 10, 3000]))))
        unwanted = rng.choice([number - 1, number, number + 1])
        for _ in range(rng.randint(0, 3)):
            worker.interrupt(unwanted)
        answer = worker.answer()
        assert answer.number == number
        if answer.kind == wire.STOPPED:
            assert number in (unwanted, previous)
        else:
            answer.result()
        previous = unwanted
    assert not worker.has_answered()
    assert worker.call(1000, abs, -1).result() == 1


# what it started


def test_the_call_that_was_started_last_is_told(worker: Worker, whistle: Callable[[], Whistle]) -> None:
    assert worker.box.started == 0
    busy = Busy(worker, whistle, number=2**40)
    worker.allow(2, 3)
    worker.send(ahead(2, abs, -2), ahead(3, abs, -3), ahead(4, abs, -4))
    assert worker.box.started == 2**40
    busy.go_on()
    assert {worker.answer().number for _ in range(3)} == {2**40, 2, 3}
    assert worker.box.started == 3  # 4 has no token


def test_the_call_that_a_worker_died_of_is_told(worker: Worker) -> None:
    worker.allow(2, 3)
    worker.send(call(1, abs, -1), ahead(2, os._exit, 5), ahead(3, abs, -3))
    assert worker.exitcode() == 5
    assert worker.box.started == 2
    assert worker.answer().number == 1


# the end


def test_the_end_of_the_channel_is_the_end_of_an_idle_worker(worker: Worker) -> None:
    worker.call(1, abs, -1)
    worker.hang_up()
    assert worker.exitcode() == 0


def test_the_end_of_the_channel_ends_a_busy_worker_after_its_call(
    worker: Worker, whistle: Callable[[], Whistle]
) -> None:
    busy = Busy(worker, whistle)
    worker.hang_up()
    busy.go_on()
    assert worker.exitcode() == 0


def test_half_a_frame_is_no_call(worker: Worker) -> None:
    worker.channel.sendall(call(1, os._exit, 9)[:-1])
    worker.hang_up()
    assert worker.exitcode() == 0


AT_EXIT = "import atexit, pathlib; atexit.register(lambda: pathlib.Path(path).write_bytes(b'!'))"


def test_quit_runs_the_exit_hooks(worker: Worker, whistle: Callable[[], Whistle]) -> None:
    leaving = whistle()
    worker.call(1, exec, AT_EXIT, {"path": leaving.path})
    worker.send(wire.pack(wire.QUIT, 0, 0), call(2, os._exit, 9))
    assert worker.exitcode() == 0
    assert leaving.was_blown()


def test_a_hook_that_fails_is_no_crash(worker: Worker, capfd: pytest.CaptureFixture[str]) -> None:
    worker.call(1, exec, "import atexit; atexit.register(lambda: 1 / 0)", {})
    worker.send(wire.pack(wire.QUIT, 0, 0))
    assert worker.exitcode() == 0
    assert is_readable(worker.pidfd, PATIENCE)
    capfd.readouterr()


def test_a_crash_leaves_the_stack_in_the_box(worker: Worker) -> None:
    def breaks() -> None:
        import ctypes

        ctypes.string_at(0)

    worker.send(call(1, breaks))
    assert worker.exitcode() == -signal.SIGSEGV
    assert "in breaks" in worker.box.stack()


def test_a_call_that_forks_is_answered_once(worker: Worker) -> None:
    def forks() -> str:
        import os

        pid = os.fork()
        if pid == 0:
            return "from the child"
        assert os.waitpid(pid, 0)[1] == 0
        return "from the worker"

    assert worker.call(1, forks).result() == "from the worker"
    assert worker.call(2, abs, -2).result() == 2
    assert not worker.has_answered()


def test_a_child_that_raises_is_not_heard_either(worker: Worker) -> None:
    def forks() -> str:
        import os

        pid = os.fork()
        if pid == 0:
            raise ValueError("from the child")
        assert os.waitpid(pid, 0)[1] == 0
        return "from the worker"

    worker.send(call(1, forks), call(2, abs, -2))
    assert worker.answer().result() == "from the worker"
    assert worker.answer().result() == 2


def test_a_call_that_closes_every_descriptor_ends_its_worker_alone(
    worker: Worker, zygote: Zygote, capfd: pytest.CaptureFixture[str]
) -> None:
    other = zygote.fork()
    worker.send(call(1, os.closerange, 0, 1000))
    assert worker.channel.recv(1) == b""
    assert worker.exitcode() is not None
    assert other.call(1, abs, -1).result() == 1
    other.close()
    capfd.readouterr()


def test_a_worker_goes_from_coroutines_to_calls_and_ahead_of_them(worker: Worker) -> None:
    async def later(x: int) -> int:
        return x

    worker.send(coroutine(1, later, 10))
    assert worker.answer().result() == 10
    worker.allow(3)
    worker.send(call(2, abs, -2), ahead(3, abs, -3), ahead(4, os._exit, 4), coroutine(5, later, 50))
    assert [worker.answer().result() for _ in range(3)] == [2, 3, 50]
