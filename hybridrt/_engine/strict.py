"""Pickling only what means the same wherever it is: for calls that nobody has asked to be sent anywhere."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .packing import Refused, pickler


@contextmanager
def strictly() -> Iterator[None]:
    """In here, only plain data is pickled; anything else raises Refused."""
    token = pickler.set(StrictPickler)
    try:
        yield
    finally:
        pickler.reset(token)


_REBUILDERS = frozenset(
    {"_codecs", "array", "copyreg", "datetime", "decimal", "fractions", "numpy", "pathlib", "re", "uuid"}
)
"""Packages with which what may travel is rebuilt; their functions mean the same everywhere."""


def _home(obj: Any) -> str:
    return str(getattr(obj, "__module__", "")).partition(".")[0]


class StrictPickler(pickle.Pickler):
    """Raises Refused for what is not plain data. The exact builtin types never get here, so they cost nothing."""

    def __init__(self, file: Any, protocol: int, *, buffer_callback: Any) -> None:
        super().__init__(file, protocol, buffer_callback=buffer_callback)
        self._granted: set[object] = set()

    def reducer_override(self, obj: Any) -> Any:
        """For the pickler."""
        from .._core.proof.plain import may_travel  # few programs ever need it

        if isinstance(obj, type) or callable(obj):
            # The type of an object that may travel, or what that one is rebuilt with; not an argument of its own.
            if self._granted and (obj in self._granted or _home(obj) in _REBUILDERS):
                return NotImplemented
        elif self._granted and getattr(obj, "hasobject", True) is False and _home(type(obj)) == "numpy":
            return NotImplemented  # the dtype of an array
        elif may_travel(obj):
            self._granted.add(type(obj))
            return NotImplemented
        raise Refused(f"a {type(obj).__qualname__} may mean something else in another process")


class Meter(io.RawIOBase):
    """A file that keeps nothing, for finding out what pickling costs."""

    def write(self, data: Any) -> int:
        """Count it."""
        return len(data)

    @staticmethod
    def leave_out(buffer: pickle.PickleBuffer) -> bool:
        """For the pickler: all buffers travel by themselves, and cost next to nothing."""
        return False
