"""Our process's part in what is large: ``Hold`` loads calls and unloads results. A worker's part is in ``dock``.

Little is loaded here before something is large.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from . import shares, wire
from .manifest import Cargo, Letter, opened
from .packing import STREAM_ON_LOOP, Outgrown, pack, pack_bounded

if TYPE_CHECKING:
    from .arenas import Arenas
    from .side import Side

__all__ = ["Cargo", "Hold", "Outgrown", "pack"]


_MOST_UNTOLD = 1 << 30


class _NoBook:
    """Of a lane whose runtime has shared nothing: any handle there is another's."""

    def take(self, handle: shares.Shared, taken: list[Any]) -> int:
        raise NotImplementedError

    def check(self, book: Any) -> None:
        raise NotImplementedError


_NO_BOOK = _NoBook()


class Hold:
    """Our process's arenas, for what goes to the workers of one lane. Nothing is allocated until something is large."""

    def __init__(
        self,
        most: Callable[[], int] = lambda: _MOST_UNTOLD,
        on_short: Callable[[str], None] = lambda _: None,
        *,
        idle: float = 5.0,
        sharing: shares.Sharing | None = None,
    ) -> None:
        """``most()``: bytes that they may take. ``on_short(why)``: something had to go in band; once, in any thread.

        What was not used for ``idle`` seconds is given back to the system. ``sharing`` has the book whose handles may
        be in a call.
        """
        self._sharing = sharing or shares.Sharing()
        self._idle = idle
        self._is_short = False
        self._sides: WeakSet[Side] = WeakSet()  # a job that somebody keeps keeps its worker's
        self._most = most
        self._on_short = on_short
        self._arenas: Arenas | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def arenas(self) -> Arenas:
        """The pool."""
        with self._lock:
            if self._arenas is None:
                from .arenas import Arenas

                self._arenas = Arenas(self._most())
                if self._is_closed:
                    self._arenas.close()
            return self._arenas

    def load_up(self, call: tuple[Any, ...]) -> Cargo:
        """``call`` as cargo, in any thread; raises what pickling raises."""
        from .stowage import load_up

        book = self._sharing.book
        if book is not None:
            book.arenas = self.arenas
        with shares.travelling(book or _NO_BOOK) as taken:
            cargo = load_up(self.arenas, [], call, is_call=True)
        cargo.shares = tuple(taken)
        if cargo.short:
            self._tell(cargo.short)
        return cargo

    def load_letter(self, call: tuple[Any, ...]) -> Cargo | None:
        """``call`` where it is small but for what was shared, and copied, before; None where it is not. Quick."""
        if self._sharing.book is None:
            return None
        try:
            with shares.travelling(self._sharing.book, makes_copies=False) as taken:
                return Letter(pack_bounded(call), tuple(taken))
        except Exception:
            return None  # what is wrong is found out, and told, where it is loaded up

    def unload(self, child: Any, payload: bytes | memoryview, flag: int) -> Any:
        """What the worker has packed, in any thread; raises what unpickling raises, and Lost."""
        if not flag & wire.CARGO:
            return pickle.loads(payload)
        side = child.side
        self._sides.add(side)
        arrival = side.take_in(payload)
        if arrival.manifest.short:
            self._tell(arrival.manifest.short)
        return arrival.open()

    def is_heavy(self, payload: bytes | memoryview, flag: int) -> bool:
        """Whether unloading this belongs off the loop."""
        if not flag & wire.CARGO or len(payload) > STREAM_ON_LOOP:
            return len(payload) > STREAM_ON_LOOP
        return opened(payload)[0].heavy > STREAM_ON_LOOP

    def _tell(self, why: str) -> None:
        if not self._is_short:
            self._is_short = True
            self._on_short(why)

    def look_around(self, sides: list[Side]) -> None:
        """Now and then: give back memory, and tell the workers what was shared and is needed no more."""
        if self._arenas is not None:
            self._arenas.trim(self._idle)
        book = self._sharing.book
        if book is not None and book.has_forgotten:
            numbers = book.forgotten()
            for side in sides:
                side.unshared += numbers

    def close(self) -> None:
        """Give back everything; what is still being loaded goes in band."""
        with self._lock:
            self._is_closed = True
        if self._arenas is not None:
            self._arenas.close()
        for side in list(self._sides):
            side.drop()

    def forsake(self) -> None:
        """In a process forked from ours."""
        self._is_closed = True
        if self._arenas is not None:
            self._arenas.forsake()
