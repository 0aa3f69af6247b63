"""How often workers have crashed of late: a flag for health checks, and the figures behind it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_SECONDS = 60.0
MOST_CRASHES = 3
MOST_RATE = 0.1
_MOST_REMEMBERED = 1000
_MARK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Health:
    """The process lane's health at one moment.

    ``is_ok``       False where workers cannot be started, or where of late at least ``MOST_CRASHES`` calls and more
                    than one call in ten were lost to the death of a worker
    ``crashes``     calls lost to the death of their worker within the last minute
    ``crash_rate``  their share of the calls that ended within that minute, 0 to 1
    ``reason``      why it is not ok, in words; "" where it is
    """

    is_ok: bool
    crashes: int
    crash_rate: float
    reason: str


class CrashRecord:
    """Remembers crashes for a minute. ``ended`` is always the count of calls that have ended so far, crashed or not."""

    __slots__ = ("_crashes", "_marks", "start_error")

    def __init__(self) -> None:
        self._crashes: deque[float] = deque(maxlen=_MOST_REMEMBERED)
        self._marks: deque[tuple[float, int]] = deque([(float("-inf"), 0)])  # how many had ended when
        self.start_error = ""

    def mark(self, now: float, ended: int) -> None:
        """Note how many calls have ended, for the share; to be called now and then."""
        marks = self._marks
        if now - marks[-1][0] >= _MARK_SECONDS:
            marks.append((now, ended))
        while len(marks) > 1 and now - marks[1][0] >= WINDOW_SECONDS:
            marks.popleft()

    def crashed(self, now: float) -> None:
        """One more call was lost to the death of its worker."""
        self._crashes.append(now)

    def cannot_start(self, error: OSError) -> None:
        """No worker can be started, because of ``error``."""
        self.start_error = str(error.strerror or error)

    def can_start(self) -> None:
        """A worker is there: it has answered."""
        self.start_error = ""

    def snapshot(self, now: float, ended: int) -> Health:
        """The health at ``now``."""
        crashes = self._crashes
        while crashes and now - crashes[0] >= WINDOW_SECONDS:
            crashes.popleft()
        self.mark(now, ended)
        count = len(crashes)
        rate = count / max(count, ended - self._marks[0][1]) if crashes else 0.0
        reason = ""
        if self.start_error:
            reason = f"no worker process can be started: {self.start_error}"
        elif count >= MOST_CRASHES and rate > MOST_RATE:
            reason = (
                f"{count} calls were lost to the death of their worker within a minute, {rate:.0%} of all"
            )
        return Health(not reason, count, rate, reason)
