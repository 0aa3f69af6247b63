"""What was learned of functions, as a text that a later program may start from, and what of it may be believed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from hashlib import blake2b
from types import CodeType
from typing import Any

from .function import Function
from .gil import is_gil_off
from .knowledge import Knowledge

_FORM = 1
_NUMBERS = ("work", "waited")


class Profile:
    """The knowledge of an earlier program, by function; a function whose code is not the same is an unknown one."""

    def __init__(self, entries: dict[str, dict[str, Any]] | None = None) -> None:
        self._entries = entries or {}

    @classmethod
    def parse(cls, text: str) -> Profile:
        """Raises ValueError where this is no such text. What another version of Python has measured is left out."""
        try:
            whole = json.loads(text)
        except ValueError as exc:
            raise ValueError(f"it is not JSON ({exc})") from None
        if not isinstance(whole, dict) or whole.get("hybridrt_placement") != _FORM:
            raise ValueError(f"it is not what hybridrt writes (hybridrt_placement: {_FORM})")
        entries = whole.get("functions")
        if not isinstance(entries, dict):
            raise ValueError("it has no functions")
        for name, entry in entries.items():
            _check(name, entry)
            for part in entry.get("by_size", {}).values():
                _check(name, part)
        return cls(entries if whole.get("python") == _python() else None)

    def recall(self, fn: Callable[..., Any], name: str) -> tuple[Knowledge, dict[int, Knowledge]] | None:
        """What was known of this very function, and by the size of its arguments; None where nothing was."""
        entry = self._entries.get(_key(fn, name)) if self._entries else None
        if entry is None:
            return None
        by_size = {int(size): _knowledge(part) for size, part in entry.get("by_size", {}).items()}
        return _knowledge(entry), by_size

    def text(self, functions: Iterable[tuple[Callable[..., Any], Function]]) -> str:
        """With what is known now of these in place of what was known before."""
        entries = dict(self._entries)
        for fn, function in functions:
            parts = {
                str(size): _entry(part.knowledge)
                for size, part in (function.by_size or {}).items()
                if part.knowledge.is_settled
            }
            if function.knowledge.is_settled or parts:
                entry = _entry(function.knowledge)
                entries[_key(fn, function.name)] = {**entry, "by_size": parts} if parts else entry
        whole = {"hybridrt_placement": _FORM, "python": _python(), "functions": dict(sorted(entries.items()))}
        return json.dumps(whole, indent=1) + "\n"


def _python() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}{'t' if is_gil_off() else ''}"


def _key(fn: Callable[..., Any], name: str) -> str:
    code = getattr(fn, "__code__", None)
    return f"{name} {_fingerprint(code) if isinstance(code, CodeType) else '-'}"


def _fingerprint(code: CodeType) -> str:
    """Of what it does; not of where it stands."""
    mark = blake2b(digest_size=6)
    _feed(code, mark.update)
    return mark.hexdigest()


def _feed(code: CodeType, update: Callable[[bytes], object]) -> None:
    update(code.co_code)
    update(repr(code.co_names).encode())
    for const in code.co_consts:
        if isinstance(const, CodeType):
            _feed(const, update)
        elif isinstance(const, frozenset):
            update(repr(sorted(map(repr, const))).encode())  # their order is another in each program
        else:
            update(repr(const).encode())


def _entry(known: Knowledge) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "kind": known.kind,  # for people
        "sights": known.sights,
        **{name: getattr(known, name) for name in _NUMBERS},
        "share": known.share,
        "shipping": known.shipping,
        "crashes": known.crashes,
        "away": known.is_away,
    }
    return entry


def _knowledge(entry: dict[str, Any]) -> Knowledge:
    known = Knowledge()
    known.sights = entry["sights"]
    known.crashes = entry["crashes"]
    known.share, known.shipping = entry["share"], entry["shipping"]
    for name in _NUMBERS:
        setattr(known, name, float(entry[name]))
    known.recall(was_away=entry["away"])
    return known


def _check(name: str, entry: Any) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"what it has of {name} is no object")
    for key in (*_NUMBERS, "sights", "crashes"):
        value = entry.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise ValueError(f"{key} of {name} is no number, 0 or more")
    for key in ("sights", "crashes"):
        if not isinstance(entry[key], int):
            raise ValueError(f"{key} of {name} is no whole number")
    for key in ("share", "shipping"):
        value = entry.get(key, "")
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{key} of {name} is neither a number nor null")
    if not isinstance(entry.get("away"), bool):
        raise ValueError(f"away of {name} is neither true nor false")
    by_size = entry.get("by_size", {})
    if not isinstance(by_size, dict) or not all(size.isdecimal() for size in by_size):
        raise ValueError(f"by_size of {name} is no object with classes of size")
