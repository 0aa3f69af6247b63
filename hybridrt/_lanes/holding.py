"""The hold of a process lane: how much it may take, and what is said where that is not enough."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Collection

from .._core.memory_budget import arena_parts
from .._core.settings import Settings
from .._engine.cargo import Hold
from .._engine.child import Child
from .._engine.shares import Sharing

LEAN_SECONDS = 5.0
"""After so long without use, shared memory is given back to the system."""


def open_hold(
    loop: asyncio.AbstractEventLoop,
    settings: Settings,
    children: Collection[Child],
    sharing: Sharing | None = None,
) -> Hold:
    """A hold for the lane on ``loop`` with these workers; ``sharing`` has the book of its runtime."""

    def most() -> int:
        ours, _ = arena_parts(settings.arena_limit, settings.processes, settings.shared_by)
        return ours

    def on_short(why: str) -> None:
        try:
            loop.call_soon_threadsafe(_warn, why)
        except RuntimeError:
            pass  # the loop is closed

    def tell_forgotten() -> None:
        hold.look_around([child.side for child in children])
        for child in children:
            if child.side.has_news:
                child.send(child.side.news())

    hold = Hold(most, on_short, idle=min(settings.process_idle, LEAN_SECONDS), sharing=sharing)
    if sharing is not None:
        sharing.tell_forgotten = tell_forgotten
    return hold


def _warn(why: str) -> None:
    warnings.warn(
        f"hybridrt has no shared memory for a large argument or result, so it goes through a socket, which is slower: "
        f"{why}. The setting arena_limit says how much there may be; and results that are kept keep theirs",
        RuntimeWarning,
        stacklevel=1,
    )
