"""What is small enough to be pickled where it stands: on the event loop, and in a worker for a small result.

``pack`` gives up as soon as it sees that the bytes are too many, or that there are buffers worth going another way.
Whoever called it then has ``cargo`` do the work, elsewhere.
"""

from __future__ import annotations

import copyreg
import pickle
from collections.abc import Callable
from contextvars import ContextVar
from pickle import PickleBuffer
from typing import Any, Protocol

from . import parcel

PROTOCOL = 5

STREAM_ON_LOOP = 1 << 17
"""Bytes of pickle that are made, and copied through the socket, in about a millisecond."""

OUT_OF_BAND = 1 << 17
"""Bytes of a buffer from which on it goes through shared memory (docs/decisions/0016)."""

LONGEST_FRAME = 1 << 18
"""The pickler writes frames shorter than that; what is longer is the content of one string, and refers to nothing."""

MAIN = b"__main__"

_SHORT = 1 << 12
_FEW = 32
PLAIN = frozenset({int, float, bool, complex, type(None)})
"""Types of what is always small, but for integers that nobody writes."""


pickler: ContextVar[type[pickle.Pickler]] = ContextVar("hybridrt_pickler", default=pickle.Pickler)
"""What pickles, but for what is small and plain; it goes with the context to whoever does the work (see ``strict``)."""


class Refused(TypeError):
    """Something is in there that may mean something else in another process."""


class Outgrown(Exception):
    """This is not to be pickled here and now: it is cargo."""


class Ready:
    """A result that is pickled already."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data: bytes = data


def pack(call: tuple[Any, ...]) -> bytes:
    """A call as bytes, as ``parcel.dumps`` makes them; raises Outgrown where they would be too many for the loop."""
    if len(call) == 2:
        args, kwargs = call
        is_small = not kwargs or _is_small(kwargs)
        for value in args:  # all of them: one may be a text that is too long
            if type(value) not in PLAIN and not _is_small(value):
                is_small = False
        if is_small:  # nothing in it can fail to be pickled
            data = pickle.dumps(call, PROTOCOL)
            return data if MAIN not in data else parcel.dumps_by_value(call)
    return pack_bounded(call)


def pack_any(obj: object) -> bytes:
    """``obj`` as bytes, as ``parcel.dumps`` makes them; raises Outgrown where they would be too many."""
    if type(obj) in PLAIN or _is_small(obj):
        return parcel.dumps(obj)
    return pack_bounded(obj)


def _is_small(value: Any, depth: int = 0) -> bool:
    """Whether a quick look shows that its pickle is short; raises Outgrown where it shows that it is too long.

    A long text would be encoded as a whole before the pickler writes any of it.
    """
    kind = type(value)
    if kind is str or kind is bytes:
        if len(value) > STREAM_ON_LOOP:
            raise Outgrown
        return len(value) < _SHORT
    if kind is list or kind is tuple or kind is dict:
        if len(value) > _FEW or depth > 1:
            return False
        if kind is dict:
            for key in value:
                if type(key) is not str and type(key) not in PLAIN:
                    return False
            value = value.values()
        is_small = True
        for part in value:
            if type(part) not in PLAIN and not _is_small(part, depth + 1):
                is_small = False
        return is_small
    if kind.__name__ == "ndarray" and kind.__module__ == "numpy":
        return bool(value.nbytes < _SHORT and not value.dtype.hasobject)
    return kind in PLAIN


def pack_bounded(obj: object) -> bytes:
    """``obj`` as bytes, without a look at what it is first; raises Outgrown where they would be too many."""
    file = _Bounded()
    try:
        pickle_to(file, file.keep_in_band, obj)
        data = file.taken()
        if MAIN not in data:
            return data
    except (Outgrown, MemoryError, Refused):
        raise
    except Exception:
        pass  # as in parcel.dumps: by value then
    file = _Bounded()
    pickle_to(file, file.keep_in_band, obj, by_value=True)
    return file.taken()


class _Bounded:
    """A file for the pickler that ends it when it has written too much."""

    __slots__ = ("_pieces", "_room")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._room = STREAM_ON_LOOP

    def write(self, data: Any) -> None:
        piece = data if type(data) is bytes else bytes(memoryview(data))
        self._room -= len(piece)
        if self._room < 0:
            raise Outgrown
        self._pieces.append(piece)

    def keep_in_band(self, buffer: PickleBuffer) -> bool:
        with buffer.raw() as raw:
            if raw.nbytes >= OUT_OF_BAND:
                raise Outgrown
        return True

    def taken(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


class Writable(Protocol):
    """What the pickler needs of a file."""

    def write(self, data: Any, /) -> object:
        """Take the next piece: ``bytes``, or the very object whose content it is, where that is large."""
        ...


def pickle_to(
    file: Writable,
    buffer_callback: Callable[[PickleBuffer], object],
    obj: object,
    *,
    by_value: bool = False,
) -> None:
    """Pickle ``obj`` piece by piece; each write is a place where another thread may get the GIL.

    A ``memoryview``, which cannot be pickled otherwise, travels as one.
    """
    if by_value:
        parcel.pickle_by_value(file, buffer_callback, obj, _reduce_view)
        return
    writer = pickler.get()(file, PROTOCOL, buffer_callback=buffer_callback)
    table = copyreg.dispatch_table.copy()
    table[memoryview] = _reduce_view
    writer.dispatch_table = table
    writer.dump(obj)


def _reduce_view(view: memoryview) -> tuple[Any, ...]:
    if not view.c_contiguous:
        whole = view.tobytes()
        plain = PickleBuffer(whole if view.readonly else bytearray(whole))
    else:
        plain = PickleBuffer(view.cast("B") if view.ndim != 1 or view.format != "B" else view)
    shape = None if view.ndim == 1 else view.shape
    return open_view, (plain, view.format, shape)


def open_view(buffer: Any, form: str, shape: tuple[int, ...] | None) -> memoryview:
    """What a ``memoryview`` is unpickled to."""
    view = memoryview(buffer)
    if view.format != "B" or view.ndim != 1:
        view = view.cast("B")
    cast: Any = view.cast
    if shape is not None:
        view = cast(form, shape)
    elif form != "B":
        view = cast(form)
    return view
