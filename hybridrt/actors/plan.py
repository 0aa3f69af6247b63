"""What an actor is to be: its class and arguments, where it lives, and how it is kept alive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from .._lanes.contract import Post
from .methods import Methods
from .restart import Restart


class Posts(Protocol):
    """Who has workers of one's own (``lifetime.OpenLanes``)."""

    async def reserve_posts(self, count: int) -> None:
        """Wait until so many of them may be opened."""
        ...

    async def open_post(
        self,
        lane: str,
        *,
        coroutines: bool = False,
        on_death: Callable[[], None] | None = None,
        is_reserved: bool = False,
    ) -> Post:
        """A worker of one's own in this lane."""
        ...


def require_replicas(replicas: object) -> None:
    """Raises ValueError where this is no number of replicas."""
    if type(replicas) is not int or replicas < 1:
        raise ValueError(f"options(replicas={replicas!r}) must be a whole number, 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorOptions:
    """What ``options(...)`` says of an actor."""

    lane: Literal["thread", "process"] = "process"
    replicas: int = 1
    restart: Restart | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        """Refuse nonsense where the user can see it."""
        if self.lane not in ("thread", "process"):
            raise ValueError(
                f"an actor lives in a thread or a process, so options(lane={self.lane!r}) is not for it"
            )
        require_replicas(self.replicas)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One actor, as it was asked for."""

    loop: asyncio.AbstractEventLoop
    posts: Posts
    methods: Methods
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(repr=False)
    options: ActorOptions
