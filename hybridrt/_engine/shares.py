"""Handles of objects that are shared once (``Runtime.share``): they stand for the object in the arguments of calls.

The copy that the workers map is made by ``share_book``, at the first use; ``dock`` opens it in a worker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from .packing import Outgrown

_MISUSE = (
    "what share() returns stands for the object in the arguments of calls of that runtime, and nowhere else: "
    "use the object that you shared"
)

_here = threading.local()

in_use = False
"""Whether anything was ever shared by this process."""


class Unusable(Outgrown, TypeError):
    """A handle was used where it does not stand for its object; the text says what to do."""


class Book(Protocol):
    """Whoever made a handle."""

    def take(self, handle: Shared, taken: list[Any]) -> int:
        """The number of the object, whose copy is there by then; what the workers need is added to ``taken``."""
        ...

    def check(self, book: Any) -> None:
        """Raises Unusable where a handle may not be used in a call of a runtime whose book is ``book``."""
        ...


class Sharing:
    """Where the lanes of a runtime find its book, as soon as it has one."""

    __slots__ = ("book", "tell_forgotten")

    def __init__(self) -> None:
        self.tell_forgotten: Callable[[], None] = lambda: None
        """Tells the workers what they need not keep any more; the lane sets it, when it opens."""
        self.book: Any = None  # a ShareBook: its room knows this one


class Shared:
    """The handle; for type checkers it is the object itself."""

    __slots__ = ("__weakref__", "_hybridrt_book", "_hybridrt_number", "_hybridrt_obj")

    def __init__(self, obj: Any, number: int, book: Book) -> None:
        self._hybridrt_obj = obj
        self._hybridrt_number = number
        self._hybridrt_book = book

    def __reduce__(self) -> tuple[Any, ...]:
        taken = getattr(_here, "taken", None)
        if taken is None:
            raise Unusable(_MISUSE)
        if _here.book is None:
            return open_share, (self._hybridrt_number,)
        return open_share, (self._hybridrt_book.take(self, taken),)

    def __repr__(self) -> str:
        return f"<shared {type(self._hybridrt_obj).__qualname__}>"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name if name.startswith("__") else f"{_MISUSE} ({name!r} was asked for)")


@contextmanager
def travelling(book: Book | None, *, makes_copies: bool = True) -> Iterator[list[Any]]:
    """While this runs, in this thread, handles of ``book`` may be pickled; the list gets what their copies are.

    None: any handle may, and no copy is made: for a trial. Where copies are not to be made, an object without one
    raises Outgrown.
    """
    before = getattr(_here, "taken", None), getattr(_here, "book", None), getattr(_here, "makes_copies", True)
    taken: list[Any] = []
    _here.taken, _here.book, _here.makes_copies = taken, book, makes_copies
    try:
        yield taken
    finally:
        _here.taken, _here.book, _here.makes_copies = before


def may_copy() -> bool:
    """Whether an object may be copied now, in this thread."""
    return getattr(_here, "makes_copies", True)


def travelling_book() -> Book | None:
    """Whose handles may be pickled now, in this thread."""
    return getattr(_here, "book", None)


@contextmanager
def staying() -> Iterator[None]:
    """While this runs, in this thread, no handle may be pickled."""
    before = getattr(_here, "taken", None)
    _here.taken = None
    try:
        yield
    finally:
        _here.taken = before


opener: Callable[[int], Any] | None = None
"""In a worker: gives the object of a number."""


def open_share(number: int) -> Any:
    """In a worker: what a handle is unpickled to."""
    if opener is None:
        raise TypeError(_MISUSE)
    return opener(number)
