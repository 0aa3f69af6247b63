"""What the workers print, log and warn, as it arrives: it goes to this process's own streams, logging and warnings.

Nothing that a stream, a handler or a filter of the user's does can break the lane: it is reported to the loop's
exception handler. The work of one loop turn is bounded, so a worker that prints without end slows down itself.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from .._engine import parcel, wire
from .._engine.child import close_unseen
from .._engine.output import (
    FLUSH,
    HEADER,
    LONGEST_LINE,
    MORE,
    MOST_MESSAGE,
    RECORD,
    STDERR,
    STDOUT,
    WARNING,
    class_named,
)
from .._engine.zygote import open_control

_ROOM = 1 << 18
"""Bytes that may be on their way (the kernel doubles it, and counts some 750 for the smallest message)."""
_MOST_WAITING = 2048  # messages: more than can be on their way
_ONE_TURN = 64
_MOST_UNFINISHED = 256  # senders in the middle of something long
_NAMES = {STDOUT: "stdout", STDERR: "stderr"}


class Listening:
    """The near end of all workers' output; belongs to the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._near: socket.socket | None = None
        self._far: socket.socket | None = None
        self._view = memoryview(b"")
        self._pieces: dict[tuple[int, int], list[bytes]] = {}  # by process and serial
        self._texts: list[
            bytes
        ] = []  # heard one after the other for the same stream, and to be written in one go
        self._stream = STDOUT
        self._registries: dict[str, dict[Any, Any]] = {}  # by file: which warnings were shown
        self._reported: set[tuple[str, type[BaseException]]] = set()

    def far_end(self) -> int:
        """The descriptor for the workers; opened when first asked for. May raise OSError."""
        if self._far is None:
            self._near, self._far = open_control()
            self._near.setblocking(False)
            self._near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
            self._far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
            self._view = memoryview(bytearray(MOST_MESSAGE))
            self._loop.add_reader(self._near, self._take, _ONE_TURN)
        return self._far.fileno()

    def drain(self) -> None:
        """Everything that was sent before now is heard."""
        self._take(_MOST_WAITING)

    def before(self, frame: wire.Frame) -> wire.Frame:
        """``frame``, when what was printed before it has been heard: a call's output is there before its result."""
        if not frame.kind & wire.AFTER_OUTPUT:
            return frame
        self.drain()
        return frame._replace(kind=frame.kind & ~wire.AFTER_OUTPUT)

    def hear_out(self, pid: int) -> None:
        """This worker has died: everything that it sent is heard, the beginning of a long line too."""
        self.drain()
        self._give_up(pid)
        self._write()

    def close(self) -> None:
        """Hear what is there, and nothing more. A second time is harmless."""
        if self._near is not None and self._far is not None:
            self.drain()
            for pid, _ in tuple(self._pieces):
                self.hear_out(pid)
            self._loop.remove_reader(self._near)
            self.forsake()

    def forsake(self) -> None:
        """Give back the descriptors, without the loop: it is closed, or shared with the process we were forked from."""
        if self._near is not None and self._far is not None:
            close_unseen(self._near)
            self._far.close()
            self._near = None

    def _take(self, most: int) -> None:
        for _ in range(most):
            if self._near is None:
                break
            try:
                count = self._near.recv_into(self._view)
            except OSError:
                break  # nothing there
            if count < HEADER.size:
                break
            pid, serial, kind, flags = HEADER.unpack_from(self._view)
            data = bytes(self._view[HEADER.size : count])
            if not serial:
                self._hear(kind, flags, data)
            elif (whole := self._put_together((pid, serial), kind, flags, data)) is not None:
                self._hear(kind, flags, whole)
        self._write()

    def _give_up(self, pid: int) -> None:
        """No more pieces will come from this process."""
        for key in [key for key in self._pieces if key[0] == pid]:
            kind, *texts = self._pieces.pop(key)
            if kind[0] in _NAMES:
                self._hear(kind[0], 0, b"".join(texts))

    def _put_together(self, key: tuple[int, int], kind: int, flags: int, data: bytes) -> bytes | None:
        pieces = self._pieces.setdefault(key, [bytes((kind,))])
        pieces.append(data)
        if len(self._pieces) > _MOST_UNFINISHED:
            self._give_up(next(iter(self._pieces))[0])  # a child of a call's own, whose death nobody tells us
        if flags & MORE and (kind not in _NAMES or sum(map(len, pieces)) <= LONGEST_LINE):
            return None
        del self._pieces[key]
        return b"".join(pieces[1:])

    def _hear(self, kind: int, flags: int, data: bytes) -> None:
        if kind in _NAMES:
            if kind != self._stream:
                self._write()
                self._stream = kind
            self._texts.append(data)
            if flags & FLUSH:
                self._write(flush=True)
            return
        self._write()
        if kind == RECORD:
            self._carefully("a log record", partial(_log, data))
        elif kind == WARNING:
            self._carefully("a warning", partial(self._warn, data))

    def _write(self, *, flush: bool = False) -> None:
        if self._texts:
            text = b"".join(self._texts)
            self._texts.clear()
            name = _NAMES[self._stream]
            self._carefully(f"text for sys.{name}", partial(_write, getattr(sys, name), text, flush=flush))

    def _carefully(self, what: str, act: Callable[[], None]) -> None:
        """Code of the user's (a stream, a handler, a filter) must not come between a call and its result."""
        try:
            act()
        except Exception as exc:
            if what in ("a warning", "a log record") or (what, type(exc)) not in self._reported:
                self._reported.add((what, type(exc)))  # a closed pipe fails with every line
                message = f"hybridrt: {what} from a worker could not be passed on here"
                self._loop.call_exception_handler({"message": message, "exception": exc})
        except BaseException as exc:
            self._loop.call_soon(_raise, exc)

    def _warn(self, data: bytes) -> None:
        text, category_module, category_name, filename, lineno, module = parcel.loads(data)
        category = class_named(category_module, category_name)
        registry = self._registries.setdefault(filename, {})
        if category is not None and issubclass(category, Warning):
            try:
                category(text)
            except Exception:
                category = None  # one that needs other arguments cannot be made from its text
        if category is None:
            category, text = UserWarning, f"{category_module}.{category_name}: {text}"
        warnings.warn_explicit(text, category, filename, lineno, module, registry)


def _write(stream: Any, data: bytes, *, flush: bool) -> None:
    if stream is None:
        return  # as under pythonw, or in a daemon
    try:
        text = data.decode()
    except UnicodeDecodeError:
        buffer = getattr(stream, "buffer", None)
        if buffer is not None:  # what a task wrote to sys.stdout.buffer, as it is
            stream.flush()
            buffer.write(data)
            if flush:
                stream.flush()
            return
        text = data.decode("utf-8", "backslashreplace")
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = getattr(stream, "encoding", None) or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    if flush:
        stream.flush()


def _log(data: bytes) -> None:
    call, is_printed, fields, others = parcel.loads(data)
    for name, (pickled, shown) in others.items():
        try:
            fields[name] = parcel.loads(pickled)
        except Exception:
            fields[name] = shown
    level_name = logging.getLevelName(fields["levelno"])
    if not level_name.startswith("Level "):
        fields["levelname"] = level_name
    record = logging.makeLogRecord(fields)
    record.hybridrt_job = call
    logger = logging.getLogger(record.name)
    # A worker's own handler has printed it: then the handler of last resort would print it a second time.
    if logger.isEnabledFor(record.levelno) and (not is_printed or logger.hasHandlers()):
        logger.handle(record)


def _raise(exc: BaseException) -> None:
    raise exc
