"""How late a loop is, seen from outside: another process sends the time, the loop notes how old it is on arrival.

A timer on the loop itself would know no better than the loop's clock (uvloop's has whole milliseconds), and would skip
the beats that fall into a stall. These wait in the pipe and count, each with its own delay, as requests would.
"""

from __future__ import annotations

import asyncio
import os
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

INTERVAL = 0.005  # seconds between two beats
_BEAT = struct.Struct("q")  # nanoseconds of the monotonic clock, which all processes of a machine share
_MOST_AT_ONCE = _BEAT.size * 4096


class Sender:
    """Beats into a pipe from a thread of its own, from ``with`` to its end. ``fd`` is what the other process reads."""

    def __init__(self) -> None:
        self.fd: int
        self.fd, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat")

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(
                due + INTERVAL, time.monotonic()
            )  # late ones are not made up for: their age would be ours
            try:
                os.write(self._write_end, _BEAT.pack(time.monotonic_ns()))
            except BlockingIOError:
                pass  # the pipe holds 8,000 beats: 40 s of a loop that stands still; more change nothing
            except BrokenPipeError:
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._write_end)
        os.close(self.fd)


class Heartbeat:
    """Notes the beats that come in through ``fd``; ``delays`` are in microseconds.

    ``on_silence`` is called when the sender has gone.
    """

    def __init__(self, fd: int, on_silence: Callable[[], object]) -> None:
        self.delays: list[int] = []
        self._fd = fd
        self._on_silence = on_silence
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._on_beats)

    def _on_beats(self) -> None:
        now = time.monotonic_ns()
        beats = os.read(self._fd, _MOST_AT_ONCE)
        if not beats:
            self.close()
            self._on_silence()
            return
        self.delays.extend((now - sent) // 1000 for (sent,) in _BEAT.iter_unpack(beats))
        self._arrived.set()

    async def start(self) -> None:
        """Wait for what is on its way, and begin anew with what comes after it."""
        await self.wait_beat()
        self.delays.clear()

    async def wait_beat(self) -> None:
        """Until beats arrive."""
        self._arrived.clear()
        await self._arrived.wait()

    def close(self) -> None:
        """Listen no more."""
        self._loop.remove_reader(self._fd)
