"""What it takes to get going: importing, entering, the first call, one more worker, the worker after a crash."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter

from .. import work
from ..contestants.contract import Contestant
from .contract import PER_LANE, Figure, Measurement, Scale


async def cold_start(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
    """From making the pool to its first result; entering is the first part of it."""
    began = perf_counter()
    async with contestant(scale.workers) as pool:
        entered = perf_counter()
        await pool.call(work.noop)
        return {"ms": (perf_counter() - began) * 1e3, "enter_ms": (entered - began) * 1e3}


async def fresh_worker(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
    """One more worker beside those there are: from the call that needs it to that call's result."""
    seconds = []
    async with contestant(scale.fresh + 1) as pool:
        await pool.call(work.noop)
        with _gate() as folder:
            held: list[asyncio.Future[None]] = []
            for _ in range(scale.fresh):
                if not contestant.call_starts_worker:
                    held.append(asyncio.ensure_future(pool.call(work.hold, str(folder))))
                    while len(os.listdir(folder)) < 1 + len(held):  # noqa: ASYNC110  # other processes write there
                        await asyncio.sleep(0.001)
                began = perf_counter()
                await pool.call(work.noop)
                seconds.append(perf_counter() - began)
        await asyncio.gather(*held)
    return {"ms": median(seconds) * 1e3}


@contextmanager
def _gate() -> Iterator[Path]:
    """A folder with a file ``gate`` that is locked inside the block."""
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/gate", "w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield Path(folder)


async def after_crash(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
    """A pool of one worker, which kills itself: from that moment to the result of the call made on hearing of it."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        note = f"{folder}/died"
        async with contestant(1) as pool:
            for _ in range(scale.fresh):
                await pool.call(work.noop)
                try:
                    await pool.call(work.die, note)
                except Exception:  # each pool has its own; the note proves what happened
                    pass
                await pool.recover()
                await pool.call(work.noop)
                # Both clocks are the system's monotonic one, which all processes share.
                seconds.append(monotonic() - float(Path(note).read_text()))  # noqa: ASYNC240  # nothing else is on this loop
                os.unlink(note)
    return {"ms": median(seconds) * 1e3}


async def importing(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
    """Timed inside fresh interpreters, in turn with ``import asyncio``."""
    assert contestant.importing is not None  # noqa: S101  # a slip in a contestant
    statements = ("import asyncio", contestant.importing, contestant.using or contestant.importing)
    rounds = [[_import_seconds(statement) for statement in statements] for _ in range(2 * scale.fresh)]
    base, plain, ready = (median(column) for column in zip(*rounds, strict=True))
    return {
        "ms": plain * 1e3,
        "over_asyncio": plain / base,
        "ready_ms": ready * 1e3,
        "ready_over_asyncio": ready / base,
    }


def _import_seconds(statement: str) -> float:
    code = f"from time import perf_counter as now; began = now(); {statement}; print(now() - began)"
    return float(subprocess.check_output([sys.executable, "-c", code], text=True))


ROWS = (
    Measurement(
        "import",
        "inside a fresh interpreter: the import alone, and until the names that its users type are there (Runtime, "
        "ProcessPoolExecutor ...), which some bring in late; in turn with `import asyncio`",
        importing,
        (
            Figure("ms", "importing", "ms", "lower"),
            Figure("over_asyncio", "importing, in units of `import asyncio`", "x", "lower"),
            Figure("ready_ms", "importing what is typed", "ms", "lower"),
            Figure("ready_over_asyncio", "the same, in units of `import asyncio`", "x", "lower"),
        ),
        {"process": ("anyio-process", "stdlib-process")},
        {},
        rounds=1,
    ),
    Measurement(
        "cold",
        "from making the pool to its first result; the library itself is imported before",
        cold_start,
        (
            Figure("ms", "first call on a cold runtime", "ms", "lower"),
            Figure("enter_ms", "of that, making and entering it", "ms", "lower"),
        ),
        PER_LANE,
        {"process": "floor-ping-pong"},
        rounds=3,
    ),
    Measurement(
        "fresh",
        "a pool that is up and whose workers are all busy gets one more call: until its result is here, by a "
        "worker started for it. For multiprocessing.Process: from making it to its answer through a pipe",
        fresh_worker,
        (Figure("ms", "a fresh worker", "ms", "lower"),),
        {"process": ("spawned-process", "stdlib-process")},
        {"process": "floor-fork"},
        rounds=3,
    ),
    Measurement(
        "crash",
        "the only worker of a pool kills itself: from its death to the result of the call made on hearing of it, "
        "with a new pool where the old one is broken by then",
        after_crash,
        (Figure("ms", "from a worker's death to the next result", "ms", "lower"),),
        {"process": ("stdlib-process", "anyio-process")},
        {},
        rounds=3,
    ),
)
