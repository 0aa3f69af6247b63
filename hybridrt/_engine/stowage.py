"""Large objects into shared memory and out of it: what our process and a worker do alike.

Whoever sends loads up: the pickle and its buffers are copied into blocks of his arenas, and the manifest says where.
Whoever receives pins the blocks that arrays are to be views of, reads the others, and says which are released
(berth.py); a block is used again when its sender has let it go and every receiver has released it. Where shared memory
is short, the same parts travel in the frame itself.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pickle import PickleBuffer
from typing import Any

from .arenas import Arenas, Block, Short
from .berth import Berth
from .manifest import IN_BAND, KEEP, SAME, TEXT, VIEW, Cargo, Key, Manifest, Place, opened
from .packing import LONGEST_FRAME, MAIN, OUT_OF_BAND, Refused, pickle_to
from .pieces import Source, find_texts, join_text, no_collection, text_pieces

_SEGMENT = 1 << 22
_BY_ITSELF = 1 << 20
_SHORT_STREAM = 1 << 16


class _Loader:
    """Takes in one pickle and its buffers. Without ``arenas``, into the frame."""

    def __init__(self, arenas: Arenas | None, blocks: list[Block], texts: dict[int, str]) -> None:
        self._arenas = arenas
        self._blocks = blocks
        self._texts = texts
        self._texts_done: dict[int, int] = {}
        self._pending: list[bytes] = []
        self._size = 0
        self._inline_size = 0
        self.looks_for_main = True
        self.inline: list[bytes] = []
        self.segments: list[Place] = []
        self.buffers: list[tuple[int, Any]] = []

    def write(self, data: Any) -> None:
        """For the pickler."""
        if type(data) is not bytes:
            data = memoryview(data).cast("B")  # of a bytearray, or of a buffer that stays in band
        elif self.looks_for_main and len(data) < LONGEST_FRAME and MAIN in data:
            raise _ByValue
        size = len(data)
        if size >= _BY_ITSELF:
            self._flush()
            self.segments.append(self._put([data]))
            return
        self._pending.append(data if type(data) is bytes else bytes(data))
        self._size += size
        if self._size >= _SEGMENT:
            self._flush()

    def take_buffer(self, buffer: PickleBuffer) -> bool:
        """For the pickler; whether it is to keep the buffer itself."""
        text = self._texts.get(id(buffer))
        if text is not None:
            known = self._texts_done.setdefault(id(buffer), len(self.buffers))
            if known < len(self.buffers):
                self.buffers.append((SAME, known))
            else:
                self.buffers.append((TEXT, [self._put([piece]) for piece in text_pieces(text)]))
            return False
        with buffer.raw() as raw:
            if raw.nbytes < OUT_OF_BAND:
                return True
            self.buffers.append((VIEW, self._put([raw])))
        return False

    def finish(self) -> bytes:
        """The pickle itself, where it is short."""
        if not self.segments and self._size <= _SHORT_STREAM:
            return b"".join(self._pending)
        self._flush()
        return b""

    def _flush(self) -> None:
        if self._pending:
            pending, self._pending, self._size = self._pending, [], 0
            self.segments.append(self._put(pending))

    def _put(self, pieces: list[Any]) -> Place:
        nbytes = sum(map(len, pieces))
        if self._arenas is None:
            self.inline += [piece if type(piece) is bytes else bytes(piece) for piece in pieces]
            self._inline_size += nbytes
            return (IN_BAND, self._inline_size - nbytes, nbytes)
        block = self._arenas.take(nbytes, self._blocks)
        at = 0
        for piece in pieces:
            self._arenas.fill(block, at, piece)
            at += len(piece)
        return (block.arena.number, block.offset, nbytes)


class _ByValue(Exception):
    pass


def load_up(arenas: Arenas, blocks: list[Block], obj: Any, *, is_call: bool) -> Cargo:
    """``obj`` as cargo; raises what pickling raises. ``blocks`` has at each moment all that was taken for it."""
    try:
        try:
            return _load_up(arenas, arenas, blocks, obj, is_call, "")
        except Short as exc:
            arenas.let_all_go(blocks)
            return _load_up(None, arenas, blocks, obj, is_call, str(exc))
    except BaseException:
        arenas.let_all_go(blocks)
        raise


def _load_up(
    into: Arenas | None, arenas: Arenas, blocks: list[Block], obj: Any, is_call: bool, short: str
) -> Cargo:
    marked_obj, texts = find_texts(obj, is_call=is_call)
    loader = _Loader(into, blocks, texts)
    try:
        pickle_to(loader, loader.take_buffer, marked_obj)
    except (Short, MemoryError, Refused):
        raise
    except Exception:  # as in parcel.dumps: by value then
        arenas.let_all_go(blocks)
        loader = _Loader(into, blocks, texts)
        loader.looks_for_main = False
        pickle_to(loader, loader.take_buffer, marked_obj, by_value=True)
    manifest = Manifest(loader.finish(), loader.segments, loader.buffers, short)
    return Cargo(arenas, blocks, manifest, loader.inline)


class Arrival:
    """A payload with its blocks, which are released when it is garbage and what was made of it is, too."""

    __slots__ = ("_berth", "_buffers", "_payload", "_start", "_to_read", "manifest")

    def __init__(self, berth: Berth, payload: bytes | memoryview, *, is_shared: bool = False) -> None:
        """``is_shared``: others view the same, so nobody may write to it.

        Raises Lost where memory that it names cannot be had; the blocks are released.
        """
        self._to_read: list[Key] = []
        self._berth = berth
        self.manifest, marks, self._start = opened(payload)
        self._payload = memoryview(payload)
        self._to_read += [(place[0], place[1]) for place in self.manifest.places() if place[0]]
        self._buffers: list[Any] = []
        for kind, where in self.manifest.buffers:
            if kind != VIEW:
                self._buffers.append(None)
            elif where[0] == IN_BAND:
                self._buffers.append(memoryview(bytearray(self._inline(where))))
            else:
                key = (where[0], where[1])
                self._buffers.append(berth.pin(key, where[2], is_private=bool(marks & KEEP)))
                self._to_read.remove(key)
            if is_shared and kind == VIEW:
                self._buffers[-1] = self._buffers[-1].toreadonly()

    def __del__(self) -> None:
        self._berth.release(self._to_read)

    def _inline(self, place: Place) -> memoryview:
        begin = self._start + place[1]
        return self._payload[begin : begin + place[2]]

    def open(self) -> Any:
        """The object; once. Raises what unpickling raises, and Lost."""
        buffers, self._buffers = self._buffers, []
        for at, (kind, where) in enumerate(self.manifest.buffers):
            if kind == TEXT:
                buffers[at] = join_text(self._read(place) for place in where)
            elif kind == SAME:
                buffers[at] = buffers[where]
        if not self.manifest.segments:
            return pickle.loads(self.manifest.stream, buffers=buffers)
        source = Source([self._stretch(place) for place in self.manifest.segments])
        with no_collection():
            return pickle.Unpickler(source, buffers=buffers).load()

    def _read(self, place: Place) -> bytes:
        if place[0] == IN_BAND:
            return bytes(self._inline(place))
        return self._berth.read((place[0], place[1]), 0, place[2])

    def _stretch(self, place: Place) -> tuple[int, Callable[[int, Any], None]]:
        if place[0] == IN_BAND:
            data = self._inline(place)

            def copy(skip: int, room: Any) -> None:
                room[:] = data[skip : skip + len(room)]

            return place[2], copy
        key = (place[0], place[1])
        return place[2], lambda skip, room: self._berth.read_into(key, skip, room)
