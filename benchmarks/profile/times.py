"""CPU time and waiting of one call; and what a call keeps while it waits."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tracemalloc
from time import perf_counter

from .. import work
from ..traced import Order

COMMAND = "from benchmarks.profile.times import main; main()"
_WARMING = 1000
_SECONDS = 120.0


def cpu() -> tuple[float, float]:
    """Seconds of this process so far: in its own code, and in the kernel for it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime, used.ru_stime


def measure(order: Order) -> dict[str, float]:
    """Microseconds a call: ``wall``, ``user``, ``system``; where a worker tells, ``worker_user``, ``worker_system``.

    At once, also ``blocks`` and ``bytes``: what Python keeps for each call that was made and has not begun.
    """
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *order.command()[3:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"while times were measured: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Carry out the order in ``sys.argv[1]``."""
    order = Order(**json.loads(sys.argv[1]))

    async def run() -> dict[str, float]:
        tells = order.contestant.lane == "process" and order.contestant.rank == "ours"
        async with order.contestant(1) as pool:
            for _ in range(_WARMING):
                await pool.call(work.noop)
            there = await pool.call(cpu) if tells else (0.0, 0.0)
            here, began = cpu(), perf_counter()
            if order.how == "one":
                for _ in range(order.calls):
                    await pool.call(work.noop)
            else:
                await pool.at_once(order.calls, work.noop)
            wall, spent = perf_counter() - began, cpu()
            there_spent = await pool.call(cpu) if tells else (0.0, 0.0)
            found = {
                "wall": wall,
                "user": spent[0] - here[0],
                "system": spent[1] - here[1],
                "worker_user": there_spent[0] - there[0],
                "worker_system": there_spent[1] - there[1],
            }
            per_call = {key: seconds / order.calls * 1e6 for key, seconds in found.items()}
            if order.how == "many":
                blocks = sys.getallocatedblocks()
                calls = [pool.call(work.noop) for _ in range(order.calls)]
                per_call["blocks"] = (sys.getallocatedblocks() - blocks) / order.calls
                for call in calls:
                    await call
                del calls
                tracemalloc.start()
                before = tracemalloc.get_traced_memory()[0]
                calls = [pool.call(work.noop) for _ in range(order.calls)]
                per_call["bytes"] = (tracemalloc.get_traced_memory()[0] - before) / order.calls
                tracemalloc.stop()
                for call in calls:
                    await call
        return per_call

    print(f"\n{json.dumps(order.contestant.run(run, order.loop))}")
