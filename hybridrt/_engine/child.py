"""Our hold on one worker: send, hear, take back, interrupt, kill. No decisions, one owner (the loop's thread)."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
from array import array
from collections.abc import Callable

from . import wire
from .blackbox import BlackBox
from .hatch import open_hatch
from .side import Side
from .worker import INTERRUPT

_SEND_BUFFER = 1 << 18
_MOST_AT_ONCE = 1 << 20
"""Bytes written in one callback: the kernel would go on while the worker reads, and the loop has other work."""


class Child:
    """One worker process and the channel to it.

    ``on_readable(child)`` is called from the loop when answers can be read; ``read`` then takes them in.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, number: int, on_readable: Callable[[Child], None]
    ) -> None:
        """Raises OSError where descriptors are used up. ``give_away`` then hands the far ends to the zygote."""
        self.number = number
        self.pid = 0  # until the zygote has told it
        self.unsent = 0  # bytes that the kernel has not taken yet
        self.known: dict[int, int] = {}  # functions that the worker has: number -> version
        self.to_forget: list[int] = []  # functions that it need not keep
        self.path: list[str] = []  # its sys.path
        self.fate = ""  # why we killed it, where we did
        self.ponged = 0  # the last PING that it answered; minus a number: of the one that it has not
        self._loop = loop
        self._pidfd = self._far_hatch = self._far_tokens = self._tokens_read = self._tokens_write = -1
        self._reader = wire.FrameReader(mark=wire.LARGE)
        self.next_frame = self._reader.next_frame
        self._backlog: list[memoryview] = []
        self._channel, self._far_channel = socket.socketpair()
        try:
            self._far_tokens, self._tokens_write = os.pipe()
            os.set_blocking(self._far_tokens, False)
            os.set_blocking(self._tokens_write, False)
            self._tokens_read = _reopened(self._far_tokens)
            self.box = BlackBox()
            self.ring = self.box.ring
            hatch, self._far_hatch = open_hatch()
            self.side = Side(hatch)
        except OSError:
            self.close()
            raise
        self._channel.setblocking(False)
        self._far_channel.setblocking(
            True
        )  # a worker waits at it, whatever socket.setdefaulttimeout says here
        self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._far_channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        loop.add_reader(self._channel, on_readable, self)

    def give_away(self, fork: Callable[[int, int, int, int, int], None]) -> None:
        """Hand the worker's ends of everything to ``fork(number, channel, tokens, box, hatch)``."""
        with self._far_channel:
            fork(self.number, self._far_channel.fileno(), self._far_tokens, self.box.fd, self._far_hatch)
        os.close(self._far_tokens)
        os.close(self._far_hatch)
        self._far_tokens = self._far_hatch = -1

    def adopt(self, pid: int, pidfd: int) -> None:
        """The worker is there, as ``pid``."""
        self.pid = pid
        self._pidfd = pidfd

    def watch_death(self, on_death: Callable[[Child], None]) -> None:
        """Hear of the worker's death from the kernel, where the zygote can no longer tell."""
        if self._pidfd >= 0:
            self._loop.add_reader(self._pidfd, on_death, self)

    def send(self, data: bytes) -> None:
        """Write frames; what the kernel does not take now is written as room comes. Never waits, never raises."""
        if not self._backlog:
            try:
                sent = self._channel.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # the worker has gone; its death is on its way to us
            if sent == len(data):
                return
            self._loop.add_writer(self._channel, self._send_backlog)
            self._backlog.append(memoryview(data)[sent:])
            self.unsent = len(data) - sent
        else:
            self._backlog.append(memoryview(data))
            self.unsent += len(data)

    def send_pieces(self, pieces: list[bytes]) -> None:
        """Write something large, from the loop's next turn on. Never waits, never raises."""
        if not self._backlog:
            if self._channel.fileno() < 0:
                return
            self._loop.add_writer(self._channel, self._send_backlog)
        self._backlog += map(memoryview, pieces)
        self.unsent += sum(map(len, pieces))

    def _send_backlog(self) -> None:
        batch, size = [], 0
        for view in self._backlog[:64]:
            batch.append(view[: _MOST_AT_ONCE - size])
            size += len(view)
            if size >= _MOST_AT_ONCE:
                break
        try:
            sent = self._channel.sendmsg(batch)
        except BlockingIOError:
            return
        except OSError:
            self._backlog.clear()
            sent = 0
        self.unsent -= sent
        while self._backlog and sent >= len(self._backlog[0]):
            sent -= len(self._backlog.pop(0))
        if self._backlog:
            self._backlog[0] = self._backlog[0][sent:]
        else:
            self.unsent = 0
            self._loop.remove_writer(self._channel)

    def read(self) -> int:
        """Take in what has arrived: the count of bytes, 0 at the end of the channel, -1 where nothing is there now.

        Then ``ring`` may have answers, told of by any frame; and ``next_frame`` gives one after the other, or None.
        """
        try:
            return self._reader.receive(self._channel.recv_into)
        except BlockingIOError:
            return -1
        except OSError:
            return 0

    def deafen(self) -> None:
        """Hear nothing more from the channel (it has ended; the loop would call again and again)."""
        if self._channel.fileno() >= 0:
            self._loop.remove_reader(self._channel)

    def allow(self, numbers: list[int]) -> None:
        """Put a token for each of these written-ahead calls into the pipe. At most 64: it never fills."""
        os.write(self._tokens_write, array("I", [number & 0xFFFFFFFF for number in numbers]).tobytes())

    def take_back(self) -> int:
        """Take all tokens that the worker has not: that many of the last written-ahead calls are ours again."""
        try:
            return len(os.read(self._tokens_read, 4096)) // wire.TOKEN.size
        except BlockingIOError:
            return 0

    def interrupt(self, number: int) -> None:
        """Throw ``Interrupted`` into call ``number`` if that is what the worker is running when it hears of it."""
        self.box.unwanted = number
        self._signal(INTERRUPT)

    def cut_short(self, number: int) -> None:
        """Have call ``number``, a batch, tell what has ended of it, and begin no more of its items."""
        self.box.cut = number
        self._signal(INTERRUPT)

    def kill(self, reason: str = "") -> None:
        """SIGKILL, to the worker and to what its calls have started in its process group; ``reason`` is for reports."""
        if not self._has_ended():  # else the news is on its way, and we are late
            self.fate = self.fate or reason
        if self.pid:
            if self._signal(signal.SIGKILL):
                self.kill_group()
        else:
            self._hang_up()  # not forked yet: it will find its channel closed

    def kill_group(self) -> None:
        """SIGKILL, to what its calls have started in its process group; also right after the worker's own death.

        A process group keeps its number for as long as it has a member, and an empty one gets nothing.
        """
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except OSError:
            pass

    def is_stopped(self) -> bool:
        """Whether somebody has stopped it (SIGSTOP, a debugger), as far as the system says."""
        try:
            with open(f"/proc/{self.pid}/stat", "rb") as file:
                return file.read().rpartition(b")")[2].split()[0] in b"Tt"
        except (OSError, IndexError):
            return False

    def _has_ended(self) -> bool:
        if self._pidfd < 0:
            return False
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def _hang_up(self) -> None:
        try:
            self._channel.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _signal(self, number: int) -> bool:
        try:
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, number)
            elif self.pid:
                os.kill(self.pid, number)
        except OSError:
            return False  # it has gone
        return True

    def close(self) -> None:
        """Give back every descriptor; a second time is harmless. Nothing can be sent or signalled any more."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
        if self._channel.fileno() >= 0:
            self._loop.remove_reader(self._channel)
            self._loop.remove_writer(self._channel)
        if hasattr(self, "side"):
            self.side.close()  # not forsaken: large answers may still be unpacked
        self._give_back()

    def forsake(self) -> None:
        """Give back every descriptor behind the loop's back: it is closed, or it is another process's."""
        self._give_back()
        if hasattr(self, "side"):
            self.side.forsake()

    def _give_back(self) -> None:
        self.pid = 0  # it may be another process's by now
        close_unseen(self._channel)
        self._far_channel.close()
        for fd in (self._far_hatch, self._far_tokens, self._tokens_read, self._tokens_write, self._pidfd):
            if fd >= 0:
                os.close(fd)
        self._far_hatch = self._far_tokens = self._tokens_read = self._tokens_write = self._pidfd = -1
        if hasattr(self, "box"):
            self.box.close()
        self._backlog.clear()


def close_unseen(sock: socket.socket) -> None:
    """Close it behind the loop's back: ``close()`` alone leaves it open while uvloop counts itself among its users."""
    fd = sock.detach()
    if fd >= 0:
        os.close(fd)


def _reopened(read_end: int) -> int:
    """The pipe opened anew: ours does not begin to block where a call sets the worker's descriptors to blocking."""
    try:
        return os.open(f"/proc/self/fd/{read_end}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # no /proc
        return os.dup(read_end)
