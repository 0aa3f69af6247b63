"""What is under way: one line that renews itself on a terminal, else a line for each measurement that is done."""

from __future__ import annotations

import sys
from typing import TextIO


class Progress:
    """Of a run: the runner tells what begins and what ends."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._renews = self._stream.isatty()
        self._total = 0.0

    def begins(self, at: int, cells: int, number: int, measurement: str, contestant: str) -> None:
        """The cell ``at`` (from 1) of the round ``number`` (from 0)."""
        if self._renews:
            self._write(f"\r\033[K{at}/{cells}  round {number + 1}  {measurement}  {contestant}")

    def has_done(self, number: int, measurement: str, cells: int, seconds: float) -> None:
        """All cells of this measurement in this round, which took so long."""
        self._total += seconds
        line = f"round {number + 1}  {measurement:<16}{cells:>3} cells{seconds:>8.1f} s{self._total:>9.1f} s in all\n"
        self._write(f"\r\033[K{line}" if self._renews else line)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
