"""What our process has with one worker beside the channel: who has which memory of whom."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from . import wire
from .hatch import Hatch
from .manifest import KEEP, Cargo, Key, marked, pack_keys, unpack_keys

if TYPE_CHECKING:
    from .arenas import Arenas, Block
    from .berth import Berth
    from .stowage import Arrival


class Side:
    """What our process has with one worker beside the channel. The loop's thread's, but for ``take_in``."""

    def __init__(self, hatch: int) -> None:
        self._hatch = Hatch(hatch)
        self.berth: Berth | None = None  # as soon as something large has come from it
        self._lock = threading.Lock()
        self._told: set[int] = set()  # arenas of ours that the worker has
        self._shares: set[int] = set()  # what was shared with it
        self._lent: dict[Key, list[tuple[Arenas, Block]]] = {}
        self._was_trimmed = True
        self._is_closed = False
        self._expected = 0
        self.unshared: list[int] = []
        """Numbers of shared objects that nobody can ask for any more."""

    # To the worker

    def accept(self, cargo: Cargo, *, keep: bool = False) -> list[bytes]:
        """The payload, in pieces, of ``cargo`` for this worker, which has its blocks from now on.

        ``keep``: the call may be run again, so what it is made of must stay as it is.
        """
        pieces = cargo.payload if isinstance(cargo.payload, list) else [cargo.payload]
        self._was_trimmed = False
        for block in cargo.blocks:
            arena = block.arena
            if arena.number not in self._told:
                if not self._hatch.send(arena.number, arena.size, arena.fd):
                    return cargo.in_band(
                        "the worker cannot be given the memory: its queue of descriptors is full"
                    )
                self._told.add(arena.number)
        for block in cargo.blocks:
            cargo.arenas.refer(block)
            self._lent.setdefault(block.key, []).append((cargo.arenas, block))
        return [marked(pieces[0], KEEP), *pieces[1:]] if keep and cargo.flag else pieces

    def introduce(self, cargo: Cargo) -> list[bytes]:
        """Frames, in pieces, that bring this worker what ``cargo`` needs of what was shared; to be sent before it."""
        frames: list[bytes] = []
        for _, copy in cargo.shares:
            if copy.number not in self._shares:
                self._shares.add(copy.number)
                pieces = self.accept(copy.cargo)
                frames += (wire.pack_header(sum(map(len, pieces)), copy.number, 0, wire.SHARE), *pieces)
        return frames

    def released(self, payload: bytes | memoryview) -> None:
        """The worker has released these blocks."""
        for key in unpack_keys(payload):
            held = self._lent.get(key)
            if held:
                arenas, block = held.pop()
                arenas.let_go(block)
                if not held:
                    del self._lent[key]

    def news(self) -> bytes:
        """Frames that tell the worker what it need not keep any more; empty where there are none."""
        frames = b""
        if self.berth is not None and self.berth.has_released:
            frames = wire.pack(wire.RELEASED, 0, 0, pack_keys(self.berth.released()))
        while self.unshared:
            number = self.unshared.pop()
            if number in self._shares:
                self._shares.discard(number)
                frames += wire.pack(wire.UNSHARE, number, 0)
        return frames

    @property
    def has_news(self) -> bool:
        """Whether ``news`` may give anything."""
        return bool(self.unshared) or (self.berth is not None and self.berth.has_released)

    def trim(self) -> bytes:
        """The frame for a worker that has had nothing to do for a while: it gives back memory that it does not use."""
        if self._was_trimmed:
            return b""
        self._was_trimmed = True
        return wire.pack(wire.TRIM, 0, 0)

    # From the worker

    def take_in(self, payload: bytes | memoryview) -> Arrival:
        """A result of this worker; in any thread, also when the worker has gone. Raises Lost."""
        from .stowage import Arrival

        self._was_trimmed = False
        return Arrival(self._open_berth(), payload)

    def _open_berth(self) -> Berth:
        from .berth import Berth

        with self._lock:
            if self.berth is None:
                self.berth = Berth(self._hatch)
            return self.berth

    def expect(self) -> None:
        """An answer waits to be taken in, however long; ``has_taken_in`` when it was."""
        self._expected += 1

    def has_taken_in(self) -> None:
        """One that was expected has been taken in, or is wanted no more."""
        self._expected -= 1
        if self._is_closed and not self._expected:
            self.drop()

    def close(self) -> None:
        """The worker has gone, and with it whatever it held. What is expected of it can still be taken in."""
        self._is_closed = True
        for held in self._lent.values():
            for arenas, block in held:
                arenas.let_go(block)
        self._lent.clear()
        if not self._expected:
            self.forsake()
            return
        self._open_berth().close()  # it takes in what is in the hatch

    def drop(self) -> None:
        """Nothing of what it sent is still to be taken in."""
        if self.berth is not None:
            self.berth.forsake()

    def forsake(self) -> None:
        """In a process forked from ours."""
        self._lent.clear()
        if self.berth is not None:
            self.berth.forsake()
        self._hatch.close()
