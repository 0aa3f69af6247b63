"""Who is next, where calls have terms: by priority and age within a key, by fair shares between keys.

Theory of operation. Calls of one key are in the order of ``since - priority * AGEING_SECONDS``: to have waited for a
second is worth as much as one more of priority, so nobody waits for ever, and nothing is ever sorted anew. Between keys
it goes by virtual time (start-time fair queueing): a key is charged what its call is expected to take, divided by its
weight, and the key that was charged least is next; one that comes back after a while starts at the time of the others.

Calls that may not start yet are in nobody's way. A key whose limit is reached leaves the heap until one of its calls
ends; one with nothing but calls of functions at their limit waits beside the heap for these. Within a key, calls of
each limited function have a heap of their own, so that those behind them can be taken.

Each step costs the logarithm of how many wait (and is linear in how many *limited functions* wait in one key). What is
taken out of the middle stays in its heap as a dead entry until it comes to the top, or until half of all are dead.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

from .accounts import Accounts, Entry, Key
from .function import Function, Timing
from .limits import Places
from .terms import NO_TERMS, Terms

AGEING_SECONDS = 1.0
UNKNOWN_COST = 0.001
"""Seconds charged for a call of a function that was never measured."""
_MOST_DEAD = 64
_NEVER = float("inf")


class Call(Protocol):
    """What the queue needs to know of a call."""

    number: int
    function: Function

    def done(self) -> bool:
        """Whether nobody wants it any more."""
        ...


C = TypeVar("C", bound=Call)


class Group:
    """The calls of one key that wait in one queue. ``tag`` is the virtual time at which the next one may start."""

    __slots__ = ("_queue", "key", "lines", "size", "stamp", "tag", "wants")

    def __init__(self, queue: Queue[Any], key: Key) -> None:
        self._queue = queue
        self.key: Key = key
        self.tag: float = 0.0
        self.size: int = 0
        self.lines: dict[Places | None, list[tuple[float, int, Entry]]] = {}
        self.stamp: int = 0  # that of its valid entry in the heap of groups; 0 where it has none
        self.wants: tuple[Places, ...] = ()  # where it is set aside: that for which it waits

    @property
    def is_empty(self) -> bool:
        """As ``Sharer`` has it."""
        return not self.size and self.tag <= self._queue.time

    def has_room(self) -> None:
        """One more call of this key may run."""
        if self.size and not self.stamp and not self.wants:
            self._queue.activate(self)

    def forget(self) -> None:
        """Its key has nothing here any more."""
        del self._queue.groups[self.key]

    def best(self) -> Entry | None:
        """The call that is next among those that may start."""
        if len(self.lines) == 1 and None in self.lines:  # as most keys have it
            line = self.lines[None]
            while line and not line[0][2].is_waiting:
                heappop(line)
                self._queue.dead -= 1
            return line[0][2] if line else None
        best: Entry | None = None
        for places, line in tuple(self.lines.items()):
            while line and not line[0][2].is_waiting:
                heappop(line)
                self._queue.dead -= 1
            if not line:
                del self.lines[places]
            elif (places is None or places.room > 0) and (best is None or line[0][2].order < best.order):
                best = line[0][2]
        return best

    def ready(self, most: int) -> int:
        """How many of them may start now, as far as this counts."""
        key = self.key
        if key.most:
            most = min(most, key.most - key.running)
        found = 0
        for places, line in self.lines.items():
            found += len(line) if places is None else min(len(line), places.room)
        return max(0, min(found, most, self.size))


class Queue(Generic[C]):
    """The calls that wait in one lane for one kind of worker. It has the face of a deque, as far as lanes need that."""

    def __init__(
        self,
        accounts: Accounts,
        *,
        clock: Callable[[], float],
        timing: Callable[[Function], Timing],
        on_late: Callable[[Entry], None],
        on_room: Callable[[], None],
    ) -> None:
        """``timing(function)``: its run times in this lane. ``on_late(entry)``: this call cannot make its deadline, and
        is not in the queue any more. ``on_room()``: a call that was set aside may start, another lane's having ended.
        """
        self.accounts: Accounts = accounts
        self._clock = clock
        self._timing = timing
        self._on_late = on_late
        self._on_room = on_room
        self._entries: dict[int, Entry] = {}
        self.groups: dict[Key, Group] = {}
        """Those of all keys that are known here."""
        self._heap: list[tuple[float, int, Group]] = []
        self._aside: dict[Places, list[tuple[float, int, Group]]] = {}
        self._seq = count(1)
        self._front = count(-1, -1)
        self._next: Entry | None = None  # where that is known
        self._has_limits = False
        self._keys_waiting = 0
        self.time: float = 0.0
        """The virtual time: the tag of the key that was served last."""
        self._latest = 0.0
        self.dead: int = 0
        """Entries in the heaps that are to be passed over."""

    # The face of a deque

    def __len__(self) -> int:
        """How many wait, those among them that may not start yet too."""
        return len(self._entries)

    def __bool__(self) -> bool:
        """Whether there is a call that may start now."""
        return self.peek() is not None

    def __iter__(self) -> Iterator[C]:
        """All that wait, in the order in which they were added."""
        return (entry.call for entry in tuple(self._entries.values()))

    def __getitem__(self, index: int) -> C:
        """The call that is next, for 0; no other index is of use."""
        entry = self.peek() if index == 0 else None
        if entry is None:
            raise IndexError("no call may start now, or none but the next was asked for")
        call: C = entry.call
        return call

    def append(self, call: C) -> None:
        """One more call waits, without terms."""
        self.add(call, NO_TERMS)

    def popleft(self) -> C:
        """The call that is next; it has its places from now on (``Accounts.end`` gives them back)."""
        entry = self.peek()
        if entry is None:
            raise IndexError("no call may start now")
        call: C = entry.call
        group = self._take_out(entry)
        heappop(group.lines[entry.places])  # the best of its line is at its top
        self.dead -= 1
        group.tag = max(group.tag, self.time)
        self.time = group.tag
        timing = self._timing(call.function)
        entry.charged = (timing.mean if timing.runs else UNKNOWN_COST) / group.key.weight
        group.tag += entry.charged
        self._latest = max(self._latest, group.tag)
        self._next = None
        if group.size:
            group.stamp = next(self._seq)
            heapreplace(self._heap, (group.tag, group.stamp, group))
        if not self._entries:
            self.time = self._latest  # nobody is owed anything
            self._has_limits = False
        if entry.holds:
            entry.began = self._clock()
            self.accounts.hold(entry)
        return call

    def appendleft(self, call: C) -> None:
        """This call waits once more, in front: its turn had come. What it held and was charged is given back."""
        entry = self.accounts.release(call.number)
        if entry is None:
            entry = Entry(call, NO_TERMS, self._clock(), None)
        entry.began = None
        entry.order = (-_NEVER, next(self._front))
        self._put(entry, refund=entry.charged)

    def clear(self) -> None:
        """Nothing waits any more."""
        for entry in self._entries.values():
            entry.is_waiting = False
            entry.call = None
        for group in self.groups.values():
            group.size = group.stamp = 0
            group.lines.clear()
            group.wants = ()
        self._keys_waiting = 0
        self._entries.clear()
        self._heap.clear()
        for places in self._aside:
            places.watchers.pop(self, None)
        self._aside.clear()
        self._next = None
        self.dead = 0

    # Calls on terms

    def add(self, call: C, terms: Terms) -> Entry:
        """One more call waits, on these terms, from now on."""
        entry = Entry(call, terms, self._clock(), call.function.places)
        self.put(entry)
        return entry

    def put(self, entry: Entry) -> None:
        """The same for a call that may have come earlier."""
        entry.order = (entry.since - entry.terms.priority * AGEING_SECONDS, next(self._seq))
        self._put(entry)

    def share_of(self, name: Hashable, most: int) -> tuple[int, int]:
        """How many calls of this key wait, and its part of ``most`` where each key that waits here has the same."""
        key = self.accounts.known(name)
        group = None if key is None else self.groups.get(key)
        mine = 0 if group is None else group.size
        return mine, max(1, most // max(1, self._keys_waiting + (not mine)))

    def discard(self, number: int) -> bool:
        """Nobody wants this call any more; False where it does not wait here."""
        entry = self._entries.get(number)
        if entry is None:
            return False
        self._take_out(entry)
        entry.call = None
        if self.dead > _MOST_DEAD and self.dead > len(self._entries):
            self._bury()
        return True

    def ready(self, most: int) -> int:
        """How many calls may start now, counted up to ``most``; functions' limits may let it come out too high."""
        if self.peek() is None:
            return 0
        found = 0
        for _, stamp, group in self._heap:
            if stamp == group.stamp:
                found += group.ready(most - found)
                if found >= most:
                    return most
        return max(found, 1)

    def peek(self) -> Entry | None:
        """The call that is next; None where none may start now. What is done is passed over, what is late dropped."""
        while True:
            entry = self._next
            if entry is None or self._has_limits:
                entry = self._next = self._look()
                if entry is None:
                    return None
            elif entry.key is None or entry.key.is_full:
                self._next = None  # a call of the lane's other queue was quicker
                continue
            if entry.call.done():
                self._take_out(entry)
                entry.call = None
            elif entry.due < _NEVER and entry.is_late(self._clock(), self._timing(entry.call.function)):
                self._take_out(entry)
                self._on_late(entry)
            else:
                return entry

    # Inside

    def _put(self, entry: Entry, *, refund: float = 0.0) -> None:
        self._next = None
        key = entry.key
        if key is None:  # else it is given back, and what was said of its key since then holds
            key = entry.key = self.accounts.key_of(entry.terms)
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = Group(self, key)
            key.sharers.append(group)
        entry.is_waiting = True
        self._has_limits = self._has_limits or entry.places is not None
        self._entries[entry.call.number] = entry
        heappush(group.lines.setdefault(entry.places, []), (*entry.order, entry))
        self._keys_waiting += not group.size
        group.size += 1
        if refund:
            group.tag -= refund
            group.stamp = 0  # its place among the others is another one now
        elif group.size == 1:
            group.tag = max(group.tag, self.time)
        if group.stamp or (group.wants and entry.places in group.wants):
            return
        self.activate(group)

    def _take_out(self, entry: Entry) -> Group:
        """Out of the accounts of those that wait; its heap has a dead entry."""
        entry.is_waiting = False
        del self._entries[entry.call.number]
        key = entry.key
        assert key is not None  # noqa: S101  (what waits has one)
        group = self.groups[key]
        group.size -= 1
        self._keys_waiting -= not group.size
        self.dead += 1
        if self._next is entry:
            self._next = None
        if not group.size:
            group.stamp = 0
        return group

    def activate(self, group: Group) -> None:
        """It has calls that may start, as far as is known."""
        group.wants = ()
        group.stamp = next(self._seq)
        heappush(self._heap, (group.tag, group.stamp, group))
        self._next = None

    def has_room(self) -> None:
        """A function that calls wait for here has a place: ``Places`` calls this."""
        self._on_room()

    def _look(self) -> Entry | None:
        if self._aside:
            self._call_in()
        heap = self._heap
        while heap:
            _, stamp, group = heap[0]
            if stamp != group.stamp:
                heappop(heap)
                continue
            entry = None if group.key.is_full else group.best()
            if entry is not None:
                return entry
            heappop(heap)
            group.stamp = 0
            if group.size and not group.key.is_full:
                self._set_aside(group)
        return None

    def _set_aside(self, group: Group) -> None:
        """All its calls are of functions at their limits."""
        group.wants = tuple(places for places in group.lines if places is not None)
        for places in group.wants:
            heap = self._aside.setdefault(places, [])
            heappush(heap, (group.tag, next(self._seq), group))
            if len(heap) > 2 * len(self.groups) + _MOST_DEAD:
                heap[:] = {it[2]: it for it in heap if places in it[2].wants}.values()
                heapify(heap)
            places.watchers[self] = None

    def _call_in(self) -> None:
        """Those who wait for places are asked again where there are any, as many of them as there are places."""
        for places, heap in tuple(self._aside.items()):
            room = places.room
            while heap and room > 0:
                group = heappop(heap)[2]
                if places not in group.wants:
                    continue
                group.wants = ()
                if group.size:
                    self.activate(group)
                    room -= 1
            if not heap:
                del self._aside[places]
                places.watchers.pop(self, None)

    def _bury(self) -> None:
        """Rid all heaps of what is dead."""
        for group in self.groups.values():
            for line in group.lines.values():
                line[:] = [it for it in line if it[2].is_waiting]
                heapify(line)
        self._heap[:] = [it for it in self._heap if it[1] == it[2].stamp]
        heapify(self._heap)
        self.dead = 0
        self._next = None
