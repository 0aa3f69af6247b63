"""The adaptive workload: functions come in one by one, and each tenth of a second it is noted where they are."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import hybridrt

from . import data
from .case import Case
from .catalogue import BY_NAME
from .mixes import RUN, Watch, caller

_WINDOW = 0.1
_LONGER = 0.3
"""Seconds that the calls go on after the last sample, which would else see some of them end."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A function that is called from ``since`` on (a share of the whole time) by ``callers`` in turns."""

    name: str
    label: str
    since: float
    callers: int
    pause: float = 0.0
    """Seconds between two calls of a caller."""


GUESTS = (
    Guest("a question over TCP", "a question over TCP", 0.0, 8),
    Guest("sha256 of 4 MB", "sha256 of 4 MB", 0.0, 1, 0.01),
    Guest("a global total", "adds to a global", 0.0, 1, 0.1),
    Guest("XML depth", "XML parsed", 0.2, 2),
    Guest("difflib ratio", "texts compared", 0.4, 2),
    Guest("FNV hash of bytes", "text hashed, x 1000 later", 0.55, 1, 0.005),
)
GROWS_AT = 0.75
"""From here on the last guest gets a text a thousand times as long: a share of the whole time."""


async def carry_out(placement: str, seconds: float, processes: int) -> list[dict[str, Any]]:
    """A sample of each window: ``t``, ``done`` calls, ``late_ms`` (the loop's worst), ``lanes`` of what was called."""
    for guest in GUESTS:
        BY_NAME[guest.name].args()  # made before the clock runs
    done = 0
    called: set[str] = set()
    samples: list[dict[str, Any]] = []
    watch = Watch()
    async with hybridrt.Runtime(processes=processes) as rt:
        await rt.warm_up()
        call = caller(rt, placement)
        began = perf_counter()

        async def visit(guest: Guest) -> None:
            nonlocal done
            await asyncio.sleep(guest.since * seconds)
            case = BY_NAME[guest.name]
            small = Case(case.name, case.fn, lambda: ("a word of 20 letters",), case.kind, case.why)
            called.add(guest.name)
            while (now := perf_counter() - began) < seconds + _LONGER:
                is_small = guest is GUESTS[-1] and now < GROWS_AT * seconds
                await call(small if is_small else case)
                done += 1
                if guest.pause:
                    await asyncio.sleep(guest.pause)

        async def sample() -> None:
            nonlocal done
            number = 0
            while True:
                # Windows that do not slip: those of other recordings are laid beside them.
                number += 1
                await asyncio.sleep(max(0.0, began + number * _WINDOW - perf_counter()))
                late, watch.lateness = watch.lateness, []
                lanes = {
                    guest.name: rt.explain(BY_NAME[guest.name].fn).lane if placement == RUN else "thread"
                    for guest in GUESTS
                    if guest.name in called
                }
                if (now := perf_counter() - began) > seconds + _WINDOW:
                    return
                samples.append(
                    {"t": now, "done": done, "late_ms": max(late, default=0.0) * 1e3, "lanes": lanes}
                )
                done = 0

        watching = [asyncio.create_task(watch.beat()), asyncio.create_task(sample())]
        await asyncio.gather(*(visit(guest) for guest in GUESTS))
        for task in watching:
            task.cancel()
    data.clear()
    return samples
