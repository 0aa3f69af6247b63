"""Shared memory that this process writes to and others read: arenas, and the blocks they are divided into.

Theory of operation. An arena is a memfd: it has no name, so nothing is left of it when the last process that holds it
has gone, however that came about. Blocks begin at a page, and are taken from the lowest offset that fits: what was used
last is used again, so its pages are there already. A page that is written for the first time is written by ``pwrite``,
which says ENOSPC where a plain store would be a SIGBUS; from then on it is copied to through the mapping, which takes
half the time. Neither holds the GIL (docs/decisions/0014).

A block is free again when the last of those who refer to it has let it go. ``let_go`` may be called in any thread and
in the middle of anything, a garbage collection included: it only takes note, without a lock, and the next ``take`` or
``trim`` acts on it.

In a worker, code in this file is never interrupted (worker.py), so the lists are whole at any time.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import threading
from collections import deque
from time import monotonic
from typing import Any

PAGE = mmap.PAGESIZE
LEAST_ARENA = 1 << 24
_MOST_ARENAS = 128
"""In one pool: each takes a descriptor or two here, and in every worker that has seen it."""

_LEAST_HOLE = 1 << 18
_PUNCH_HOLE = 3  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, from linux/falloc.h


class Short(Exception):
    """There is no shared memory to be had; the text says why."""


class Block:
    """A part of an arena, taken. Those who refer to it are counted: ``refs``."""

    __slots__ = ("arena", "nbytes", "offset", "refs", "size")

    def __init__(self, arena: Arena, offset: int, size: int, nbytes: int) -> None:
        self.arena = arena
        self.offset = offset
        self.size = size
        self.nbytes = nbytes
        self.refs = 1

    @property
    def key(self) -> tuple[int, int]:
        """By what the other side knows it: the arena's number and the offset there."""
        return self.arena.number, self.offset


class Arena:
    """One memfd and the list of what is free in it, by offset. Its pool's alone."""

    __slots__ = ("address", "fd", "filled", "free", "mapping", "number", "size", "top", "used_at")

    def __init__(self, number: int, size: int) -> None:
        """May raise OSError."""
        self.number = number
        self.size = size
        self.free: list[tuple[int, int]] = [(0, size)]
        self.filled = 0  # up to there every page has been written
        self.top = 0  # behind it no page has
        self.used_at = 0.0
        self.mapping: Any = None
        self.address = 0
        self.fd = os.memfd_create("hybridrt-arena", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self.fd, size)
        except OSError:
            os.close(self.fd)
            raise

    def find(self, size: int) -> int:
        """Index of the first free range of this size, or -1."""
        for at, (_, length) in enumerate(self.free):
            if length >= size:
                return at
        return -1

    def take(self, at: int, size: int) -> int:
        """Take so much from the beginning of free range ``at``; the offset."""
        offset, length = self.free[at]
        self.free[at : at + 1] = [(offset + size, length - size)] if length > size else []
        self.top = max(self.top, offset + size)
        return offset

    def give_back(self, offset: int, size: int) -> None:
        """This range is free again, in one piece with its neighbours."""
        free = self.free
        at = 0
        while at < len(free) and free[at][0] < offset:
            at += 1
        end = at
        if at < len(free) and offset + size == free[at][0]:
            size += free[at][1]
            end += 1
        if at and sum(free[at - 1]) == offset:
            at -= 1
            offset, size = free[at][0], free[at][1] + size
        free[at:end] = [(offset, size)]

    def give_memory_back(self) -> None:
        """The pages of what is free go back to the system."""
        for offset, length in self.free:
            length = min(length, self.top - offset)
            is_tail = offset + length >= self.top
            if length <= 0 or (length < _LEAST_HOLE and not is_tail):
                continue
            if not _punch(self.fd, offset, length):
                return
            self.filled = min(self.filled, offset)
            if is_tail:
                self.top = offset

    def map(self) -> int:
        """The address at which it is mapped here. May raise OSError or ValueError."""
        if not self.address:
            self.mapping = map_shared(self.fd, self.size)
            self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.mapping))
        return self.address

    def close(self) -> None:
        """Give back the descriptor."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        # Not before: a thread that is still writing would write to whatever has got the number by then.
        if hasattr(self, "fd"):
            self.close()


class Arenas:
    """A pool of arenas of at most ``most`` bytes. All methods may be called in any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._arenas: list[Arena] = []
        self._lock = threading.Lock()
        self._gone: deque[Block] = deque()
        self._next = 1
        self._is_closed = False

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the pool has of the system, at most."""
        return sum(arena.top for arena in self._arenas)

    @property
    def in_use(self) -> int:
        """Bytes of it that are taken."""
        with self._lock:
            self._settle()
            return sum(arena.size - sum(length for _, length in arena.free) for arena in self._arenas)

    def take(self, nbytes: int, taken: list[Block]) -> Block:
        """A block of so many bytes, which is in ``taken`` by then. Raises Short."""
        size = -(-max(nbytes, 1) // PAGE) * PAGE
        with self._lock:
            if self._is_closed:
                raise Short("the runtime is closed")
            self._settle()
            arena, at = self._room(size)
            block = Block(arena, arena.take(at, size), size, nbytes)
            taken.append(block)
            arena.used_at = monotonic()
            return block

    def _room(self, size: int) -> tuple[Arena, int]:
        for is_pressed in (False, True):
            for arena in self._arenas:
                at = arena.find(size)
                if at >= 0 and self._fits(arena.free[at][0] + size - arena.top):
                    return arena, at
            if self._fits(size) and len(self._arenas) < _MOST_ARENAS:
                return self._open(size), 0
            if not is_pressed:
                for arena in self._arenas:
                    arena.give_memory_back()
        raise Short(f"{size} bytes more would go over the limit of {self._most}")

    def _fits(self, growth: int) -> bool:
        return growth <= 0 or self.nbytes + growth <= self._most

    def _open(self, size: int) -> Arena:
        if not hasattr(os, "memfd_create"):
            raise Short("this system has no memfd_create")
        size = max(size, LEAST_ARENA, self.nbytes // 4 // PAGE * PAGE)
        try:
            arena = Arena(self._next, size)
        except OSError as exc:
            raise Short(f"memfd_create failed: {exc.strerror}") from exc
        self._next += 1
        self._arenas.append(arena)
        return arena

    def fill(self, block: Block, at: int, data: Any) -> None:
        """Copy ``data``, a contiguous buffer, into the block from byte ``at`` on. Raises Short."""
        arena = block.arena
        offset = block.offset + at
        nbytes = memoryview(data).nbytes
        if offset + nbytes <= arena.filled:
            try:
                with self._lock:
                    address = arena.map()
                copy(address + offset, data)
                return
            except (OSError, ValueError, MemoryError):
                pass  # no room for a mapping: the slower way then
        try:
            write_all(arena.fd, data, offset)
        except OSError as exc:
            raise Short(f"shared memory could not be written: {exc.strerror}") from exc
        with self._lock:
            if offset <= arena.filled:
                arena.filled = max(arena.filled, -(-(offset + nbytes) // PAGE) * PAGE)

    def refer(self, block: Block) -> None:
        """One more refers to the block."""
        with self._lock:
            block.refs += 1

    def let_go(self, block: Block) -> None:
        """One who refers to the block needs it no more; may be called in the middle of anything."""
        self._gone.append(block)
        if self._is_closed:
            self._gone.clear()  # nobody settles any more

    def let_all_go(self, blocks: list[Block]) -> None:
        """``let_go`` for each, and empty the list; from two threads at once it does it once."""
        while True:
            try:
                self.let_go(blocks.pop())
            except IndexError:
                return

    def _settle(self) -> None:
        while self._gone:
            block = self._gone.popleft()
            block.refs -= 1
            if block.refs == 0:
                block.arena.give_back(block.offset, block.size)
                block.arena.used_at = monotonic()

    def trim(self, idle: float) -> None:
        """Give back the memory of what is free, in arenas that nobody has used for ``idle`` seconds."""
        with self._lock:
            self._settle()
            now = monotonic()
            for arena in self._arenas:
                if arena.top and now - arena.used_at >= idle:
                    arena.give_memory_back()

    def close(self) -> None:
        """Take no more; each arena goes when nobody writes to it any more. A second time is harmless."""
        with self._lock:
            self._drop()

    def forsake(self) -> None:
        """In a process forked from ours, where the lock may be somebody's who is not there."""
        for arena in self._arenas:
            arena.close()
        self._drop()

    def _drop(self) -> None:
        self._is_closed = True
        self._arenas.clear()
        self._gone.clear()


def map_shared(fd: int, size: int, *, is_private: bool = False, offset: int = 0) -> mmap.mmap:
    """Memory of ``fd``, mapped: shared, or private (what is written there nobody else sees). May raise OSError."""
    access = mmap.ACCESS_COPY if is_private else mmap.ACCESS_DEFAULT
    return mmap.mmap(fd, size, access=access, offset=offset)


class _Buffer(ctypes.Structure):
    """Py_buffer, from Include/pybuffer.h: part of the stable ABI since 3.11."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


def copy(address: int, data: Any) -> None:
    """Copy a contiguous buffer to ``address``, without the GIL."""
    buffer = _Buffer()
    api = ctypes.pythonapi
    api.PyObject_GetBuffer(ctypes.py_object(data), ctypes.byref(buffer), 0)
    try:
        ctypes.memmove(address, buffer.buf, buffer.len)
    finally:
        api.PyBuffer_Release(ctypes.byref(buffer))


def write_all(fd: int, data: Any, offset: int) -> None:
    """Write a contiguous buffer at ``offset``, without the GIL. Raises OSError."""
    view = memoryview(data)
    if view.format != "B" or view.ndim != 1:
        view = view.cast("B")
    while view.nbytes:
        written = os.pwrite(fd, view, offset)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[written:]
        offset += written


def _punch(fd: int, offset: int, length: int) -> bool:
    """Have the kernel take the pages back (fallocate(2), Linux); False where it does not."""
    try:
        fallocate = ctypes.CDLL(None).fallocate
    except (OSError, AttributeError):
        return False
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return bool(fallocate(fd, _PUNCH_HOLE, offset, length) == 0)
