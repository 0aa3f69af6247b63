"""Sizes of memory as people write and read them: "512MB", "2 GiB", or a plain count of bytes."""

from __future__ import annotations

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", 1):
    _UNITS[_letter] = _UNITS[f"{_letter}b"] = 1000**_power
    _UNITS[f"{_letter}i"] = _UNITS[f"{_letter}ib"] = 1024**_power


def parse_bytes(text: str) -> int:
    """The bytes that a text such as ``"1.5GB"`` means; raises ValueError, whose message has the lawful forms.

    kB, MB, GB and TB are powers of 1000, KiB, MiB, GiB and TiB of 1024; the B may be left out, case does not count.
    """
    # By hand: a worker loads this module, and re, which it may never need, would cost it 5 ms.
    number = text.strip().rstrip(_LETTERS)
    unit = _UNITS.get(text.strip()[len(number) :].lower())
    whole, point, part = number.strip().partition(".")
    if unit is None or not all(digits.isascii() and digits.isdigit() for digits in (whole, part or "0")):
        raise ValueError(
            f"{text!r} is no size: write bytes as a number, or as '512MB' (millions) or '512MiB' (1024 * 1024)"
        )
    return int(whole) * unit + (int(part) * unit // 10 ** len(part) if point and part else 0)


def in_words(size: int) -> str:
    """``size`` bytes with three figures, in powers of 1000: ``"512 MB"``."""
    value = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
