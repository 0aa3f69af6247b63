"""A crew whose calls have terms loses none and runs none twice, keeps every limit, and lets nobody idle."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

from helpers import FakeFunction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hybridrt._core.accounts import Accounts, Entry
from hybridrt._core.crew import Crew, Seat
from hybridrt._core.function import Timing
from hybridrt._core.limits import Places
from hybridrt._core.queue import Queue
from hybridrt._core.terms import Terms

WORKERS = 2
QUICK = 20e-6


@dataclass(eq=False)
class FakeCall:
    number: int
    function: Any
    is_cancelled: bool = False
    cost: float = 0.0
    seat: Any = None
    home: Any = None
    entry: Any = None
    is_packed: bool = True
    is_coroutine: bool = False

    @property
    def timing(self) -> Timing:
        timing: Timing = self.function.timing
        return timing

    def done(self) -> bool:
        return self.is_cancelled


class ACrew:
    """A crew with terms, as a lane has it, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.late: list[FakeCall] = []
        self.crew: Crew[FakeCall] = Crew(WORKERS)
        self.crew.on_terms.new_queue = self._new_queue
        self.names = itertools.count(1)
        self.numbers = itertools.count(1)
        for _ in range(WORKERS):
            self.hire()

    def _new_queue(self, accounts: Accounts) -> Queue[Any]:
        return Queue(
            accounts,
            clock=lambda: self.now,
            timing=lambda function: function.timing,  # type: ignore[attr-defined]
            on_late=lambda entry: self.late.append(entry.call),
            on_room=lambda: None,
        )

    def hire(self) -> None:
        self.crew.seats.append(Seat(next(self.names)))

    def submit(self, function: FakeFunction, terms: Terms | None) -> FakeCall:
        call = FakeCall(next(self.numbers), function)
        if terms is None and function.places is None:
            self.crew.add(call)
        else:
            self.crew.on_terms.add(Entry(call, terms or Terms(), self.now, function.places))
        return call

    def give_out(self) -> list[FakeCall]:
        return [call for _, batch in self.crew.give_out(self.now) for call in batch]

    def answer(self, seat: Seat[FakeCall]) -> FakeCall:
        """Its worker has done the first of its calls."""
        call = seat.under_way.pop(next(iter(seat.under_way)))
        self.crew.on_terms.ended(call.number)
        self.crew.settle(seat, call.cost, self.now)
        return call


def test_plain_calls_keep_the_plain_queue() -> None:
    stage = ACrew()
    plain = stage.crew.calls
    for _ in range(5):
        stage.submit(FakeFunction(), None)
    assert stage.crew.calls is plain
    assert not stage.crew.on_terms.is_in_use


def test_the_first_call_on_terms_takes_those_along_that_wait_and_the_last_brings_the_plain_queue_back() -> (
    None
):
    stage = ACrew()
    f = FakeFunction()
    plain, calls = stage.crew.calls, [stage.submit(f, None) for _ in range(5)]
    cancelled = calls.pop(1)
    cancelled.is_cancelled = True
    stage.crew.cancelled_waiting(cancelled)
    urgent = stage.submit(f, Terms(priority=1))
    assert stage.crew.calls is not plain
    assert stage.crew.waiting == 5
    given = []
    while stage.crew.waiting:
        given += stage.give_out()
        for seat in stage.crew.seats:
            if seat.under_way:
                stage.answer(seat)
    assert given == [urgent, *calls]
    stage.crew.give_out(stage.now)
    assert stage.crew.calls is plain


def test_no_worker_is_hired_for_what_may_not_start() -> None:
    stage = ACrew()
    stage.crew.seats.clear()
    f = FakeFunction(places=Places(1))
    for _ in range(5):
        stage.submit(f, None)
    assert stage.crew.workers_wanted() == 1


def test_calls_of_a_limited_function_are_written_ahead_up_to_its_limit_only() -> None:
    stage = ACrew()
    f = FakeFunction(places=Places(3)).takes(QUICK)
    for _ in range(10):
        stage.submit(f, None)
    assert len(stage.give_out()) == 3
    assert all(
        seat.under_way for seat in stage.crew.seats
    )  # one of the three is not behind another for nothing
    assert stage.give_out() == []


class AnyOrder(RuleBasedStateMachine):
    """Submits, answers, take-backs, deaths and cancels in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = ACrew()
        self.crew = self.stage.crew
        self.functions = [
            FakeFunction(),
            FakeFunction().takes(QUICK),
            FakeFunction(places=Places(1)),
            FakeFunction(places=Places(3)).takes(QUICK),
        ]
        self.calls: dict[int, FakeCall] = {}
        self.terms: dict[int, Terms | None] = {}
        self.limits: dict[Any, int] = {}
        self.ended: list[int] = []
        self.cancelled: set[int] = set()

    @property
    def under_way(self) -> dict[int, FakeCall]:
        return {n: call for seat in self.crew.seats for n, call in seat.under_way.items()}

    def _waiting(self) -> set[int]:
        return {call.number for call in (*self.crew.calls, *self.crew.coroutines) if not call.done()}

    @rule(
        function=st.integers(0, 3),
        key=st.sampled_from([None, None, "a", "b"]),
        priority=st.sampled_from([0.0, 0.0, 2.0]),
        limit=st.sampled_from([0, 1, 2]),
        is_coroutine=st.booleans(),
    )
    def submit(self, function: int, key: Any, priority: float, limit: int, is_coroutine: bool) -> None:
        terms = Terms(priority, key, 1.0, limit if key else 0) if key or priority else None
        call = FakeCall(next(self.stage.numbers), self.functions[function], is_coroutine=is_coroutine)
        if key:
            self.limits[key] = limit
        self.calls[call.number], self.terms[call.number] = call, terms
        if terms is None and call.function.places is None:
            if self.crew.start_now(call, self.stage.now) is None:
                self.crew.add(call)
        else:
            self.crew.on_terms.add(Entry(call, terms or Terms(), self.stage.now, call.function.places))

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.5]))
    def give_out(self, seconds: float) -> None:
        self.stage.now += seconds
        before = self._waiting()
        given = {call.number for call in self.stage.give_out()}
        assert given <= before
        # Nobody idles while there is a call for him.
        if any(not seat.under_way and not seat.is_leaving for seat in self.crew.seats):
            busy = sum(bool(s.under_way) and not s.serves_coroutines for s in self.crew.seats)
            if busy < WORKERS:
                assert not [
                    n for n in self._waiting() if self._may_start(n) and not self.calls[n].is_coroutine
                ]

    def _may_start(self, number: int) -> bool:
        call, terms = self.calls[number], self.terms[number]
        if call.function.places is not None and call.function.places.room <= 0:
            return False
        key = terms.key if terms is not None else None
        limit = self.limits.get(key, 0) if key else 0
        return not limit or self._running(key) < limit

    def _running(self, key: Any) -> int:
        return sum((terms := self.terms[n]) is not None and terms.key == key for n in self.under_way)

    def _a_seat(self, data: st.DataObject) -> Seat[FakeCall]:
        return data.draw(st.sampled_from([seat for seat in self.crew.seats if seat.under_way]))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        call = self.stage.answer(self._a_seat(data))
        self.ended.append(call.number)

    @precondition(lambda self: self.crew.seats_with_calls_ahead())
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        seat = data.draw(st.sampled_from(self.crew.seats_with_calls_ahead()))
        count = data.draw(st.integers(0, len(seat.under_way) - 1))
        dropped = [n for n in list(seat.under_way)[len(seat.under_way) - count :] if self.calls[n].done()]
        self.crew.taken_back(seat, count)
        self.ended += dropped

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), is_run_again=st.booleans())
    def a_worker_dies(self, data: st.DataObject, is_run_again: bool) -> None:
        seat = self._a_seat(data)
        first = next(iter(seat.under_way))
        self.crew.retire(seat)
        dropped: list[int] = []
        if not seat.serves_coroutines:
            dropped = [n for n, call in seat.under_way.items() if call.done() and n != first]
            self.crew.lost(seat, first)
        lost = self.crew.remove(seat)
        seat.under_way = {}
        for call in reversed(lost):
            if is_run_again and not call.done():
                self.crew.add_again(call)
            else:
                self.crew.on_terms.ended(call.number)
                self.ended.append(call.number)
        self.ended += dropped
        self.stage.hire()

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """As ``Stopping`` has it: what waits leaves; what is with a worker goes on until it is answered."""
        numbers = sorted({*self._waiting(), *self.under_way})
        if not numbers:
            return
        call = self.calls[data.draw(st.sampled_from(numbers))]
        if call.is_cancelled:
            return
        is_waiting = call.number in self._waiting()
        call.is_cancelled = True
        if is_waiting:
            self.crew.cancelled_waiting(call)
            self.ended.append(call.number)

    @invariant()
    def each_call_is_in_one_place(self) -> None:
        places = [*self._waiting(), *self.under_way, *self.ended]
        assert sorted(places) == sorted(self.calls)
        assert self.crew.waiting == len(self._waiting())

    @invariant()
    def limits_hold_and_what_is_held_runs(self) -> None:
        for function in self.functions:
            if function.places is not None:
                running = sum(call.function is function for call in self.under_way.values())
                assert function.places.taken == running <= function.places.most
        assert set(self.crew.on_terms.accounts.held) <= set(self.under_way)

    def teardown(self) -> None:
        """All that waits gets its turn, and then the queue is a plain one again."""
        for _ in range(10 * len(self.calls) + 10):
            self.stage.now += 0.01
            self.stage.give_out()
            for seat in self.crew.seats:
                if seat.under_way:
                    self.ended.append(self.stage.answer(seat).number)
        assert not self.crew.waiting
        assert sorted(self.ended) == sorted(self.calls)
        self.crew.give_out(self.stage.now)
        assert not self.crew.on_terms.is_in_use
        assert math.isfinite(self.stage.now)


AnyOrder.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
