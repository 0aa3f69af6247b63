"""Arenas give out blocks that do not overlap, say what is short, and give back what nobody uses."""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
from collections.abc import Iterator

import pytest

from hybridrt._engine import arenas as room
from hybridrt._engine.arenas import LEAST_ARENA, PAGE, Arena, Arenas, Block, Short
from hybridrt._engine.berth import Berth, Lost
from hybridrt._engine.hatch import Hatch, open_hatch

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there is no memfd here")

MB = 1 << 20


class Shore:
    """A pool, and a berth that sees it as another process would."""

    def __init__(self, most: int = 64 * MB) -> None:
        ours, theirs = open_hatch()
        self.pool = Arenas(most)
        self.hatch = Hatch(ours)
        self.berth = Berth(Hatch(theirs))
        self._told: set[int] = set()
        self.taken: list[Block] = []

    def put(self, data: bytes) -> Block:
        block = self.pool.take(len(data), self.taken)
        self.pool.fill(block, 0, data)
        if block.arena.number not in self._told:
            self._told.add(block.arena.number)
            assert self.hatch.send(block.arena.number, block.arena.size, block.arena.fd)
        return block

    def close(self) -> None:
        self.pool.close()
        self.taken.clear()
        self.hatch.close()
        self.berth.close()
        self.berth.forsake()


@pytest.fixture
def shore() -> Iterator[Shore]:
    shore = Shore()
    yield shore
    shore.close()


@pytest.mark.parametrize("seed", range(5))
def test_blocks_never_overlap_and_all_is_free_in_the_end(seed: int) -> None:
    dice = random.Random(seed)
    pool = Arenas(80 * MB)
    held: list[Block] = []
    try:
        for _ in range(500):
            if held and dice.random() < 0.5:
                pool.let_go(held.pop(dice.randrange(len(held))))
            else:
                try:
                    pool.take(dice.choice([1, PAGE, PAGE + 1, MB, 9 * MB, 20 * MB]), held)
                except Short:
                    pool.let_go(held.pop())
            spans = sorted((b.arena.number, b.offset, b.offset + b.size) for b in held)
            for one, other in itertools.pairwise(spans):
                assert one[0] != other[0] or one[2] <= other[1]
            assert pool.in_use == sum(block.size for block in held)
            assert pool.nbytes <= 80 * MB
        pool.let_all_go(held)
        assert pool.in_use == 0
        assert all(arena.free == [(0, arena.size)] for arena in pool._arenas)
    finally:
        pool.close()


def test_what_was_let_go_is_used_again_and_what_is_referred_to_is_not(shore: Shore) -> None:
    first = shore.put(b"a" * PAGE)
    shore.pool.refer(first)
    shore.pool.let_go(first)
    second = shore.put(b"b" * PAGE)
    assert second.offset == PAGE
    shore.pool.let_go(first)
    assert shore.put(b"c" * PAGE).offset == 0


def test_content_crosses_by_either_way_of_writing(shore: Shore) -> None:
    for content in (b"cold", b"warm"):  # the second goes where the first was
        data = content * 500_000
        block = shore.put(data)
        assert (block.arena.number, block.offset) == (1, 0)
        view = shore.berth.pin(block.key, len(data))
        assert view == data
        assert shore.berth.read(block.key, 4, 8) == content * 2
        room = bytearray(len(data) - 4)
        shore.berth.read_into(block.key, 4, room)
        assert room == data[4:]
        del view
        assert shore.berth.released() == [block.key]
        shore.pool.let_go(block)


def test_a_view_of_a_view_pins_and_the_last_one_releases(shore: Shore) -> None:
    block = shore.put(bytes(range(256)) * 16)
    view = shore.berth.pin(block.key, 4096)
    part = view[10:20].cast("b")[2:]
    del view
    assert shore.berth.pinned == 4096
    assert not shore.berth.has_released
    assert bytes(part) == bytes(range(12, 20))
    del part
    assert shore.berth.pinned == 0
    assert shore.berth.released() == [block.key]
    assert shore.berth.released() == []


def test_views_outlive_everything() -> None:
    shore = Shore()
    block = shore.put(b"x" * 5000)
    view = shore.berth.pin(block.key, 5000)
    shore.close()
    del shore, block
    assert view == b"x" * 5000
    view[:1] = b"y"


def test_a_private_view_is_written_to_alone(shore: Shore) -> None:
    block = shore.put(b"x" * 5000)
    view = shore.berth.pin(block.key, 5000, is_private=True)
    view[:] = b"y" * 5000
    assert shore.berth.pin(block.key, 5000) == b"x" * 5000


def test_the_limit_is_kept_and_told(shore: Shore) -> None:
    shore.put(bytes(40 * MB))
    with pytest.raises(Short, match=f"would go over the limit of {64 * MB}"):
        shore.pool.take(30 * MB, shore.taken)
    assert len(shore.taken) == 1
    shore.put(bytes(20 * MB))


def test_free_memory_of_another_size_makes_room(shore: Shore) -> None:
    """Three arenas of 16 MB are free, and none of them holds 40."""
    blocks = [shore.put(bytes(LEAST_ARENA)) for _ in range(3)]
    for block in blocks:
        shore.pool.let_go(block)
    shore.put(bytes(40 * MB))
    assert shore.pool.nbytes <= 64 * MB


def resident(arena: Arena) -> int:
    return os.stat(arena.fd).st_blocks * 512


@pytest.mark.skipif(sys.platform != "linux", reason="fallocate is Linux's")
def test_idle_memory_goes_back_and_pinned_memory_stays(shore: Shore) -> None:
    low, high = shore.put(b"l" * MB), shore.put(b"h" * 8 * MB)
    arena = low.arena
    assert resident(arena) == 9 * MB
    shore.pool.let_go(high)
    shore.pool.trim(1000.0)
    assert resident(arena) == 9 * MB
    shore.pool.trim(0.0)
    assert resident(arena) == MB
    assert shore.pool.nbytes == MB
    assert shore.berth.read(low.key, 0, MB) == b"l" * MB
    again = shore.put(b"a" * 2 * MB)
    assert shore.berth.read(again.key, 0, 2 * MB) == b"a" * 2 * MB
    shore.pool.let_go(low)
    shore.pool.let_go(again)
    shore.pool.trim(0.0)
    assert resident(arena) == 0


def test_without_memfd_it_is_short(shore: Shore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(Short, match="no memfd_create"):
        shore.pool.take(1, [])


def test_a_write_that_the_system_refuses_is_short(shore: Shore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    block = shore.pool.take(PAGE, shore.taken)
    monkeypatch.setattr(room.os, "pwrite", refuse)
    with pytest.raises(Short, match="No space left on device"):
        shore.pool.fill(block, 0, b"x")


def test_a_closed_pool_gives_nothing_and_keeps_no_descriptor() -> None:
    pool = Arenas(MB)
    pool.take(1, [])
    fd = pool._arenas[0].fd
    pool.close()
    pool.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    with pytest.raises(Short, match="closed"):
        pool.take(1, [])


def test_what_has_not_come_through_the_hatch_is_lost(shore: Shore) -> None:
    with pytest.raises(Lost, match="has not arrived"):
        shore.berth.pin((7, 0), 10)


def test_a_full_hatch_says_so_and_never_waits(shore: Shore) -> None:
    block = shore.put(b"x")
    sent = 0
    while shore.hatch.send(100 + sent, block.arena.size, block.arena.fd):
        sent += 1
        assert sent < 100_000
    assert sent > 50
    shore.berth.take_deliveries()


def test_many_threads_take_fill_and_let_go() -> None:
    pool = Arenas(64 * MB)
    wrong: list[object] = []

    def work(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(200):
            data = bytes([seed]) * dice.randrange(1, 100_000)
            taken: list[Block] = []
            block = pool.take(len(data), taken)
            pool.fill(block, 0, data)
            if os.pread(block.arena.fd, len(data), block.offset) != data:
                wrong.append(seed)
            pool.let_all_go(taken)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert pool.in_use == 0
    pool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="mremap is Linux's")
def test_a_fork_does_not_share_what_is_pinned(shore: Shore) -> None:
    block = shore.put(b"x" * 10_000)
    view = shore.berth.pin(block.key, 10_000)
    shore.berth.make_private()
    shore.pool.fill(block, 0, b"y" * 10_000)
    assert view == b"x" * 10_000
    assert shore.berth.pin(block.key, 10_000) == b"y" * 10_000
