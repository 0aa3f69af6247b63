"""What calls on terms hold in one lane: who has how many running, and what is to be given back when one has ended."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

from .function import Timing
from .limits import Places
from .terms import Terms

_MOST_IDLE = 64
_ONE_IN = 10
"""Of calls that seem hopeless from the start, one in so many is run, or nobody would ever know better."""
_NEVER = float("inf")


class Entry:
    """One call on its way through a queue: while it waits, and afterwards for as long as it holds a place."""

    __slots__ = (
        "began",
        "call",
        "charged",
        "due",
        "is_probe",
        "is_waiting",
        "key",
        "order",
        "places",
        "since",
        "terms",
    )

    def __init__(self, call: Any, terms: Terms, since: float, places: Places | None) -> None:
        self.call: Any = call
        """None when it has ended, or nobody wants it."""
        self.terms: Terms = terms
        self.since: float = since - terms.waited
        self.due: float = float("inf") if terms.deadline is None else self.since + terms.deadline
        self.places: Places | None = places
        self.key: Key | None = None
        self.order: tuple[float, int] = (0.0, 0)
        self.charged: float = 0.0
        self.began: float | None = None
        """When it was handed out."""
        self.is_waiting: bool = False
        self.is_probe: bool = False
        """Whether it is run though it seems hopeless."""

    def is_late(self, now: float, timing: Timing) -> bool:
        """Whether it cannot make its deadline any more, by what is known of its function."""
        if now >= self.due:
            return True
        if self.is_probe or timing.expected == _NEVER or now + timing.expected <= self.due:
            return False
        if timing.expected < self.due - self.since:
            return True
        # It would not make it if it had not waited at all: what is known may be true no more.
        timing.doubts += 1
        self.is_probe = timing.doubts % _ONE_IN == 0
        return not self.is_probe

    @property
    def holds(self) -> bool:
        """Whether anything is to be given back when it ends."""
        return self.terms.key is not None or self.places is not None or self.terms.deadline is not None


class Sharer(Protocol):
    """The calls of one key in one queue."""

    @property
    def is_empty(self) -> bool:
        """Whether none waits, and none that it had would be held against it."""
        ...

    def has_room(self) -> None:
        """One more call of its key may run."""
        ...

    def forget(self) -> None:
        """The key is forgotten."""
        ...


class Key:
    """Whose calls they are, in one lane."""

    __slots__ = ("most", "name", "running", "sharers", "weight")

    def __init__(self, name: Hashable) -> None:
        self.name: Hashable = name
        self.running: int = 0
        self.most: int = 0
        self.weight: float = 1.0
        self.sharers: list[Sharer] = []
        """One for each queue of the lane in which it has had calls."""

    @property
    def is_full(self) -> bool:
        """Whether as many of its calls run as may."""
        return 0 < self.most <= self.running


class Accounts:
    """The keys of one lane, and what its running calls hold; several queues share them."""

    def __init__(self) -> None:
        self.held: dict[int, Entry] = {}
        """By number of the call. Whoever sees calls end need not look further while this is empty."""
        self._keys: dict[Hashable, Key] = {}
        self._sweep_at = _MOST_IDLE

    def key_of(self, terms: Terms) -> Key:
        """The key of a call; its weight and limit are those that were said last."""
        key = self._keys.get(terms.key)
        if key is None:
            if len(self._keys) >= self._sweep_at:
                self._sweep()
            key = self._keys[terms.key] = Key(terms.key)
        key.weight = terms.weight
        if key.most != terms.key_limit:
            key.most = terms.key_limit
            for sharer in key.sharers:
                sharer.has_room()
        return key

    def known(self, name: Hashable) -> Key | None:
        """The key of this name, where it has had calls here of late."""
        return self._keys.get(name)

    def _sweep(self) -> None:
        """Forget those that have nothing here any more."""
        for name, key in tuple(self._keys.items()):
            if not key.running and all(sharer.is_empty for sharer in key.sharers):
                del self._keys[name]
                for sharer in key.sharers:
                    sharer.forget()
        self._sweep_at = 2 * len(self._keys) + _MOST_IDLE

    def hold(self, entry: Entry) -> None:
        """This call has been handed out: it takes its places."""
        self.held[entry.call.number] = entry
        if entry.key is not None:
            entry.key.running += 1
        if entry.places is not None:
            entry.places.take()

    def release(self, number: int) -> Entry | None:
        """This call has ended, or has to wait once more: its places are free. None where it holds none."""
        entry = self.held.pop(number, None)
        if entry is None:
            return None
        key = entry.key
        if key is not None:
            key.running -= 1
            for sharer in key.sharers:
                sharer.has_room()
        if entry.places is not None:
            entry.places.give_back()
        return entry

    def end(self, number: int) -> None:
        """This call has ended."""
        entry = self.release(number)
        if entry is not None:
            entry.call = None
