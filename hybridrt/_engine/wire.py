"""Bytes <-> frames, sans-I/O: the one format spoken on the socket between us and a worker.

A frame is a header (payload length, call number, function number or microseconds, kind) and its payload. Both
sides read through ``FrameReader``: small frames are parsed in place from one reused buffer; a frame larger than
the buffer gets memory of its own, so that its bytes are copied from the kernel once.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

# to a worker
CALL = 1  # run function `extra` with the pickled (args, kwargs); `extra` 0: the payload is (fn, args, kwargs)
#           what the caller's context brings (context.py), if anything, is one element more
AHEAD = 2  # the same, written ahead: to be run only if its token can be taken from the token pipe
COROUTINE = 3  # the same, for a coroutine function: runs beside others on the worker's event loop
CANCEL = 4  # stop the coroutine call of this number
DEFINE = 5  # function `extra` is what the payload unpickles to, from here on in the stream
FORGET = 6  # function `extra` is not needed any more
PATH = 7  # sys.path as our process has it now
QUIT = 8  # leave, running atexit hooks
PING = 9  # answer PONG from the event loop, if it still turns
AUDIENCE = 10  # which log records and warnings our process would show (audience.py)
SETUP = 11  # before any call: run the initializer; payload: the pickled (initializer, initargs)
AUTHKEY = 12  # what proxies of our multiprocessing managers prove themselves with
TRIM = 13  # give back memory that nobody uses
SHARE = 15  # a shared object, by number, as cargo
UNSHARE = 14  # the shared object of this number is not needed any more

# from a worker; `extra` is the microseconds that the call took
RESULT = 16  # payload: the pickled result
FAILED = 17  # payload: the packed exception (failure.py)
STOPPED = 18  # the interrupt ended the call
UNSENDABLE = 19  # the result cannot be pickled; payload: pickled (where, reason)
PONG = 20
READY = 21  # the initializer has run
NOT_READY = 22  # it failed, and this worker leaves; payload: the packed exception
NEEDED = 23  # modules that a call had to import (needs.py); payload: their pickled names
RELEASED = 24  # in both directions: these blocks of the receiver's arenas are viewed no more (cargo.py)
PART = 25  # what comes ahead of the answer to this call, as the call has it (producer.py)
HELD = 30  # answers are held in the ring (ring.py)
CARGO = 0x40  # added to the kind of a call or result: the payload is a manifest (manifest.py)
AFTER_OUTPUT = (
    0x80  # added to an answer's kind: output of the call is waiting in the other socket (output.py)
)

LARGE = (
    0x20  # added to a kind by our reader: the frame has outgrown its buffer, and the payload owns its memory
)

_HEADER = struct.Struct("<QQIB")
HEADER_SIZE = _HEADER.size
pack_header = _HEADER.pack
"""``pack_header(length, number, extra, kind)``: the header alone, for a payload that is not to be copied."""
_unpack_header = _HEADER.unpack_from

_MOST_AT_ONCE = 1 << 20
"""Bytes of a large frame that are read in one go: the loop has other work."""

_MAPPED = 1 << 20
"""A frame of this size and more gets memory that comes page by page; malloc's would first be filled with zeros."""

TOKEN = struct.Struct("=I")
"""A token names the written-ahead call that it allows by the low 32 bits of the call's number."""


class Frame(NamedTuple):
    """One message. The payload is a view into the reader's buffer: use it before the next ``next_frame``."""

    kind: int
    number: int
    extra: int
    payload: memoryview | bytes


_new = tuple.__new__  # a named tuple's own takes a Python frame more


def pack(kind: int, number: int, extra: int, payload: bytes = b"") -> bytes:
    """The bytes of one frame."""
    return pack_header(len(payload), number, extra, kind) + payload


def split(data: bytes) -> Iterator[Frame]:
    """The frames in ``data``, which holds whole ones only."""
    start = 0
    end = len(data)
    while start < end:
        length, number, extra, kind = _unpack_header(data, start)
        payload = start + HEADER_SIZE
        start = payload + length
        yield _new(Frame, (kind, number, extra, data[payload:start]))


class FrameReader:
    """Turns a stream of bytes into frames: fill ``room()``, say how much with ``filled(n)``, then ``next_frame()``."""

    __slots__ = ("_buffer", "_large", "_large_end", "_mark", "_start", "_view", "end")

    def __init__(self, size: int = 1 << 16, mark: int = 0) -> None:
        """``mark`` is or-ed to the kind of each frame that is larger than ``size``."""
        self._mark = mark
        self._buffer = bytearray(size)
        self._view = memoryview(self._buffer)
        self._start = 0
        self.end = 0
        """Bytes that were read, up to here in the buffer; 0 where all of them have been given out."""
        self._large: memoryview | None = None  # the frame that outgrew the buffer, header included
        self._large_end = 0

    def room(self) -> memoryview:
        """Where the next bytes go; never empty. Call only when ``next_frame`` gave None."""
        if self._large is not None:
            return self._large[self._large_end : self._large_end + _MOST_AT_ONCE]
        if self._start:
            self._view[: self.end - self._start] = bytes(self._view[self._start : self.end])
            self.end -= self._start
            self._start = 0
        return self._view[self.end :]

    def filled(self, count: int) -> None:
        """``count`` bytes were written into the last ``room()``."""
        if self._large is not None:
            self._large_end += count
        else:
            self.end += count

    def receive(self, recv_into: Callable[[memoryview], int]) -> int:
        """Have this fill the room that there is; the count of bytes. Raises what it raises."""
        count = recv_into(self._view if not self.end and self._large is None else self.room())
        if self._large is not None:
            self._large_end += count
        else:
            self.end += count
        return count

    def next_frame(self) -> Frame | None:
        """The next whole frame, or None where more bytes are needed."""
        if self._large is not None:
            return self._next_large(self._large)
        start = self._start
        have = self.end - start
        if have < HEADER_SIZE:
            return None
        length, number, extra, kind = _unpack_header(self._buffer, start)
        total = HEADER_SIZE + length
        if have < total:
            if total > len(self._buffer):
                self._large = _memory(total)
                self._large[:have] = self._view[start : self.end]
                self._large_end = have
                self._start = self.end = 0
            return None
        self._start = start + total
        if self._start == self.end:
            self._start = self.end = 0
        return _new(Frame, (kind, number, extra, self._view[start + HEADER_SIZE : start + total]))

    def next_kind(self) -> int:
        """The kind of the frame that ``next_frame`` will give, or 0 where it has to wait for more bytes."""
        have = self.end - self._start
        if have < HEADER_SIZE or self._large is not None:
            return 0
        length, _, _, kind = _unpack_header(self._buffer, self._start)
        return kind if have >= HEADER_SIZE + length else 0

    def _next_large(self, large: memoryview) -> Frame | None:
        if self._large_end < len(large):
            return None
        _, number, extra, kind = _unpack_header(large, 0)
        self._large = None
        return Frame(kind | self._mark, number, extra, large[HEADER_SIZE:])


def _memory(size: int) -> memoryview:
    if size < _MAPPED:
        return memoryview(bytearray(size))
    try:
        return memoryview(mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    except OSError:
        raise MemoryError from None  # what malloc would say, and what a worker under a limit waits for
