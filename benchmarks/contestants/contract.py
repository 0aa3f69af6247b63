"""What a contestant is: a pool opened on the running loop, and one way of calling through it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, ClassVar, Literal, Self, TypeAlias

Lane: TypeAlias = Literal["process", "thread"]
Rank: TypeAlias = Literal["ours", "peer", "floor"]


class Contestant(ABC):
    """One row of the tables. A subclass is made, entered, called and left inside the event loop that is measured."""

    key: ClassVar[str]
    """Its name on the command line and in the JSON."""
    label: ClassVar[str]
    """Its name in the tables: what a user would have to type."""
    short: ClassVar[str]
    """Its name where room is scarce."""
    lane: ClassVar[Lane]
    rank: ClassVar[Rank] = "peer"
    needs: ClassVar[tuple[str, ...]] = ()
    """Modules that must be importable; they are imported before anything is timed."""
    takes: ClassVar[tuple[str, ...]] = ("one", "many", "cold")
    """Keys of the measurements that make sense for it."""
    call_starts_worker: ClassVar[bool] = False
    """Whether each call has a worker of its own, made for it."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    @abstractmethod
    async def open(self) -> None:
        """Make the pool; what this and the first call take is the cold start."""

    @abstractmethod
    async def close(self) -> None:
        """Leave nothing behind. Never timed."""

    @abstractmethod
    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        """A coroutine or a future of the result, whichever its users get."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()
