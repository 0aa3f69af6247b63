"""What the proof knows of a value: whose it is, what it may hold, what it may call.

A value is a set of possibilities. ``0`` and nothing to call is *flat*: a number, a text, an array of numbers, anything
in which no object of the caller's can be and into which none can be put.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

BOX = 1
"""It may be an object made here that can hold others."""
IS_TOP = 2
"""It may be an argument of the function."""
IS_PART = 4
"""It may be a part of an argument, at any depth."""
HOLDS_TOP = 8
HOLDS_PART = 16
IS_LIVE = 32
"""It may be something that cannot be sent, such as an iterator."""
HOLDS_LIVE = 64
TUPLE = 128
"""It may be a tuple made here, and what it holds is flat: no object of the caller's, but it can be added to one."""

# What a function asks of its arguments. True is the strictest, so that a reader who asks only "is it set?" is safe.
NEEDS_NOTHING = 0
NEEDS_DEEP = 1
NEEDS_PARTS = 2


class Refused(Exception):
    """There is no proof, and this is why; the text goes after "it stays in a thread: "."""


class Value(NamedTuple):
    """Possibilities (bits), and what is called where the value, or something that it holds, is called."""

    bits: int = 0
    calls: frozenset[object] = frozenset()


FLAT = Value()
NEW = Value(BOX)
ROW = Value(TUPLE)


def join(*values: Value) -> Value:
    """What is one of ``values``."""
    bits = 0
    calls: frozenset[object] = frozenset()
    for value in values:
        bits |= value.bits
        if value.calls:
            calls |= value.calls
    return Value(bits, calls)


def join_all(values: Iterable[Value]) -> Value:
    return join(*values)


def held(value: Value) -> Value:
    """What a container is that holds ``value``, apart from being a container."""
    bits = value.bits & (HOLDS_TOP | HOLDS_PART | HOLDS_LIVE)
    if value.bits & IS_TOP:
        bits |= HOLDS_TOP
    if value.bits & IS_PART:
        bits |= HOLDS_PART
    if value.bits & IS_LIVE:
        bits |= HOLDS_LIVE
    return Value(bits, value.calls)


def box(*values: Value) -> Value:
    """A new container that holds ``values``."""
    inside = held(join(*values))
    return Value(inside.bits | BOX, inside.calls)


def element(value: Value) -> Value:
    """What comes out where ``value`` is iterated, subscripted, or unpacked."""
    bits = value.bits
    if not bits:
        return FLAT  # at most a function, and those are not iterated
    out = bits & TUPLE
    if bits & (IS_TOP | IS_PART | HOLDS_PART):
        out |= IS_PART
    if bits & HOLDS_TOP:
        out |= IS_TOP | HOLDS_TOP
    if bits & HOLDS_PART:
        out |= HOLDS_PART
    if bits & HOLDS_LIVE:
        out |= IS_LIVE | HOLDS_LIVE
    if bits & (BOX | IS_LIVE):
        out |= BOX
    return Value(out, value.calls)


def anywhere(value: Value) -> Value:
    """``value``, its elements, their elements, and so on."""
    one = join(value, element(value))
    return join(one, element(one))


def is_flat(value: Value) -> bool:
    return not value.bits and not value.calls


def needs_of(value: Value) -> int:
    """What must be immutable so that it does not matter whether ``value`` is the caller's object or a copy."""
    if value.bits & (IS_TOP | HOLDS_TOP):
        return NEEDS_DEEP
    return NEEDS_PARTS if value.bits & (IS_PART | HOLDS_PART) else NEEDS_NOTHING


def stricter(one: int, other: int) -> int:
    if NEEDS_DEEP in (one, other):
        return NEEDS_DEEP
    return one or other
