"""When an actor whose worker has died is built again: a policy, and the reckoning that it asks for."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Build the instance again after a crash: at most ``most`` times within ``within`` seconds, then no more.

    Before the first time it waits ``backoff`` seconds, before each further one twice as long, but never longer than
    ``longest``; after ``within`` seconds without a crash it begins anew. Raises ValueError for what makes no sense.
    """

    most: int = 5
    within: float = 60.0
    backoff: float = 0.1
    longest: float = 10.0

    def __post_init__(self) -> None:
        """Refuse nonsense where the user can see it."""
        if type(self.most) is not int or self.most < 1:
            raise ValueError(f"Restart(most={self.most!r}) must be a whole number, 1 or more")
        for name in ("within", "backoff", "longest"):
            value: object = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise ValueError(f"Restart({name}={value!r}) must be a number of seconds, 0 or more")


class Attempts:
    """What was tried so far under a policy."""

    def __init__(self, policy: Restart) -> None:
        self._policy = policy
        self._tried: deque[float] = deque()

    def next_delay(self, now: float) -> float | None:
        """Seconds to wait before one more attempt, which counts from ``now``; None: there is to be none."""
        policy, tried = self._policy, self._tried
        while tried and now - tried[0] > policy.within:
            tried.popleft()
        if len(tried) >= policy.most:
            return None
        tried.append(now)
        return min(policy.longest, policy.backoff * 2.0 ** (len(tried) - 1))


def policy_of(restart: object) -> Restart | None:
    """The policy that ``options(restart=...)`` means; None: never. Raises ValueError, TypeError."""
    if restart is None or restart == "never":
        return None
    if restart == "on-crash":
        return Restart()
    if isinstance(restart, Restart):
        return restart
    if isinstance(restart, str):
        raise ValueError(
            f"options(restart={restart!r}) makes no sense: there are 'never' and 'on-crash', or pass a Restart"
        )
    raise TypeError(
        f"options(restart=...) must be 'never', 'on-crash' or a Restart, not {type(restart).__name__}"
    )
