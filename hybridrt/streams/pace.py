"""How many items travel together, learned from how long they took and how large they were. Plain data, no clock."""

from __future__ import annotations

from typing import NamedTuple

MOST_ITEMS = 8192
MOST_BYTES = 1 << 16
"""Of the items of one batch as bytes, and of its results: half of what the loop pickles at most in one go."""

_GROWTH = 8
_FIRST_WAIT, _LONGEST_WAIT = 32, 4096


class Terms(NamedTuple):
    """What a batch is to be in one kind of lane."""

    seconds: float
    """How long it should take."""
    least: int
    """Where fewer items would take that long, they go one by one."""


IN_PROCESS = Terms(0.004, 2)
"""Sending a batch costs both sides 0.1 ms in all; and what is lost with a worker, or in the way of others, is this."""
IN_THREAD = Terms(0.001, 20)
"""A thread that computes keeps the GIL from the loop for so long; and what waits is not to wait in a row."""


class Pace:
    """``size`` is how many items the next batch should have. ``is_batching`` is False where items go one by one."""

    __slots__ = ("_bytes", "_each", "_left", "_most", "_terms", "_wait", "is_batching", "is_fixed", "size")

    def __init__(self, terms: Terms, most: int, wait: int = 0) -> None:
        """At most ``most`` items at once; the first ``wait`` items go one by one."""
        self._terms = terms
        self._most = min(most, MOST_ITEMS)
        self._each = 0.0  # seconds an item
        self._bytes = 0.0  # bytes an item, going or coming
        self._wait = _FIRST_WAIT
        self._left = wait
        self.size: int = 1
        self.is_fixed: bool = most < terms.least
        self.is_batching: bool = not wait and not self.is_fixed

    def use(self, terms: Terms) -> None:
        """The items go where these terms are right."""
        self._terms = terms

    def learn(self, count: int, seconds: float, size: int) -> None:
        """``count`` items of a batch took so long in all; the larger of call and answer had ``size`` bytes."""
        if not self.is_batching:
            return
        each, large = seconds / count, size / count
        # Slower than thought is believed at once, quicker bit by bit: the first calls of all are slow.
        self._each = each if each > self._each else (self._each + each) / 2
        self._bytes = large if large > self._bytes else (self._bytes + large) / 2
        fit = self._terms.seconds / max(self._each, 1e-9)
        if self._bytes:
            fit = min(fit, MOST_BYTES / self._bytes)
        if count < self.size and fit >= self.size:
            return  # the end of the input, or a batch from before
        self.size = max(1, min(int(fit), self._most, max(count, self.size) * _GROWTH))
        if self.size < self._terms.least and fit < self._terms.least:
            self._pause()

    def refused(self) -> None:
        """No batch can go where the items go, for now."""
        self._pause()

    def single(self, seconds: float) -> None:
        """One more item went by itself; such an item takes ``seconds``."""
        if self.is_batching or self.is_fixed:
            return
        self._left -= 1
        if self._left <= 0 and seconds * self._terms.least <= self._terms.seconds:
            self.is_batching = True
            self.size = 2 if self._most >= 2 else 1
            self._each = self._bytes = 0.0

    def _pause(self) -> None:
        self.is_batching = False
        self.size = 1
        self._left = self._wait
        self._wait = min(self._wait * 2, _LONGEST_WAIT)

    def one_by_one(self) -> None:
        """From now on, for good."""
        self.is_fixed = True
        self.is_batching = False
        self.size = 1
