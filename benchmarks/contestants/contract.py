"""What a contestant is: a pool opened on the running loop, and one way of calling through it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, ClassVar, Literal, Self, TypeAlias

Lane: TypeAlias = Literal["process", "thread"]
Rank: TypeAlias = Literal["ours", "peer", "floor"]

STALLS = ("stall-text", "stall-bytes", "stall-array", "stall-dicts")


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Raises ImportError where uvloop is wanted and not there."""
    if name == "asyncio":
        return asyncio.SelectorEventLoop
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


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
    importing: ClassVar[str | None] = None
    """The statement that imports it."""
    using: ClassVar[str | None] = None
    """What gets to the names that its users type, where these come later than the import."""
    most_waiting: ClassVar[int] = 1_000_000_000
    """How many calls it can be given at once, and be done with in a benchmark's time."""

    def __init__(self, workers: int, preload: tuple[str, ...] = ()) -> None:
        """``preload``: modules that calls will need, for pools which can have them loaded beforehand."""
        self.workers = workers
        self.preload = preload

    @classmethod
    def run(cls, main: Callable[[], Coroutine[Any, Any, Any]], loop: str) -> Any:
        """Run ``main`` on the loop of this name; for those of another world, on their own."""
        with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
            return runner.run(main())

    @abstractmethod
    async def open(self) -> None:
        """Make the pool; what this and the first call take is the cold start."""

    @abstractmethod
    async def close(self) -> None:
        """Leave nothing behind. Never timed."""

    @abstractmethod
    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        """A coroutine or a future of the result, whichever its users get."""

    async def at_once(self, count: int, fn: Callable[..., Any], *args: Any) -> list[Any]:
        """The results of ``count`` calls, all made in one turn of the loop."""
        return await asyncio.gather(*[self.call(fn, *args) for _ in range(count)])

    async def share(self, value: Any) -> Any:
        """What to pass as an argument instead of ``value``, so that many calls can have it."""
        raise NotImplementedError(f"{self.label} shares nothing")

    async def unshare(self, handle: Any) -> None:  # noqa: B027  # most have nothing to do
        """``handle`` is not needed any more."""

    async def recover(self) -> None:  # noqa: B027  # most replace the worker by themselves
        """A worker has died, and a call has failed of it: make the pool one that can be called again."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()
