"""A size is read as people write it, refused with the lawful forms where it is none, and written with three figures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridrt._core.sizes import in_words, parse_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        (" 123 ", 123),
        ("123b", 123),
        ("2k", 2_000),
        ("2KB", 2_000),
        ("2Ki", 2_048),
        ("512MB", 512_000_000),
        ("512 MiB", 512 << 20),
        ("1.5GB", 1_500_000_000),
        ("0.25 gib", 1 << 28),
        ("3T", 3 * 10**12),
        ("1.", 1),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "MB", "-1", "1e6", "1_000", ".5GB", "1.5.2MB", "12XB", "1 000 kB", "٣MB", "∞", "1,5GB"]
)
def test_what_is_no_size_is_refused_with_the_lawful_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no size: write bytes as a number, or as '512MB' \(millions\)"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1_000, "1 kB"),
        (999_600, "1 MB"),
        (512 << 20, "537 MB"),
        (24_105 << 20, "25.3 GB"),
        (10**15, "1e+03 TB"),
    ],
)
def test_sizes_are_written_with_three_figures(size: int, words: str) -> None:
    assert in_words(size) == words


@given(st.integers(0, 10**15))
def test_what_is_written_is_read_as_about_the_same(size: int) -> None:
    words = in_words(size).replace(" bytes", "")
    if "e" not in words:
        assert abs(parse_bytes(words) - size) <= size / 100
