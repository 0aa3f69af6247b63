"""Pickles in pieces: written and read through files of ours, so that the GIL can change hands at each piece.

The C pickler writes frames of 64 kB or a little more, and hands over what is larger (the content of a ``bytes``) as it
is; the C unpickler reads them so, and has us fill large ``bytes`` in place. Long strings are the exception: it would
copy and decode them in one go. ``find_texts`` takes them out of the call beforehand, where it can do so unseen.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pickle import PickleBuffer
from typing import Any

LONG_TEXT = 1 << 20
"""Characters from which on a ``str`` travels by itself, and of which each of its pieces has at most so many."""

_MOST_LOOKED_AT = 200
_ATOMS = frozenset({int, float, complex, bool, type(None), bytes, bytearray, memoryview})


def find_texts(obj: Any, *, is_call: bool) -> tuple[Any, dict[int, str]]:
    """``obj`` with a mark in place of each long string that is near its top, and the strings by the ``id`` of the mark.

    A tuple is copied for that, and so are the arguments of a call (``is_call``). A list or a dict is only where
    everything in ``obj`` is looked at: else something deep inside could hold it too, and would not get the copy.
    """
    finder = _TextFinder()
    if not finder.look(obj, 0):
        return obj, {}
    return finder.replace(obj, is_ours=is_call), finder.texts


class _TextFinder:
    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self._marks: dict[int, PickleBuffer] = {}
        self._seen: dict[int, Any] = {}
        self._around: set[int] = set()
        self._copies: dict[int, Any] = {}
        self._is_all_seen = True

    def look(self, obj: Any, depth: int) -> bool:
        """Whether there is a long string; sees on the way whether there is anything that cannot be looked into."""
        kind = type(obj)
        if kind is str:
            return len(obj) >= LONG_TEXT
        if kind in _ATOMS:
            return False
        if kind not in (tuple, list, dict) or depth > 4 or len(self._seen) + len(obj) > _MOST_LOOKED_AT:
            self._is_all_seen = False
            return False
        if id(obj) in self._seen:
            if id(obj) in self._around:
                self._is_all_seen = False  # it holds itself, which a copy could not
            return False
        self._seen[id(obj)] = obj
        self._around.add(id(obj))
        parts = [part for pair in obj.items() for part in pair] if kind is dict else obj
        has_text = sum([self.look(part, depth + 1) for part in parts]) > 0  # every part is looked at
        self._around.discard(id(obj))
        return has_text

    def replace(self, obj: Any, *, is_ours: bool = False) -> Any:
        kind = type(obj)
        if kind is str and len(obj) >= LONG_TEXT:
            return self._mark(obj)
        if id(obj) in self._copies:
            return self._copies[id(obj)]
        if id(obj) not in self._seen:
            return obj
        if kind is tuple:
            copied = tuple([self.replace(part, is_ours=is_ours and type(part) is dict) for part in obj])
            return self._copies.setdefault(id(obj), copied)
        if not (self._is_all_seen or is_ours):
            return obj
        copy: Any = kind()
        self._copies[id(obj)] = copy
        if kind is dict:
            copy.update((key, self.replace(value)) for key, value in obj.items())
        else:
            copy.extend(self.replace(part) for part in obj)
        return copy

    def _mark(self, text: str) -> PickleBuffer:
        mark = self._marks.get(id(text))
        if mark is None:
            # Of something that may be written to: then the unpickler takes whatever it is given in its place.
            mark = self._marks[id(text)] = PickleBuffer(bytearray())
            self.texts[id(mark)] = text
        return mark


def text_pieces(text: str) -> Iterator[bytes]:
    """The string in UTF-8, in pieces each of which can be decoded by itself."""
    for at in range(0, len(text), LONG_TEXT):
        yield text[at : at + LONG_TEXT].encode("utf-8", "surrogatepass")


def join_text(pieces: Iterator[bytes]) -> str:
    """The string again, from its pieces."""
    text = ""
    for piece in pieces:
        text += piece.decode("utf-8", "surrogatepass")  # a local variable: CPython makes it longer in place
    return text


class Source:
    """A file for the unpickler over several stretches of bytes, each given by its length and a way to fill a buffer."""

    def __init__(self, stretches: list[tuple[int, Callable[[int, Any], None]]]) -> None:
        self._stretches = stretches
        self._at = 0
        self._skip = 0

    def readinto(self, room: Any) -> int:
        """Fill ``room``; less than it holds only at the end."""
        view = memoryview(room)
        done = 0
        while done < view.nbytes and self._at < len(self._stretches):
            length, fill = self._stretches[self._at]
            count = min(view.nbytes - done, length - self._skip)
            fill(self._skip, view[done : done + count])
            done += count
            self._skip += count
            if self._skip == length:
                self._at += 1
                self._skip = 0
        return done

    def read(self, count: int) -> bytes:
        """So many bytes, or what is left."""
        data = bytearray(count)
        got = self.readinto(data)
        return bytes(data if got == count else data[:got])

    def readline(self) -> bytes:
        """A line; only pickles of old protocols have any."""
        line = bytearray()
        while (byte := self.read(1)) and byte != b"\n":
            line += byte
        return bytes(line + byte)


# The collector would go through all the new objects again and again while they come into being, and through everything
# else with them: for a million objects that is longer than making them.

_lock = threading.Lock()
_held_off = 0
_was_on = False
_FROZEN_BY_USER = 1000
"""Who freezes, freezes everything: many thousands. CPython 3.12 starts with some hundreds of its own."""


@contextmanager
def no_collection() -> Iterator[None]:
    """While this runs, in any thread, nothing is collected; what came into being counts as old from then on."""
    global _held_off, _was_on
    with _lock:
        _held_off += 1
        if _held_off == 1:
            _was_on = gc.isenabled()
            gc.disable()
    try:
        yield
    finally:
        with _lock:
            _held_off -= 1
            if _held_off == 0 and _was_on:
                if gc.get_freeze_count() < _FROZEN_BY_USER:  # what a user has frozen is not to be thawed
                    gc.freeze()
                    gc.unfreeze()
                gc.enable()


def _after_fork() -> None:
    global _held_off, _lock
    _lock = threading.Lock()
    if _held_off:
        _held_off = 0
        if _was_on:
            gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
