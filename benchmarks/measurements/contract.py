"""What a measurement is, what it gives, and how much of everything it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..contestants.contract import Contestant


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything; the same for all contestants of a run. The defaults are what the goals speak of."""

    workers: int = 2
    calls: int = 1000
    at_once: int = 10_000
    seconds: float = 0.5
    """``many`` is repeated inside one interpreter until this much time has gone, three times at most."""
    fresh: int = 5
    """Workers started one by one; deaths; interpreters started to time an import."""
    trips: int = 4
    """Of each large object, after those that warm up."""
    array_mb: int = 64
    """As 2**20 bytes, in ``array`` and ``shared``."""
    sharers: int = 100
    stall_mb: int = 100
    """As 10**6 bytes of text and of bytes in ``stall-...``; the array there is 1.28 times as large."""
    dicts: int = 300_000
    waiting: int = 1_000_000
    requests: int = 400
    """To the web server, idle and again busy, 100 in a second."""
    traced: int = 2000
    """Calls under strace."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that a measurement gives."""

    key: str
    title: str
    unit: str
    better: Literal["higher", "lower"]


Run: TypeAlias = Callable[[type[Contestant], Scale], Awaitable[dict[str, float]]]
"""Runs in an interpreter of its own, inside the loop under test; returns one number for each figure."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """``baselines``: by lane, the contestants that all others are compared with. ``floors``: likewise, the limit."""

    key: str
    what: str
    run: Run
    figures: tuple[Figure, ...]
    baselines: dict[str, tuple[str, ...]]
    floors: dict[str, str]
    rounds: int | None = None
    """Most rounds: for what is counted rather than timed, or takes long."""
    is_mixed: bool = False
    """All lanes in one table, compared with the process lane's baselines."""


PER_LANE: dict[str, tuple[str, ...]] = {
    "process": ("stdlib-process", "anyio-process"),
    "thread": ("asyncio-thread", "stdlib-thread"),
}
PROCESSES: dict[str, tuple[str, ...]] = {"process": PER_LANE["process"]}
