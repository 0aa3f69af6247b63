"""The size of a batch follows what was measured: down at once, up bit by bit, and one by one where that is best."""

from __future__ import annotations

from hybridrt.streams.pace import IN_PROCESS, IN_THREAD, MOST_BYTES, MOST_ITEMS, Pace

ANY = 1 << 30


def after(pace: Pace, each: float, *, size: int = 0, batches: int = 20) -> Pace:
    for _ in range(batches):
        if pace.is_batching:
            pace.learn(pace.size, each * pace.size, size * pace.size)
    return pace


def test_tiny_items_go_in_large_batches_in_a_few_steps() -> None:
    assert after(Pace(IN_PROCESS, ANY), 1e-7, batches=5).size == MOST_ITEMS


def test_a_batch_is_to_take_what_its_lane_allows() -> None:
    assert after(Pace(IN_PROCESS, ANY), 1e-4).size == 40
    assert after(Pace(IN_THREAD, ANY), 1e-5).size == 100


def test_large_items_or_results_make_small_batches() -> None:
    assert after(Pace(IN_PROCESS, ANY), 1e-7, size=1000).size == MOST_BYTES // 1000


def test_slow_items_and_huge_ones_go_one_by_one() -> None:
    for pace in (after(Pace(IN_PROCESS, ANY), 0.01), after(Pace(IN_PROCESS, ANY), 1e-6, size=MOST_BYTES)):
        assert not pace.is_batching and pace.size == 1


def test_one_slow_batch_makes_the_next_ones_small_and_quick_ones_make_them_large_again() -> None:
    pace = after(Pace(IN_PROCESS, ANY), 1e-6)
    large = pace.size
    pace.learn(pace.size, 1e-3 * pace.size, 0)
    assert pace.size == 4
    assert large * 0.99 < after(pace, 1e-6, batches=40).size <= large


def test_items_that_become_quick_are_tried_together_again_ever_more_seldom() -> None:
    pace = after(Pace(IN_PROCESS, ANY), 0.01)
    waits = []
    for _ in range(3):
        waited = 0
        while not pace.is_batching:
            pace.single(1e-5)
            waited += 1
        waits.append(waited)
        after(pace, 0.01)
    assert waits == sorted(waits) and waits[0] < waits[-1]


def test_slow_single_items_stay_alone() -> None:
    pace = Pace(IN_PROCESS, ANY, wait=2)
    for _ in range(10_000):
        pace.single(0.01)
    assert not pace.is_batching


def test_a_limit_bounds_the_size_and_a_small_one_means_one_by_one() -> None:
    assert after(Pace(IN_PROCESS, 16), 1e-7).size == 16
    assert Pace(IN_PROCESS, 1).is_fixed and not Pace(IN_PROCESS, 1).is_batching
    assert Pace(IN_THREAD, 16).is_fixed


def test_one_by_one_is_for_good() -> None:
    pace = after(Pace(IN_PROCESS, ANY), 1e-7)
    pace.one_by_one()
    for _ in range(10_000):
        pace.single(1e-7)
    assert pace.size == 1 and not pace.is_batching
