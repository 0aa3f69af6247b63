"""Which worker gets which call, and when: decisions only, on plain data.

Calls wait here, not in the workers. A worker that has nothing to do gets the next call. Behind it, calls are written
ahead only as long as all that the worker then holds is expected to take no more than ``AHEAD_SECONDS``: a function
that was not measured yet, or that is slow, or whose arguments are large, is never queued behind another call. What was
written ahead can be taken back until it starts, and is, when the worker turns out to be busy for longer.

Coroutine calls share workers: each goes to the worker that has the fewest.

A *resident* is a worker that is somebody's own. It gets no call but those that are bound to it, and they wait at its
seat; what becomes of them is decided in ``residents``.

What waits is in two plain deques until a call on terms comes (``_core.queue``); from then on in two ordered queues with
the same face, until nothing waits in them and nothing that was in them runs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict, deque
from operator import attrgetter
from typing import Any, Generic, Protocol, TypeVar

from .accounts import Entry
from .function import Function
from .on_terms import OnTerms
from .queue import Queue

AHEAD_SECONDS = 0.001
MOST_AHEAD = 64
STUCK_SECONDS = 0.002
CLOGGED_SECONDS = 0.1
LARGE_PAYLOAD = 1 << 14

_number = attrgetter("number")
CALL_SECONDS = 10e-6
"""Seconds that a call costs a worker beside the function itself."""


class Call(Protocol):
    """What the crew needs to know of a call."""

    number: int
    function: Function
    cost: float
    """Seconds that it is expected to take; set when it is given out."""
    is_coroutine: bool
    seat: Any
    """The seat that holds it, or None while it waits; set by the crew."""
    home: Any
    """The resident's seat that it is bound to, or None."""

    @property
    def is_packed(self) -> bool:
        """Whether it can be sent already."""
        ...

    @property
    def entry(self) -> Entry | None:
        """Its terms, where it has any and they were said before it could be added."""
        ...

    def done(self) -> bool:
        """Whether nobody wants it any more."""
        ...

    @property
    def timing(self) -> Expectation:
        """How long it will take."""
        ...


class Expectation(Protocol):
    """What is known of calls of one kind."""

    expected: float
    """Seconds that a call will hardly exceed; infinite where unknown, or where it must not be written ahead."""


C = TypeVar("C", bound=Call)


class Seat(Generic[C]):
    """What one worker holds: the calls given to it and not answered yet, in order. ``worker`` is the caller's."""

    __slots__ = (
        "is_leaving", "load", "own", "places", "progress", "retaken", "serves_coroutines", "under_way", "worker"
    )  # fmt: skip

    def __init__(self, worker: Any) -> None:
        self.worker: Any = worker
        self.under_way: dict[int, C] = {}
        self.load: float = 0.0
        self.progress: float = 0.0  # when it last got or answered something, on the caller's clock
        self.serves_coroutines: bool = False
        self.is_leaving: bool = False  # gets nothing more
        self.places: int = -1  # calls that it may still be given; negative: as many as come
        self.own: OrderedDict[int, C] | None = None  # a resident's: what waits for it, by number, in order
        self.retaken: int = 0  # a resident's: the last call that was written ahead to it and taken back


class Crew(Generic[C]):
    """The waiting calls and the seats of at most ``size`` workers for calls, and as many for coroutines."""

    def __init__(self, size: int) -> None:
        self.size: int = size
        self.seats: list[Seat[C]] = []
        self.calls: deque[C] | Queue[C] = deque()
        self.coroutines: deque[C] | Queue[C] = deque()
        """These two: what waits, in order. Whoever has many calls to add may append them here."""
        self.residents: list[Seat[C]] = []
        """Seats that are given no call but those bound to them; none of them is in ``seats``."""
        self.on_terms: OnTerms[C] = OnTerms(self)
        """What is to be done about calls on terms, which order these queues, and hold things while they run."""
        self.unwanted: int = 0
        """Cancelled calls that are still in one of the two queues."""

    def is_clogged(self, now: float) -> bool:
        """Whether calls wait, and no worker has got on with anything for ``CLOGGED_SECONDS``."""
        if not self.calls:
            return False
        seats = [seat for seat in self.seats if not seat.serves_coroutines]
        return bool(seats) and all(now - seat.progress > CLOGGED_SECONDS for seat in seats)

    @property
    def waiting(self) -> int:
        """Calls that no worker has yet, also those that may not start yet."""
        bound = sum(len(seat.own or ()) for seat in self.residents) if self.residents else 0
        return self._in_common + bound

    @property
    def _in_common(self) -> int:
        """Those that are for any worker."""
        return len(self.calls) + len(self.coroutines) - self.unwanted

    @property
    def under_way(self) -> int:
        """Calls given to a worker and not answered."""
        return sum(len(seat.under_way) for seat in (*self.seats, *self.residents))

    def add(self, call: C) -> None:
        """One more call waits."""
        if call.home is not None:
            call.home.own[call.number] = call
        elif call.entry is not None:
            self.on_terms.add(call.entry)
        else:
            (self.coroutines if call.is_coroutine else self.calls).append(call)

    def add_in_place(self, call: C) -> None:
        """One more call waits, in front of those that were submitted after it."""
        if call.home is not None:
            call.home.own[call.number] = call  # where it has been since it was submitted
            return
        queue = self.coroutines if call.is_coroutine else self.calls
        if call.entry is not None or not isinstance(queue, deque):
            self.add(call)
        else:
            queue.insert(bisect_left(queue, call.number, key=_number), call)

    def drop_waiting(self) -> list[C]:
        """Take out every call that waits and is bound to nobody, in order."""
        dropped = [call for call in (*self.calls, *self.coroutines) if not call.done()]
        self.calls.clear()
        self.coroutines.clear()
        self.unwanted = 0
        return dropped

    def cancelled_waiting(self, call: C) -> None:
        """This call is done before it began; it leaves its queue when its turn comes, or in bulk; a bound one now."""
        if call.home is not None:
            if call.home.own:
                call.home.own.pop(call.number, None)
            return
        if self.on_terms.discard(call):
            return
        self.unwanted += 1
        if self.unwanted > 1000 and self.unwanted > self._in_common:
            for queue in (self.calls, self.coroutines):
                wanted = [call for call in queue if not call.done()]
                queue.clear()
                for call in wanted:
                    queue.append(call)
            self.unwanted = 0

    def _count_off(self) -> None:
        """A done call has left its queue."""
        if self.unwanted:  # else it was not cancelled: somebody has set its result, as one may with a future
            self.unwanted -= 1

    def start_now(self, call: C, now: float) -> Seat[C] | None:
        """Give this new call to an idle worker, past an empty queue; None where it has to be added and wait."""
        if self.calls or call.is_coroutine:
            return None
        busy = 0
        idle = None
        for seat in self.seats:
            if not seat.under_way:
                if not seat.is_leaving:
                    idle = seat  # the newest one in the end: its memory is warm
            elif not seat.serves_coroutines:
                busy += 1
        if idle is None or busy >= self.size:
            return None
        idle.serves_coroutines = False
        idle.progress = now
        idle.load = call.cost = call.timing.expected + CALL_SECONDS
        idle.under_way[call.number] = call
        call.seat = idle
        if idle.places >= 0:
            _take_places(idle, 1)
        return idle

    def workers_wanted(self, coming: int = 0) -> int:
        """How many more workers would have something to do now, or with ``coming`` calls more that are on their way."""
        idle = busy = hosts = 0
        for seat in self.seats:
            if seat.under_way and not seat.serves_coroutines:
                busy += 1  # one that is leaving too: its last call still runs
            elif seat.is_leaving:
                continue
            elif seat.under_way:
                hosts += 1
            else:
                idle += 1
        wanted = min(_ready(self.calls, self.size) + coming, self.size - busy)
        wanted += min(_ready(self.coroutines, self.size), self.size - hosts)
        # The queues may hold cancelled calls as well.
        return max(0, min(wanted, self._in_common + coming) - idle)

    def give_out(self, now: float) -> list[tuple[Seat[C], list[C]]]:
        """What is to be sent to whom now; in each list the first call is for at once, the others are ahead."""
        orders: list[tuple[Seat[C], list[C]]] = []
        if self.coroutines:
            self._give_out_coroutines(orders, now)
        calls = self.calls
        if not calls:
            if self.on_terms.is_in_use:
                self.on_terms.relax()
            return orders
        seats = [s for s in self.seats if not s.is_leaving and not (s.serves_coroutines and s.under_way)]
        if not seats:
            return orders
        seats.reverse()  # the newest worker first: its memory is warm; and each idle one before any gets calls ahead
        # Coroutines may have left more idle workers than that; and what is leaving may still run its last call.
        may_start = self.size - sum(bool(s.under_way) and not s.serves_coroutines for s in self.seats)
        few = _ready(calls, len(seats) * MOST_AHEAD)
        share = -(-few // min(len(seats), self.size))  # a few quick calls do not all go to the first
        for seat in sorted(seats, key=_is_busy):
            if not calls:
                break
            if not seat.under_way:
                if may_start <= 0:
                    continue
                may_start -= 1
            elif seat.load > AHEAD_SECONDS / 2 or now - seat.progress >= STUCK_SECONDS:
                continue
            if batch := self._fill(seat, share, now):
                orders.append((seat, batch))
        if self.on_terms.is_in_use:
            self.on_terms.relax()
        return orders

    def _fill(self, seat: Seat[C], share: int, now: float) -> list[C]:
        calls = self.calls
        batch: list[C] = []
        under_way = seat.under_way
        load = seat.load
        if 0 <= seat.places < share:
            share = seat.places
        while calls and len(batch) < share:
            call = calls[0]
            if call.done():
                calls.popleft()
                self._count_off()
                continue
            cost = call.timing.expected + CALL_SECONDS
            if under_way and (load + cost > AHEAD_SECONDS or len(under_way) >= MOST_AHEAD):
                break
            calls.popleft()
            if not under_way:
                seat.progress = now
                seat.serves_coroutines = False
            call.cost = cost
            call.seat = seat
            load += cost
            under_way[call.number] = call
            batch.append(call)
        seat.load = load
        if seat.places >= 0:
            _take_places(seat, len(batch))
        return batch

    def _give_out_coroutines(self, orders: list[tuple[Seat[C], list[C]]], now: float) -> None:
        while self.coroutines:
            call = self.coroutines[0]
            if call.done():
                self.coroutines.popleft()
                self._count_off()
                continue
            open_seats = [
                s for s in self.seats if not s.is_leaving and (s.serves_coroutines or not s.under_way)
            ]
            hosts = [s for s in open_seats if s.under_way]
            if len(hosts) >= self.size:
                open_seats = hosts
            if not open_seats:
                return
            seat = min(open_seats, key=lambda s: len(s.under_way))
            self.coroutines.popleft()
            if not seat.under_way:
                seat.load = 0.0
                seat.serves_coroutines = True
            seat.progress = now
            call.cost = 0.0
            call.seat = seat
            seat.under_way[call.number] = call
            if seat.places >= 0:
                _take_places(seat, 1)
            orders.append((seat, [call]))

    def settle(self, seat: Seat[C], cost: float, now: float) -> None:
        """Calls that cost so much in all have been answered; whoever heard it has taken them out of ``under_way``."""
        seat.progress = now
        seat.load = seat.load - cost if seat.under_way else 0.0

    def taken_back(self, seat: Seat[C], count: int) -> None:
        """The last ``count`` calls of this seat have not started and are ours again; the wanted ones wait in front."""
        for number in list(reversed(seat.under_way))[:count]:
            self._give_back(seat, number)

    def lost(self, seat: Seat[C], started: int) -> None:
        """This worker has died; ``started`` is the call that it began last. Every other one waits in front again."""
        for number in reversed([number for number in seat.under_way if number != started]):
            self._give_back(seat, number)

    def _give_back(self, seat: Seat[C], number: int) -> None:
        call = seat.under_way.pop(number)
        seat.load -= call.cost
        if call.done():
            call.seat = None
            self.on_terms.ended(number)
        else:
            self.add_again(call)

    def add_again(self, call: C) -> None:
        """This call waits once more, in front: its turn had come."""
        call.seat = None
        if call.home is not None:
            call.home.own[call.number] = call
            call.home.own.move_to_end(call.number, last=False)
            call.home.retaken = max(call.home.retaken, call.number)
        else:
            (self.coroutines if call.is_coroutine else self.calls).appendleft(call)

    def hold(self, seat: Seat[C]) -> None:
        """Write nothing ahead to this seat until all that it holds is answered: what it runs may have to be killed."""
        seat.load = float("inf")

    def retire(self, seat: Seat[C]) -> None:
        """Give nothing more to this worker; what it has not started can be taken back."""
        seat.is_leaving = True

    def stuck(self, now: float) -> list[Seat[C]]:
        """Seats with calls behind one that takes longer than expected, where another worker could have them.

        A resident's calls are nobody else's, but here they can still be dropped.
        """
        ahead = self.seats_with_calls_ahead()
        if self.calls or sum(bool(s.under_way) and not s.serves_coroutines for s in self.seats) >= self.size:
            ahead = [s for s in ahead if s.own is not None]
        return [s for s in ahead if now - s.progress >= STUCK_SECONDS]

    def seats_with_calls_ahead(self) -> list[Seat[C]]:
        """Seats that hold more than the call they are running."""
        seats = (*self.seats, *self.residents) if self.residents else self.seats
        return [s for s in seats if len(s.under_way) > 1 and not s.serves_coroutines]

    def remove(self, seat: Seat[C]) -> list[C]:
        """This worker has gone; the calls that went with it, in order."""
        (self.seats if seat.own is None else self.residents).remove(seat)
        return list(seat.under_way.values())


def _ready(queue: deque[C] | Queue[C], most: int) -> int:
    """How many of these calls may start now, counted up to ``most``."""
    return min(len(queue), most) if isinstance(queue, deque) else queue.ready(most)


def _take_places(seat: Seat[Any], count: int) -> None:
    seat.places -= count
    if not seat.places:
        seat.is_leaving = True


def _is_busy(seat: Seat[C]) -> bool:
    return bool(seat.under_way)
