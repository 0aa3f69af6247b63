"""Arguments of about the same size are of one class, whatever they are."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

from hybridrt._core.size_class import growth, in_words, size_class


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((), 0),
        ((None, 1.5, object()), 0),
        ((1,), 1),
        ((3,), 1),
        ((4,), 2),
        ((-15,), 2),
        (("x" * 16,), 3),
        ((b"x" * 63,), 3),
        (([0] * 64,), 4),
        (({1: 2}, (1, 2), {3}), 2),
        ((range(1000),), 5),
        ((numpy.zeros(128),), 6),
        ((0, 0, 0, 0, "not looked at" * 1000), 0),
        ((True,), 0),
    ],
    ids=range(14),
)
def test_the_class_goes_by_the_size(args: tuple[Any, ...], expected: int) -> None:
    assert size_class(args) == expected


def test_one_class_up_is_four_times_the_work() -> None:
    assert growth(3, 4) == 4.0
    assert growth(4, 3) == 0.25
    assert growth(2, 2) == 1.0


def test_a_class_has_words_for_its_sizes() -> None:
    assert [in_words(it) for it in (0, 1, 2, 5)] == ["0", "below 4", "below 16", "below 1,024"]
    assert all(size_class((size,)) == 5 for size in (256, 1023))
