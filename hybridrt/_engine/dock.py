"""A worker's side of large data: our process's arenas as seen from here, and arenas of its own for results.

Made when the first frame with cargo arrives, or the first large result is to leave; most workers never load this.
"""

from __future__ import annotations

import mmap
import os
from typing import Any

from .._core.memory_budget import arena_parts
from . import wire
from .arenas import Arenas, Block, Short
from .berth import Berth, Lost
from .conditions import ArenaTerms
from .hatch import ARENA, Delivery, Hatch
from .manifest import Cargo, Key, pack_keys, unpack_keys
from .stowage import Arrival, load_up

_OWN_BUFFER = 1 << 16
"""A frame as large as that has a buffer of its own (wire.FrameReader)."""


class Dock:
    """Everything large that comes to this worker or leaves it. One thread's."""

    def __init__(self, hatch: int, terms: ArenaTerms) -> None:
        self._hatch = Hatch(hatch)
        self._berth = Berth(self._hatch)
        self._berth.on_share = self._shelve
        _, most = arena_parts(*terms)
        self._arenas = _TellingArenas(most, self._hatch)
        self._lent: dict[Key, list[Block]] = {}
        self._leaving: list[Block] = []
        self._arrivals: dict[int, Arrival | BaseException] = {}
        self._shelf: dict[int, _Shared] = {}

    # Arguments

    def take_in(self, frame: wire.Frame) -> None:
        """A call with cargo has arrived; ``arguments`` opens it, or else ``forget`` releases it."""
        payload = frame.payload
        if len(payload) < _OWN_BUFFER:
            payload = memoryview(bytes(payload))  # the reader's buffer is used again for the next frame
        try:
            self._arrivals[frame.number] = Arrival(self._berth, payload)
        except BaseException as exc:
            self._arrivals[frame.number] = exc

    def arguments(self, number: int) -> Any:
        """What the call of this number is made of. Raises what unpickling raises, and Lost."""
        arrival = self._arrivals.pop(number)
        if isinstance(arrival, BaseException):
            raise arrival
        return arrival.open()

    def forget(self, number: int) -> None:
        """The call has been answered, opened or not."""
        self._arrivals.pop(number, None)

    # Results

    def load_up(self, result: Any) -> Cargo:
        """``result`` as cargo; raises what pickling raises. It is the parent's with the next ``hand_over``."""
        self._arenas.let_all_go(self._leaving)  # of one that an interrupt has stopped
        cargo = load_up(self._arenas, self._leaving, result, is_call=False)
        self._leaving = cargo.blocks
        return cargo

    def hand_over(self, cargo: Cargo) -> None:
        """It leaves now: its blocks are taken until the parent gives them back."""
        for block in cargo.blocks:
            self._lent.setdefault(block.key, []).append(block)
        self._leaving = []
        cargo.blocks = []

    # News

    def report(self) -> bytes:
        """The frame that says which blocks of the parent's nobody here views any more; empty where there is nothing."""
        if not self._berth.has_released:
            return b""
        return wire.pack(wire.RELEASED, 0, 0, pack_keys(self._berth.released()))

    def note(self, frame: wire.Frame) -> None:
        """Take in a frame that is about memory."""
        if frame.kind == wire.RELEASED:
            for key in unpack_keys(frame.payload):
                held = self._lent.get(key)
                if held:
                    self._arenas.let_go(held.pop())
                    if not held:
                        del self._lent[key]
        elif frame.kind == wire.UNSHARE:
            self._berth.take_deliveries()
            self._shelf.pop(frame.number, None)
        elif frame.kind == wire.TRIM:
            if self._berth.pinned:
                import gc

                gc.collect()  # an exception's frames, say, may hold arrays until somebody looks
            self._arenas.trim(0.0)

    # Shared objects

    def _shelve(self, delivery: Delivery) -> None:
        self._shelf[delivery.number] = _Shared(delivery.fd, delivery.size)

    def open_share(self, number: int) -> Any:
        """The shared object of this number. Raises Lost."""
        if number not in self._shelf:
            self._berth.take_deliveries(lambda: number in self._shelf)
        shared = self._shelf.get(number)
        if shared is None:
            raise Lost("a shared object has not arrived in this worker")
        return shared.open()


class _Shared:
    """A shared object: a file until somebody asks for it, then the object."""

    def __init__(self, fd: int, contents_size: int) -> None:
        self._fd = fd
        self._contents_size = contents_size
        self._obj: Any = None
        self._is_open = False

    def open(self) -> Any:
        if not self._is_open:
            size = os.fstat(self._fd).st_size
            with mmap.mmap(self._fd, size, access=mmap.ACCESS_READ) as mapping:
                contents = mapping[size - self._contents_size :]
            self._obj = Arrival(_Pages(self._fd, size), contents).open()
            self._is_open = True
            self._close()
        return self._obj

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self._close()


class _Pages(Berth):
    """The file of a shared object, in place of the arenas of a process: nothing in it is ever used again."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        try:
            self._mapping = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as exc:
            raise Lost(f"a shared object cannot be mapped: {exc}") from exc

    def pin(self, key: Key, nbytes: int, *, is_private: bool = False) -> memoryview:
        return memoryview(self._mapping)[key[1] : key[1] + nbytes]

    def _file(self, number: int) -> int:
        return self._fd

    def release(self, keys: list[Key]) -> None:
        pass


class _TellingArenas(Arenas):
    """Arenas whose one reader is told of each when it is made."""

    def __init__(self, most: int, hatch: Hatch) -> None:
        super().__init__(most)
        self._hatch = hatch

    def _open(self, size: int) -> Any:
        arena = super()._open(size)
        if not self._hatch.send(ARENA, arena.number, arena.size, arena.fd):
            self._arenas.remove(arena)
            raise Short("the descriptor of an arena could not be passed on")
        return arena
