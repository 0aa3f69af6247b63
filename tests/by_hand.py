"""A zygote and its workers, spoken to by hand: no loop and no lane between the test and the descriptors."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from hybridrt._engine import failure, parcel, wire
from hybridrt._engine.blackbox import BlackBox
from hybridrt._engine.hatch import open_hatch
from hybridrt._engine.side import Side
from hybridrt._engine.worker import INTERRUPT
from hybridrt._engine.zygote import open_control, receive_message, send_message

PATIENCE = 20.0

ORDINARY = "from hybridrt._engine.zygote import main; main({fd}, {parent}, {line})"


def is_readable(fd: Any, seconds: float = PATIENCE) -> bool:
    return bool(select.select([fd], [], [], seconds)[0])


class Whistle:
    """A named pipe. Whoever has its path may blow it, or wait for it; no blow is lost."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def blow(self) -> None:
        os.write(self._fd, b"!")

    def wait(self) -> None:
        assert is_readable(self._fd), "nobody blew the whistle"
        assert os.read(self._fd, 1) == b"!"

    def was_blown(self) -> bool:
        """Whether it was blown before now; does not wait."""
        return is_readable(self._fd, 0)

    def close(self) -> None:
        os.close(self._fd)


class Answer(NamedTuple):
    kind: int
    number: int
    extra: int
    payload: bytes

    def result(self) -> Any:
        assert self.kind == wire.RESULT, self
        return parcel.loads(self.payload)

    def error(self) -> Exception:
        assert self.kind == wire.FAILED, self
        return failure.unpack(self.payload, loads=parcel.loads)


class Worker:
    """One real worker, from the parent's side of its descriptors."""

    def __init__(self, zygote: Zygote, number: int) -> None:
        self.channel, far = socket.socketpair()
        self.channel.settimeout(PATIENCE)
        self.tokens_read, self._tokens_write = os.pipe()
        os.set_blocking(self.tokens_read, False)
        self.box = BlackBox()
        self._zygote = zygote
        self._reader = wire.FrameReader()
        self._held: Iterator[wire.Frame] = iter(())
        hatch, far_hatch = open_hatch()
        self.side = Side(hatch)
        with far:
            zygote.tell("fork", number, fds=(far.fileno(), self.tokens_read, self.box.fd, far_hatch))
        os.close(far_hatch)
        message, fds = zygote.hear("forked")
        assert message[1] == number
        self.pid: int = message[2]
        (self.pidfd,) = fds

    def send(self, *frames: bytes) -> None:
        self.channel.sendall(b"".join(frames))

    def call(self, number: int, fn: Callable[..., Any], *args: Any) -> Answer:
        """Send a call and wait for the answer to it."""
        self.send(call(number, fn, *args))
        answer = self.answer()
        assert answer.number == number
        return answer

    def answer(self) -> Answer:
        deadline = monotonic() + PATIENCE
        while (frame := self._next_frame()) is None or frame.kind == wire.HELD:
            if frame is None and is_readable(self.channel, 0.002):  # what is held may not be told of for long
                count = self.channel.recv_into(self._reader.room())
                assert count, "the worker has closed its channel"
                self._reader.filled(count)
            elif monotonic() > deadline:
                raise TimeoutError
        if frame.kind == wire.RELEASED:
            return self.answer()
        if frame.kind & wire.CARGO:
            result = self.side.take_in(bytes(frame.payload)).open()
            return Answer(frame.kind & ~wire.CARGO, frame.number, frame.extra, parcel.dumps(result))
        return Answer(frame.kind, frame.number, frame.extra, bytes(frame.payload))

    def _next_frame(self) -> wire.Frame | None:
        frame = next(self._held, None)
        if frame is None:
            self._held = wire.split(self.box.ring.take())
            frame = next(self._held, None)
        return frame or self._reader.next_frame()

    def has_answered(self) -> bool:
        """Whether an answer is here by now; does not wait."""
        return is_readable(self.channel, 0)

    def allow(self, *numbers: int) -> None:
        os.write(self._tokens_write, b"".join(wire.TOKEN.pack(number & 0xFFFFFFFF) for number in numbers))

    def take_back(self) -> list[int]:
        """All tokens that the worker has not taken, at once: one by one, it could take some of those between."""
        try:
            tokens = os.read(self.tokens_read, 4096)
        except BlockingIOError:
            return []
        return [number for (number,) in wire.TOKEN.iter_unpack(tokens)]

    def interrupt(self, number: int) -> None:
        self.box.unwanted = number
        self.signal(INTERRUPT)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)  # not reaped before the zygote has told us

    def hang_up(self) -> None:
        self.channel.close()

    def exitcode(self) -> int:
        """Wait for the end of the worker."""
        while True:
            message, _ = self._zygote.hear("exited")
            if message[1] == self.pid:
                return int(message[2])

    def close(self) -> None:
        if not is_readable(self.pidfd, 0):
            self.signal(signal.SIGKILL)
        assert is_readable(self.pidfd)
        self.channel.close()
        self.box.close()
        self.side.close()
        self.side.drop()
        for fd in (self.tokens_read, self._tokens_write, self.pidfd):
            os.close(fd)


class Zygote:
    """A real zygote; ``boot`` is what its interpreter is started with."""

    def __init__(self, *preload: str, boot: str = ORDINARY) -> None:
        self.control, theirs = open_control()
        self.control.settimeout(PATIENCE)
        self.line, self.line_write = os.pipe()
        with theirs:
            code = boot.format(fd=theirs.fileno(), parent=os.getpid(), line=self.line)
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self.line),
                start_new_session=True,
            )
        self.tell("path", sys.path)
        if preload:
            self.tell("preload", preload)
        self._heard: list[tuple[tuple[Any, ...], list[int]]] = []
        self._numbers = 0

    def wait_until_there(self) -> None:
        """Until it serves: its command line is its own by then, for who compares the processes before and after."""
        self.tell("preload", ("no_such_module",))
        self.hear("preload failed")

    def tell(self, *message: Any, fds: tuple[int, ...] = ()) -> None:
        send_message(self.control, message, fds)

    def hear(self, kind: str) -> tuple[tuple[Any, ...], list[int]]:
        """The next message of this kind; others wait for their turn."""
        for heard in self._heard:
            if heard[0][0] == kind:
                self._heard.remove(heard)
                return heard
        while True:
            message, fds = receive_message(self.control)
            assert message is not None, "the zygote has closed its channel"
            if message[0] == kind:
                return message, fds
            self._heard.append((message, fds))

    def fork(self) -> Worker:
        self._numbers += 1
        return Worker(self, self._numbers)

    def close(self) -> int:
        """Hang up, and wait for its end."""
        self.control.close()
        exitcode = self.process.wait(PATIENCE)
        self.cut_lifeline()
        return exitcode

    def cut_lifeline(self) -> None:
        for fd in (self.line, self.line_write):
            if fd >= 0:
                os.close(fd)
        self.line = self.line_write = -1


def call(number: int, fn: Callable[..., Any], *args: Any, kind: int = wire.CALL) -> bytes:
    return wire.pack(kind, number, 0, parcel.dumps((fn, args, {})))


def ahead(number: int, fn: Callable[..., Any], *args: Any) -> bytes:
    return call(number, fn, *args, kind=wire.AHEAD)


def coroutine(number: int, fn: Callable[..., Any], *args: Any) -> bytes:
    return call(number, fn, *args, kind=wire.COROUTINE)


def is_gone(pid: int) -> bool:
    """Whether no process of this id runs; a zombie, which nobody of ours has to reap, counts as gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ESRCH)
    return state in "ZX"
