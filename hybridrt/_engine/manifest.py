"""Cargo, and its form in a frame: where each part of a pickle is, and the parts that are in the frame itself.

A head (marks, length of the body), the body, and the parts that are in band. A place is (arena, offset, bytes); arena 0
is the frame itself, behind the body.
"""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from . import wire

if TYPE_CHECKING:
    from .arenas import Arenas, Block

_HEAD = struct.Struct("<BI")

KEEP = 1
"""Mark: what is written to an argument must not be written to its block, for the call may be run again."""

IN_BAND = 0
"""In place of an arena's number: in the frame."""

VIEW, TEXT, SAME = 0, 1, 2

Place: TypeAlias = tuple[int, int, int]
Key: TypeAlias = tuple[int, int]
"""Of a block: the number of its arena, and the offset there."""

_KEY = struct.Struct("<QQ")


class Manifest(NamedTuple):
    """What a frame with cargo says."""

    stream: bytes
    """The pickle, where it is short."""
    segments: list[Place]
    """Where the parts of the pickle are, where it is not."""
    buffers: list[tuple[int, Any]]
    """In the order in which the pickle asks for them: (VIEW, place), (TEXT, [place, ...]) or (SAME, which)."""
    short: str
    """Why it is in band, where shared memory was short."""

    def pack(self) -> bytes:
        """Head and body."""
        body = pickle.dumps(tuple(self), 5)
        return _HEAD.pack(0, len(body)) + body

    def places(self) -> list[Place]:
        """All places."""
        found = list(self.segments)
        for kind, where in self.buffers:
            if kind == VIEW:
                found.append(where)
            elif kind == TEXT:
                found += where
        return found

    @property
    def heavy(self) -> int:
        """Bytes that have to be copied and turned into objects when it is opened."""
        texts = [place for kind, where in self.buffers if kind == TEXT for place in where]
        return sum(place[2] for place in self.segments + texts)


def opened(payload: bytes | memoryview) -> tuple[Manifest, int, int]:
    """The manifest, its marks, and where in the payload the parts in band begin."""
    marks, length = _HEAD.unpack_from(payload)
    start = _HEAD.size + length
    return Manifest(*pickle.loads(memoryview(payload)[_HEAD.size : start])), marks, start


def marked(packed: bytes, marks: int) -> bytes:
    """The same with these marks."""
    return bytes([marks]) + packed[1:]


def pack_keys(keys: Iterable[Key]) -> bytes:
    """Keys of blocks as the payload of a frame."""
    return b"".join([_KEY.pack(*key) for key in keys])


def unpack_keys(payload: bytes | memoryview) -> list[Key]:
    """The keys again."""
    return [(arena, offset) for arena, offset in _KEY.iter_unpack(payload)]


class Cargo:
    """One packed call or result: ``payload`` goes into the frame, ``flag`` is or-ed to its kind."""

    __slots__ = ("arenas", "blocks", "flag", "nbytes", "payload", "shares", "short")

    def __init__(self, arenas: Arenas, blocks: list[Block], manifest: Manifest, inline: list[bytes]) -> None:
        self.arenas = arenas
        self.blocks = blocks
        self.shares: tuple[Any, ...] = ()
        self.short = manifest.short
        head = manifest.pack()
        self.payload: bytes | list[bytes] = [head, *inline] if inline else head
        self.flag: int = wire.CARGO
        self.nbytes: int = len(head) + sum(place[2] for place in manifest.places())

    def release(self) -> None:
        """Its sender needs it no more. Any thread, at any moment; a second time is harmless."""
        self.arenas.let_all_go(self.blocks)
        self.payload = b""
        self.shares = ()

    def __del__(self) -> None:
        self.arenas.let_all_go(self.blocks)

    def in_band(self, why: str) -> list[bytes]:
        """The payload for one who cannot be given the shared memory that this is in."""
        pieces = self.payload if isinstance(self.payload, list) else [self.payload]
        manifest, _, _ = opened(pieces[0])
        files = {block.arena.number: block.arena.fd for block in self.blocks}
        inline: list[bytes] = []
        size = 0

        def moved(place: Place) -> Place:
            nonlocal size
            arena, offset, nbytes = place
            if arena == IN_BAND:
                data = b"".join(pieces[1:])[offset : offset + nbytes]
            else:
                data = os.pread(files[arena], nbytes, offset)
            inline.append(data)
            size += nbytes
            return (IN_BAND, size - nbytes, nbytes)

        segments = [moved(place) for place in manifest.segments]
        buffers: list[tuple[int, Any]] = []
        for kind, where in manifest.buffers:
            if kind == VIEW:
                buffers.append((kind, moved(where)))
            else:
                buffers.append((kind, [moved(place) for place in where] if kind == TEXT else where))
        return [Manifest(manifest.stream, segments, buffers, why).pack(), *inline]


class Letter(Cargo):
    """A small call that needs what was shared: all of it is in the frame, and its worker has the rest."""

    __slots__ = ()

    def __init__(self, payload: bytes, tickets: tuple[Any, ...]) -> None:
        self.blocks = []
        self.shares = tickets
        self.short = ""
        self.payload = payload
        self.flag = 0
        self.nbytes = len(payload)

    def release(self) -> None:
        self.payload = b""
        self.shares = ()

    def __del__(self) -> None:
        pass
