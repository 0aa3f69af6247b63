"""What is measured. A new measurement is a function in a file here and a row in that file's ``ROWS``."""

from __future__ import annotations

from . import big, calls, memory, stalls, starting, syscalls, waiting, web
from .contract import Figure, Measurement, Scale

__all__ = ["MEASUREMENTS", "Figure", "Measurement", "Scale"]

MEASUREMENTS: dict[str, Measurement] = {
    row.key: row
    for room in (calls, syscalls, starting, memory, big, stalls, waiting, web)
    for row in room.ROWS
}
