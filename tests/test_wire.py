"""Frames come out of the stream as they went in, however it is cut into pieces."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridrt._engine import wire
from hybridrt._engine.wire import HEADER_SIZE, FrameReader, pack, pack_header

Message = tuple[int, int, int, bytes]

SMALL = 64
"""Size of a reader's buffer in these tests: a few small frames fill it, and larger ones outgrow it."""

messages = st.tuples(
    st.sampled_from([wire.CALL, wire.AHEAD, wire.DEFINE, wire.RESULT, 255]),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=30) | st.integers(0, 3 * SMALL).map(bytes),
)


def take_all(reader: FrameReader) -> list[Message]:
    taken = []
    while (frame := reader.next_frame()) is not None:
        taken.append((frame.kind, frame.number, frame.extra, bytes(frame.payload)))
    assert reader.next_frame() is None
    return taken


def feed(reader: FrameReader, data: bytes, sizes: list[int]) -> list[Message]:
    """Through ``room()``, at most so many bytes at a time, over and over."""
    taken: list[Message] = []
    at = turn = 0
    while at < len(data):
        room = reader.room()
        assert len(room) > 0
        count = min(sizes[turn % len(sizes)], len(room), len(data) - at)
        room[:count] = data[at : at + count]
        reader.filled(count)
        taken += take_all(reader)
        at += count
        turn += 1
    return taken


@given(st.lists(messages, max_size=12), st.lists(st.integers(1, 200), min_size=1, max_size=8))
def test_frames_survive_any_chunking(sent: list[Message], sizes: list[int]) -> None:
    assert feed(FrameReader(SMALL), b"".join(pack(*message) for message in sent), sizes) == sent


@pytest.mark.parametrize("size", range(1, HEADER_SIZE + 3))
def test_a_header_may_arrive_in_pieces(size: int) -> None:
    sent = [
        (wire.CALL, 1, 2, b"one"),
        (wire.QUIT, 0, 0, b""),
        (wire.RESULT, 2**64 - 1, 2**32 - 1, b"x" * 100),
    ]
    assert feed(FrameReader(SMALL), b"".join(pack(*message) for message in sent), [size]) == sent


@pytest.mark.parametrize("over", range(-2, 3))
def test_a_frame_about_as_large_as_the_buffer(over: int) -> None:
    sent = [(wire.CALL, n, 0, bytes([n]) * (SMALL - HEADER_SIZE + over)) for n in range(1, 6)]
    data = b"".join(pack(*message) for message in sent)
    for sizes in ([1], [7], [SMALL], [10**6]):
        assert feed(FrameReader(SMALL), data, sizes) == sent


def test_a_large_frame_between_small_ones() -> None:
    payload = random.Random(1).randbytes(1 << 20)
    sent = [(wire.CALL, 1, 0, b"before"), (wire.CALL, 2, 0, payload), (wire.CALL, 3, 0, b"after")]
    data = b"".join(pack(*message) for message in sent)
    assert feed(FrameReader(), data, [1 << 16]) == sent
    assert feed(FrameReader(), data, [1000, 1 << 16, 1]) == sent


def test_a_large_frame_is_read_into_a_buffer_of_its_own_and_ends_there() -> None:
    reader = FrameReader(SMALL)
    payload = b"y" * 1000
    data = pack(wire.CALL, 7, 0, payload)
    reader.room()[:SMALL] = data[:SMALL]
    reader.filled(SMALL)
    assert reader.next_frame() is None
    room = reader.room()
    assert len(room) == len(data) - SMALL  # not one byte of the next frame fits
    room[:] = data[SMALL:]
    reader.filled(len(room))
    frame = reader.next_frame()
    assert frame is not None
    assert frame.payload == payload
    assert len(reader.room()) == SMALL


def test_a_payload_is_a_view_and_the_buffer_under_it_is_used_again() -> None:
    reader = FrameReader(SMALL)
    first, second = pack(wire.CALL, 1, 0, b"first"), pack(wire.CALL, 2, 0, b"again")
    kept = []
    for data in (first, second):
        reader.room()[: len(data)] = data
        reader.filled(len(data))
        frame = reader.next_frame()
        assert frame is not None
        kept.append(frame.payload)
        assert bytes(frame.payload) in data
        assert reader.next_frame() is None
    assert kept[0].obj is kept[1].obj
    assert kept[0] == b"again"  # which is why it is to be used before the next frame


def test_views_of_several_frames_read_at_once_do_not_overlap() -> None:
    reader = FrameReader()
    data = b"".join(pack(wire.CALL, n, 0, bytes([n]) * n) for n in range(1, 20))
    reader.room()[: len(data)] = data
    reader.filled(len(data))
    views = []
    while (frame := reader.next_frame()) is not None:
        views.append(frame.payload)
    assert views == [bytes([n]) * n for n in range(1, 20)]


def test_a_reader_that_was_emptied_has_its_whole_buffer_free_again() -> None:
    reader = FrameReader(SMALL)
    for _ in range(10):
        assert len(reader.room()) == SMALL
        data = pack(wire.RESULT, 1, 0, b"abc")
        reader.room()[: len(data)] = data
        reader.filled(len(data))
        assert len(take_all(reader)) == 1


@given(messages)
def test_a_header_alone_announces_the_payload_that_follows(message: Message) -> None:
    kind, number, extra, payload = message
    assert pack_header(len(payload), number, extra, kind) + payload == pack(*message)


def test_every_kind_of_frame_has_a_number_of_its_own() -> None:
    kinds = [
        value
        for name, value in vars(wire).items()
        if name.isupper() and name[0] != "_" and isinstance(value, int)
    ]
    kinds.remove(HEADER_SIZE)
    marks = [wire.AFTER_OUTPUT, wire.CARGO, wire.LARGE]
    for mark in marks:
        kinds.remove(mark)
    assert len(kinds) == len(set(kinds))
    assert max(kinds) < min(marks) and sum(marks) == marks[0] | marks[1] | marks[2] < 256


def test_a_token_is_small_and_names_any_call() -> None:
    assert wire.TOKEN.size == 4
    assert wire.TOKEN.unpack(wire.TOKEN.pack((2**40 + 5) & 0xFFFFFFFF)) == (5,)


@pytest.mark.parametrize("size", [SMALL, wire._MAPPED - HEADER_SIZE - 1, wire._MAPPED, 3 * wire._MAPPED + 5])
def test_a_frame_that_outgrew_the_buffer_is_marked_and_owns_its_memory(size: int) -> None:
    reader = FrameReader(SMALL, mark=wire.LARGE)
    payload = random.Random(size).randbytes(size)
    data = pack(wire.RESULT, 1, 2, payload)
    frames = []
    for piece in (data, pack(wire.RESULT, 2, 0, b"small"), data):
        at = 0
        while at < len(piece):
            room = reader.room()
            assert len(room) <= max(SMALL, 1 << 20), "no more than that in one go"
            count = min(len(room), len(piece) - at)
            room[:count] = piece[at : at + count]
            reader.filled(count)
            at += count
            if (frame := reader.next_frame()) is not None:
                frames.append(frame)
    assert [frame.kind for frame in frames] == [
        wire.RESULT | wire.LARGE,
        wire.RESULT,
        wire.RESULT | wire.LARGE,
    ]
    assert frames[0].payload == frames[2].payload == payload


def test_where_there_is_no_memory_for_a_frame_this_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(wire.mmap, "mmap", refuse)
    reader = FrameReader()
    header = pack_header(1 << 40, 1, 0, wire.RESULT)
    reader.room()[: len(header)] = header
    reader.filled(len(header))
    with pytest.raises(MemoryError):
        reader.next_frame()
