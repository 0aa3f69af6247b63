"""Large calls and results, packed and unpacked in pieces, in any thread: the event loop gets the GIL in between.

A call that is small is packed at once by ``pack``. What outgrows it goes through ``Hold``, in a thread of its own: the
C pickler writes to a file of ours, piece by piece, and the C unpickler reads from one, so that threads may be switched
at each piece. Nothing of it belongs to the loop.
"""

from __future__ import annotations

import gc
import os
import pickle
from collections.abc import Callable
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from .parcel import dumps_by_value

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROTOCOL = 5
_MAIN = b"__main__"
_LONGEST_FRAME = 1 << 18
"""The pickler writes frames shorter than that, and large strings and buffers by themselves: they refer to nothing."""

STREAM_ON_LOOP = 1 << 17
"""Bytes of pickle from which on a call is packed, and a result unpacked, off the loop."""

_PIECE = 1 << 20
"""Bytes copied while the GIL is held."""


class Outgrown(Exception):
    """A call is too large to be packed on the loop."""


def pack(call: object) -> bytes:
    """``call`` as bytes, as ``parcel.dumps`` makes them; raises Outgrown as soon as they are too many for the loop."""
    pieces = _write(call, STREAM_ON_LOOP)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


pack_any = pack
"""The same for anything, such as a function by value."""


class Cargo:
    """One packed call on its way: ``payload`` goes into the frame, ``flag`` into its kind."""

    __slots__ = ("flag", "nbytes", "payload")

    def __init__(self, payload: bytes | list[bytes]) -> None:
        self.payload: bytes | list[bytes] = payload
        self.flag: int = 0
        self.nbytes: int = len(payload) if isinstance(payload, bytes) else sum(map(len, payload))

    def release(self) -> None:
        """Its sender needs it no more. From any thread; a second time is harmless."""
        self.payload = b""


class Hold:
    """What one process lane packs into and unpacks from."""

    def load_up(self, call: object) -> Cargo:
        """``call`` as cargo, in any thread; raises what pickling raises."""
        return Cargo(_write(call, 0))

    def unload(self, child: object, payload: bytes | memoryview, flag: int) -> Any:
        """What a worker has packed, in any thread; raises what unpickling raises."""
        with _no_collection():
            return pickle.Unpickler(_Source(payload)).load()

    def is_heavy(self, payload: bytes | memoryview, flag: int) -> bool:
        """Whether unloading this belongs off the loop."""
        return len(payload) >= STREAM_ON_LOOP

    def close(self) -> None:
        """Give everything back."""

    def forsake(self) -> None:
        """In a process forked from ours: touch nothing that the two share."""


class _Pieces:
    __slots__ = ("limit", "pieces", "total")

    def __init__(self, limit: int) -> None:
        self.pieces: list[bytes] = []
        self.total = 0
        self.limit = limit

    def write(self, data: Any) -> None:
        if type(data) is not bytes:
            data = bytes(data)
        self.pieces.append(data)
        if self.limit:
            self.total += len(data)
            if self.total > self.limit:
                raise Outgrown


def _write(obj: object, limit: int) -> list[bytes]:
    pieces = _dump(pickle.Pickler, obj, limit)
    if pieces is None or any(_MAIN in piece for piece in pieces if len(piece) < _LONGEST_FRAME):
        return _by_value(obj, limit)
    return pieces


def _dump(pickler: Callable[..., Any], obj: object, limit: int) -> list[bytes] | None:
    file = _Pieces(limit)
    try:
        pickler(file, _PROTOCOL).dump(obj)
    except (MemoryError, Outgrown):
        raise
    except Exception:
        return None  # by value then, as in parcel.dumps
    return file.pieces


def _by_value(obj: object, limit: int) -> list[bytes]:
    from . import parcel

    if not parcel._main_is_shared:
        import cloudpickle

        parcel._by_value_is_used = True
        file = _Pieces(limit)
        cloudpickle.Pickler(file, _PROTOCOL).dump(obj)
        return file.pieces
    data = dumps_by_value(obj)
    if limit and len(data) > limit:
        raise Outgrown
    return [data]


class _Source:
    """A file for the unpickler: it reads what it asks for, frame by frame."""

    __slots__ = ("_at", "_view")

    def __init__(self, payload: bytes | memoryview) -> None:
        self._view = memoryview(payload)
        self._at = 0

    def read(self, size: int) -> Any:
        start = self._at
        self._at = end = start + size
        return self._view[start:end]

    def readinto(self, target: Any) -> int:
        target = memoryview(target)
        size = len(target)
        start = self._at
        for done in range(0, size, _PIECE):
            end = min(done + _PIECE, size)
            target[done:end] = self._view[start + done : start + end]
        self._at = start + size
        return size

    def readline(self) -> bytes:
        raise pickle.UnpicklingError("protocol 0 is not spoken here")


_holding = Lock()
_held_off = 0


@contextmanager
def _no_collection() -> Iterator[None]:
    """A million objects that are being loaded are no garbage: looking at them again and again would stall everybody."""
    global _held_off
    with _holding:
        if not _held_off and not gc.isenabled():
            is_ours = False
        else:
            is_ours = True
            _held_off += 1
            gc.disable()
    try:
        yield
    finally:
        if is_ours:
            with _holding:
                _held_off -= 1
                if not _held_off:
                    if not gc.get_freeze_count():
                        gc.freeze()
                        gc.unfreeze()
                    gc.enable()


def _after_fork() -> None:
    global _held_off, _holding
    _holding = Lock()
    if _held_off:
        _held_off = 0
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
