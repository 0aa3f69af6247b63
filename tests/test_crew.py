"""The crew gives each call to one worker at a time, in order, and queues none behind another where one may be slow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hybridrt._core.crew import AHEAD_SECONDS, CLOGGED_SECONDS, MOST_AHEAD, STUCK_SECONDS, Crew, Seat

QUICK = 20e-6
SLOW = 0.1
UNKNOWN = math.inf


@dataclass(eq=False)
class FakeCall:
    number: int
    expected: float = QUICK
    is_coroutine: bool = False
    is_cancelled: bool = False
    cost: float = -1.0
    seat: Any = None
    home: Any = None
    is_packed: bool = True
    entry: Any = None

    def done(self) -> bool:
        return self.is_cancelled

    @property
    def timing(self) -> FakeCall:
        return self


def crew_of(size: int, seats: int | None = None) -> Crew[FakeCall]:
    crew: Crew[FakeCall] = Crew(size)
    crew.seats.extend(Seat(name) for name in "abcdefgh"[: size if seats is None else seats])
    return crew


def add(crew: Crew[FakeCall], *seconds: float, first: int = 1, is_coroutine: bool = False) -> list[FakeCall]:
    calls = [FakeCall(number, cost, is_coroutine) for number, cost in enumerate(seconds, first)]
    for call in calls:
        crew.add(call)
    return calls


def given(crew: Crew[FakeCall], now: float = 0.0) -> list[tuple[str, list[int]]]:
    return [(seat.worker, numbers(batch)) for seat, batch in crew.give_out(now)]


def answered(crew: Crew[FakeCall], seat: Seat[FakeCall], number: int, now: float) -> FakeCall | None:
    """As the lane does it, for one answer."""
    call = seat.under_way.pop(number, None)
    if call is not None:
        crew.settle(seat, call.cost, now)
    return call


def numbers(calls: Iterable[FakeCall]) -> list[int]:
    return [call.number for call in calls]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([QUICK], [("b", [1])]),
        ([QUICK] * 4, [("b", [1, 2]), ("a", [3, 4])]),
        ([QUICK] * 5, [("b", [1, 2, 3]), ("a", [4, 5])]),
        ([UNKNOWN] * 4, [("b", [1]), ("a", [2])]),
        ([SLOW] * 4, [("b", [1]), ("a", [2])]),
        ([SLOW, QUICK, QUICK, QUICK], [("b", [1]), ("a", [2, 3])]),
        ([QUICK, SLOW, QUICK, QUICK], [("b", [1]), ("a", [2])]),
        ([QUICK, UNKNOWN, UNKNOWN], [("b", [1]), ("a", [2])]),
    ],
)
def test_idle_workers_share_what_waits_and_nothing_is_put_behind_what_may_be_slow(
    seconds: list[float], expected: list[tuple[str, list[int]]]
) -> None:
    crew = crew_of(2)
    add(crew, *seconds)
    assert given(crew) == expected
    assert crew.under_way == sum(len(batch) for _, batch in expected)
    assert crew.waiting == len(seconds) - crew.under_way


def test_a_worker_holds_no_more_ahead_than_it_is_expected_to_do_in_a_moment() -> None:
    crew = crew_of(1)
    cost = AHEAD_SECONDS / 4
    add(crew, *[cost] * 10)
    assert given(crew) == [("a", [1, 2, 3])]  # each costs a little more than its function
    assert given(crew) == []
    assert answered(crew, crew.seats[0], 1, 0.0) is not None
    assert given(crew) == []  # still more than half full
    answered(crew, crew.seats[0], 2, 0.0)
    assert given(crew) == [("a", [4, 5])]


def test_a_worker_holds_no_more_ahead_than_fit_into_the_token_pipe() -> None:
    crew = crew_of(1)
    add(crew, *[0.0] * 1000)
    assert sum(len(batch) for _, batch in given(crew)) == MOST_AHEAD
    for number in range(1, 60):
        answered(crew, crew.seats[0], number, 0.0)
    given(crew)
    assert crew.under_way == MOST_AHEAD


def test_an_idle_worker_comes_before_a_quickly_working_one() -> None:
    crew = crew_of(2, seats=1)
    add(crew, QUICK)
    assert given(crew) == [("a", [1])]
    crew.seats.append(Seat("b"))
    add(crew, QUICK, first=2)
    assert given(crew) == [("b", [2])]


def test_what_is_taken_back_waits_in_front_and_in_order() -> None:
    crew = crew_of(1)
    calls = add(crew, *[QUICK] * 5)
    given(crew)
    more = add(crew, QUICK, first=6)
    calls[3].is_cancelled = True
    seat = crew.seats[0]
    crew.taken_back(seat, 3)
    assert numbers(seat.under_way.values()) == [1, 2]
    assert [call.seat for call in calls[:2]] == [seat, seat]
    assert [call.seat for call in calls[2:]] == [None] * 3
    assert crew.waiting == 3
    assert numbers(crew.drop_waiting()) == [3, 5, *numbers(more)]
    assert crew.waiting == 0


def test_a_worker_that_gave_everything_back_is_idle() -> None:
    crew = crew_of(1)
    add(crew, QUICK, QUICK, QUICK)
    given(crew)
    seat = crew.seats[0]
    answered(crew, seat, 1, 0.0)
    crew.taken_back(seat, 2)
    assert crew.start_now(FakeCall(9), 0.0) is None  # those two are first
    assert crew.workers_wanted() == 0
    add(crew, UNKNOWN, first=4)
    assert given(crew) == [("a", [2, 3])]


def test_answers_come_in_any_order_and_count_once() -> None:
    crew = crew_of(1)
    calls = add(crew, QUICK, QUICK)
    given(crew)
    seat = crew.seats[0]
    assert answered(crew, seat, 2, 0.0) is calls[1]
    assert answered(crew, seat, 2, 0.0) is None
    assert answered(crew, seat, 99, 0.0) is None
    assert answered(crew, seat, 1, 0.0) is calls[0]
    assert (seat.load, crew.under_way) == (0.0, 0)


def test_a_worker_that_stops_answering_is_stuck_until_it_answers_again() -> None:
    crew = crew_of(3, seats=2)
    add(crew, SLOW, QUICK, QUICK)
    given(crew, now=0.0)  # b: the slow one; a: two quick ones
    b, a = crew.seats[1], crew.seats[0]
    assert numbers(b.under_way.values()) == [1]
    assert crew.seats_with_calls_ahead() == [a]
    assert crew.stuck(STUCK_SECONDS / 2) == []
    assert crew.stuck(STUCK_SECONDS) == [a]  # b is slow, but nobody waits behind
    answered(crew, a, 2, now=11.0)
    add(crew, QUICK, first=4)
    given(crew, now=11.0)
    assert crew.stuck(11.0) == []


def test_nothing_is_stuck_where_no_other_worker_could_have_it() -> None:
    crew = crew_of(2)
    add(crew, SLOW, QUICK, QUICK)
    given(crew, now=0.0)
    assert crew.stuck(10.0) == []  # both are busy
    answered(crew, crew.seats[1], 1, now=10.0)
    assert crew.stuck(10.0) == [crew.seats[0]]
    add(crew, QUICK, first=4)
    assert crew.stuck(10.0) == []  # that one would be next


def test_coroutines_do_not_keep_calls_behind_a_stuck_one() -> None:
    crew = crew_of(2)
    add(crew, UNKNOWN, first=1, is_coroutine=True)
    given(crew)  # a serves it
    add(crew, QUICK, QUICK, first=2)
    assert given(crew, now=0.0) == [("b", [2, 3])]
    busy = crew.seats[1]
    assert crew.stuck(STUCK_SECONDS) == [busy]  # a second worker for calls may be hired


def test_a_worker_that_is_stuck_gets_nothing_more_until_it_answers() -> None:
    crew = crew_of(2, seats=1)
    add(crew, *[QUICK] * 2)
    given(crew)
    add(crew, QUICK, first=3)
    given(crew)
    seat = crew.seats[0]
    late = STUCK_SECONDS
    held = len(seat.under_way)
    assert held > 1
    assert crew.stuck(late) == [seat]
    crew.taken_back(seat, held - 1)
    assert given(crew, now=late) == []
    assert crew.waiting == 2
    answered(crew, seat, 1, now=late)
    while crew.waiting:
        assert given(crew, now=late)
    assert numbers(seat.under_way.values()) == [2, 3]


def test_a_lone_call_starts_at_once_on_the_newest_idle_worker() -> None:
    crew = crew_of(3)
    first, second = FakeCall(1, QUICK), FakeCall(2, UNKNOWN)
    assert crew.start_now(first, 5.0) is crew.seats[2]
    assert crew.start_now(second, 5.001) is crew.seats[1]
    assert [seat.progress for seat in crew.seats] == [0.0, 5.001, 5.0]
    assert (first.seat, second.seat) == (crew.seats[2], crew.seats[1])
    assert (crew.under_way, crew.waiting) == (2, 0)
    add(crew, QUICK, QUICK, first=3)
    # Quick ones behind the quick one, none behind the other.
    assert given(crew, 5.001) == [("a", [3]), ("c", [4])]


@pytest.mark.parametrize(
    "why", ["a coroutine", "others wait", "all busy", "no worker", "leaving", "size reached"]
)
def test_a_call_that_cannot_start_at_once_is_left_to_be_added(why: str) -> None:
    crew = crew_of(1, seats=0 if why == "no worker" else 1)
    if why == "others wait":
        add(crew, QUICK)
    elif why == "all busy":
        assert crew.start_now(FakeCall(1), 0.0)
    elif why == "leaving":
        crew.seats[0].is_leaving = True
    elif why == "size reached":
        assert crew.start_now(FakeCall(1), 0.0)
        crew.seats.append(Seat("left by coroutines"))
    under_way = crew.under_way
    call = FakeCall(9, QUICK, is_coroutine=why == "a coroutine")
    assert crew.start_now(call, 0.0) is None
    assert call.seat is None
    assert crew.under_way == under_way


def test_a_dead_worker_takes_only_its_own_calls_with_it() -> None:
    crew = crew_of(2)
    calls = add(crew, UNKNOWN, UNKNOWN, UNKNOWN)
    given(crew)
    b = crew.seats[1]
    assert crew.remove(b) == [calls[0]]
    assert [seat.worker for seat in crew.seats] == ["a"]
    assert (crew.waiting, crew.under_way) == (1, 1)
    assert crew.workers_wanted() == 1


def test_a_leaving_worker_gets_nothing_more_and_is_replaced() -> None:
    crew = crew_of(1)
    crew.seats[0].is_leaving = True
    add(crew, QUICK)
    add(crew, QUICK, first=2, is_coroutine=True)
    assert given(crew) == []
    assert crew.start_now(FakeCall(9), 0.0) is None
    assert crew.workers_wanted() == 2


@pytest.mark.parametrize(
    ("size", "seats", "calls", "coroutines", "wanted"),
    [
        (4, 0, 1, 0, 1),
        (4, 0, 9, 0, 4),
        (4, 2, 3, 0, 1),
        (4, 4, 9, 0, 0),
        (4, 0, 0, 1, 1),
        (4, 0, 0, 9, 4),
        (4, 0, 9, 9, 8),  # as many for coroutines
        (4, 8, 9, 9, 0),
        (4, 3, 1, 1, 0),
    ],
)
def test_workers_are_wanted_for_what_waits_up_to_the_size(
    size: int, seats: int, calls: int, coroutines: int, wanted: int
) -> None:
    crew = crew_of(size, seats)
    add(crew, *[UNKNOWN] * calls)
    add(crew, *[UNKNOWN] * coroutines, first=100, is_coroutine=True)
    assert crew.workers_wanted() == wanted


def test_no_worker_is_wanted_for_cancelled_calls() -> None:
    crew = crew_of(4, seats=0)
    for call in add(crew, *[UNKNOWN] * 3):
        call.is_cancelled = True
        crew.cancelled_waiting(call)
    assert crew.workers_wanted() == 0
    add(crew, UNKNOWN, first=4)
    assert crew.workers_wanted() == 1


def test_no_more_than_size_plain_calls_run_at_once_however_many_workers_the_coroutines_left() -> None:
    crew = crew_of(2, seats=4)
    add(crew, *[UNKNOWN] * 4)
    assert given(crew) == [("d", [1]), ("c", [2])]
    assert crew.workers_wanted() == 0
    answered(crew, crew.seats[3], 1, 0.0)
    assert len(given(crew)) == 1


def test_coroutine_calls_are_spread_and_then_share() -> None:
    crew = crew_of(2)
    add(crew, *[UNKNOWN] * 5, is_coroutine=True)
    assert given(crew) == [("a", [1]), ("b", [2]), ("a", [3]), ("b", [4]), ("a", [5])]
    answered(crew, crew.seats[0], 1, 0.0)
    answered(crew, crew.seats[0], 3, 0.0)
    add(crew, UNKNOWN, first=6, is_coroutine=True)
    assert given(crew) == [("a", [6])]


def test_coroutines_stay_away_from_busy_workers_and_calls_from_coroutines() -> None:
    crew = crew_of(1, seats=1)
    add(crew, UNKNOWN)
    add(crew, UNKNOWN, first=2, is_coroutine=True)
    assert given(crew) == [("a", [2])]  # a call may wait, a coroutine need not
    assert crew.workers_wanted() == 1
    crew.seats.append(Seat("b"))
    assert given(crew) == [("b", [1])]
    add(crew, UNKNOWN, first=3, is_coroutine=True)
    assert given(crew) == [("a", [3])]
    answered(crew, crew.seats[0], 2, 0.0)
    add(crew, QUICK, first=4)
    assert given(crew) == []
    answered(crew, crew.seats[0], 3, 0.0)
    answered(crew, crew.seats[1], 1, 0.0)
    assert len(given(crew)) == 1


def test_coroutine_calls_are_never_taken_for_calls_ahead() -> None:
    crew = crew_of(1)
    add(crew, *[QUICK] * 3, is_coroutine=True)
    given(crew, now=1.0)
    assert crew.seats_with_calls_ahead() == crew.stuck(100.0) == []


def test_a_crowd_of_cancelled_calls_leaves_the_queues_in_bulk() -> None:
    crew = crew_of(1, seats=0)
    calls = add(crew, *[QUICK] * 2000)
    coroutines = add(crew, *[QUICK] * 10, first=5000, is_coroutine=True)
    wanted = [*calls[::4], *coroutines]
    for n, call in enumerate(c for c in calls if c not in wanted):
        call.is_cancelled = True
        crew.cancelled_waiting(call)
        assert crew.waiting == 2010 - n - 1
    held = len(crew.calls) + len(crew.coroutines)
    assert held < 2010  # it was compacted while they came
    assert crew.drop_waiting() == wanted
    assert crew.waiting == 0


def test_a_waiting_call_that_is_cancelled_is_passed_over() -> None:
    crew = crew_of(1)
    calls = add(crew, UNKNOWN, UNKNOWN, UNKNOWN)
    coroutines = add(crew, UNKNOWN, UNKNOWN, first=4, is_coroutine=True)
    for call in (calls[0], coroutines[0]):
        call.is_cancelled = True
        crew.cancelled_waiting(call)
    assert crew.waiting == 3
    assert given(crew) == [("a", [5])]
    crew.seats.append(Seat("b"))
    assert given(crew) == [("b", [2])]
    assert crew.waiting == 1


@dataclass
class FakeWorker:
    """What a real worker and its channel would do with what it is given."""

    name: int
    started: FakeCall | None = None
    claimable: list[FakeCall] = field(default_factory=list)
    """Written ahead, the token still in the pipe."""
    coroutines: list[FakeCall] = field(default_factory=list)


class CrewMachine(RuleBasedStateMachine):
    """A lane on a clock of its own: everything that can happen, in any order, and what must hold all the time."""

    @initialize(size=st.integers(1, 4))
    def open(self, size: int) -> None:
        self.crew: Crew[FakeCall] = Crew(size)
        self.now = 0.0
        self.ids = itertools.count(1)
        self.names = itertools.count(1)
        self.waiting: list[
            FakeCall
        ] = []  # plain calls and coroutines, each in the order in which they must go
        self.answered: set[int] = set()
        self.lost: set[int] = set()
        self.all: list[FakeCall] = []

    # what users do

    @rule(
        seconds=st.lists(st.sampled_from([0.0, QUICK, QUICK * 5, SLOW, UNKNOWN]), min_size=1, max_size=12),
        is_coroutine=st.booleans(),
    )
    def submit(self, seconds: list[float], is_coroutine: bool) -> None:
        for cost in seconds:
            call = FakeCall(next(self.ids), cost, is_coroutine)
            self.all.append(call)
            self.waiting.append(call)
            self.crew.add(call)

    @rule(seconds=st.sampled_from([0.0, QUICK, SLOW, UNKNOWN]), is_coroutine=st.booleans())
    def submit_lone(self, seconds: float, is_coroutine: bool) -> None:
        call = FakeCall(next(self.ids), seconds, is_coroutine)
        self.all.append(call)
        self.waiting.append(call)
        seat = self.crew.start_now(call, self.now)
        if seat is None:
            self.crew.add(call)
            return
        self.take_in(seat, [call])
        assert sum(bool(s.under_way) and not s.serves_coroutines for s in self.crew.seats) <= self.crew.size

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel_waiting(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.waiting))
        call.is_cancelled = True
        self.waiting.remove(call)
        self.crew.cancelled_waiting(call)

    @precondition(lambda self: self.seats_at_work())
    @rule(data=st.data())
    def cancel_given(self, data: st.DataObject) -> None:
        held = [call for seat in self.crew.seats for call in seat.under_way.values() if not call.is_cancelled]
        if held:
            data.draw(st.sampled_from(held)).is_cancelled = True

    # what the lane does

    @rule()
    def pump(self) -> None:
        wanted = self.crew.workers_wanted()
        assert wanted <= len(self.waiting)
        for _ in range(wanted):
            self.crew.seats.append(Seat(FakeWorker(next(self.names))))
        assert sum(not seat.is_leaving for seat in self.crew.seats) <= 2 * self.crew.size
        assert self.crew.workers_wanted() == 0
        stuck = self.crew.stuck(self.now)
        for seat, batch in self.crew.give_out(self.now):
            assert batch
            assert seat not in stuck
            assert not seat.is_leaving
            self.take_in(seat, batch)
        plain = [s for s in self.crew.seats if s.under_way and not s.serves_coroutines]
        assert len(plain) <= self.crew.size
        if any(not s.under_way and not s.is_leaving for s in self.crew.seats):
            assert len(plain) == self.crew.size or not any(not c.is_coroutine for c in self.waiting)
            assert not any(c.is_coroutine for c in self.waiting) or self.crew.size <= sum(
                bool(s.under_way) and s.serves_coroutines for s in self.crew.seats
            )

    def take_in(self, seat: Seat[FakeCall], batch: list[FakeCall]) -> None:
        worker: FakeWorker = seat.worker
        for call in batch:
            alike = [c for c in self.waiting if c.is_coroutine == call.is_coroutine]
            assert alike[0] is call, "first in, first out, among calls of a kind"
            self.waiting.remove(call)
            assert not call.is_cancelled
            assert call.seat is seat
            if call.is_coroutine:
                assert worker.started is None
                worker.coroutines.append(call)
            elif len(seat.under_way) == len(batch) and call is batch[0]:
                assert worker.started is None
                assert not worker.claimable
                worker.started = call
            else:
                assert call.expected < AHEAD_SECONDS, "a slow or unmeasured call behind another one"
                assert worker.started is None or worker.started.expected < AHEAD_SECONDS, "behind a slow one"
                worker.claimable.append(call)
        assert not (worker.coroutines and (worker.started or worker.claimable))
        assert len(worker.claimable) <= MOST_AHEAD
        ahead = [*([worker.started] if worker.started else []), *worker.claimable]
        assert len(ahead) < 2 or sum(call.expected for call in ahead) <= AHEAD_SECONDS

    @rule(seconds=st.floats(0, 2 * STUCK_SECONDS))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take_back_from_the_stuck(self) -> None:
        for seat in self.crew.stuck(self.now):
            self.take_back(seat)

    def take_back(self, seat: Seat[FakeCall]) -> None:
        worker: FakeWorker = seat.worker
        taken = worker.claimable
        worker.claimable = []
        self.crew.taken_back(seat, len(taken))
        assert all(call.seat is None for call in taken)
        self.waiting[:0] = [call for call in taken if not call.is_cancelled]

    # what workers do

    def seats_at_work(self) -> list[Seat[FakeCall]]:
        return [seat for seat in self.crew.seats if seat.under_way]

    @precondition(lambda self: self.seats_at_work())
    @rule(data=st.data(), goes_on=st.booleans())
    def answer(self, data: st.DataObject, goes_on: bool) -> None:
        seat = data.draw(st.sampled_from(self.seats_at_work()))
        worker: FakeWorker = seat.worker
        if worker.coroutines:
            call = worker.coroutines.pop(data.draw(st.integers(0, len(worker.coroutines) - 1)))
        elif worker.started:
            call, worker.started = worker.started, None
        else:
            call = worker.claimable.pop(0)
        if goes_on and worker.started is None and worker.claimable:
            worker.started = worker.claimable.pop(0)
        assert answered(self.crew, seat, call.number, self.now) is call
        assert call.number not in self.answered | self.lost
        self.answered.add(call.number)

    @precondition(lambda self: self.crew.seats)
    @rule(data=st.data(), had_begun=st.booleans())
    def die(self, data: st.DataObject, had_begun: bool) -> None:
        seat = data.draw(st.sampled_from(self.crew.seats))
        worker: FakeWorker = seat.worker
        if worker.started and not had_begun:  # its first call was still in the channel
            worker.claimable.insert(0, worker.started)
            worker.started = None
        self.take_back(seat)
        gone = self.crew.remove(seat)
        assert gone == ([worker.started] if worker.started else worker.coroutines)
        self.lost.update(numbers(gone))

    @precondition(lambda self: any(seat.worker.coroutines for seat in self.crew.seats))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        hosts = [seat for seat in self.crew.seats if seat.worker.coroutines]
        data.draw(st.sampled_from(hosts)).is_leaving = True

    # what holds

    @invariant()
    def counts_are_right(self) -> None:
        crew = self.crew
        assert crew.waiting == len(self.waiting)
        assert crew.under_way == sum(len(seat.under_way) for seat in crew.seats)
        assert 0 <= crew.workers_wanted() <= 2 * crew.size
        for seat in crew.seats:
            assert not math.isnan(seat.load)
            if not seat.under_way:
                assert abs(seat.load) < 1e-9

    @invariant()
    def no_call_is_lost_and_none_is_in_two_places(self) -> None:
        held = [call.number for seat in self.crew.seats for call in seat.under_way.values()]
        places = [*held, *numbers(self.waiting), *self.answered, *self.lost]
        assert len(places) == len(set(places))
        missing = {call.number for call in self.all if not call.is_cancelled} - set(places)
        assert not missing

    @invariant()
    def a_seat_holds_what_its_worker_has(self) -> None:
        for seat in self.crew.seats:
            worker: FakeWorker = seat.worker
            has = [*([worker.started] if worker.started else []), *worker.claimable, *worker.coroutines]
            assert list(seat.under_way.values()) == has
            assert seat.serves_coroutines or not worker.coroutines

    @invariant()
    def coroutines_are_shared_out_evenly_when_they_are_given_out(self) -> None:
        hosts = [
            seat
            for seat in self.crew.seats
            if seat.under_way and seat.serves_coroutines and not seat.is_leaving
        ]
        assert len(hosts) <= self.crew.size

    def teardown(self) -> None:
        if not hasattr(self, "crew"):
            return
        expected = [call for call in self.waiting if not call.is_coroutine]
        expected += [call for call in self.waiting if call.is_coroutine]
        assert self.crew.drop_waiting() == expected
        assert self.crew.waiting == 0


TestAnyOrderOfEvents = CrewMachine.TestCase
TestAnyOrderOfEvents.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# Workers that wear out, are held, or give back


def test_a_seat_is_given_as_many_calls_as_it_has_places() -> None:
    crew = crew_of(2)
    for seat in crew.seats:
        seat.places = 3
    add(crew, *[QUICK] * 10)
    assert given(crew) == [("b", [1, 2, 3]), ("a", [4, 5, 6])]
    assert all(seat.is_leaving for seat in crew.seats)
    assert (given(crew), crew.waiting) == ([], 4)


def test_a_worn_out_worker_is_replaced_when_it_has_done_its_last_call() -> None:
    crew = crew_of(1)
    crew.seats[0].places = 1
    add(crew, UNKNOWN, UNKNOWN)
    assert given(crew) == [("a", [1])]
    assert crew.workers_wanted() == 0, "its last call still runs"
    assert answered(crew, crew.seats[0], 1, 0.0)
    assert crew.workers_wanted() == 1


def test_a_direct_start_takes_a_place_too() -> None:
    crew = crew_of(1)
    crew.seats[0].places = 1
    assert crew.start_now(FakeCall(1), 0.0) is crew.seats[0]
    assert crew.seats[0].is_leaving
    assert answered(crew, crew.seats[0], 1, 0.0)
    assert crew.start_now(FakeCall(2), 0.0) is None


def test_coroutines_take_places() -> None:
    crew = crew_of(1)
    crew.seats[0].places = 2
    add(crew, UNKNOWN, UNKNOWN, UNKNOWN, is_coroutine=True)
    assert given(crew) == [("a", [1]), ("a", [2])]
    assert crew.workers_wanted() == 1


def test_nothing_runs_beside_a_leaving_worker_s_last_call() -> None:
    crew = crew_of(1)
    add(crew, UNKNOWN)
    given(crew)
    crew.retire(crew.seats[0])
    crew.seats.append(Seat("b"))
    add(crew, UNKNOWN, first=2)
    assert given(crew) == []
    assert answered(crew, crew.seats[0], 1, 0.0)
    assert given(crew) == [("b", [2])]


def test_a_seat_on_hold_gets_nothing_ahead_until_it_has_answered() -> None:
    crew = crew_of(1)
    (running,) = add(crew, QUICK)
    given(crew)
    crew.hold(running.seat)
    add(crew, QUICK, QUICK, first=2)
    assert given(crew) == []
    assert answered(crew, crew.seats[0], 1, 0.0)
    assert given(crew) == [("a", [2, 3])]


def test_a_call_that_is_added_again_is_the_next_one() -> None:
    crew = crew_of(1)
    calls = add(crew, UNKNOWN, UNKNOWN)
    given(crew)
    dead = crew.seats[0]
    crew.retire(dead)
    assert crew.remove(dead) == [calls[0]]
    dead.under_way.clear()
    crew.add_again(calls[0])
    assert calls[0].seat is None
    crew.seats.append(Seat("b"))
    assert given(crew) == [("b", [1])]


# Calls that come late, because they had to be packed


def test_a_call_that_comes_late_takes_the_place_of_its_number() -> None:
    crew = crew_of(1)
    add(crew, *[SLOW] * 4, first=2)
    add(crew, SLOW, SLOW, first=21, is_coroutine=True)
    for number in (4, 1, 9, 20):
        crew.add_in_place(FakeCall(number, SLOW, is_coroutine=number == 20))
    assert numbers(crew.drop_waiting()) == [1, 2, 3, 4, 4, 5, 9, 20, 21, 22]


@hypothesis_given(st.lists(st.booleans(), min_size=1, max_size=30), st.randoms())
def test_however_late_they_come_all_wait_in_the_order_of_their_numbers(
    is_late: list[bool], dice: Any
) -> None:
    crew = crew_of(1)
    late = []
    for number, comes_late in enumerate(is_late):
        call = FakeCall(number, SLOW)
        late.append(call) if comes_late else crew.add(call)
    dice.shuffle(late)
    for call in late:
        crew.add_in_place(call)
    assert numbers(crew.drop_waiting()) == [*range(len(is_late))]


@pytest.mark.parametrize(
    ("waiting", "coming", "busy", "idle", "wanted"),
    [(0, 1, 0, 0, 1), (0, 9, 0, 0, 3), (1, 1, 1, 0, 2), (0, 2, 3, 0, 0), (0, 2, 0, 1, 1), (2, 2, 1, 1, 1)],
)
def test_workers_are_hired_for_calls_that_are_on_their_way(
    waiting: int, coming: int, busy: int, idle: int, wanted: int
) -> None:
    crew = crew_of(3, busy + idle)
    add(crew, *[SLOW] * busy)
    for call in numbers(crew.drop_waiting()):
        seat = crew.start_now(FakeCall(call, SLOW), 0.0)
        assert seat is not None
    add(crew, *[SLOW] * waiting, first=10)
    assert crew.workers_wanted(coming) == wanted


def test_it_is_clogged_where_calls_wait_and_nobody_has_got_on_for_long() -> None:
    crew = crew_of(2)
    later = 2 * CLOGGED_SECONDS
    assert not crew.is_clogged(later)
    add(crew, SLOW, SLOW)
    given(crew, now=1.0)
    assert not crew.is_clogged(1.0 + later)  # nobody waits
    add(crew, QUICK, first=3)
    assert not crew.is_clogged(1.0 + CLOGGED_SECONDS / 2)
    assert crew.is_clogged(1.0 + later)
    answered(crew, crew.seats[0], next(iter(crew.seats[0].under_way)), now=1.0 + later)
    assert not crew.is_clogged(1.0 + later)
