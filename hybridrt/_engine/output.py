"""What a worker prints, logs and warns, on its way to the parent: whole messages on one socket of the runtime's.

Theory of operation. The zygote and all workers write to the far end of one socket that keeps messages whole; the parent
reads the near end (``_lanes/listening.py``). The kernel takes a message whole or not at all, so neither a kill nor
an interrupt can leave half of one, threads need no lock, and no death disturbs another worker. It is not the channel of
calls: an interrupt may cut a long write in two there, which would tear every frame behind it.

``sys.stdout`` and ``sys.stderr`` send whole lines. What a thread has begun waits for its newline, apart from what other
threads have begun; a flush, the end of the call and the end of the process send it as it is. Descriptors 1 and 2 stay
what they were: what C code and other programs write goes where the parent's own goes.

Interrupts. While the main thread sends, an interrupt only leaves a note; it is thrown as soon as the message has left,
so that what was sent is known, and no line comes twice.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import socket
import struct
import sys
from _thread import get_ident
from collections.abc import Callable
from contextvars import ContextVar
from time import sleep
from typing import Any, TextIO

from . import wire

STDOUT = 1  # text, as UTF-8
STDERR = 2
RECORD = 3  # a log record (relay.py)
WARNING = 4

MORE = 1  # flag: the rest follows, under the same serial and from the same process
FLUSH = 2  # flag: to be shown now

HEADER = struct.Struct("<IIBB")
"""Process id, serial (0: not in pieces), kind, flags."""
PIECE = 1 << 15
"""Longer contents travel in pieces of this size, cut at newlines where there are any."""
MOST_MESSAGE = HEADER.size + PIECE
LONGEST_LINE = 1 << 23
"""Lines up to this length are never torn; an endless one must fill up neither process."""

running_call: ContextVar[int] = ContextVar("hybridrt_running_call", default=0)
"""Number of the coroutine call that is running; plain calls, one at a time, are noted in ``Outlet.call``."""

_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)  # a task may have given SIGPIPE back its power to kill


class Outlet:
    """This process's way out, shared by all its threads."""

    __slots__ = (
        "_has_children",
        "_pid",
        "_serials",
        "_socket",
        "call",
        "is_late",
        "is_sending",
        "is_used",
        "main",
        "on_late",
        "streams",
    )

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._serials = itertools.count(1)
        self._has_children = False
        self.call = 0
        """Number of the plain call that is running, else 0."""
        self.is_used = False
        """Whether something has been sent, or begun, since the last answer."""
        self.is_sending = False
        """Whether the main thread is in the middle of a message: then an interrupt has to set ``is_late``."""
        self.is_late = False
        self.on_late: Callable[[], None] = _nothing
        self.streams: list[_Lines] = []
        self._look_who_we_are()

    def open(self, fd: int) -> None:
        """Everything goes to the socket ``fd`` from now on."""
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)  # a program that a call starts does not hold it
        os.register_at_fork(after_in_child=self._look_who_we_are, after_in_parent=self._note_child)

    def mute(self) -> None:
        """Send nothing from now on, and tell by ``is_used`` that something would have been sent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.is_used = False

    def _look_who_we_are(self) -> None:
        self._pid = os.getpid()
        self.main = get_ident()
        self.is_used = self.is_sending = self.is_late = self._has_children = False
        for stream in self.streams:
            stream.drop()  # the parent of the fork has it, and will send it

    def _note_child(self) -> None:
        self.is_used = self._has_children = True  # what the child sends, nobody here can know

    def hold_off(self) -> bool:
        """Begin a message: interrupts wait. Give what this returns to ``let_go`` when it has left."""
        if self.is_sending or get_ident() != self.main:
            return False
        self.is_sending = True
        return True

    def let_go(self, held_off: bool) -> None:
        """The message has left: an interrupt that came in the middle of it happens now."""
        if held_off:
            self.is_sending = False
            if self.is_late:
                self.is_late = False
                self.on_late()

    def send(self, kind: int, data: bytes | bytearray, flags: int = 0) -> None:
        """Send one message, in pieces where it is long. Waits while the parent has too much to read; never raises."""
        self.is_used = True
        held_off = self.hold_off()
        try:
            self.post(kind, data, flags)
        finally:
            self.let_go(held_off)

    def post(self, kind: int, data: bytes | bytearray, flags: int = 0) -> None:
        """As ``send``, for callers that hold off the interrupts themselves."""
        if len(data) <= PIECE:
            self._post(HEADER.pack(self._pid, 0, kind, flags) + data)
            return
        serial = next(self._serials) & 0xFFFFFFFF or next(self._serials)
        start, length = 0, len(data)
        is_text = kind in (STDOUT, STDERR)
        is_inside = False  # of something that has to be put together again
        while start < length:
            end = min(start + PIECE, length)
            if is_text and end < length:
                end = data.rfind(b"\n", start, end) + 1 or end
            is_whole = end == length or (is_text and data[end - 1] == 10)
            under = serial if is_inside or not is_whole else 0
            more = 0 if is_whole else MORE
            self._post(
                HEADER.pack(self._pid, under, kind, more | (flags if end == length else 0)) + data[start:end]
            )
            is_inside = not is_whole
            start = end

    def _post(self, message: bytes) -> None:
        if self._socket is None:
            return
        while True:
            try:
                self._socket.send(message, _NO_SIGNAL)
            except OSError as exc:
                if exc.errno not in (errno.EAGAIN, errno.ENOBUFS):
                    return  # nobody listens any more, or the task has closed every descriptor
                sleep(0.001)  # macOS says so where Linux waits
            else:
                return

    def finish(self) -> int:
        """The call ends: send what it has begun. The mark for its answer."""
        for stream in self.streams:
            stream.finish()
        self.is_used = self._has_children
        return wire.AFTER_OUTPUT


def _nothing() -> None:
    pass


class _Lines(io.BufferedIOBase):
    """Bytes in, whole lines out."""

    raw: Any  # what some programs reach for below ``sys.stdout.buffer``

    def __init__(self, outlet: Outlet, kind: int, name: str, real: TextIO | None) -> None:
        self.name = name
        self.mode = "wb"
        self.raw = self
        self._outlet = outlet
        self._kind = kind
        self._real = real
        self._begun: dict[int, bytearray] = {}  # by thread
        self._is_unflushed = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self._real is None:
            raise io.UnsupportedOperation("this program was started without this stream")
        return self._real.fileno()

    def isatty(self) -> bool:
        return self._real is not None and self._real.isatty()

    def write(self, data: Any, /) -> int:
        """Send the lines that end here; keep what is begun."""
        if type(data) is not bytes:
            data = memoryview(data).tobytes()
        self._outlet.is_used = self._is_unflushed = True
        me = get_ident()
        if b"\n" in data:
            self._end_line(me, data)
            return len(data)
        # A print comes in pieces, so this is done several times for each line.
        held = self._begun.get(me)
        if held is None:
            self._begun[me] = bytearray(data)
        elif len(held) < LONGEST_LINE:
            held += data
        else:
            self._end_line(me, data)
        return len(data)

    def _end_line(self, me: int, data: bytes) -> None:
        outlet = self._outlet
        held_off = outlet.hold_off()
        try:
            end = data.rfind(b"\n") + 1 or len(data)
            held = self._begun.pop(me, None)
            whole = data[:end]
            outlet.post(self._kind, held + whole if held else whole)
            if end < len(data):
                self._begun[me] = bytearray(data[end:])
        finally:
            outlet.let_go(held_off)

    def flush(self) -> None:
        """Send what this thread has begun, and have it all shown."""
        if self._is_unflushed:
            held_off = self._outlet.hold_off()
            try:
                self._is_unflushed = False
                self._outlet.post(self._kind, self._begun.pop(get_ident(), b""), FLUSH)
            finally:
                self._outlet.let_go(held_off)

    def finish(self) -> None:
        """Send what the main thread has begun, and what was begun by threads that are no more."""
        if self._begun:
            alive = sys._current_frames().keys() - {self._outlet.main}
            for thread in [thread for thread in tuple(self._begun) if thread not in alive]:
                self._outlet.send(self._kind, self._begun.pop(thread))

    def drop(self) -> None:
        """Forget what was begun."""
        self._begun.clear()
        self._is_unflushed = False

    def close(self) -> None:
        """Flush. It stays open: the next call of this worker may want to print."""
        self.flush()


class _Text(io.TextIOWrapper):
    """``sys.stdout`` and ``sys.stderr`` of a worker. One call cannot take them from the next."""

    def reconfigure(self, *, errors: str | None = None, newline: str | None = None, **_: object) -> None:
        """Only ``errors`` and ``newline``: encoding and buffering are for the parent's stream to decide."""
        super().reconfigure(errors=errors, newline=newline)

    def detach(self) -> Any:
        """Flush, and give the buffer, which goes on serving this stream as well."""
        self.flush()
        return self.buffer


outlet = Outlet()


def install(fd: int) -> None:
    """In the zygote, for it and all its workers: output goes to the socket ``fd``."""
    outlet.open(fd)
    sys.stdout = _open(STDOUT, "<stdout>", sys.__stdout__, "strict")
    sys.stderr = _open(STDERR, "<stderr>", sys.__stderr__, "backslashreplace")
    import atexit

    atexit.register(outlet.finish)  # as the last hook, after those of the tasks


def _open(kind: int, name: str, real: TextIO | None, errors: str) -> _Text:
    lines = _Lines(outlet, kind, name, real)
    outlet.streams.append(lines)
    # Through at once, because the wrapper would keep what the threads have begun in one place.
    text = _Text(
        lines,
        encoding="utf-8",
        errors=getattr(real, "errors", None) or errors,
        newline="\n",
        write_through=True,
    )
    vars(text)["mode"] = "w"
    return text


def class_named(module: str, name: str) -> Any:
    """The class of this qualified name where its module is loaded here, else None."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None
