"""What ``Runtime.stats()`` returns: frozen snapshots, and the histogram that they are taken from."""

from __future__ import annotations

from dataclasses import dataclass

from .health import Health


@dataclass(frozen=True, slots=True)
class LaneStats:
    """One lane at one moment. Times are seconds."""

    name: str
    limit: int
    """Most calls at once."""
    workers: int
    """Threads or processes that are there now."""
    running: int
    """Calls given to a worker and not finished; one whose large result is being unpickled here is not."""
    waiting: int
    """Calls accepted that no worker has yet; large ones that are being pickled are among them."""
    succeeded: int
    failed: int
    """Calls that raised, crashes included."""
    cancelled: int
    crashed: int
    """Calls lost to the death of their worker."""
    run_p50: float
    run_p99: float
    run_worst: float
    learned: tuple[str, ...] = ()
    """Modules that calls needed and that later worker processes therefore have at once (``learn_preload``)."""
    dropped: int = 0
    """Calls that were not started because they could not make their deadline."""
    refused: int = 0
    """Calls that were refused because the queue was full (``QueueFull``)."""


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One worker process that is there (those that are being started are only counted, in ``LaneStats.workers``)."""

    pid: int
    running: int
    """Calls given to it and not finished."""


@dataclass(frozen=True, slots=True)
class LoopLag:
    """How late the event loop has been, in seconds, over the life of the runtime."""

    samples: int
    p50: float
    p99: float
    worst: float
    blocked: int = 0
    """How often something was seen to block it for longer than ``loop_blocked_after``."""


@dataclass(frozen=True, slots=True)
class Stats:
    """A runtime at one moment."""

    threads: LaneStats
    processes: LaneStats
    workers: tuple[WorkerStats, ...]
    loop_lag: LoopLag
    health: Health
    """Whether workers start and stay alive."""
    cpu_threads: LaneStats | None = None
    """The threads that compute, once they were needed (``Runtime(cpu_threads=...)`` where there is no GIL)."""


_CELLS = 68


class Histogram:
    """Counts of durations by powers of the square root of two, from a microsecond up: 1 us to 3 hours in 68 cells."""

    __slots__ = ("_cells", "count", "worst")

    def __init__(self) -> None:
        self._cells = [0] * _CELLS
        self.count = 0
        self.worst = 0.0

    def record(self, seconds: float) -> None:
        """Count one duration."""
        self.count += 1
        if seconds > self.worst:
            self.worst = seconds
        # The bit length of the square is twice the logarithm: half powers for free.
        cell = int(seconds * seconds * 1e12).bit_length()
        self._cells[cell if cell < _CELLS else -1] += 1

    def quantile(self, share: float) -> float:
        """A duration that ``share`` of those counted did not exceed, at most 41 % too high; 0.0 where none was."""
        if not self.count:
            return 0.0
        left = share * self.count
        for bits, cell in enumerate(self._cells[:-1]):  # the last cell has no upper end
            left -= cell
            if left <= 0:
                return float(min(2.0 ** (bits / 2) * 1e-6, self.worst))
        return self.worst
