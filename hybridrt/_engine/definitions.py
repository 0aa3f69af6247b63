"""Functions on their way to workers: sent once to each worker, then called by number."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from types import FunctionType
from typing import Any

from .batch_call import BatchCall
from .instances import FarMethod
from .packing import Outgrown, pack_any
from .parcel import dumps, fixed_state, is_importable, same_state


class Definition:
    """A function as bytes under a number; ``version`` changes whenever the bytes do."""

    __slots__ = ("data", "number", "version")

    def __init__(self, number: int, version: int, data: bytes) -> None:
        self.number = number
        self.version = version
        self.data = data


_CLASS_BY_VALUE = b"_make_skeleton_"  # what cloudpickle makes classes and enums with
"""In a worker there is one such class for all functions that bring it, and whoever comes sets its attributes anew. So
bytes of an earlier time would set it back, and bytes that have not changed would not set it again."""


class _Entry:
    __slots__ = ("definition", "ref", "state", "travels_whole")

    def __init__(
        self, ref: weakref.ref[Any], definition: Definition | None, state: tuple[object, ...] | None
    ) -> None:
        self.ref = ref
        self.definition = definition
        self.state = state  # of a by-value function, when its bytes were made; None: they cannot be trusted
        self.travels_whole = False


def _source(fn: Callable[..., Any]) -> Callable[..., Any]:
    return fn.fn if isinstance(fn, BatchCall) else fn


class Definitions:
    """The functions that calls may name by number.

    ``on_gone(number)`` is called when the function behind a number has been garbage-collected. It may be called in the
    middle of anything, so it may only take note.
    """

    def __init__(self, on_gone: Callable[[int], None]) -> None:
        self._entries: dict[int, _Entry] = {}
        self._numbers = itertools.count(1)
        self._versions = itertools.count(1)
        self._on_gone = on_gone

    def find(self, fn: Callable[..., Any]) -> Definition | None:
        """How to name ``fn``, or None where it has to travel inside the call.

        An importable function is named for good. A by-value function travels inside its first call, because there may
        be no second; from then on it is named, and renewed when anything that it depends on may have changed. One that
        brings a class by value, or what is too large to be pickled on the loop, always travels inside the call. Raises
        what the pickler raises.
        """
        entry = self._entries.get(id(fn))
        if entry is None or entry.ref() is not fn:
            return self._meet(fn)
        if entry.state is _IMPORTABLE:
            return entry.definition
        if entry.travels_whole:
            return None
        state = fixed_state(_source(fn))
        if entry.definition is None or not same_state(state, entry.state):
            try:
                data = pack_any(fn)
            except Outgrown:
                data = b""
            if not data or _CLASS_BY_VALUE in data:
                entry.travels_whole = True
                return None
            entry.state = state
            if entry.definition is None:
                entry.definition = Definition(next(self._numbers), next(self._versions), data)
            elif entry.definition.data != data:
                entry.definition = Definition(entry.definition.number, next(self._versions), data)
        return entry.definition

    def _meet(self, fn: Callable[..., Any]) -> Definition | None:
        definition = None
        state: tuple[object, ...] | None = None
        try:
            ref = weakref.ref(fn, self._forgetter(id(fn)))
        except TypeError:
            return None
        source = _source(fn)
        if type(fn) is FarMethod or is_importable(source):
            definition = Definition(next(self._numbers), next(self._versions), dumps(fn))
            state = _IMPORTABLE
        elif not isinstance(source, FunctionType):
            return None
        self._entries[id(fn)] = _Entry(ref, definition, state)
        return definition

    def _forgetter(self, key: int) -> Callable[[object], None]:
        def forget(_: object) -> None:
            entry = self._entries.pop(key, None)
            if entry is not None and entry.definition is not None:
                self._on_gone(entry.definition.number)

        return forget


_IMPORTABLE: tuple[object, ...] = ("importable",)
