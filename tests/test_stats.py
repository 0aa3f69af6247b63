"""A histogram's quantile is never below the true one, and at most 41 % above it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridrt._core.health import Health
from hybridrt._core.stats import Histogram, LaneStats, LoopLag, Stats, WorkerStats

MICROSECOND = 1e-6
HOURS = 3 * 3600.0
ROUNDING = 1e-9


def histogram(*seconds: float) -> Histogram:
    made = Histogram()
    for one in seconds:
        made.record(one)
    return made


@given(
    st.lists(st.floats(MICROSECOND, HOURS) | st.sampled_from([MICROSECOND, 1.0, 2**0.5, 2.0]), min_size=1),
    st.sampled_from([0.01, 0.25, 0.5, 0.9, 0.99, 1.0]) | st.floats(0.001, 1),
)
def test_a_quantile_is_between_the_true_one_and_41_percent_more(seconds: list[float], share: float) -> None:
    found = histogram(*seconds).quantile(share)
    ordered = sorted(seconds)
    least = ordered[max(0, math.ceil(share * len(seconds) - ROUNDING) - 1)]
    most = ordered[min(len(seconds) - 1, math.ceil(share * len(seconds) + ROUNDING) - 1)]
    assert least * (1 - ROUNDING) <= found <= most * math.sqrt(2) * (1 + ROUNDING)
    assert found <= max(seconds)


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_what_lies_outside_the_cells_is_counted_all_the_same(seconds: list[float]) -> None:
    made = histogram(*seconds)
    assert made.count == len(seconds)
    assert made.worst == max(seconds)
    assert made.quantile(1.0) == made.worst
    quantiles = [made.quantile(share / 10) for share in range(11)]
    assert quantiles == sorted(quantiles)


@pytest.mark.parametrize("seconds", [20_000.0, 1e6])
def test_a_quantile_beyond_the_last_cell_is_not_too_low(seconds: float) -> None:
    assert histogram(seconds, seconds).quantile(0.5) == seconds


def test_an_empty_histogram_has_nothing_to_say() -> None:
    empty = Histogram()
    assert (empty.count, empty.worst, empty.quantile(0.5), empty.quantile(1.0)) == (0, 0.0, 0.0, 0.0)


def test_equal_durations_are_told_exactly() -> None:
    made = histogram(*[0.003] * 10)
    assert made.quantile(0.5) == made.quantile(0.99) == 0.003


def test_one_outlier_moves_the_worst_and_not_the_median() -> None:
    made = histogram(*[0.001] * 99, 10.0)
    assert made.quantile(0.5) < 0.0015
    assert made.quantile(0.99) < 0.0015
    assert made.quantile(1.0) == made.worst == 10.0


def test_snapshots_are_plain_values() -> None:
    lane = LaneStats("threads", 1, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0)
    health = Health(True, 0, 0.0, "")
    stats = Stats(lane, lane, (WorkerStats(7, 1),), LoopLag(0, 0.0, 0.0, 0.0), health)
    assert stats == Stats(lane, lane, (WorkerStats(7, 1),), LoopLag(0, 0.0, 0.0, 0.0), health)
    assert hash(stats) == hash(stats)
