"""What a runtime has shared: each object's handle, and the one copy that all workers view.

A copy is cargo like any other, in the arenas of the process lane, whose pages may be warm. It differs in that many
receive it, and in that it is let go when its handle is garbage.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import Any, NamedTuple
from weakref import ref

from . import shares
from .arenas import Arenas
from .packing import Outgrown
from .shares import Shared, Unusable
from .stowage import load_up


class Copy:
    """One object as cargo: what every worker that needs it is given, once."""

    __slots__ = ("cargo", "number")

    def __init__(self, number: int, obj: Any, arenas: Arenas) -> None:
        """Raises what pickling ``obj`` raises."""
        self.number = number
        with shares.staying():
            self.cargo = load_up(arenas, [], obj, is_call=False)

    def close(self) -> None:
        """Let go of the memory; workers that have it keep it until they are told."""
        self.cargo.release()


class Ticket(NamedTuple):
    """What a call needs of a shared object; with it the handle lives."""

    handle: Shared
    copy: Copy


class ShareBook:
    """All that one runtime has shared."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._copies: dict[int, Copy] = {}
        self._handles: dict[int, ref[Shared]] = {}
        self._gone: deque[int] = deque()
        self._lock = threading.Lock()
        self._why_closed = ""
        self.arenas: Arenas | None = None
        """Where copies go; the lane sets it before it pickles a call."""

    def share(self, obj: Any) -> Shared:
        """A handle for ``obj``."""
        if isinstance(obj, Shared):
            return obj
        shares.in_use = True
        number = next(self._numbers)
        handle = Shared(obj, number, self)
        gone = self._gone
        self._handles[number] = ref(handle, lambda _: gone.append(number))
        return handle

    def take(self, handle: Shared, taken: list[Any]) -> int:
        """The number of the handle's object, whose copy is there by then; a ticket is added to ``taken``."""
        self.check(shares.travelling_book())
        number = handle._hybridrt_number
        with self._lock:  # two threads do not both make a copy
            copy = self._copies.get(number)
            if copy is None:
                if self.arenas is None or not shares.may_copy():
                    raise Outgrown
                copy = Copy(number, handle._hybridrt_obj, self.arenas)
                self._copies[number] = copy
        taken.append(Ticket(handle, copy))
        return number

    def check(self, book: Any) -> None:
        """Raises Unusable where a handle of ours may not be used in a call of a runtime whose book is ``book``."""
        if self._why_closed:
            raise Unusable(f"an object was shared by a runtime that takes no more calls: {self._why_closed}")
        if self is not book:
            raise Unusable(
                "an object that one runtime shared was used in a call of another: share it there too"
            )

    def forgotten(self) -> list[int]:
        """Numbers of objects whose handles are garbage since the last time; their copies are gone by now."""
        numbers = []
        while self._gone:
            number = self._gone.popleft()
            self._handles.pop(number, None)
            copy = self._copies.pop(number, None)
            if copy is not None:
                copy.close()
            numbers.append(number)
        return numbers

    @property
    def has_forgotten(self) -> bool:
        """Whether ``forgotten`` would give anything."""
        return bool(self._gone)

    def close(self, why: str) -> None:
        """Give back every copy; what workers have mapped goes with them."""
        self._why_closed = why
        for copy in list(self._copies.values()):
            copy.close()  # now: an exception that somebody keeps may keep a ticket
        self._copies.clear()
        self._handles.clear()

    def forsake(self, why: str) -> None:
        """In a process forked from ours."""
        self.close(why)


def opened(
    book: ShareBook | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with the objects themselves; raises Unusable where one was not shared by ``book``."""
    if not any(type(value) is Shared for value in (*args, *kwargs.values())):
        return args, kwargs

    def open_one(value: Any) -> Any:
        if type(value) is not Shared:
            return value
        value._hybridrt_book.check(book)
        return value._hybridrt_obj

    return tuple([open_one(value) for value in args]), {name: open_one(v) for name, v in kwargs.items()}
