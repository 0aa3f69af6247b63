"""System calls, counted by strace in all processes of a pool."""

from __future__ import annotations

import asyncio
from typing import Literal

from .. import traced
from ..contestants.contract import Contestant
from .contract import Figure, Measurement, Run, Scale

_BATCH = 5
"""Times as many calls at once as one at a time: what a whole batch costs is divided among them. Not for peers: they
batch nothing, and a trace of their thirty system calls a call takes its time."""


def _per_call(how: Literal["one", "many"]) -> Run:
    async def run(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
        calls = scale.traced * (1 if how == "one" or contestant.rank == "peer" else _BATCH)
        loop = traced.name_of(asyncio.get_running_loop())
        none, all_of_them = (
            traced.count(
                traced.Order(contestant.__module__, contestant.__name__, loop, scale.workers, how, n)
            )
            for n in (0, calls)
        )
        return {"calls": (all_of_them.total() - none.total()) / calls}

    return run


def _row(how: Literal["one", "many"], number: str, words: str, floor: str) -> Measurement:
    return Measurement(
        f"syscalls-{how}",
        f"strace -f: the system calls of all processes and threads for {number} no-ops {words}, less those of the "
        "same run without them",
        _per_call(how),
        (Figure("calls", f"system calls per call, {words}", "", "lower"),),
        {"process": ("stdlib-process",)},
        {"process": floor},
        rounds=1,
    )


ROWS = (
    _row("one", "{traced:,}", "one at a time", "floor-ping-pong"),
    _row("many", "{traced:,} (five times as many for ours and the floor)", "at once", "floor-batches"),
)
