"""Our hold on a worker sends and hears without waiting, takes back what has not begun, and leaves no descriptor."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import until

from hybridrt._engine import wire
from hybridrt._engine.blackbox import BlackBox
from hybridrt._engine.child import Child
from hybridrt._engine.worker import INTERRUPT


class Hired:
    """A child, and what a zygote would have been given for it."""

    def __init__(self) -> None:
        self.heard: list[Child] = []
        self.child = Child(asyncio.get_running_loop(), 7, self.heard.append)
        self.child.give_away(self._take)

    def _take(self, number: int, channel: int, tokens: int, box: int, hatch: int) -> None:
        assert number == 7
        self.channel = socket.socket(fileno=os.dup(channel))
        self.tokens = os.dup(tokens)
        self.box = BlackBox(os.dup(box))

    def close(self) -> None:
        self.child.close()
        self.channel.close()
        self.box.close()
        os.close(self.tokens)


@pytest.fixture
async def hired() -> Any:
    hired = Hired()
    yield hired
    hired.close()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A stand-in for the worker's process, in a group of its own with a child of its own."""
    code = "import subprocess, time; p = subprocess.Popen(['sleep', '1000']); print(p.pid, flush=True); time.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, process_group=0) as process:
        yield process
        process.kill()


async def test_it_hears_frames_as_they_come(hired: Hired) -> None:
    child = hired.child
    assert child.read() == -1
    hired.channel.sendall(wire.pack(wire.RESULT, 1, 5, b"one") + wire.pack(wire.RESULT, 2, 5, b"two")[:-1])
    await until(lambda: hired.heard)
    assert hired.heard[0] is child
    assert child.read() > 0
    frames = iter(child.next_frame, None)
    frame = next(frames)
    assert (frame.number, frame.extra, bytes(frame.payload)) == (1, 5, b"one")
    assert next(frames, None) is None
    hired.channel.sendall(b"o")
    assert child.read() == 1
    (frame,) = iter(child.next_frame, None)
    assert bytes(frame.payload) == b"two"


async def test_the_end_of_the_channel_is_heard_once_it_is_deafened(hired: Hired) -> None:
    hired.channel.close()
    await until(lambda: hired.heard)
    assert hired.child.read() == 0
    hired.child.deafen()
    hired.child.deafen()
    seen = len(hired.heard)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(hired.heard) == seen


async def test_a_worker_that_resets_its_channel_has_ended(hired: Hired) -> None:
    hired.child.send(b"never read")
    hired.channel.close()
    assert hired.child.read() == 0


async def test_something_large_is_written_from_the_next_turn_on_a_bounded_part_at_a_time(
    hired: Hired, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = hired.child
    pieces = [random.Random(n).randbytes(size) for n, size in enumerate([10, 5_000_000, 0, 1, 70_000] * 2)]
    child.send(b"first")
    child.send_pieces(pieces)
    child.send(b"last")
    expected = b"".join([b"first", *pieces, b"last"])
    assert child.unsent == len(expected) - 5
    got = bytearray()
    hired.channel.setblocking(False)
    before = child.unsent
    async with asyncio.timeout(20):
        while len(got) < len(expected):
            try:
                got += hired.channel.recv(1 << 20)
            except BlockingIOError:
                await asyncio.sleep(0)
                assert before - child.unsent <= 1 << 20
                before = child.unsent
    assert got == expected
    await until(lambda: child.unsent == 0)
    assert not asyncio.get_running_loop().remove_writer(child._channel)


async def test_something_large_for_a_worker_that_has_gone_is_dropped(hired: Hired) -> None:
    hired.channel.close()
    hired.child.send_pieces([b"x" * 1_000_000])
    await until(lambda: hired.child.unsent == 0)
    hired.child.close()
    hired.child.send_pieces([b"x"])


async def test_what_the_kernel_does_not_take_is_sent_as_room_comes(hired: Hired) -> None:
    child = hired.child
    pieces = [random.Random(n).randbytes(size) for n, size in enumerate([10, 3_000_000, 1, 0, 70_000, 5] * 3)]
    for piece in pieces:
        child.send(piece)
    expected = b"".join(pieces)
    assert 0 < child.unsent < len(expected)
    got = bytearray()
    hired.channel.setblocking(False)
    async with asyncio.timeout(20):
        while len(got) < len(expected):
            try:
                got += hired.channel.recv(1 << 20)
            except BlockingIOError:
                await asyncio.sleep(0)
    assert got == expected
    await until(lambda: child.unsent == 0)
    assert not asyncio.get_running_loop().remove_writer(child._channel)  # or the loop would never rest
    child.send(b"again, at once")
    assert child.unsent == 0
    assert hired.channel.recv(100) == b"again, at once"


async def test_more_pieces_than_one_system_call_takes_keep_their_order(hired: Hired) -> None:
    child = hired.child
    child.send(bytes(2_000_000))
    rest = b"".join(wire.pack(wire.CALL, n, 0) for n in range(200))
    for n in range(200):
        child.send(wire.pack(wire.CALL, n, 0))
    got = bytearray()
    hired.channel.setblocking(False)
    async with asyncio.timeout(20):
        while len(got) < 2_000_000 + len(rest):
            try:
                got += hired.channel.recv(1 << 20)
            except BlockingIOError:
                await asyncio.sleep(0)
    assert got[2_000_000:] == rest


async def test_sending_to_who_has_gone_is_no_error(hired: Hired) -> None:
    hired.child.send(bytes(1_000_000))
    assert hired.child.unsent > 0
    hired.channel.close()
    await until(lambda: hired.child.unsent == 0)
    hired.child.send(b"into the void")
    assert hired.child.unsent == 0


async def test_tokens_that_the_worker_has_not_taken_are_taken_back(hired: Hired) -> None:
    child = hired.child
    assert child.take_back() == 0
    child.allow([2**32 + 1, 2, 3])
    assert wire.TOKEN.unpack(os.read(hired.tokens, wire.TOKEN.size)) == (1,)
    assert child.take_back() == 2
    assert child.take_back() == 0
    with pytest.raises(BlockingIOError):
        os.read(hired.tokens, wire.TOKEN.size)  # a worker does not wait for one


async def test_the_pipe_has_room_for_the_tokens_of_64_calls(hired: Hired) -> None:
    for _ in range(16):  # as many again, and again
        hired.child.allow(list(range(64)))
    assert hired.child.take_back() == 16 * 64


async def test_tokens_are_taken_back_without_waiting_where_a_call_has_set_its_descriptors_to_wait(
    hired: Hired,
) -> None:
    os.set_blocking(hired.tokens, True)
    assert hired.child.take_back() == 0
    hired.child.allow([1])
    assert hired.child.take_back() == 1


async def test_an_interrupt_names_its_call_before_its_signal(
    hired: Hired, process: subprocess.Popen[bytes]
) -> None:
    hired.child.interrupt(2**40)
    assert hired.box.unwanted == 2**40  # not forked yet: there is nobody to signal
    hired.child.adopt(process.pid, os.pidfd_open(process.pid))
    hired.child.interrupt(5)
    assert hired.box.unwanted == 5
    assert process.wait(10) == -INTERRUPT


@pytest.mark.parametrize("has_pidfd", [True, False])
async def test_a_kill_takes_what_the_worker_has_started_with_it(
    hired: Hired, process: subprocess.Popen[bytes], has_pidfd: bool
) -> None:
    assert process.stdout is not None
    grandchild = os.pidfd_open(int(process.stdout.readline()))
    hired.child.adopt(process.pid, os.pidfd_open(process.pid) if has_pidfd else -1)
    hired.child.kill()
    assert process.wait(10) == -signal.SIGKILL
    assert select.select([grandchild], [], [], 10)[0]
    os.close(grandchild)
    hired.child.kill()  # it has gone: no error, and no other process's harm
    hired.child.interrupt(3)


async def test_a_kill_before_the_fork_hangs_up(hired: Hired) -> None:
    hired.child.kill()
    assert hired.channel.recv(1) == b""
    hired.child.kill()


async def test_a_death_is_heard_from_the_kernel(hired: Hired, process: subprocess.Popen[bytes]) -> None:
    deaths: list[Child] = []
    hired.child.watch_death(deaths.append)  # not there yet: nothing to watch
    hired.child.adopt(process.pid, os.pidfd_open(process.pid))
    hired.child.watch_death(deaths.append)
    await asyncio.sleep(0)
    assert deaths == []
    hired.child.kill()
    await until(lambda: deaths)
    assert deaths[0] is hired.child


async def test_closing_gives_every_descriptor_back_and_may_be_repeated() -> None:
    before = set(os.listdir("/proc/self/fd"))
    hired = Hired()
    hired.child.adopt(os.getpid(), os.pidfd_open(os.getpid()))
    hired.child.watch_death(lambda child: None)
    hired.child.send(bytes(1_000_000))  # with a writer waiting for room
    hired.close()
    hired.child.close()
    assert set(os.listdir("/proc/self/fd")) == before


async def test_a_fork_that_fails_leaves_the_child_to_be_closed() -> None:
    child = Child(asyncio.get_running_loop(), 1, lambda child: None)

    def refuse(*descriptors: int) -> None:
        raise OSError("no zygote")

    with pytest.raises(OSError, match="no zygote"):
        child.give_away(refuse)
    child.close()


async def test_descriptors_that_are_used_up_are_an_error_and_no_leak() -> None:
    before = set(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, before)) + 20, hard))
    fillers = []
    failures = 0
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                fillers.append(os.dup(0))
        while True:
            try:
                child = Child(asyncio.get_running_loop(), 1, lambda child: None)
            except OSError:
                failures += 1
                os.close(fillers.pop())  # room for one more
            else:
                child.close()
                break
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fillers:
            os.close(fd)
    assert failures >= 5  # two ends of the channel, two of the pipe, the box
    assert set(os.listdir("/proc/self/fd")) == before
