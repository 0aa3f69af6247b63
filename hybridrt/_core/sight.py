"""One call as it was seen while it ran in a thread: what it used, and what it kept from others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .proof.verdict import Verdict


HELD_SHARE = 0.45
"""From this share of its time on a call is said to keep the GIL: those that do are at 0.59 to 1, others below 0.37."""
_RIVAL = 0.3
"""Of a call's time; what others computed meanwhile may be what really kept the GIL."""
_COARSE_SECONDS = 0.01
"""The CPU time of other threads is known to a tick of the kernel's clock only, 1 to 4 ms."""
_ENOUGH_SEEN = 0.25
_LONG_SECONDS = 0.02
_ENOUGH_LOOKS = 4


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
    has_rivals: bool = False
    """Whether calls of other functions were in threads meanwhile."""
    verdict: Verdict | None = None
    """Whether its function may be moved to a process, where that was examined."""
    shipping: float | None = None
    """To pickle its arguments and its result, there and back; None where that was not tried."""
    obstacle: str | None = None
    """Why they cannot be moved; "" where they can, None where nobody has looked."""

    @property
    def share(self) -> float:
        """The share of its running time for which the call kept the GIL from others."""
        return self.denied / self.seen if self.seen > 0.0 else 0.0

    @property
    def is_evidence(self) -> bool:
        """Whether enough of the call was seen to tell whether it kept the GIL."""
        if self.seen > _ENOUGH_SEEN * self.wall:
            return True
        return self.seen > 0.0 and self.looks >= _ENOUGH_LOOKS and self.wall > _LONG_SECONDS

    @property
    def is_doubtful(self) -> bool:
        """Whether the GIL was kept, and another than this call may have been the one."""
        if self.share <= HELD_SHARE:
            return False
        return self.rivals > _RIVAL * self.wall or (self.has_rivals and self.wall < _COARSE_SECONDS)
