"""The desk knows functions by number, writes each answer whole, and lets no forked child answer in its name."""

from __future__ import annotations

import os
import random
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import pytest
from by_hand import PATIENCE

from hybridrt._engine import failure, parcel, wire
from hybridrt._engine.desk import Desk
from hybridrt._engine.ring import FOOTPRINT, Ring


class Ended(BaseException):
    """In place of the end of this process."""


@pytest.fixture
def ends() -> Iterator[tuple[Desk, socket.socket]]:
    """A desk and the parent's end of its channel."""
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    with ours, theirs:
        yield Desk(theirs, Ring(memoryview(bytearray(FOOTPRINT)))), ours


@pytest.fixture
def desk(ends: tuple[Desk, socket.socket]) -> Desk:
    return ends[0]


@pytest.fixture
def far(ends: tuple[Desk, socket.socket]) -> socket.socket:
    return ends[1]


def frame(kind: int, extra: int = 0, payload: bytes = b"", number: int = 1) -> wire.Frame:
    return wire.Frame(kind, number, extra, memoryview(payload))


def define(number: int, fn: Any) -> wire.Frame:
    return frame(wire.DEFINE, number, parcel.dumps(fn))


def read_answer(channel: socket.socket) -> tuple[int, int, int, bytes]:
    reader = wire.FrameReader()
    while (answer := reader.next_frame()) is None:
        count = channel.recv_into(reader.room())
        assert count
        reader.filled(count)
    return answer.kind, answer.number, answer.extra, bytes(answer.payload)


def test_it_reads_what_is_there_and_tells_the_end(desk: Desk, far: socket.socket) -> None:
    far.sendall(wire.pack(wire.CALL, 5, 0, b"payload"))
    assert desk.receive()
    got = desk.reader.next_frame()
    assert got is not None
    assert (got.kind, got.number, bytes(got.payload)) == (wire.CALL, 5, b"payload")
    far.close()
    assert not desk.receive()
    desk.channel.close()
    assert not desk.receive()


def test_only_quit_says_stop(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = ["/somewhere", *sys.path]
    for kind, payload in (
        (wire.DEFINE, parcel.dumps(abs)),
        (wire.FORGET, b""),
        (wire.PATH, parcel.dumps(path)),
        (wire.CANCEL, b""),
        (wire.PING, b""),
    ):
        assert desk.note(frame(kind, 7, payload)) is True
    assert sys.path == path
    assert desk.note(frame(wire.QUIT)) is False


def test_a_call_names_its_function_or_brings_it(desk: Desk) -> None:
    desk.note(define(7, divmod))
    assert desk.unpack_call(frame(wire.CALL, 7, parcel.dumps(((7, 2), {"a": 1})))) == (
        divmod,
        (7, 2),
        {"a": 1},
    )
    assert desk.unpack_call(frame(wire.CALL, 0, parcel.dumps((abs, (1,), {})))) == (abs, (1,), {})


def test_a_function_is_what_it_was_defined_as_last(desk: Desk) -> None:
    for fn in (abs, divmod):
        desk.note(define(7, fn))
        assert desk.unpack_call(frame(wire.CALL, 7, parcel.dumps(((), {}))))[0] is fn
    desk.note(frame(wire.FORGET, 7))
    with pytest.raises(KeyError):
        desk.unpack_call(frame(wire.CALL, 7, parcel.dumps(((), {}))))


def test_a_function_that_cannot_be_loaded_is_each_callers_error_and_no_heap_of_them(desk: Desk) -> None:
    desk.note(frame(wire.DEFINE, 7, b"cno_such_module\nfn\n."))
    depths = set()
    for _ in range(5):
        with pytest.raises(ModuleNotFoundError, match="no_such_module") as told:
            desk.unpack_call(frame(wire.CALL, 7, parcel.dumps(((), {}))))
        depths.add(len(told.traceback))
    assert len(depths) == 1  # raised again and again, an exception gets a longer traceback each time
    desk.note(define(7, abs))
    assert desk.unpack_call(frame(wire.CALL, 7, parcel.dumps(((), {}))))[0] is abs


@pytest.mark.parametrize("size", [0, 1, (1 << 16) - 1, 1 << 16, 1 << 20])
def test_an_answer_arrives_whole(desk: Desk, far: socket.socket, size: int) -> None:
    payload = random.Random(size).randbytes(size)
    sender = threading.Thread(target=desk.answer, args=(wire.RESULT, 9, perf_counter(), payload))
    sender.start()
    kind, number, micros, got = read_answer(far)
    sender.join(PATIENCE)
    assert (kind, number, got) == (wire.RESULT, 9, payload)
    assert micros < PATIENCE * 1e6


def test_a_very_long_call_has_the_longest_time_that_can_be_told(desk: Desk, far: socket.socket) -> None:
    desk.answer(wire.RESULT, 9, perf_counter() - 10_000, b"")
    assert read_answer(far)[2] == 0xFFFFFFFF


def test_a_forked_child_answers_nothing(
    far: socket.socket, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork of this process, which has threads, would be a risk of its own: test_worker has the real ones."""

    def end(code: int) -> None:
        raise Ended(code)

    told: list[Callable[[], None]] = []
    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(os, "register_at_fork", lambda *, after_in_child: told.append(after_in_child))
    desk = Desk(desk.channel, Ring(memoryview(bytearray(FOOTPRINT))))
    desk.answer(wire.RESULT, 9, perf_counter(), b"from the worker")
    assert read_answer(far)[3] == b"from the worker"
    for in_child in told:
        in_child()
    with pytest.raises(Ended, match=r"^0$"):
        desk.answer(wire.RESULT, 9, perf_counter(), b"from the child")
    far.setblocking(False)
    with pytest.raises(BlockingIOError):
        far.recv(1)


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_an_answer_that_nobody_hears_ends_the_worker(
    desk: Desk, far: socket.socket, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    far.close()
    with pytest.raises(Ended, match=r"^0$"):
        desk.answer(wire.RESULT, 9, perf_counter(), bytes(size))


def test_a_result_that_cannot_be_pickled_is_named(desk: Desk) -> None:
    assert desk.pack_result([1, 2]) == (wire.RESULT, parcel.dumps([1, 2]))
    kind, payload = desk.pack_result({"a": [threading.Lock()]})
    where, reason = parcel.loads(payload)
    assert (kind, where) == (wire.UNSENDABLE, "result['a'][0]")
    assert "lock" in reason


def test_a_result_that_stops_the_pickler_for_good_is_not_taken_for_unsendable(desk: Desk) -> None:
    class Exits:
        def __reduce__(self) -> Any:
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        desk.pack_result(Exits())


def test_a_failure_comes_back_to_life(desk: Desk) -> None:
    kind, payload = desk.pack_failure(ValueError("mine"))
    assert kind == wire.FAILED
    assert repr(failure.unpack(payload, loads=parcel.loads)) == "ValueError('mine')"
