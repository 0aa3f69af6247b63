"""Residents: workers that are somebody's own. Who becomes one, and which of the calls bound to it is sent when.

A resident gets the calls that are bound to it, in their order, and nobody else's. It either takes one call after the
other, with quick ones written ahead as for all workers, or runs all of them on its event loop. A call that is not
packed yet holds up those behind it: whoever owns a worker counts on their order.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from math import inf

from .crew import AHEAD_SECONDS, CALL_SECONDS, MOST_AHEAD, STUCK_SECONDS, C, Crew, Seat


def take_idle(crew: Crew[C], *, serves_coroutines: bool) -> Seat[C] | None:
    """An idle worker becomes a resident; None where there is none, or where others wait for it."""
    if crew.calls or crew.coroutines:
        return None
    for seat in reversed(crew.seats):
        if not seat.under_way and not seat.is_leaving:
            crew.seats.remove(seat)
            settle_in(crew, seat, serves_coroutines=serves_coroutines)
            return seat
    return None


def settle_in(crew: Crew[C], seat: Seat[C], *, serves_coroutines: bool) -> None:
    """This worker, which is in no list, becomes a resident."""
    seat.own = OrderedDict()
    seat.load = 0.0
    seat.serves_coroutines = serves_coroutines
    crew.residents.append(seat)


def give_back(crew: Crew[C], seat: Seat[C], now: float) -> None:
    """This resident, which holds nothing and for which nothing waits, becomes an ordinary worker."""
    crew.residents.remove(seat)
    seat.own = None
    seat.load = 0.0
    seat.progress = now
    seat.serves_coroutines = False
    crew.seats.append(seat)


def start_now(seat: Seat[C], call: C, now: float) -> bool:
    """Give this new call to the resident that it is bound to; False where it has to be added and wait."""
    if seat.own or seat.is_leaving or (seat.under_way and not seat.serves_coroutines):
        return False
    seat.load = 0.0
    _hand(seat, call, _cost(seat, call), now)
    return True


def give_out(seats: Iterable[Seat[C]], now: float) -> list[tuple[Seat[C], list[C]]]:
    """What is to be sent to which resident now, as ``Crew.give_out`` has it."""
    orders: list[tuple[Seat[C], list[C]]] = []
    for seat in seats:
        if not seat.own or seat.is_leaving:
            continue
        if seat.serves_coroutines:
            batch = _all_ready(seat, now)
        elif not seat.under_way or (seat.load <= AHEAD_SECONDS / 2 and now - seat.progress < STUCK_SECONDS):
            batch = _fill(seat, seat.own, now)
        else:
            continue
        if batch:
            orders.append((seat, batch))
    return orders


def _next(seat: Seat[C]) -> C | None:
    """The call whose turn it is, if it can be sent."""
    own = seat.own
    while own:
        call = next(iter(own.values()))
        if not call.done():
            return call if call.is_packed else None
        del own[call.number]
    return None


def _fill(seat: Seat[C], own: OrderedDict[int, C], now: float) -> list[C]:
    batch: list[C] = []
    under_way = seat.under_way
    load = seat.load
    if not under_way:
        seat.progress = now
    while (call := _next(seat)) is not None:
        cost = _cost(seat, call)
        if under_way and (load + cost > AHEAD_SECONDS or len(under_way) >= MOST_AHEAD):
            break
        number = call.number
        own.pop(number)
        load += cost
        under_way[number] = call
        call.cost = cost
        call.seat = seat
        batch.append(call)
    seat.load = load
    _wear(seat, len(batch))
    return batch


def _all_ready(seat: Seat[C], now: float) -> list[C]:
    batch: list[C] = []
    while (call := _next(seat)) is not None:
        _hand(seat, call, 0.0, now)
        batch.append(call)
    return batch


def _cost(seat: Seat[C], call: C) -> float:
    if seat.serves_coroutines:
        return 0.0
    # What was taken back is not written ahead again, nor anything behind it. Its first frame is with the worker still,
    # and there the token of its second one would let it run, in front of those that were to come before it.
    return inf if call.number <= seat.retaken else call.timing.expected + CALL_SECONDS


def _hand(seat: Seat[C], call: C, cost: float, now: float) -> None:
    if seat.own:
        seat.own.pop(call.number, None)
    seat.progress = now
    seat.load += cost
    seat.under_way[call.number] = call
    call.cost = cost
    call.seat = seat
    _wear(seat, 1)


def _wear(seat: Seat[C], count: int) -> None:
    if seat.places > 1:  # the last one is left for its life after this: a resident is never worn out
        seat.places = max(1, seat.places - count)
