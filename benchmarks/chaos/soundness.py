"""Whether a runtime is sound after all that: nothing counts as running, and every worker gives a right answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import hybridrt

from . import tasks

_PATIENCE_SECONDS = 10.0


async def sound(rt: hybridrt.Runtime, limit: int, folder: Path) -> list[str]:
    """The broken promises; ``limit`` is the runtime's."""
    loop = asyncio.get_running_loop()
    broken: list[str] = []
    end = loop.time() + _PATIENCE_SECONDS
    while (stats := rt.stats().processes).running or stats.waiting:
        # What was cancelled may need its grace.
        if loop.time() > end:
            broken.append(
                f"a call that is done leaves its place: {stats.running} count as running and {stats.waiting} as waiting"
            )
            break
        await asyncio.sleep(0.005)
    meeting = folder / "meeting"
    meeting.mkdir()
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS * 3):
            pids = await asyncio.gather(
                *[rt.to_process(tasks.meet, str(meeting), me, limit) for me in range(limit)]
            )
            answers = await asyncio.gather(*[rt.to_process(tasks.tiny, n) for n in range(100)])
    except Exception as exc:
        broken.append(f"the runtime is usable afterwards: {type(exc).__name__}: {exc}")
        return broken
    if len(set(pids)) != limit:
        broken.append(f"{limit} calls run at the same time in as many workers: they were {sorted(pids)}")
    if answers != [tasks.answer(n) for n in range(100)]:
        broken.append("every worker gives right answers afterwards: some were wrong")
    end = loop.time() + _PATIENCE_SECONDS
    while (workers := rt.stats().processes.workers) > 2 * limit:  # as many for calls as for coroutines
        # Those that are worn out, and replaced already, have a while for their atexit hooks.
        if loop.time() > end:
            broken.append(f"there are at most {2 * limit} workers: there are {workers}")
            break
        await asyncio.sleep(0.005)
    return broken
