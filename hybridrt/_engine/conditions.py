"""How workers live beside the event loop's process: it gets CPU and memory before they do."""

from __future__ import annotations

import os
from typing import NamedTuple

from .memory import MemoryCap

_OOM_SCORE_ADJ = "/proc/self/oom_score_adj"
_MOST_OOM_SCORE_ADJ = 1000


class ArenaTerms(NamedTuple):
    """Of how much memory a worker's arenas may be (``memory_budget.arena_parts``)."""

    limit: int = 0
    processes: int = 1
    shared_by: int = 1


ANY_TERMS = ArenaTerms()


class Conditions(NamedTuple):
    """What a worker takes upon itself at birth. Its own children inherit all of it."""

    nice: int = 0
    oom_score_adj: int = 0
    memory_limit: int = 0
    tells_memory: bool = False
    """Whether it says with each answer how much memory it has of its own."""
    tells_needs: bool = False
    """Whether it says which modules its calls had to import."""
    arenas: ArenaTerms = ANY_TERMS

    def take_on(self) -> MemoryCap | None:
        """Live by these, in this process, from now on; the cap where memory is limited."""
        if self.nice:
            os.nice(self.nice)
        if self.oom_score_adj:
            _raise_oom_score(self.oom_score_adj)
        return MemoryCap(self.memory_limit) if self.memory_limit else None


def _raise_oom_score(by: int) -> None:
    """The kernel's out-of-memory killer takes this process sooner than one that was not raised. It needs no rights."""
    try:
        with open(_OOM_SCORE_ADJ, "r+b", buffering=0) as file:
            now = int(file.read(32))
            file.seek(0)
            file.write(b"%d" % min(_MOST_OOM_SCORE_ADJ, now + by))
    except (OSError, ValueError):
        pass  # not Linux, or /proc is not writable here
