"""What may be asked for a call beside where it runs: its turn, its share, its time."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from math import isfinite


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a call, as ``Runtime.options`` has them; one object serves any number of calls."""

    priority: float = 0.0
    """Higher is sooner; one more is worth a second of waiting."""
    key: Hashable = None
    """Whose call it is: keys get fair shares of what is handed out."""
    weight: float = 1.0
    key_limit: int = 0
    """Most calls of this key that run at once in a lane; 0: any number."""
    deadline: float | None = None
    """Seconds from the call to its end."""
    max_queue: int | None = None
    """Most calls that may wait in the lane when it comes; 0: any number; None: as the runtime has it."""
    waited: float = 0.0
    """Seconds that the call has waited elsewhere before it came to its lane."""

    def __post_init__(self) -> None:
        """Refuse nonsense where the user can see it."""
        if not _is_number(self.priority) or not isfinite(self.priority):
            raise ValueError(f"options(priority={self.priority!r}) must be a finite number; higher is sooner")
        if not _is_number(self.weight) or not 0 < self.weight < float("inf"):
            raise ValueError(f"options(weight={self.weight!r}) must be a finite number above 0")
        if not _is_count(self.key_limit):
            raise ValueError(f"options(key_limit={self.key_limit!r}) must be a whole number, 1 or more")
        if self.deadline is not None and (not _is_number(self.deadline) or not self.deadline > 0):
            raise ValueError(f"options(deadline={self.deadline!r}) must be a number of seconds above 0")
        if self.max_queue is not None and not _is_count(self.max_queue):
            raise ValueError(
                f"options(max_queue={self.max_queue!r}) must be a whole number; 0 means no bound"
            )
        if self.key is None:
            for name, is_default in (("weight", self.weight == 1.0), ("key_limit", not self.key_limit)):
                if not is_default:
                    raise ValueError(f"options({name}=...) says something of a key: give key= as well")
        try:
            hash(self.key)
        except TypeError:
            kind = type(self.key).__qualname__
            raise TypeError(f"options(key=...) must be hashable (a name, a number), not {kind}") from None

    @property
    def needs_a_queue(self) -> bool:
        """Whether there is anything in them but a deadline."""
        return bool(self.priority or self.key is not None or self.max_queue)

    def after(self, seconds: float) -> Terms:
        """The same for a call that has waited for so long already."""
        return replace(self, waited=self.waited + seconds)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


NO_TERMS = Terms()
