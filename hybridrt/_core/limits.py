"""How many calls of one function may run at once, wherever they run."""

from __future__ import annotations

from typing import Protocol

LIMIT = "__hybridrt_limit__"
"""The attribute that ``limit`` sets."""


class Watcher(Protocol):
    """Who waits for a place."""

    def has_room(self) -> None:
        """A place has come free."""
        ...


class Places:
    """The places of one function in one runtime, over all lanes. Belongs to the loop's thread."""

    __slots__ = ("most", "taken", "watchers")

    def __init__(self, most: int) -> None:
        self.most: int = most
        self.taken: int = 0
        self.watchers: dict[Watcher, None] = {}
        """Queues in which calls are set aside for want of a place; each is told when there is one."""

    @property
    def room(self) -> int:
        """How many more calls may start now."""
        return self.most - self.taken

    def take(self) -> None:
        """One more call has one."""
        self.taken += 1

    def give_back(self) -> None:
        """A call has ended, or has not begun after all."""
        self.taken -= 1
        for watcher in tuple(self.watchers):
            watcher.has_room()
