"""How large the arguments of a call are, roughly and quickly: a class for each factor of four."""

from __future__ import annotations

from typing import Any

_SIZED = frozenset({str, bytes, bytearray, list, tuple, dict, set, frozenset, range})
_MOST_LOOKED_AT = 4
_FACTOR_BITS = 2


def size_class(args: tuple[Any, ...]) -> int:
    """The class of the first few arguments, by the length of what has one, the bytes of an array, an integer's value.

    Class ``n`` holds the sizes below ``4**n`` that are in no smaller one.
    """
    size = 0
    for value in args[:_MOST_LOOKED_AT]:
        kind = type(value)
        if kind in _SIZED:
            size += len(value)
        elif kind is int:
            size += abs(value)
        elif kind.__name__ == "ndarray":
            size += value.nbytes
    return -(-size.bit_length() // _FACTOR_BITS)


def growth(of: int, to: int) -> float:
    """How many times more work a call of class ``to`` is than one of class ``of``, where it grows as the size does."""
    return 2.0 ** (_FACTOR_BITS * (to - of))


def in_words(size_class: int) -> str:
    """The sizes of this class, for people."""
    return f"below {1 << _FACTOR_BITS * size_class:,}" if size_class else "0"
