"""Which arguments are plain data: a copy of them in another process means the same as they do here."""

from __future__ import annotations

import array
import datetime
import enum
import fractions
import pathlib
import re
import sys
import uuid
from itertools import islice
from typing import Any

from .values import NEEDS_DEEP, NEEDS_PARTS

_FIXED: frozenset[type] = frozenset({type(None), bool, int, float, complex, str, bytes, range, type(...)})
_TRAVELLING: frozenset[type] = frozenset(
    {
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
        datetime.timezone,
        fractions.Fraction,
        uuid.UUID,
        re.Pattern,
        pathlib.PurePosixPath,
        pathlib.PureWindowsPath,
        type(pathlib.Path()),
    }
)
_all_fixed = _FIXED.issuperset
_CHANGEABLE: frozenset[type] = frozenset({list, set, dict, bytearray})
_CONTAINERS = _CHANGEABLE | {tuple, frozenset, slice}
_IMMUTABLE = _FIXED | _TRAVELLING
_LOOKED_AT = 20_000
"""Parts that are looked at one by one, at most: about a millisecond, and the loop waits."""
_SAMPLE = 64


def refusal_of(args: tuple[Any, ...], kwargs: dict[str, Any], *, needs_immutable: int) -> str | None:
    """Why these arguments keep a call in a thread; None where they are plain data that may travel.

    ``needs_immutable`` is the verdict's. Where it is 0 only a sample of large containers is looked at, and a pickler
    has to ask ``may_travel`` of what it finds; else all is looked at, or the call is refused.
    """
    for arg in args:
        if type(arg) not in _FIXED:
            why = _refusal(arg, needs_immutable)
            if why is not None:
                return why
    if kwargs:
        for arg in kwargs.values():
            if type(arg) not in _FIXED:
                why = _refusal(arg, needs_immutable)
                if why is not None:
                    return why
    return None


def _refusal(arg: Any, needs: int) -> str | None:
    """The quick answer for a container of plain things, and for a plain thing that is no builtin."""
    kind = type(arg)
    if kind in _CONTAINERS:
        is_free = not needs or needs == NEEDS_PARTS or kind not in _CHANGEABLE
        if is_free and kind is not bytearray and kind is not slice and (needs or len(arg) <= _SAMPLE):
            values = arg.values() if kind is dict else ()
            if _all_fixed(map(type, arg)) and _all_fixed(map(type, values)):
                return None
    elif kind in _TRAVELLING and kind is not datetime.datetime and kind is not datetime.time:
        return None
    return _walk(arg, needs)


def _walk(arg: Any, needs: int) -> str | None:
    left = _LOOKED_AT if needs else _SAMPLE
    todo: list[tuple[Any, int]] = [(arg, needs)]
    seen: set[tuple[int, int]] = set()
    while todo:
        item, strict = todo.pop()
        if (id(item), strict) in seen:
            continue
        seen.add((id(item), strict))
        kind = type(item)
        if kind not in _CONTAINERS:
            why = _other(item, strict)
            if why is not None:
                return why
            continue
        if strict and strict != NEEDS_PARTS and kind in _CHANGEABLE:
            return _changeable(kind)
        inner = NEEDS_DEEP if strict else 0
        for parts in _parts(item, kind):
            left -= len(parts)
            if left < 0:
                if needs:
                    return "an argument is too large to look at every part of it"
                # Not a proof: the pickler looks at the rest.
                parts = list(islice(parts, max(0, left + len(parts))))
            if not _all_fixed(map(type, parts)):
                todo.extend([(part, inner) for part in parts if type(part) not in _FIXED])
    return None


def _parts(item: Any, kind: type) -> tuple[Any, ...]:
    if kind is dict:
        return item.keys(), item.values()
    if kind is slice:
        return ((item.start, item.stop, item.step),)
    return () if kind is bytearray else (item,)


def _other(item: Any, strict: int) -> str | None:
    """Why an object that is no builtin plain type may not travel, None where it may."""
    if not may_travel(item):
        return f"an argument is or holds {_called(item)}"
    if strict and not is_leaf_immutable(item):
        return f"an argument is or holds {_called(item)}, and the function may change or return it"
    return None


def _called(item: Any) -> str:
    kind = type(item)
    if kind.__module__ == "_io":
        return f"an open file ({kind.__module__}.{kind.__qualname__})"
    return f"an object of type {kind.__module__}.{kind.__qualname__}"


def _changeable(kind: type) -> str:
    return f"an argument is or holds a {kind.__name__}, and the function may change or return it"


def may_travel(obj: object) -> bool:
    """Whether an object that is not of an exact builtin plain type means the same as a copy in another process.

    For a pickler's ``reducer_override``, which is asked about every such object inside the arguments.
    """
    kind = type(obj)
    if kind in _TRAVELLING:
        return (kind is not datetime.datetime and kind is not datetime.time) or _no_naming(obj) is None
    if kind in _FIXED or kind in _CONTAINERS:
        return True
    module = kind.__module__
    if module == "numpy":
        return _is_numbers(obj)
    if kind is array.array:
        return True
    if module == "decimal":
        return _is_decimal(obj)
    return isinstance(obj, enum.Enum) and _is_member(obj)


def _is_numbers(obj: Any) -> bool:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return False
    kind = type(obj)
    if kind is numpy.ndarray:
        return not obj.dtype.hasobject
    return (
        kind is getattr(numpy, kind.__name__, None)
        and isinstance(obj, numpy.generic)
        and kind is not numpy.void
    )


def _is_decimal(obj: object) -> bool:
    """A Decimal, where arithmetic with it does not depend on a context that stays here."""
    decimal = sys.modules.get("decimal")
    if decimal is None or type(obj) is not decimal.Decimal:
        return False
    here, fresh = decimal.getcontext(), decimal.Context()
    return all(
        getattr(here, name) == getattr(fresh, name)
        for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp", "traps")
    )


def _is_member(obj: enum.Enum) -> bool:
    kind: Any = type(obj)
    module = sys.modules.get(kind.__module__)
    is_found = module is not None and getattr(module, kind.__qualname__, None) is kind
    known = kind._member_map_.get(obj._name_) if is_found and kind.__module__ != "__main__" else None
    if known is not obj or type(obj._value_) not in _FIXED or not set(vars(obj)) <= _OF_A_MEMBER:
        return False
    # What the class itself defines could be run by a mere comparison or a format.
    own = any(
        getattr(item, "__module__", "") == kind.__module__ for item in vars(kind).values() if callable(item)
    )
    return not own and set(kind.__bases__) <= _BASES_OF_ENUMS


_BASES_OF_ENUMS = {enum.Enum, enum.IntEnum, enum.StrEnum, enum.Flag, enum.IntFlag, int, str}
_OF_A_MEMBER = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})


def _no_naming(obj: Any) -> str | None:
    """Times may carry any object as their zone."""
    zone = obj.tzinfo
    if zone is None or type(zone) is datetime.timezone or type(zone).__module__ == "zoneinfo":
        return None
    return f"an argument is or holds {_called(zone)}"


def is_leaf_immutable(item: object) -> bool:
    """Whether an object that holds no others is one that nothing can change."""
    kind = type(item)
    if kind in _IMMUTABLE or isinstance(item, enum.Enum):
        return True
    if kind.__module__ == "decimal":
        return True
    return kind.__module__ == "numpy" and kind.__name__ != "ndarray" and not kind.__name__.startswith("void")


def is_immutable(item: object) -> bool:
    """Whether ``item`` and all that it holds can never change (for constants)."""
    return type(item) in _FIXED or (type(item).__module__ != "decimal" and _walk(item, NEEDS_DEEP) is None)
