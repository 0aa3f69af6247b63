"""The floor for processes: what is left of a call when everything a product needs is taken away.

No cancel, no errors, no crash is thought of here. Whatever is slower than this pays for its promises. Functions are
those of ``work``, known beforehand, so that only a name and the arguments are pickled.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from .. import work
from .contract import Contestant

_LENGTH = struct.Struct("<I")
_CHUNK = 1 << 16
"""Below the size from which malloc would map fresh pages for each buffer."""


def _fork(serve: Callable[[socket.socket], None], others: list[socket.socket]) -> socket.socket:
    """A child that serves its end of a socketpair until the other is closed; our end, which does not block."""
    here, there = socket.socketpair()
    if os.fork() == 0:
        try:
            for other in (*others, here):
                other.close()  # or a sister would never see the end of her channel
            serve(there)
        finally:
            os._exit(0)
    there.close()
    here.setblocking(False)
    return here


class _Forked(Contestant):
    lane = "process"
    rank = "floor"

    async def open(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.channels: list[socket.socket] = []

    async def close(self) -> None:
        for channel in self.channels:
            self.loop.remove_reader(channel)
            self.loop.remove_writer(channel)
            channel.close()
        for _ in self.channels:
            os.wait()  # noqa: ASYNC222  # they end when they see their channel closed; nothing else is on this loop


class PingPong(_Forked):
    """One worker, one call under way: its pickle goes out at once, the loop's reader takes in the answer."""

    key = "floor-ping-pong"
    label = "floor: socketpair, pickle, add_reader"
    short = "the floor"
    takes = ("one", "syscalls-one", "cold")

    async def open(self) -> None:
        await super().open()
        self.channel = _fork(_serve_one_by_one, [])
        self.channels.append(self.channel)
        self.loop.add_reader(self.channel, self._on_readable)

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        self.future = self.loop.create_future()
        self.channel.send(pickle.dumps((fn.__name__, args), 5))
        return self.future

    def _on_readable(self) -> None:
        self.future.set_result(pickle.loads(self.channel.recv(_CHUNK)))


def _serve_one_by_one(channel: socket.socket) -> None:
    functions = vars(work)
    while data := channel.recv(_CHUNK):
        name, args = pickle.loads(data)
        channel.send(pickle.dumps(functions[name](*args), 5))


class Batches(_Forked):
    """All workers in turn; what is called in one turn of the loop is written in one go, and answered likewise."""

    key = "floor-batches"
    label = "floor: the same, a loop turn in one go"
    short = "the floor"
    takes: ClassVar[tuple[str, ...]] = ("many", "syscalls-many", "memory", "waiting")

    async def open(self) -> None:
        await super().open()
        self.seats = []
        for _ in range(self.workers):
            channel = _fork(_serve_batches, self.channels)
            self.channels.append(channel)
            self.seats.append(_Seat(self.loop, channel))
        self.next = 0

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        future = self.loop.create_future()
        data = pickle.dumps((fn.__name__, args), 5)
        seat = self.seats[self.next]
        self.next = (self.next + 1) % self.workers
        seat.futures.append(future)
        if not seat.parts:
            self.loop.call_soon(seat.flush)
        seat.parts += (_LENGTH.pack(len(data)), data)
        return future


class TaskBatches(Batches):
    """With a coroutine around each call, as a coroutine verb has it."""

    key = "floor-batches-task"
    label = "floor: and a task for each call"
    short = "the floor, tasks"
    takes = ("many",)

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await super().call(fn, *args)


class _Seat:
    def __init__(self, loop: asyncio.AbstractEventLoop, channel: socket.socket) -> None:
        self.loop = loop
        self.channel = channel
        self.parts: list[bytes] = []
        self.rest = memoryview(b"")
        self.futures: deque[asyncio.Future[Any]] = deque()
        self.buffer = b""
        loop.add_reader(channel, self.on_readable)

    def flush(self) -> None:
        waiting = bool(self.rest)
        self.rest = memoryview(b"".join((self.rest, *self.parts)))
        self.parts.clear()
        if not waiting:
            self.loop.add_writer(self.channel, self.write)
            self.write()

    def write(self) -> None:
        try:
            self.rest = self.rest[self.channel.send(self.rest) :]
        except BlockingIOError:
            return
        if not self.rest:
            self.loop.remove_writer(self.channel)

    def on_readable(self) -> None:
        results, self.buffer = _split(self.buffer + self.channel.recv(_CHUNK))
        futures = self.futures
        for result in results:
            futures.popleft().set_result(pickle.loads(result))


def _serve_batches(channel: socket.socket) -> None:
    functions = vars(work)
    buffer = b""
    while data := channel.recv(_CHUNK):
        calls, buffer = _split(buffer + data)
        parts: list[bytes] = []
        for call in calls:
            name, args = pickle.loads(call)
            result = pickle.dumps(functions[name](*args), 5)
            parts += (_LENGTH.pack(len(result)), result)
        channel.sendall(b"".join(parts))


def _split(data: bytes) -> tuple[list[memoryview], bytes]:
    """The whole frames in ``data``, and what is left of it."""
    view = memoryview(data)
    frames = []
    at = 0
    while at + 4 <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        if at + 4 + length > len(data):
            break
        frames.append(view[at + 4 : at + 4 + length])
        at += 4 + length
    return frames, data[at:]


class BareFork(_Forked):
    """A fork of the measuring process for each call, with an answer to it."""

    key = "floor-fork"
    label = "floor: os.fork, socketpair, pickle"
    short = "the floor (fork)"
    takes = ("fresh",)
    call_starts_worker = True

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        channel = _fork(_serve_one_by_one, self.channels)
        self.channels.append(channel)
        await self.loop.sock_sendall(channel, pickle.dumps((fn.__name__, args), 5))
        return pickle.loads(await self.loop.sock_recv(channel, _CHUNK))
