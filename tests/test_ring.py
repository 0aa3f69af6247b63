"""Frames that one side puts into the ring come out at the other, whole, in order, once."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Iterator
from mmap import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridrt._engine.ring import FOOTPRINT, SIZE, Ring


@pytest.fixture
def ends() -> tuple[Ring, Ring]:
    memory = memoryview(bytearray(FOOTPRINT))
    return Ring(memory), Ring(memory)


def test_it_is_empty_at_first(ends: tuple[Ring, Ring]) -> None:
    _, reader = ends
    assert reader.is_empty()
    assert reader.take() == b""


def test_what_is_put_in_is_taken_once(ends: tuple[Ring, Ring]) -> None:
    writer, reader = ends
    assert writer.put(b"one")
    assert writer.put(b"two")
    assert not reader.is_empty()
    assert reader.take() == b"onetwo"
    assert reader.is_empty()
    assert reader.take() == b""


def test_what_does_not_fit_is_refused_whole_until_there_is_room(ends: tuple[Ring, Ring]) -> None:
    writer, reader = ends
    assert writer.put(bytes(SIZE - 1))
    assert not writer.put(b"xy")
    assert writer.put(b"z")
    assert not writer.put(b"!")
    assert reader.take() == bytes(SIZE - 1) + b"z"
    assert writer.put(b"xy")
    assert reader.take() == b"xy"
    assert not writer.put(bytes(SIZE + 1))


@given(st.lists(st.one_of(st.integers(1, 3 * SIZE // 4), st.none())))
def test_any_order_of_puts_and_takes_loses_nothing(steps: list[int | None]) -> None:
    memory = memoryview(bytearray(FOOTPRINT))
    writer, reader = Ring(memory), Ring(memory)
    put = taken = b""
    for n, step in enumerate(steps):
        if step is None:
            taken += reader.take()
            assert taken == put
        else:
            data = random.Random(n).randbytes(step)
            if writer.put(data):
                put += data
            else:
                assert len(put) - len(taken) + step > SIZE
    assert taken + reader.take() == put


@pytest.fixture
def shared() -> Iterator[mmap]:
    memory = mmap(-1, FOOTPRINT)
    yield memory
    memory.close()


# Whatever other tests' libraries have started: the child touches this memory only.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_reader_that_looks_while_the_other_process_writes_sees_whole_frames(shared: mmap) -> None:
    count = 20_000
    reader = Ring(memoryview(shared))
    process = multiprocessing.get_context("fork").Process(target=_write, args=(shared, count))
    process.start()
    expected = random.Random(5)
    taken = 0
    data = b""
    while taken < count:
        data = reader.take()
        at = 0
        while at < len(data):
            size = data[at]
            assert data[at : at + size] == bytes([size]) * size
            assert size == expected.randrange(1, 200)
            at += size
            taken += 1
        assert data or process.is_alive() or not reader.is_empty()
    process.join()
    assert process.exitcode == 0
    reader.close()


def _write(shared: mmap, count: int) -> None:
    writer = Ring(memoryview(shared))
    sizes = random.Random(5)
    for _ in range(count):
        size = sizes.randrange(1, 200)
        while not writer.put(bytes([size]) * size):
            pass
    writer.close()


def test_its_memory_can_be_closed_when_both_ends_have_let_go(shared: mmap) -> None:
    ring = Ring(memoryview(shared))
    with pytest.raises(BufferError):
        shared.close()
    ring.close()
    ring.close()
