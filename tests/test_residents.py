"""A resident gets the calls bound to it, in their order, and none else; and it counts in nobody's reckoning."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from test_crew import QUICK, SLOW, UNKNOWN, FakeCall, add, answered, crew_of, given, numbers

from hybridrt._core import residents
from hybridrt._core.crew import CLOGGED_SECONDS, MOST_AHEAD, STUCK_SECONDS, Crew, Seat


def resident_of(crew: Crew[FakeCall], name: str = "r", *, coroutines: bool = False) -> Seat[FakeCall]:
    seat: Seat[FakeCall] = Seat(name)
    residents.settle_in(crew, seat, serves_coroutines=coroutines)
    return seat


def bind(
    crew: Crew[FakeCall], seat: Seat[FakeCall], *seconds: float, first: int = 1, is_packed: bool = True
) -> list[FakeCall]:
    calls = [FakeCall(n, cost, home=seat, is_packed=is_packed) for n, cost in enumerate(seconds, first)]
    for call in calls:
        call.is_coroutine = seat.serves_coroutines
        crew.add(call)
    return calls


def sent(crew: Crew[FakeCall], now: float = 0.0) -> list[tuple[str, list[int]]]:
    return [(seat.worker, numbers(batch)) for seat, batch in residents.give_out(crew.residents, now)]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([QUICK] * 3, [1, 2, 3]),
        ([UNKNOWN, QUICK], [1]),
        ([SLOW, SLOW], [1]),
        ([QUICK, SLOW, QUICK], [1]),
        ([0.0] * 100, list(range(1, MOST_AHEAD + 1))),
    ],
)
def test_quick_calls_are_written_ahead_as_for_all_workers(seconds: list[float], expected: list[int]) -> None:
    crew = crew_of(1, seats=0)
    bind(crew, resident_of(crew), *seconds)
    assert sent(crew) == [("r", expected)]
    assert crew.waiting == len(seconds) - len(expected)
    assert crew.under_way == len(expected)


def test_nobody_else_gets_them_and_it_gets_nobody_else_s() -> None:
    crew = crew_of(1)
    seat = resident_of(crew)
    bind(crew, seat, SLOW, SLOW)
    add(crew, SLOW, first=10)
    assert given(crew) == [("a", [10])]
    assert sent(crew) == [("r", [1])]
    add(crew, SLOW, first=11)
    assert (given(crew), sent(crew)) == ([], [])


def test_it_counts_in_nobody_s_reckoning() -> None:
    crew = crew_of(1)
    bind(crew, resident_of(crew), SLOW, SLOW)
    sent(crew)
    assert crew.workers_wanted() == 0
    assert not crew.is_clogged(2 * CLOGGED_SECONDS)
    assert crew.start_now(FakeCall(9, SLOW), 0.0) is crew.seats[0]
    add(crew, SLOW, first=10)
    assert crew.workers_wanted() == 0, "the one there may be is busy"
    assert crew.drop_waiting()[0].number == 10
    assert crew.waiting == 1


def test_a_new_call_starts_at_once_only_where_nothing_waits_or_runs() -> None:
    crew = crew_of(1, seats=0)
    seat = resident_of(crew)
    assert residents.start_now(seat, FakeCall(1, SLOW, home=seat), 1.0)
    assert not residents.start_now(seat, FakeCall(2, SLOW, home=seat), 1.0)
    assert answered(crew, seat, 1, 2.0)
    bind(crew, seat, SLOW, first=3)
    assert not residents.start_now(seat, FakeCall(4, SLOW, home=seat), 2.0)
    assert sent(crew) == [("r", [3])]
    answered(crew, seat, 3, 3.0)
    crew.retire(seat)
    assert not residents.start_now(seat, FakeCall(5, SLOW, home=seat), 3.0)
    bind(crew, seat, SLOW, first=6)
    assert sent(crew) == []


def test_coroutines_all_go_at_once_and_in_order() -> None:
    crew = crew_of(1, seats=0)
    seat = resident_of(crew, coroutines=True)
    assert residents.start_now(seat, FakeCall(1, SLOW, home=seat, is_coroutine=True), 0.0)
    assert residents.start_now(seat, FakeCall(2, SLOW, home=seat, is_coroutine=True), 0.0)
    bind(crew, seat, *[SLOW] * 100, first=3)
    assert sent(crew) == [("r", list(range(3, 103)))]
    assert crew.seats_with_calls_ahead() == crew.stuck(10.0) == []


def test_what_is_not_packed_holds_up_what_is_behind_it() -> None:
    crew = crew_of(1, seats=0)
    seat = resident_of(crew)
    (large,) = bind(crew, seat, UNKNOWN, is_packed=False)
    bind(crew, seat, QUICK, QUICK, first=2)
    assert sent(crew) == []
    large.is_packed = True
    crew.add_in_place(large)
    assert crew.waiting == 3
    assert sent(crew) == [("r", [1])]
    answered(crew, seat, 1, 0.0)
    assert sent(crew) == [("r", [2, 3])]


def test_a_cancelled_call_leaves_at_once_and_one_that_is_done_is_passed_over() -> None:
    crew = crew_of(1, seats=0)
    seat = resident_of(crew)
    calls = bind(crew, seat, *[QUICK] * 4)
    calls[0].is_cancelled = calls[2].is_cancelled = True
    crew.cancelled_waiting(calls[0])
    assert crew.waiting == 3
    crew.cancelled_waiting(calls[0])  # a second time is harmless
    assert sent(crew) == [("r", [2, 4])]


def test_what_it_has_not_begun_waits_for_it_in_front() -> None:
    crew = crew_of(1)
    seat = resident_of(crew)
    bind(crew, seat, *[QUICK] * 4)
    sent(crew)
    bind(crew, seat, QUICK, first=5)
    assert crew.seats_with_calls_ahead() == [seat]
    assert crew.stuck(STUCK_SECONDS * 2) == [seat]
    crew.taken_back(seat, 3)
    assert list(seat.own or ()) == [2, 3, 4, 5]
    assert given(crew) == []
    assert sent(crew, now=STUCK_SECONDS * 2) == [], "nothing is written behind a call that takes long"
    answered(crew, seat, 1, STUCK_SECONDS * 2)
    # One by one: their first frames are in the worker's hands still, and would let a later one run with its new token.
    for number in (2, 3, 4):
        assert sent(crew, now=STUCK_SECONDS * 2) == [("r", [number])]
        answered(crew, seat, number, STUCK_SECONDS * 2)
    bind(crew, seat, QUICK, QUICK, first=6)
    assert sent(crew, now=STUCK_SECONDS * 2) == [("r", [5, 6, 7])]
    crew.lost(seat, 6)
    assert crew.remove(seat) == [seat.under_way[6]]
    assert list(seat.own or ()) == [5, 7]
    assert crew.residents == []


def test_it_is_stuck_though_others_are_busy() -> None:
    crew = crew_of(1)
    add(crew, SLOW, SLOW, first=100)
    given(crew)
    bind(crew, seat := resident_of(crew), QUICK, QUICK)
    sent(crew)
    assert crew.stuck(1.0) == [seat]


def test_an_idle_worker_becomes_one_and_is_of_the_pool_again() -> None:
    crew = crew_of(2)
    crew.seats[0].places = 3
    crew.seats[1].is_leaving = True
    seat = residents.take_idle(crew, serves_coroutines=True)
    assert seat is not None and seat.worker == "a"
    assert crew.residents == [seat] and [it.worker for it in crew.seats] == ["b"]
    bind(crew, seat, *[QUICK] * 10)
    assert sent(crew) == [("a", list(range(1, 11)))]
    assert not seat.is_leaving
    for number in range(1, 11):
        answered(crew, seat, number, 0.0)
    residents.give_back(crew, seat, 5.0)
    assert (crew.residents, seat.places, seat.progress) == ([], 1, 5.0)
    add(crew, QUICK, QUICK, first=20)
    assert given(crew) == [("a", [20])], "that was its last one"


@pytest.mark.parametrize("waits", ["call", "coroutine", "nothing"])
def test_none_is_taken_while_others_wait_or_none_is_idle(waits: str) -> None:
    crew = crew_of(1)
    if waits == "nothing":
        crew.start_now(FakeCall(1, SLOW), 0.0)
    else:
        add(crew, SLOW, is_coroutine=waits == "coroutine")
    assert residents.take_idle(crew, serves_coroutines=False) is None


class ResidentMachine(RuleBasedStateMachine):
    """Calls of one owner, beside those of the pool: whatever happens, they start in their order, each once."""

    @initialize(size=st.integers(1, 2), coroutines=st.booleans())
    def start(self, size: int, coroutines: bool) -> None:
        self.crew = crew_of(size)
        self.seat = resident_of(self.crew, coroutines=coroutines)
        self.mine: list[FakeCall] = []
        self.begun: list[int] = []
        self.number = 0
        self.now = 0.0
        self.is_alive = True

    @rule(seconds=st.sampled_from([QUICK, SLOW, math.inf]), is_packed=st.booleans(), is_mine=st.booleans())
    def submit(self, seconds: float, is_packed: bool, is_mine: bool) -> None:
        self.number += 1
        if not is_mine:
            self.crew.add(FakeCall(self.number, seconds))
        elif self.is_alive:
            call = FakeCall(
                self.number, seconds, self.seat.serves_coroutines, home=self.seat, is_packed=is_packed
            )
            self.mine.append(call)
            if not is_packed or not residents.start_now(self.seat, call, self.now):
                self.crew.add(call)

    @rule(later=st.sampled_from([0.0, STUCK_SECONDS / 2, 1.0]))
    def pump(self, later: float) -> None:
        self.now += later
        for seat, batch in self.crew.give_out(self.now):
            assert all(call.home is None for call in batch)
            for call in batch:
                answered(self.crew, seat, call.number, self.now)
        for seat, batch in residents.give_out(self.crew.residents, self.now):
            assert seat is self.seat
            assert all(call.home is seat and call.is_packed for call in batch)

    @rule()
    def pack(self) -> None:
        for call in self.mine:
            if not call.is_packed:
                call.is_packed = True
                if not call.done():
                    self.crew.add_in_place(call)
                return

    @precondition(lambda self: self.seat.under_way)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        held = list(self.seat.under_way)
        number = data.draw(st.sampled_from(held)) if self.seat.serves_coroutines else held[0]
        self.begun.append(number)
        assert answered(self.crew, self.seat, number, self.now)

    @precondition(lambda self: self.mine)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.mine))
        if not call.is_cancelled and call.seat is None and self.is_alive:
            call.is_cancelled = True
            self.crew.cancelled_waiting(call)

    @precondition(lambda self: not self.seat.serves_coroutines)
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        ahead = len(self.seat.under_way) - 1
        if ahead > 0:
            self.crew.taken_back(self.seat, data.draw(st.integers(0, ahead)))

    @precondition(lambda self: self.is_alive)
    @rule(rarely=st.integers(0, 9))
    def die(self, rarely: int) -> None:
        if rarely:
            return
        self.is_alive = False
        started = next(iter(self.seat.under_way), 0)
        self.crew.lost(self.seat, started)
        lost = self.crew.remove(self.seat)
        assert numbers(lost) == ([started] if started else [])
        self.begun += numbers(lost)
        self.seat.under_way = {}

    @invariant()
    def none_is_lost_or_in_two_places_and_they_keep_their_order(self) -> None:
        if not hasattr(self, "crew"):
            return
        waiting = list(self.seat.own or ())
        held = list(self.seat.under_way)
        places = [*self.begun, *held, *waiting]
        assert len(places) == len(set(places))
        assert {call.number for call in self.mine if not call.is_cancelled} <= set(places)
        assert waiting == sorted(waiting)
        if not self.seat.serves_coroutines:
            assert [*self.begun, *held, *waiting] == sorted(places)
        assert all(call.home is None for call in (*self.crew.calls, *self.crew.coroutines))
        if not held and self.is_alive:
            assert abs(self.seat.load) < 1e-9

    def teardown(self) -> None:
        if hasattr(self, "crew"):
            dropped: list[Any] = self.crew.drop_waiting()
            assert all(call.home is None for call in dropped)


TestAnyOrderOfEvents = ResidentMachine.TestCase
TestAnyOrderOfEvents.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class ChannelMachine(RuleBasedStateMachine):
    """The same with a worker that reads frames and tokens as the real one does: stale frames may be in its channel."""

    @initialize()
    def start(self) -> None:
        self.crew = crew_of(1)
        self.seat = resident_of(self.crew)
        self.frames: deque[tuple[bool, int]] = deque()  # whether it needs a token, number
        self.tokens: deque[int] = deque()
        self.in_hand: int | None = None
        self.running: int | None = None
        self.answers: deque[int] = deque()
        self.begun: list[int] = []
        self.number = 0
        self.now = 0.0

    def send(self, batch: list[FakeCall]) -> None:
        is_first = len(self.seat.under_way) == len(batch)
        for call in batch:
            if not is_first:
                self.tokens.append(call.number)
            self.frames.append((not is_first, call.number))
            is_first = False

    @rule(seconds=st.sampled_from([QUICK, QUICK, SLOW]))
    def submit(self, seconds: float) -> None:
        self.number += 1
        call = FakeCall(self.number, seconds, home=self.seat)
        if residents.start_now(self.seat, call, self.now):
            self.send([call])
        else:
            self.crew.add(call)

    @rule(later=st.sampled_from([0.0, STUCK_SECONDS / 2, 1.0]))
    def pump(self, later: float) -> None:
        self.now += later
        for _, batch in residents.give_out(self.crew.residents, self.now):
            self.send(batch)

    @rule()
    def take_back(self) -> None:
        if len(self.seat.under_way) > 1:
            count = len(self.tokens)
            self.tokens.clear()
            self.crew.taken_back(self.seat, count)

    @precondition(lambda self: self.running is None and self.frames)
    @rule()
    def read(self) -> None:
        needs_token, number = self.frames.popleft()
        if needs_token:
            if self.in_hand is None:
                if not self.tokens:
                    return
                self.in_hand = self.tokens.popleft()
            if self.in_hand != number:
                return
            self.in_hand = None
        self.running = number
        self.begun.append(number)

    @precondition(lambda self: self.running is not None)
    @rule()
    def end(self) -> None:
        assert self.running is not None
        self.answers.append(self.running)
        self.running = None

    @precondition(lambda self: self.answers)
    @rule()
    def hear(self) -> None:
        while self.answers:
            assert answered(self.crew, self.seat, self.answers.popleft(), self.now)

    @invariant()
    def each_begins_once_and_in_order(self) -> None:
        if hasattr(self, "begun"):
            assert self.begun == list(range(1, len(self.begun) + 1))

    def teardown(self) -> None:
        if not hasattr(self, "begun"):
            return
        for _ in range(10 * self.number + 10):  # in the end all have run
            if self.running is not None:
                self.end()
            self.hear()
            self.pump(0.0)
            if self.frames:
                self.read()
        assert self.begun == list(range(1, self.number + 1))


TestWithItsChannel = ChannelMachine.TestCase
TestWithItsChannel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
