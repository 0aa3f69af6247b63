"""A policy says how often and how soon an instance is built again; what makes no sense is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridrt import Restart
from hybridrt.actors.restart import Attempts, policy_of


def test_each_attempt_waits_twice_as_long_up_to_the_longest_and_then_there_is_none() -> None:
    attempts = Attempts(Restart(most=5, within=60, backoff=0.5, longest=3.0))
    assert [attempts.next_delay(now) for now in range(7)] == [0.5, 1.0, 2.0, 3.0, 3.0, None, None]


def test_what_is_long_ago_counts_no_more() -> None:
    attempts = Attempts(Restart(most=2, within=10, backoff=1.0))
    assert [attempts.next_delay(now) for now in (0.0, 9.0, 10.0)] == [1.0, 2.0, None]
    assert attempts.next_delay(10.5) == 2.0, "that of the start is forgotten"
    assert attempts.next_delay(50.0) == 1.0


@given(st.lists(st.floats(0, 100), max_size=40), st.integers(1, 5), st.floats(0, 50))
def test_never_more_than_allowed_in_any_window(gaps: list[float], most: int, within: float) -> None:
    attempts = Attempts(Restart(most=most, within=within, backoff=0.0))
    now, done = 0.0, []
    for gap in gaps:
        now += gap
        if attempts.next_delay(now) is not None:
            done.append(now)
    for first, last in zip(done, done[most:], strict=False):
        assert last - first > within


@pytest.mark.parametrize(
    "wrong",
    [
        {"most": 0},
        {"most": 1.5},
        {"most": True},
        {"within": -1},
        {"within": float("nan")},
        {"backoff": "1"},
        {"longest": float("inf")},
    ],
)
def test_what_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"Restart\({next(iter(wrong))}="):
        Restart(**wrong)


def test_words_for_a_policy() -> None:
    assert policy_of("never") is policy_of(None) is None
    assert policy_of("on-crash") == Restart()
    assert policy_of(Restart(most=1)) == Restart(most=1)
