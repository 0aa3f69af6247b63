"""Two ways to give quick calls to workers, side by side: ``python -m benchmarks.designs`` (decision 0021).

``sockets``: a socket for each worker, calls held back here and written ahead in batches, a token to claim each.
``queue``: one SOCK_SEQPACKET queue that every idle worker reads, so that the kernel hands each call to one of them.
In both, answers that are ready together come back together.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import resource
import socket
import statistics
import struct
import sys
from collections import deque
from time import perf_counter

CALLS = 10_000
WORKERS = 2
_AHEAD = 64
_HEADER = struct.Struct("=IQ")
_TOKEN = struct.Struct("=I")


def _frames(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    at = 0
    while at < len(data):
        size, number = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        found.append((number, data[at : at + size]))
        at += size
    return found


def _run(payload: bytes) -> bytes:
    fn, args = pickle.loads(payload)
    return pickle.dumps(fn(*args))


def _sockets_worker(channel: socket.socket, tokens: int) -> None:
    while data := channel.recv(1 << 16):
        answers = []
        for number, payload in _frames(data):
            os.read(tokens, _TOKEN.size)
            result = _run(payload)
            answers.append(_HEADER.pack(len(result), number) + result)
        channel.sendall(b"".join(answers))


def _queue_worker(calls: socket.socket, answers: socket.socket) -> None:
    held: list[bytes] = []
    while True:
        try:
            message = calls.recv(1 << 16, 0 if not held else socket.MSG_DONTWAIT)
        except BlockingIOError:
            answers.sendall(b"".join(held))
            held.clear()
            continue
        if not message:
            return
        ((number, payload),) = _frames(message)
        result = _run(payload)
        held.append(_HEADER.pack(len(result), number) + result)
        if len(held) >= _AHEAD:
            answers.sendall(b"".join(held))
            held.clear()


class _Parent:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waiting: deque[tuple[int, bytes]] = deque()
        self.futures: dict[int, asyncio.Future[object]] = {}

    def submit(self, number: int) -> asyncio.Future[object]:
        future: asyncio.Future[object] = self.loop.create_future()
        self.futures[number] = future
        self.waiting.append((number, pickle.dumps((abs, (1,)))))
        return future

    def hear(self, data: bytes) -> int:
        frames = _frames(data)
        for number, payload in frames:
            self.futures.pop(number).set_result(pickle.loads(payload))
        return len(frames)


async def _with_sockets() -> float:
    parent = _Parent(asyncio.get_running_loop())
    channels = []
    for _ in range(WORKERS):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        tokens_read, tokens_write = os.pipe()
        if not os.fork():
            ours.close()
            _sockets_worker(theirs, tokens_read)
            os._exit(0)
        theirs.close()
        os.close(tokens_read)
        ours.setblocking(False)
        channels.append((ours, tokens_write))

    def give(ours: socket.socket, tokens: int) -> None:
        batch = [parent.waiting.popleft() for _ in range(min(_AHEAD, len(parent.waiting)))]
        if batch:
            os.write(tokens, b"".join([_TOKEN.pack(number) for number, _ in batch]))
            ours.send(b"".join([_HEADER.pack(len(p), number) + p for number, p in batch]))

    def answered(ours: socket.socket, tokens: int) -> None:
        parent.hear(ours.recv(1 << 16))
        give(ours, tokens)

    began = perf_counter()
    futures = [parent.submit(number) for number in range(CALLS)]
    for ours, tokens in channels:
        parent.loop.add_reader(ours, answered, ours, tokens)
        give(ours, tokens)
    await asyncio.gather(*futures)
    seconds = perf_counter() - began
    for ours, tokens in channels:
        parent.loop.remove_reader(ours)
        ours.close()
        os.close(tokens)
    return seconds


async def _with_queue() -> float:
    parent = _Parent(asyncio.get_running_loop())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channels = []
    for _ in range(WORKERS):
        near, far = socket.socketpair()
        if not os.fork():
            ours.close()
            near.close()
            _queue_worker(theirs, far)
            os._exit(0)
        far.close()
        near.setblocking(False)
        channels.append(near)
    theirs.close()
    ours.setblocking(False)
    out = 0  # no more than the workers get done soon: what is in the kernel's queue cannot be taken back

    def give() -> None:
        nonlocal out
        while parent.waiting and out < _AHEAD * WORKERS:
            number, payload = parent.waiting[0]
            try:
                ours.send(_HEADER.pack(len(payload), number) + payload)
            except BlockingIOError:
                return
            parent.waiting.popleft()
            out += 1

    def answered(near: socket.socket) -> None:
        nonlocal out
        out -= parent.hear(near.recv(1 << 16))
        give()

    began = perf_counter()
    futures = [parent.submit(number) for number in range(CALLS)]
    for near in channels:
        parent.loop.add_reader(near, answered, near)
    give()
    await asyncio.gather(*futures)
    seconds = perf_counter() - began
    ours.close()
    for near in channels:
        parent.loop.remove_reader(near)
        near.close()
    return seconds


def main(rounds: int) -> None:
    """Print the medians of ``rounds`` interleaved rounds."""
    import uvloop

    figures: dict[str, list[tuple[float, float]]] = {"sockets": [], "queue": []}
    for n in range(rounds):
        designs = [("sockets", _with_sockets), ("queue", _with_queue)]
        for name, design in designs if n % 2 else reversed(designs):
            before = resource.getrusage(resource.RUSAGE_SELF)
            seconds = uvloop.run(design())
            after = resource.getrusage(resource.RUSAGE_SELF)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            for _ in range(WORKERS):
                os.wait()
            figures[name].append((seconds, cpu))
    for name, pairs in figures.items():
        seconds, cpu = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"{name:8} {CALLS / seconds:8,.0f} calls/s, parent CPU {cpu / CALLS * 1e6:.1f} us a call ({rounds} rounds)"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
