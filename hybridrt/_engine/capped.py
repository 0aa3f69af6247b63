"""A desk in a worker whose memory is limited: the limit is the user's code's, and never stops an answer.

A call that took too much still holds it when its MemoryError has to be packed and sent; and the arguments of a call
have to be read before it can be told that they are too large. So the limit is lifted there. It costs two system calls
an answer, 1 µs, in workers that have a limit. To get as far as that, where not even a traceback's next entry can be
had, there is the desk's ``spare``.
"""

from __future__ import annotations

from socket import socket
from typing import TYPE_CHECKING

from . import wire
from .conditions import ANY_TERMS, ArenaTerms
from .desk import Desk
from .memory import MemoryCap
from .ring import Ring

if TYPE_CHECKING:
    from .manifest import Cargo

_SPARE = 100_000
"""Bytes; below what malloc takes a mapping of its own for, so that what is freed is there for small objects."""


class CappedDesk(Desk):
    """The channel of a worker that lives under ``cap``."""

    def __init__(
        self, channel: socket, ring: Ring, cap: MemoryCap, hatch: int = -1, arenas: ArenaTerms = ANY_TERMS
    ) -> None:
        super().__init__(channel, ring, hatch, arenas)
        self._cap = cap
        self.reader = _UncappedReader(cap)
        self.spare = bytearray(_SPARE)

    def note(self, frame: wire.Frame) -> bool:
        """Take in a frame that is not a call; False for QUIT."""
        try:
            return super().note(frame)
        except MemoryError:
            self._cap.lift()
            try:
                return super().note(frame)
            finally:
                self._cap.hold()

    def take_in(self, frame: wire.Frame) -> None:
        """A call with cargo has arrived. Opening it, later, is under the limit."""
        self._cap.lift()
        try:
            super().take_in(frame)
        finally:
            self._cap.hold()

    def pack_failure(self, exc: BaseException) -> tuple[int, bytes]:
        """As in a desk, with a note on what came of the limit. Lifts it; the answer, which is next, restores it."""
        self._cap.lift()
        self._cap.explain(exc)
        return super().pack_failure(exc)

    def answer(self, kind: int, number: int, began: float, payload: bytes | Cargo) -> None:
        """Write one answer, whole, now."""
        self._cap.lift()
        super().answer(kind, number, began, payload)
        if self.spare is None:
            self.spare = bytearray(_SPARE)
        self._cap.hold()


class _UncappedReader(wire.FrameReader):
    __slots__ = ("_cap",)

    def __init__(self, cap: MemoryCap) -> None:
        super().__init__()
        self._cap = cap

    def room(self) -> memoryview:
        try:
            return super().room()
        except MemoryError:
            self._cap.lift()
            try:
                return super().room()
            finally:
                self._cap.hold()

    def next_frame(self) -> wire.Frame | None:
        try:
            return super().next_frame()
        except MemoryError:
            self._cap.lift()
            try:
                return super().next_frame()
            finally:
                self._cap.hold()
