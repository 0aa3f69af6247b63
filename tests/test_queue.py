"""The queue hands out what may start, the oldest and most urgent of each key first and keys in fair shares; no more."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from helpers import FakeFunction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hybridrt._core.accounts import Accounts, Entry
from hybridrt._core.limits import Places
from hybridrt._core.queue import AGEING_SECONDS, UNKNOWN_COST, Queue
from hybridrt._core.terms import NO_TERMS, Terms

SECONDS = 0.25
"""Times are told in quarters, which add up exactly."""


@dataclass(eq=False)
class FakeCall:
    number: int
    function: Any
    is_done: bool = False

    def done(self) -> bool:
        return self.is_done


class Stage:
    """A queue, its clock, and what it has dropped."""

    def __init__(self, accounts: Accounts | None = None) -> None:
        self.now = 0.0
        self.late: list[FakeCall] = []
        self.rooms = 0
        self.accounts = accounts or Accounts()
        self.numbers = itertools.count(1)
        self.queue: Queue[FakeCall] = self.another_queue()

    def another_queue(self) -> Queue[FakeCall]:
        return Queue(
            self.accounts,
            clock=lambda: self.now,
            timing=lambda function: function.timing,  # type: ignore[attr-defined]
            on_late=self._is_late,
            on_room=self._has_room,
        )

    def _is_late(self, entry: Entry) -> None:
        self.late.append(entry.call)
        entry.call = None

    def _has_room(self) -> None:
        self.rooms += 1

    def add(self, function: FakeFunction, terms: Terms = NO_TERMS) -> FakeCall:
        call = FakeCall(next(self.numbers), function)
        self.queue.add(call, terms)
        return call

    def take_all(self) -> list[FakeCall]:
        """What may start, each ended at once."""
        taken = []
        while self.queue:
            taken.append(self.queue.popleft())
            self.accounts.end(taken[-1].number)
        return taken


@pytest.fixture
def stage() -> Stage:
    return Stage()


def numbers(calls: list[FakeCall]) -> list[int]:
    return [call.number for call in calls]


# Order


def test_calls_without_terms_go_as_they_come(stage: Stage) -> None:
    f = FakeFunction()
    calls = [stage.add(f) for _ in range(5)]
    assert stage.take_all() == calls
    assert not stage.queue
    assert len(stage.queue) == 0
    with pytest.raises(IndexError):
        stage.queue.popleft()
    with pytest.raises(IndexError):
        stage.queue[0]


def test_more_priority_is_sooner_and_the_same_goes_as_it_came(stage: Stage) -> None:
    f = FakeFunction()
    low, first, second, high = (stage.add(f, Terms(priority=p)) for p in (-1, 0, 0, 2.5))
    assert stage.queue[0] is high
    assert stage.take_all() == [high, first, second, low]


@pytest.mark.parametrize(("waits", "is_first"), [(0.9, False), (1.1, True)])
def test_one_more_of_priority_is_worth_one_second_of_waiting(
    stage: Stage, waits: float, is_first: bool
) -> None:
    f = FakeFunction()
    old = stage.add(f)
    stage.now = waits * AGEING_SECONDS
    urgent = stage.add(f, Terms(priority=1))
    assert stage.take_all() == ([old, urgent] if is_first else [urgent, old])


def test_a_call_of_low_priority_is_not_starved_by_a_stream_of_urgent_ones(stage: Stage) -> None:
    f = FakeFunction()
    low = stage.add(f)
    passed = 0
    for _ in range(1000):
        stage.add(f, Terms(priority=5))
        stage.now += 0.1
        call = stage.queue.popleft()
        if call is low:
            break
        passed += 1
    assert passed == pytest.approx(50, abs=1)  # those of the five seconds that their priority is worth


def test_time_waited_elsewhere_counts(stage: Stage) -> None:
    f = FakeFunction()
    stage.now = 10.0
    here = stage.add(f)
    elsewhere = stage.add(f, NO_TERMS.after(0.5))
    assert stage.take_all() == [elsewhere, here]


def test_what_is_given_back_is_next_whatever_its_priority(stage: Stage) -> None:
    f = FakeFunction()
    first, second, third = (stage.add(f, Terms(key="a")) for _ in range(3))
    assert [stage.queue.popleft(), stage.queue.popleft()] == [first, second]
    stage.add(f, Terms(key="a", priority=99))
    stage.queue.appendleft(second)
    stage.queue.appendleft(first)
    assert not stage.accounts.held
    assert stage.take_all()[:2] == [first, second]
    assert len(stage.queue) == 0
    assert third.number == 3


# Shares


def shares(stage: Stage, rounds: int) -> Counter[Any]:
    """Seconds handed out to each key, one call at a time."""
    spent: Counter[Any] = Counter()
    for _ in range(rounds):
        call = stage.queue.popleft()
        entry = stage.accounts.held[call.number]
        spent[entry.terms.key] += call.function.timing.mean or UNKNOWN_COST
        stage.accounts.end(call.number)
    return spent


def test_a_flood_of_one_key_does_not_hold_up_another(stage: Stage) -> None:
    f = FakeFunction().takes(0.01)
    for _ in range(1000):
        stage.add(f, Terms(key="flood"))
    for _ in range(20):
        stage.queue.popleft()
    stage.add(f, Terms(key="other"))
    assert stage.accounts.held[stage.queue.popleft().number].terms.key == "other"


def test_keys_share_by_time_not_by_count(stage: Stage) -> None:
    long, short = FakeFunction().takes(0.1), FakeFunction().takes(0.01)
    for _ in range(1000):
        stage.add(long, Terms(key="long"))
        stage.add(short, Terms(key="short"))
    spent = shares(stage, 220)
    assert spent["long"] == pytest.approx(spent["short"], abs=0.11)


def test_a_weight_is_a_share(stage: Stage) -> None:
    f = FakeFunction().takes(0.01)
    for _ in range(1000):
        stage.add(f, Terms(key="one"))
        stage.add(f, Terms(key="three", weight=3.0))
    spent = shares(stage, 400)
    assert spent["three"] == pytest.approx(3 * spent["one"], rel=0.05)


def test_a_key_that_was_idle_has_saved_nothing_up(stage: Stage) -> None:
    f = FakeFunction().takes(0.01)
    for _ in range(1000):
        stage.add(f, Terms(key="busy"))
    stage.add(f, Terms(key="idle"))
    shares(stage, 500)
    for _ in range(100):
        stage.add(f, Terms(key="idle"))
    spent = shares(stage, 100)
    assert spent["idle"] == pytest.approx(spent["busy"], abs=0.021)


def test_a_key_that_leaves_and_comes_back_is_not_forgiven_what_it_had_too_much(stage: Stage) -> None:
    long, short = FakeFunction().takes(1.0), FakeFunction().takes(0.01)
    for _ in range(200):
        stage.add(short, Terms(key="others"))
    stage.add(long, Terms(key="greedy"))
    shares(stage, 2)  # now it waits for nothing more, and has had a hundred times as much
    stage.add(long, Terms(key="greedy"))
    assert shares(stage, 95)["greedy"] == 0


def test_calls_without_a_key_are_one_key(stage: Stage) -> None:
    f = FakeFunction().takes(0.01)
    for _ in range(100):
        stage.add(f)
    tenant = [stage.add(f, Terms(key="tenant")) for _ in range(10)]
    assert set(tenant) <= set(stage.take_all()[:21])


def test_each_key_that_waits_has_the_same_part_of_a_bounded_queue(stage: Stage) -> None:
    f = FakeFunction()
    assert stage.queue.share_of("a", 10) == (0, 10)
    for _ in range(6):
        stage.add(f, Terms(key="a"))
    assert stage.queue.share_of("a", 10) == (6, 10)
    assert stage.queue.share_of("b", 10) == (0, 5)
    stage.add(f, Terms(key="b"))
    assert stage.queue.share_of("a", 10) == (6, 5)
    stage.take_all()
    assert stage.queue.share_of("a", 10) == (0, 10)


def test_priority_orders_within_a_key(stage: Stage) -> None:
    f = FakeFunction().takes(0.01)
    a1, a2 = stage.add(f, Terms(key="a")), stage.add(f, Terms(key="a", priority=9))
    b1, b2 = stage.add(f, Terms(key="b")), stage.add(f, Terms(key="b"))
    assert stage.take_all() == [a2, b1, a1, b2]


def test_keys_that_have_nothing_here_any_more_are_forgotten(stage: Stage) -> None:
    f = FakeFunction().takes(0.01)
    for key in range(10_000):
        stage.add(f, Terms(key=key))
        stage.take_all()
    assert len(stage.accounts._keys) < 500
    assert len(stage.queue.groups) < 500


# Limits


def test_a_key_is_given_no_more_than_its_limit_and_holds_up_nobody(stage: Stage) -> None:
    f = FakeFunction()
    capped = [stage.add(f, Terms(key="a", key_limit=2)) for _ in range(4)]
    other = stage.add(f, Terms(key="b"))
    taken = [stage.queue.popleft() for _ in range(3)]
    assert set(taken) == {*capped[:2], other}
    assert not stage.queue
    assert len(stage.queue) == 2
    assert stage.queue.ready(10) == 0
    stage.accounts.end(capped[0].number)
    assert stage.queue.ready(10) == 1
    assert stage.queue.popleft() is capped[2]
    assert not stage.queue


def test_the_limit_of_a_key_that_was_said_last_holds(stage: Stage) -> None:
    f = FakeFunction()
    first, second = (stage.add(f, Terms(key="a", key_limit=1)) for _ in range(2))
    assert stage.queue.popleft() is first
    assert not stage.queue
    third = stage.add(f, Terms(key="a", key_limit=3))
    assert [stage.queue.popleft(), stage.queue.popleft()] == [second, third]


def test_a_key_s_limit_counts_over_the_queues_of_a_lane(stage: Stage) -> None:
    f = FakeFunction()
    coroutines = stage.another_queue()
    here = stage.add(f, Terms(key="a", key_limit=1))
    there = FakeCall(99, f)
    coroutines.add(there, Terms(key="a", key_limit=1))
    assert coroutines.popleft() is there
    assert not stage.queue
    stage.accounts.end(99)
    assert stage.queue.popleft() is here


def test_a_function_at_its_limit_is_set_aside_and_comes_back_in_its_order(stage: Stage) -> None:
    f, g = FakeFunction(places=Places(1)), FakeFunction()
    f1, f2 = stage.add(f), stage.add(f)
    g1 = stage.add(g)
    assert [stage.queue.popleft(), stage.queue.popleft()] == [f1, g1]
    assert not stage.queue
    g2 = stage.add(g)
    stage.accounts.end(f1.number)
    assert stage.queue.popleft() is f2
    assert stage.queue.popleft() is g2


def test_whoever_waits_for_a_place_that_another_lane_gives_back_is_told(stage: Stage) -> None:
    f = FakeFunction(places=Places(1))
    assert f.places is not None
    f.places.take()
    call = stage.add(f)
    assert not stage.queue
    f.places.give_back()
    assert stage.rooms == 1
    assert stage.queue.popleft() is call
    assert not f.places.watchers


def test_keys_that_wait_for_the_same_function_have_it_by_turns(stage: Stage) -> None:
    f = FakeFunction(places=Places(1)).takes(0.01)
    for _ in range(100):
        stage.add(f, Terms(key="flood"))
    for _ in range(5):
        stage.add(f, Terms(key="other"))
    order = [stage.queue.accounts.held[call.number].terms.key for call in _one_by_one(stage, 12)]
    assert Counter(order)["other"] == 5


def _one_by_one(stage: Stage, count: int) -> Any:
    for _ in range(count):
        call = stage.queue.popleft()
        assert not stage.queue  # its function has one place
        yield call
        stage.accounts.end(call.number)


# Deadlines


def test_what_cannot_make_it_is_dropped_when_its_turn_comes(stage: Stage) -> None:
    f = FakeFunction().takes(1.0)
    tight, wide = stage.add(f, Terms(deadline=1.5)), stage.add(f, Terms(deadline=9.0))
    stage.now = 1.0
    assert stage.queue.popleft() is wide
    assert stage.late == [tight]
    assert len(stage.queue) == 0


def test_what_was_never_measured_is_dropped_only_when_its_time_is_over(stage: Stage) -> None:
    f = FakeFunction()
    first, second = stage.add(f, Terms(deadline=1.0)), stage.add(f, Terms(deadline=1.0))
    stage.now = 0.99
    assert stage.queue.popleft() is first
    stage.now = 1.0
    assert not stage.queue
    assert stage.late == [second]


def test_of_what_seems_hopeless_from_the_start_one_in_ten_is_run_to_see_whether_it_still_is(
    stage: Stage,
) -> None:
    f = FakeFunction().takes(5.0)
    for _ in range(40):
        stage.add(f, Terms(deadline=1.0))
    assert len(stage.take_all()) == 4
    assert len(stage.late) == 36


# What is not wanted any more


def test_a_cancelled_call_leaves_at_once_and_its_remains_do_not_pile_up(stage: Stage) -> None:
    f, g = FakeFunction(), FakeFunction(places=Places(1))
    keeper = stage.add(f, Terms(priority=-1000.0))
    for _ in range(5000):
        call = stage.add(random.choice([f, g]), Terms(key=random.choice(["a", "b"])))
        assert stage.queue.discard(call.number)
    assert not stage.queue.discard(call.number)
    assert len(stage.queue) == 1
    entries = sum(len(line) for group in stage.queue.groups.values() for line in group.lines.values())
    assert entries < 200
    assert len(stage.queue._heap) < 200
    assert stage.take_all() == [keeper]


def test_a_call_that_is_done_is_passed_over(stage: Stage) -> None:
    f = FakeFunction()
    first, second = stage.add(f), stage.add(f)
    first.is_done = True
    assert stage.queue[0] is second
    assert len(stage.queue) == 1


def test_clear_leaves_nothing_and_nobody_waiting_for_a_place(stage: Stage) -> None:
    f = FakeFunction(places=Places(1))
    calls = [stage.add(f) for _ in range(3)]
    stage.queue.popleft()
    assert not stage.queue
    assert list(stage.queue) == calls[1:]
    stage.queue.clear()
    assert len(stage.queue) == 0
    assert f.places is not None
    assert not f.places.watchers
    again = stage.add(f)
    stage.accounts.end(calls[0].number)
    assert stage.queue.popleft() is again


@pytest.mark.parametrize("count", [1000, 16000])
def test_a_step_costs_the_logarithm_of_how_many_wait(count: int) -> None:
    """Counted in comparisons of entries, which do not depend on the machine."""
    stage = Stage()
    f = FakeFunction().takes(0.001)
    compared = 0

    class Counted(float):
        def __lt__(self, other: float) -> bool:
            nonlocal compared
            compared += 1
            return float(self) < other

    for number in range(count):
        stage.now = Counted(number)
        stage.add(f, Terms(key=number % 7, priority=number % 5))
    compared = 0
    taken = len(stage.take_all())
    assert taken == count
    assert compared < 60 * count * math.log2(count)


# Whatever happens


class AnyOrder(RuleBasedStateMachine):
    """A lane with two workers and other lanes beside it; the model keeps plain lists, and looks through all of them."""

    KEYS = (None, "a", "b", "c")

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        self.functions = [
            FakeFunction("free"),
            FakeFunction("measured").takes(0.5),
            FakeFunction("one", Places(1)),
            FakeFunction("two", Places(2)).takes(0.25),
        ]
        self.elsewhere: list[Places] = []
        self.waiting: dict[int, tuple[FakeCall, Terms, float]] = {}
        self.front: list[int] = []
        self.running: dict[int, tuple[FakeCall, Terms]] = {}
        self.limits: dict[Any, int] = {}
        self.all: set[int] = set()
        self.gone: list[int] = []

    def _may_start(self, call: FakeCall, terms: Terms) -> bool:
        places = call.function.places
        if places is not None and places.room <= 0:
            return False
        limit = self.limits.get(terms.key, 0)
        of_key = sum(other.key == terms.key for _, other in self.running.values())
        return not limit or of_key < limit

    def _is_late(self, call: FakeCall, terms: Terms, since: float) -> bool:
        if terms.deadline is None:
            return False
        timing = call.function.timing
        takes = timing.expected if timing.expected < math.inf else 0.0
        return self.stage.now >= since + terms.deadline or self.stage.now + takes > since + terms.deadline

    def _take_in_late(self) -> None:
        for call in self.stage.late:
            waiting_call, terms, since = self.waiting.pop(call.number)
            assert waiting_call is call
            assert self._is_late(call, terms, since)
            self.gone.append(call.number)
            if call.number in self.front:
                self.front.remove(call.number)
        self.stage.late.clear()

    @rule(
        key=st.sampled_from(KEYS),
        function=st.integers(0, 3),
        priority=st.sampled_from([-2.0, 0.0, 0.0, 1.0, 3.0]),
        deadline=st.sampled_from([None, None, 1.0, 4.0]),
        weight=st.sampled_from([1.0, 2.0, 0.5]),
        limit=st.sampled_from([0, 0, 1, 2]),
    )
    def submit(
        self, key: Any, function: int, priority: float, deadline: float | None, weight: float, limit: int
    ) -> None:
        if key is None:
            weight, limit = 1.0, 0
        terms = Terms(priority, key, weight, limit, deadline)
        self.limits[key] = limit
        call = self.stage.add(self.functions[function], terms)
        self.waiting[call.number] = call, terms, self.stage.now
        self.all.add(call.number)

    @rule(quarters=st.integers(1, 6))
    def time_passes(self, quarters: int) -> None:
        self.stage.now += quarters * SECONDS

    @rule()
    def a_worker_is_free(self) -> None:
        queue = self.stage.queue
        if not queue:
            self._take_in_late()
            # Nobody idles while there is a call for him.
            assert not [
                call.number
                for call, terms, since in self.waiting.values()
                if self._may_start(call, terms) and not self._is_late(call, terms, since)
            ]
            return
        call = queue.popleft()
        self._take_in_late()
        mine, terms, _ = self.waiting.pop(call.number)
        assert mine is call
        # (its own place is taken already)
        places = call.function.places
        assert places is None or places.taken <= places.most
        limit = self.limits[terms.key]
        assert not limit or sum(t.key == terms.key for _, t in self.running.values()) < limit
        self._is_first_of_its_key(call, terms)
        if call.number in self.front:
            self.front.remove(call.number)
        self.running[call.number] = call, terms

    def _is_first_of_its_key(self, call: FakeCall, terms: Terms) -> None:
        def order(number: int, terms: Terms, since: float) -> tuple[float, float]:
            if number in self.front:
                return -math.inf, float(self.front.index(number))
            return since - terms.priority * AGEING_SECONDS, float(number)

        mine = order(call.number, terms, self._since[call.number])
        for number, (other, others, since) in self.waiting.items():
            if others.key != terms.key or self._is_late(other, others, since):
                continue
            places = other.function.places
            # What this very call has taken the last place of, might have started as well.
            had_room = places is None or places.room + (places is call.function.places) > 0
            if had_room:
                assert mine < order(number, others, since)

    @property
    def _since(self) -> dict[int, float]:
        return self._came

    @invariant()
    def remember_when_each_came(self) -> None:
        self._came = getattr(self, "_came", {})
        for number, (_, _, since) in self.waiting.items():
            self._came[number] = since

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_call_ends(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[number]
        self.stage.accounts.end(number)
        self.gone.append(number)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_call_is_given_back(self, data: st.DataObject) -> None:
        held = [number for number, (_, terms) in self.running.items() if number in self.stage.accounts.held]
        if not held:
            return
        number = data.draw(st.sampled_from(sorted(held)))
        call, terms = self.running.pop(number)
        self.stage.queue.appendleft(call)
        self.waiting[number] = call, terms, self._came[number]
        self.front.insert(0, number)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), is_told=st.booleans())
    def a_call_is_cancelled(self, data: st.DataObject, is_told: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.waiting)))
        call, _, _ = self.waiting.pop(number)
        call.is_done = True
        if is_told:
            assert self.stage.queue.discard(number)
        if number in self.front:
            self.front.remove(number)
        self.gone.append(number)

    @rule(which=st.sampled_from([2, 3]))
    def another_lane_starts_one(self, which: int) -> None:
        places = self.functions[which].places
        assert places is not None
        if places.room > 0:
            places.take()
            self.elsewhere.append(places)

    @precondition(lambda self: self.elsewhere)
    @rule()
    def one_of_another_lane_ends(self) -> None:
        places = self.elsewhere.pop()
        told = self.stage.rooms
        for_it = [
            1
            for call, terms, since in self.waiting.values()
            if call.function.places is places and not self._is_late(call, terms, since)
        ]
        could = bool(self.stage.queue)
        self._take_in_late()
        places.give_back()
        if for_it and not could:
            assert self.stage.rooms > told or not self.stage.queue

    @invariant()
    def nothing_is_lost_and_nothing_is_twice(self) -> None:
        self._take_in_late()
        here = [call.number for call in self.stage.queue if not call.is_done]
        assert sorted(here) == sorted(self.waiting)
        assert sorted([*self.waiting, *self.running, *self.gone]) == sorted(self.all)

    @invariant()
    def what_is_held_is_what_runs(self) -> None:
        assert set(self.stage.accounts.held) <= set(self.running)
        for function in self.functions:
            if function.places is not None:
                mine = sum(call.function is function for call, _ in self.running.values())
                assert function.places.taken == mine + self.elsewhere.count(function.places)
                assert function.places.taken <= function.places.most

    def teardown(self) -> None:
        """When all has ended, all can be taken, and nothing is left."""
        for number in tuple(self.running):
            self.a_call_ends_now(number)
        while self.elsewhere:
            self.elsewhere.pop().give_back()
        for _ in range(10_000):
            if not self.stage.queue:
                break
            call = self.stage.queue.popleft()
            self.running[call.number] = (call, self.waiting.pop(call.number)[1])
            self.a_call_ends_now(call.number)
        self._take_in_late()
        assert not self.waiting
        assert not self.stage.accounts.held
        assert all(f.places is None or not f.places.taken for f in self.functions)

    def a_call_ends_now(self, number: int) -> None:
        del self.running[number]
        self.stage.accounts.end(number)
        self.gone.append(number)


AnyOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase


def test_two_floods_get_equal_time_at_every_moment() -> None:
    """Whatever the calls cost, no key that waits is ever behind another by more than one call of each."""
    rng = random.Random(7)
    stage = Stage()
    functions = [FakeFunction().takes(seconds) for seconds in (0.001, 0.01, 0.1)]
    weights = {"a": 1.0, "b": 2.0, "c": 1.0}
    spent = dict.fromkeys(weights, 0.0)
    add: Callable[[str], Any] = lambda key: stage.add(  # noqa: E731
        rng.choice(functions), Terms(key=key, weight=weights[key])
    )
    for key in weights:
        for _ in range(3):
            add(key)
    for _ in range(3000):
        call = stage.queue.popleft()
        key = stage.accounts.held[call.number].terms.key
        stage.accounts.end(call.number)
        spent[key] += call.function.timing.mean / weights[key]  # type: ignore[index]
        add(key)  # type: ignore[arg-type]
        assert max(spent.values()) - min(spent.values()) <= 0.2 + 1e-9
