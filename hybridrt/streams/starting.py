"""What a map is given by whoever starts calls: the verbs, plain or with options."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from .._core.function import Function
from .._engine.batch_call import BatchCall
from .._lanes.job import Job

MOST_ALONE = 64
"""Items in flight without a ``limit`` where they go one by one, or twice as many as there are workers."""


class Start(Protocol):
    """Start one call, in this lane or (None) where it belongs. Raises what ``Verbs.submit`` raises."""

    def __call__(
        self, lane: str | None, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], /
    ) -> Job[Any]:
        """Start it."""
        ...


class StartBatch(Protocol):
    """Start a batch, in this lane or (None) where its items belong. None where they have to go one by one.

    ``function``   the facts about the function
    ``own``        those about its batches
    """

    def __call__(
        self,
        lane: str | None,
        function: Function,
        own: Function,
        call: BatchCall,
        items: Sequence[Any],
        seconds: float,
        /,
    ) -> Job[Any] | None:
        """Start it."""
        ...


class Means(NamedTuple):
    """What there is for one map."""

    loop: asyncio.AbstractEventLoop
    lane: str | None
    function: Function
    processes: int
    """Most worker processes."""
    threads: int
    """Most threads."""
    start: Start
    start_batch: StartBatch | None
    """None where each item is a call of its own."""
    retries: int = 0
    """How often an item may be run again whose worker died."""
    keep: Callable[[Any], None] | None = None
    """Told of the map itself, by whoever ends it if nobody else does."""
