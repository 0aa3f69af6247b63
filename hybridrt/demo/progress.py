"""A progress bar on one line of a terminal; silent where stderr is none."""

from __future__ import annotations

import os
import sys
import time

_WIDTH = 30
_SECONDS = 0.1  # between two drawings
_CLEAR_LINE = "\r\x1b[K"


class Progress:
    """``step()`` after each of ``total``; drawn at most ten times a second."""

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = total
        self._done = 0
        self._began = self._drawn = time.monotonic()
        self._is_shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        if self._is_shown and (now := time.monotonic()) - self._drawn >= _SECONDS:
            self._drawn = now
            full = min(_WIDTH, _WIDTH * self._done // max(1, self._total))
            rate = self._done / (now - self._began)
            bar = "█" * full + "░" * (_WIDTH - full)
            text = f"{self._label:<18}{bar} {self._done:,}/{self._total:,}  {rate:,.0f} files/s"
            print(_CLEAR_LINE + text, end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the bar away."""
        if self._is_shown:
            print(_CLEAR_LINE, end="", file=sys.stderr, flush=True)
