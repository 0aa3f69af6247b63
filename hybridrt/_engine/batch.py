"""What a producer hands over at a time: how its items are packed, how many they are, and how it says that it is over.

Each item is as it was when it was yielded, and a copy of its own: an item that could still change is pickled before the
generator goes on, so that one which it yields again and again, changed, arrives changed. What cannot change (numbers,
texts) is pickled with the whole batch, which is many times quicker.
"""

from __future__ import annotations

from pickle import dumps
from typing import Any, NamedTuple

from . import parcel
from .packing import MAIN, OUT_OF_BAND, PROTOCOL, Outgrown, Ready, pack_any

MOST_ITEMS = 2048
"""In a batch. More would save nothing: what a batch costs by itself is then a few nanoseconds for each item."""
MOST_BYTES = 40_000
"""Of pickle in a batch, but for its last item: so that it fits, with what goes with it, the buffer of a reader."""
BATCH_SECONDS = 0.002
"""From a batch's first item to its end: an item is held back no longer, for others to go with it."""

OVER = (0, b"")
"""The generator has come to its end."""

_SURELY_SMALL = 1 << 12
_FASTER_BY = 4


class Batch(NamedTuple):
    """Items, in their order. A tuple of one ``bytes`` in place of an item is the item, pickled."""

    items: list[Any]
    has_packed: bool
    """Whether there are such tuples."""
    end: tuple[int, bytes] | None
    """None: more will come, or may. Else OVER, or kind and payload of an answer that tells of a failure."""


def ready(items: list[Any], has_packed: bool, end: tuple[int, bytes] | None) -> Ready:
    """The batch as an answer. There is nothing in it that could fail to be pickled, or would have to go by value."""
    return Ready(dumps(Batch(items, has_packed, end), PROTOCOL))


class Packer:
    """Packs the items of one generator, and learns which types are always small."""

    __slots__ = ("_small", "_varying")

    def __init__(self) -> None:
        self._small: set[type] = set()
        self._varying: set[type] = set()

    def pack(self, item: Any) -> bytes | None:
        """The item as bytes; None where it is large, and goes by itself. Raises what pickling it raises."""
        kind = type(item)
        if kind in self._small:
            try:
                data = dumps(item, PROTOCOL)
                if MAIN in data:
                    data = parcel.dumps_by_value(item)
            except Exception:
                pass  # the slower way can do more, and says what is wrong
            else:
                if len(data) <= MOST_BYTES:
                    return data
                self._small.discard(kind)
                self._varying.add(kind)
                if len(data) < OUT_OF_BAND:
                    return data
        try:
            data = pack_any(item)
        except Outgrown:
            return None
        if len(data) <= _SURELY_SMALL and kind not in self._varying:
            self._small.add(kind)
        return data


def next_most(most: int, count: int, seconds: float) -> int:
    """How many items the next batch may have: more and more, as long as they come quickly."""
    if count >= most and seconds < BATCH_SECONDS / _FASTER_BY:
        return min(most * _FASTER_BY, MOST_ITEMS)
    return max(1, count) if seconds > BATCH_SECONDS else most
