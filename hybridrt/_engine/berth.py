"""Shared memory that another process writes to, as it is seen here: mapped once, viewed often, and pinned by its views.

Whoever holds a view of a block, or anything made on it, keeps the block from being used again. What is watched is the
object that exports the memory, one for each block: numpy and others drop the memoryview that they were given and hold
on to what is behind it. When it is garbage, the block's key is noted; ``released`` gives what has been noted so far,
for the owner of the arena to be told. A note is all that a finalizer makes, because it may run in any thread and in
the middle of anything (docs/decisions/0015).

A mapping lives as long as the views of it, whatever becomes of the berth, the runtime or the other process.

Memory that is shared stays so in a fork, and a child of ours would see its arrays change when the block is used again.
So before a fork, whatever is pinned is replaced by a private copy at the same address.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar
from weakref import WeakSet, ref

from .arenas import map_shared
from .hatch import Hatch
from .manifest import Key

_MAP_FAILED = ctypes.c_void_p(-1).value
_MREMAP_FIXED = 3  # MREMAP_MAYMOVE | MREMAP_FIXED, from linux/mman.h


class Lost(Exception):
    """Memory that a frame speaks of is not to be had here; the text says why."""


class _Far:
    """An arena of the other side's."""

    __slots__ = ("fd", "mapping", "size")

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self.mapping: mmap.mmap | None = None

    def map(self) -> mmap.mmap:
        if self.mapping is None:
            self.mapping = map_shared(self.fd, self.size)
        return self.mapping

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class Berth:
    """All arenas of one other process. Everything may be called in any thread."""

    _all: ClassVar[WeakSet[Berth]] = WeakSet()

    def __init__(self, hatch: Hatch) -> None:
        self._hatch = hatch
        self._arenas: dict[int, _Far] = {}
        self._lock = threading.Lock()
        self._pins: dict[int, tuple[Any, _Far, Key, int]] = {}
        self._serial = itertools.count()
        self._released: deque[Key] = deque()
        Berth._all.add(self)

    def take_deliveries(self, until: Callable[[], bool] = lambda: False) -> None:
        """Take in what is in the hatch, as far as needed. May raise OSError."""
        while not until():
            delivery = self._hatch.receive()
            if delivery is None:
                return
            self._arenas[delivery.number] = _Far(delivery.fd, delivery.size)

    def _arena(self, number: int) -> _Far:
        arena = self._arenas.get(number)
        if arena is None:
            with self._lock:
                try:
                    self.take_deliveries(lambda: number in self._arenas)
                except OSError as exc:
                    raise Lost(f"shared memory cannot be opened: {exc}") from exc
            arena = self._arenas.get(number)
            if arena is None:
                raise Lost("the shared memory that it is in has not arrived")
        return arena

    def _file(self, number: int) -> int:
        return self._arena(number).fd

    def pin(self, key: Key, nbytes: int, *, is_private: bool = False) -> memoryview:
        """A view of a block, which is released when nobody has this view, or what is made on it, any more.

        ``is_private``: what is written to it is not written to the block. Raises Lost.
        """
        number, offset = key
        arena = self._arena(number)
        try:
            if is_private:
                mapping, offset = map_shared(arena.fd, nbytes, is_private=True, offset=offset), 0
            else:
                with self._lock:
                    mapping = arena.map()
        except (OSError, ValueError) as exc:
            raise Lost(f"shared memory cannot be mapped: {exc}") from exc
        exporter = (ctypes.c_char * nbytes).from_buffer(mapping, offset)
        self._watch(exporter, arena, key, nbytes)
        return memoryview(exporter).cast("B")

    def _watch(self, exporter: Any, arena: _Far, key: Key, nbytes: int) -> None:
        serial = next(self._serial)
        pins, released = self._pins, self._released

        def gone(_: object) -> None:
            del pins[serial]
            released.append(key)

        pins[serial] = ref(exporter, gone), arena, key, nbytes

    def read_into(self, key: Key, skip: int, room: Any) -> None:
        """Fill ``room`` from a block that is not released yet, without the GIL. Raises Lost."""
        number, offset = key
        view = memoryview(room).cast("B")
        fd = self._file(number)
        offset += skip
        while view.nbytes:
            count = os.preadv(fd, [view], offset)
            if not count:
                raise Lost("shared memory ends early")
            view = view[count:]
            offset += count

    def read(self, key: Key, skip: int, nbytes: int) -> bytes:
        """Bytes from a block that is not released yet. Raises Lost."""
        data = os.pread(self._file(key[0]), nbytes, key[1] + skip)
        if len(data) == nbytes:
            return data
        whole = bytearray(nbytes)
        self.read_into(key, skip, whole)
        return bytes(whole)

    def release(self, keys: list[Key]) -> None:
        """These blocks have arrived, and are done with."""
        self._released.extend(keys)

    @property
    def has_released(self) -> bool:
        """Whether ``released`` would give anything."""
        return bool(self._released)

    @property
    def pinned(self) -> int:
        """Bytes that views hold now."""
        return sum(nbytes for _, _, _, nbytes in list(self._pins.values()))

    def released(self) -> list[Key]:
        """The keys noted since the last time, each once for each arrival."""
        keys = []
        while self._released:
            keys.append(self._released.popleft())
        return keys

    def close(self) -> None:
        """Nothing more will come through the hatch; what did can still be opened."""
        try:
            with self._lock:
                self.take_deliveries()
        except OSError:
            pass  # whoever needs it is told that it has not arrived
        self._hatch.close()

    def forsake(self) -> None:
        """In a process forked from ours."""
        self._hatch.close()
        for arena in self._arenas.values():
            arena.close()
        self._arenas.clear()

    def make_private(self) -> None:
        """Every view from now on looks at a copy of our own; before a fork."""
        for weak, arena, _, nbytes in list(self._pins.values()):
            exporter = weak()
            if exporter is not None and _copy_in_place(ctypes.addressof(exporter), nbytes):
                arena.mapping = None  # here and there it is not what the others see; its views keep it


def _copy_in_place(address: int, nbytes: int) -> bool:
    """Put private memory with the same content where shared memory is mapped (mmap(2), mremap(2), Linux)."""
    libc = ctypes.CDLL(None)
    pointer, size_t = ctypes.c_void_p, ctypes.c_size_t
    libc.mmap.restype = libc.mremap.restype = pointer
    libc.mmap.argtypes = (pointer, size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64)
    libc.mremap.argtypes = (pointer, size_t, size_t, ctypes.c_int, pointer)
    size = -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    # Not Python's mmap, which would unmap at its end what is elsewhere by then.
    rights, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    private = libc.mmap(None, size, rights, flags, -1, 0)
    if private in (None, _MAP_FAILED):
        return False
    ctypes.memmove(private, address, nbytes)
    # In one step: a thread without the GIL may be reading there.
    return bool(libc.mremap(private, size, size, _MREMAP_FIXED, address) == address)


def _make_all_private() -> None:
    for berth in list(Berth._all):
        berth.make_private()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_make_all_private)
