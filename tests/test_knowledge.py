"""Two sights make a function known, what changes is seen again, and what is on the line does not go to and fro."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from hybridrt._core.knowledge import (
    DISPATCH_SECONDS,
    HOLDS,
    QUICK,
    QUICK_SECONDS,
    RELEASES,
    UNKNOWN,
    WAITS,
    Knowledge,
)
from hybridrt._core.proof.verdict import Verdict
from hybridrt._core.sight import Sight

MOVABLE = Verdict(True, "it changes nothing")
BOUND = Verdict(False, "it changes its argument")

HOLDER = Sight(wall=0.01, cpu=0.01, waited=0.0, denied=0.0095, seen=0.01, verdict=MOVABLE, shipping=0.0001)
RELEASER = replace(HOLDER, denied=0.0005)
WAITER = Sight(wall=0.01, cpu=0.0001, waited=0.0099, denied=0.0001, seen=0.01)
TINY = Sight(wall=0.00002, cpu=0.00002, waited=0.0, denied=0.00002, seen=0.00002)


def known_by(*sights: Sight) -> Knowledge:
    known = Knowledge()
    for sight in sights:
        known.learn(sight)
    return known


def times(sight: Sight, factor: float) -> Sight:
    return replace(
        sight,
        wall=sight.wall * factor,
        cpu=sight.cpu * factor,
        waited=sight.waited * factor,
        denied=sight.denied * factor,
        seen=sight.seen * factor,
    )


@pytest.mark.parametrize(
    ("sight", "kind", "is_away"),
    [(HOLDER, HOLDS, True), (RELEASER, RELEASES, False), (WAITER, WAITS, False), (TINY, QUICK, False)],
    ids=["holds", "releases", "waits", "quick"],
)
def test_a_few_sights_make_it_known(sight: Sight, kind: str, is_away: bool) -> None:
    known = known_by(sight)
    assert not known.is_settled
    known.learn(sight)
    assert known.is_settled
    assert (known.kind, known.is_away) == (kind, is_away)
    assert known.releases == (kind == RELEASES)


def test_nothing_seen_is_nothing_known() -> None:
    known = Knowledge()
    assert (known.kind, known.share, known.is_settled, known.is_movable) == (UNKNOWN, None, False, False)


@pytest.mark.parametrize(
    "sight",
    [
        replace(HOLDER, verdict=BOUND),
        replace(HOLDER, verdict=None),
        replace(HOLDER, obstacle="an argument is an open file"),
        replace(HOLDER, shipping=0.02),
        times(HOLDER, 0.02),
    ],
    ids=["must-not", "not-examined", "obstacle", "dear-to-send", "too-short"],
)
def test_what_holds_the_gil_stays_where_it_may_not_go_or_would_not_gain(sight: Sight) -> None:
    known = known_by(sight, sight, sight)
    assert known.is_settled
    assert known.kind == HOLDS
    assert not known.is_away


def test_the_first_call_of_all_is_no_measure_where_the_second_is_another() -> None:
    known = known_by(times(HOLDER, 50), RELEASER)
    assert not known.is_settled
    known.learn(RELEASER)
    assert known.kind == RELEASES
    assert known.work == pytest.approx(RELEASER.cpu)


def test_what_others_may_have_done_counts_only_where_nothing_better_is_to_be_had() -> None:
    doubtful = replace(HOLDER, rivals=0.009)
    assert doubtful.is_doubtful
    assert not replace(RELEASER, rivals=0.009).is_doubtful  # nobody held it, whoever else was there
    known = known_by(doubtful, doubtful, doubtful)
    assert not known.is_settled
    known.learn(RELEASER)
    assert known.kind == UNKNOWN or known.kind == RELEASES
    known.learn(RELEASER)
    assert known.kind == RELEASES
    beside = replace(HOLDER, wall=0.001, cpu=0.001, denied=0.001, seen=0.001, has_rivals=True)
    assert beside.is_doubtful  # too short for the others' CPU time to be known
    known = known_by(*[doubtful] * 5)
    assert known.is_settled and known.kind == HOLDS and known.is_doubtful and known.is_away


def test_a_doubtful_holder_is_looked_at_again_soon() -> None:
    sure, doubtful = known_by(*[HOLDER] * 3), known_by(*[replace(HOLDER, rivals=0.009)] * 5)
    assert doubtful.left < sure.left < 1000


def test_a_sight_of_which_hardly_anything_was_seen_tells_only_the_times() -> None:
    unseen = replace(HOLDER, denied=0.0, seen=0.0)
    known = known_by(*[unseen] * 11)
    assert not known.is_settled
    known.learn(unseen)
    assert known.is_settled
    assert (known.kind, known.is_away) == (UNKNOWN, False)
    for _ in range(3):
        known.learn(HOLDER)
    assert known.kind == HOLDS and known.is_away


def test_among_several_sights_one_is_enough_where_none_tells_the_contrary() -> None:
    unseen = replace(HOLDER, denied=0.0, seen=0.0)
    known = known_by(unseen, HOLDER, unseen)
    assert not known.is_settled
    known.learn(unseen)
    assert known.is_settled and known.is_away


def test_one_look_without_waiting_shows_that_the_gil_is_released() -> None:
    known = known_by(HOLDER, HOLDER, RELEASER)
    assert (known.kind, known.is_away) == (RELEASES, False)
    known.learn(HOLDER)
    assert known.kind == RELEASES


def test_it_is_looked_at_again_when_its_times_leave_their_range() -> None:
    known = known_by(TINY, TINY)
    assert not known.is_due(TINY.wall)
    assert not known.is_due(QUICK_SECONDS)
    assert known.is_due(0.01)
    assert not known.is_due(0.01)  # one look is enough, while it is under way
    known.learn(HOLDER)
    known.learn(HOLDER)
    assert known.is_away
    assert not known.is_due(0.01)
    assert known.is_due(DISPATCH_SECONDS / 10)  # a cache has warmed
    known.learn(TINY)
    known.learn(TINY)
    assert known.is_settled and not known.is_away


def test_a_competition_of_its_own_calls_makes_it_look_once() -> None:
    known = known_by(RELEASER, RELEASER)
    assert known.is_due(0.5)
    known.learn(RELEASER)
    assert not known.is_due(0.5)
    assert not known.is_due(0.01)


def test_it_is_looked_at_in_passing_ever_more_seldom() -> None:
    known = known_by(RELEASER, RELEASER)
    waits = []
    for _ in range(12):
        calls = 1
        while not known.is_due(0.01):
            calls += 1
        known.learn(RELEASER)
        waits.append(calls)
    assert waits[0] < 100
    assert all(later >= earlier for earlier, later in pairwise(waits))
    assert waits[-1] == waits[-2] > 50 * waits[0]


def test_a_sure_holder_whose_calls_are_long_is_never_brought_back_in_passing() -> None:
    long = times(HOLDER, 10)
    known = known_by(long, long)
    assert not any(known.is_due(0.1) for _ in range(100_000))


def test_on_the_line_it_stays_where_it_is() -> None:
    cost = DISPATCH_SECONDS
    near = replace(HOLDER, wall=1.2 * cost, cpu=1.2 * cost, denied=1.2 * cost, seen=1.2 * cost, shipping=0.0)
    near = replace(near, cpu=0.00016, wall=0.00016, denied=0.00013, seen=0.00016)
    known = known_by(near, near, near)
    assert not known.is_away
    known.learn(replace(near, cpu=0.0003, wall=0.0003, denied=0.0003, seen=0.0003))
    known.learn(replace(near, cpu=0.0003, wall=0.0003, denied=0.0003, seen=0.0003))
    assert known.is_away
    known.learn(near)
    assert known.is_away  # a little less is no reason to come back


def test_what_is_presumed_of_another_size_settles_only_holders() -> None:
    known = known_by(HOLDER, HOLDER, HOLDER)
    larger, smaller = Knowledge(), Knowledge()
    larger.presume(known, 16.0)
    assert larger.is_settled and larger.is_away
    assert larger.work == pytest.approx(16 * known.work)
    smaller.presume(known, 1 / 4096)
    assert not smaller.is_settled
    smaller.learn(TINY)
    smaller.learn(TINY)
    assert smaller.kind == QUICK


def test_an_earlier_program_is_believed_after_one_sight() -> None:
    known = known_by(HOLDER, HOLDER, HOLDER)
    again = Knowledge(work=known.work, share=known.share, sights=2, shipping=0.0)
    again.recall(was_away=True)
    assert not again.is_settled
    again.learn(HOLDER)
    assert again.is_away
    again = Knowledge(work=known.work, share=known.share, sights=2, shipping=0.0)
    again.recall(was_away=True)
    again.confirm(MOVABLE)
    assert again.is_away
    again = Knowledge(work=RELEASER.cpu, share=RELEASER.share, sights=2)
    again.recall(was_away=False)
    assert again.is_settled and again.releases


def test_one_sight_is_enough_to_promise_a_process() -> None:
    known = known_by(HOLDER)
    assert known.is_promising and known.is_suspect and not known.is_settled
    doubtful = known_by(replace(HOLDER, rivals=1.0))
    assert doubtful.share is None and doubtful.is_promising


@pytest.mark.parametrize(
    "sight",
    [
        RELEASER,
        WAITER,
        replace(HOLDER, verdict=BOUND),
        replace(HOLDER, verdict=None),
        replace(HOLDER, shipping=None),
        replace(HOLDER, shipping=0.1),
        replace(HOLDER, obstacle="a lock"),
    ],
    ids=["releases", "waits", "bound", "not examined", "not tried", "too dear", "cannot be sent"],
)
def test_nothing_else_is_promising(sight: Sight) -> None:
    assert not known_by(sight).is_promising


def test_who_may_keep_the_gil_is_suspect() -> None:
    unknown = Knowledge()
    assert unknown.is_suspect and not unknown.is_promising
    unknown.seems_harmless = True
    assert not unknown.is_suspect
    assert known_by(HOLDER).is_suspect
    assert not known_by(RELEASER).is_suspect
    assert not known_by(WAITER).is_suspect


def test_what_is_said_in_doubt_is_looked_at_again_but_ever_more_seldom() -> None:
    known = known_by(*[replace(HOLDER, rivals=1.0)] * 5)
    assert known.is_doubtful and known.is_away
    spans = []
    for _ in range(12):
        spans.append(known.left)
        known.learn(replace(HOLDER, rivals=1.0))
    assert spans[0] == 32
    assert spans == sorted(spans)
    assert 256 <= spans[-1] <= 1024


def test_one_call_in_which_the_machine_stood_still_does_not_make_a_waiter() -> None:
    stalled = replace(HOLDER, wall=0.035, waited=0.025, seen=0.01)
    for sights in ((stalled, HOLDER), (HOLDER, stalled)):
        assert known_by(*sights).kind != WAITS
    assert known_by(WAITER, replace(WAITER, waited=0.03, wall=0.03)).kind == WAITS
