"""A worker's side of large data: our process's arenas as seen from here, and arenas of its own for results.

Made when the first frame with cargo arrives, or the first large result is to leave; most workers never load this.
"""

from __future__ import annotations

from typing import Any

from .._core.memory_budget import arena_parts
from . import wire
from .arenas import Arenas, Block, Short
from .berth import Berth, Lost
from .conditions import ArenaTerms
from .hatch import Hatch
from .manifest import Cargo, Key, pack_keys, unpack_keys
from .stowage import Arrival, load_up

_OWN_BUFFER = 1 << 16
"""A frame as large as that has a buffer of its own (wire.FrameReader)."""


class Dock:
    """Everything large that comes to this worker or leaves it. One thread's."""

    def __init__(self, hatch: int, terms: ArenaTerms) -> None:
        self._hatch = Hatch(hatch)
        self._berth = Berth(self._hatch)
        _, most = arena_parts(*terms)
        self._arenas = _TellingArenas(most, self._hatch)
        self._lent: dict[Key, list[Block]] = {}
        self._leaving: list[Block] = []
        self._arrivals: dict[int, Arrival | BaseException] = {}
        self._shelf: dict[int, _Shared] = {}

    # Arguments

    def take_in(self, frame: wire.Frame) -> None:
        """A call with cargo has arrived; ``arguments`` opens it, or else ``forget`` releases it."""
        self._arrivals[frame.number] = self._arrival(frame)

    def _arrival(self, frame: wire.Frame, *, is_shared: bool = False) -> Arrival | BaseException:
        payload = frame.payload
        if len(payload) < _OWN_BUFFER:
            payload = bytes(payload)  # the reader's buffer is used again for the next frame
        try:
            return Arrival(self._berth, payload, is_shared=is_shared)
        except BaseException as exc:
            return exc

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
            self._shelf.pop(frame.number, None)
        elif frame.kind == wire.TRIM:
            if self._berth.pinned:
                import gc

                gc.collect()  # an exception's frames, say, may hold arrays until somebody looks
            self._arenas.trim(0.0)

    # Shared objects

    def shelve(self, frame: wire.Frame) -> None:
        """A shared object has arrived: its memory is kept, and the object made when a call first asks for it."""
        self._shelf[frame.number] = _Shared(self._arrival(frame, is_shared=True))

    def open_share(self, number: int) -> Any:
        """The shared object of this number. Raises what unpickling raises, and Lost."""
        shared = self._shelf.get(number)
        if shared is None:
            raise Lost("a shared object has not arrived in this worker")
        return shared.open()


class _Shared:
    """A shared object: cargo until somebody asks for it, then the object."""

    def __init__(self, arrival: Arrival | BaseException) -> None:
        self._arrival: Arrival | BaseException | None = arrival
        self._obj: Any = None

    def open(self) -> Any:
        if isinstance(self._arrival, BaseException):
            raise self._arrival
        if self._arrival is not None:
            self._obj = self._arrival.open()
            self._arrival = None
        return self._obj


class _TellingArenas(Arenas):
    """Arenas whose one reader is told of each when it is made."""

    def __init__(self, most: int, hatch: Hatch) -> None:
        super().__init__(most)
        self._hatch = hatch

    def _open(self, size: int) -> Any:
        arena = super()._open(size)
        if not self._hatch.send(arena.number, arena.size, arena.fd):
            self._arenas.remove(arena)
            raise Short("the descriptor of an arena could not be passed on")
        return arena
