"""One call as it was seen while it ran in a thread: what it used, and what it kept from others."""

from __future__ import annotations

from dataclasses import dataclass

from .proof import Verdict

_MUCH = 0.5
_RIVAL = 0.3
"""Of a call's time; what others computed meanwhile may be what really held the GIL."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Seconds, all of them."""

    wall: float
    cpu: float
    """Of the call's own thread."""
    waited: float
    """While nothing in the process computed, and it was not waiting for a CPU either."""
    denied: float
    """While another thread, which had a CPU, could not have the GIL."""
    seen: float
    """So long it was looked at: less than ``wall`` where the one who looks had no CPU, or came late."""
    looks: int = 0
    """How often it was looked at."""
    rivals: float = 0.0
    """CPU time of everything else in the process meanwhile, but for calls of the same function."""
    verdict: Verdict | None = None
    """Whether its function may be moved to a process, where that was examined."""
    shipping: float | None = None
    """To pickle its arguments and its result, there and back; None where that was not tried."""
    obstacle: str | None = None
    """Why they cannot be moved; "" where they can, None where nobody has looked."""

    @property
    def is_doubtful(self) -> bool:
        """Whether the GIL was held, and another than this call may have held it."""
        return self.denied > _MUCH * self.seen and self.rivals > _RIVAL * self.wall
