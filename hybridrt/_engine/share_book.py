"""What a runtime has shared: each object's handle, and the one copy that all workers map.

A copy is a file without a name (a memfd) that is written once: the parts of the pickle, each from a page on, then the
table of contents, a manifest whose places are in arena 1, the file itself.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from typing import Any, NamedTuple, cast
from weakref import ref

from . import shares
from .arenas import PAGE, Arenas, Block, Short, write_all
from .blackbox import _anonymous_file
from .packing import Outgrown
from .shares import Shared, Unusable
from .stowage import load_up


class Copy:
    """The file of one object."""

    __slots__ = ("contents_size", "fd", "nbytes", "number")

    def __init__(self, number: int, obj: Any) -> None:
        """Raises what pickling ``obj`` raises, and OSError where there is no memory."""
        self.number = number
        self.contents_size = self.nbytes = 0
        self.fd = _anonymous_file("hybridrt-shared")
        try:
            self._fill(_File(self.fd), obj)
        except Short as exc:
            self.close()
            raise OSError(f"there is no memory for a shared object: {exc}") from exc
        except BaseException:
            self.close()  # now: whoever keeps the exception keeps us
            raise

    def _fill(self, file: _File, obj: Any) -> None:
        with shares.staying():
            cargo = load_up(cast(Arenas, file), [], obj, is_call=False)
        contents = b"".join(cargo.payload if isinstance(cargo.payload, list) else [cargo.payload])
        write_all(self.fd, contents, file.end)
        self.contents_size = len(contents)
        self.nbytes = file.end + len(contents)

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class _ThisFile:
    number = 1


class _File:
    """In place of a pool of arenas: one file, which only grows."""

    falls_back = False

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._arena: Any = _ThisFile
        self.end = 0

    def take(self, nbytes: int, taken: list[Block]) -> Block:
        block = Block(self._arena, self.end, -(-max(nbytes, 1) // PAGE) * PAGE, nbytes)
        self.end += block.size
        taken.append(block)
        return block

    def fill(self, block: Block, at: int, data: Any) -> None:
        try:
            write_all(self._fd, data, block.offset + at)
        except OSError as exc:
            raise Short(exc.strerror or "the system does not say why") from exc

    def let_all_go(self, blocks: list[Block]) -> None:
        blocks.clear()


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
                if not shares.may_copy():
                    raise Outgrown
                copy = Copy(number, handle._hybridrt_obj)
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
            self._copies.pop(number, None)
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
