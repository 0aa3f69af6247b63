"""What terms change in a crew: its two plain queues become ordered ones, as long as that is of any account."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from .accounts import Accounts, Entry
from .queue import Call, Queue
from .terms import NO_TERMS

C = TypeVar("C", bound=Call)


class Queues(Protocol[C]):
    """Where calls wait in a crew."""

    calls: deque[C] | Queue[C]
    coroutines: deque[C] | Queue[C]
    unwanted: int


class OnTerms(Generic[C]):
    """A crew's queues are swapped with the first call on terms, and back when nothing waits and nothing is held."""

    def __init__(self, crew: Queues[C]) -> None:
        self._crew = crew
        self._plain = crew.calls, crew.coroutines
        self._ordered: tuple[Queue[C], Queue[C]] | None = None
        self.new_queue: Callable[[Accounts], Queue[Any]] | None = None
        """Makes an ordered queue; whoever adds calls on terms sets it."""
        self.accounts: Accounts = Accounts()
        """What they hold while they run. Whoever takes one that was answered out of ``under_way`` ends it here."""
        self.is_in_use: bool = False

    def add(self, entry: Entry) -> None:
        """One more call waits, on its terms."""
        if not self.is_in_use:
            self._order(entry.since)
        queue = self._crew.coroutines if entry.call.is_coroutine else self._crew.calls
        if isinstance(queue, Queue):
            queue.put(entry)

    def _order(self, now: float) -> None:
        if self._ordered is None:
            if self.new_queue is None:
                raise RuntimeError("nobody has said how an ordered queue is made")
            self._ordered = self.new_queue(self.accounts), self.new_queue(self.accounts)
        for plain, ordered in zip(self._plain, self._ordered, strict=True):
            for call in plain:
                if not call.done():
                    ordered.put(Entry(call, NO_TERMS, now, None))
            plain.clear()
        self._crew.unwanted = 0
        self._crew.calls, self._crew.coroutines = self._ordered
        self.is_in_use = True

    def discard(self, call: C) -> bool:
        """Nobody wants this call any more, which waits; False where it is in a plain queue."""
        if not self.is_in_use or self._ordered is None:
            return False
        for queue in self._ordered:
            queue.discard(call.number)
        self.relax()
        return True

    def ended(self, number: int) -> None:
        """This call holds nothing any more. Of use where ``accounts.held`` has any."""
        self.accounts.end(number)
        self.relax()

    def relax(self) -> None:
        """Back to the plain queues where the others are of no account any more."""
        crew = self._crew
        if self.is_in_use and not (self.accounts.held or len(crew.calls) or len(crew.coroutines)):
            crew.calls, crew.coroutines = self._plain
            self.is_in_use = False
