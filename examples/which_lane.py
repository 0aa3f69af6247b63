"""The same three jobs on each lane: a wait, a heavy computation, and a quick one, many calls of each at once.

Look at two columns. *total*: waits overlap in threads; computations do not, because they share one GIL, but they do in
processes; for a quick call, the way to another lane costs more than the call. *loop late*: how long everything else in
the program stood still meanwhile. What a worker process costs to start is measured first, on its own.

    python examples/which_lane.py [EFFORT]      (1 is the default; 0.1 takes a tenth of the time, and shows less)
"""

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

import hybridrt

effort = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
Lane = Literal["loop", "thread", "process"]
LANES: tuple[Lane, ...] = ("loop", "thread", "process")


def wait_for_io() -> None:
    time.sleep(0.05 * effort)  # as a slow disk or a blocking database driver would


def compute_long() -> int:
    return sum(number * number % 7 for number in range(int(1_000_000 * effort)))


def compute_briefly() -> int:
    return sum(range(10))


JOBS: list[tuple[str, int, Callable[[], object]]] = [
    ("8 waits", 8, wait_for_io),
    ("4 heavy computations", 4, compute_long),
    ("1000 quick computations", 1000, compute_briefly),
]


class Row(NamedTuple):
    lane: Lane
    total: float
    late: float

    @property
    def cost(self) -> float:
        """How long the job waits, and everything else, taken together."""
        return self.total + self.late


async def measure(rt: hybridrt.Runtime, lane: Lane, calls: int, job: Callable[[], object]) -> Row:
    lateness: list[float] = []
    heartbeat = asyncio.create_task(beat(lateness))
    await asyncio.sleep(0.02)  # the heart beats before the work begins
    began = time.perf_counter()
    if lane == "loop":
        for _ in range(calls):
            job()  # simply called, as code does that thinks nothing of it
    else:
        verbs = rt.options(lane=lane)
        await asyncio.gather(*(verbs.submit(job) for _ in range(calls)))
    total = time.perf_counter() - began
    await asyncio.sleep(0.02)  # and after its end, or a beat that was held up would not be counted
    heartbeat.cancel()
    return Row(lane, total, max(lateness))


async def beat(lateness: list[float]) -> None:
    while True:
        due = time.perf_counter() + 0.005
        await asyncio.sleep(0.005)
        lateness.append(time.perf_counter() - due)


def conclude(rows: list[Row]) -> str:
    inline, *others = rows
    best = min(rows, key=lambda row: row.cost)
    if best is inline:
        thread, process = (row.total / inline.total for row in others)
        return f"=> leave it on the loop: a thread takes {thread:.0f} times as long, a process {process:.0f} times"
    (other,) = (row for row in others if row is not best)
    return (
        f"=> best in a {best.lane}: {inline.total / best.total:.1f} times as fast as on the loop"
        f" (a {other.lane}: {inline.total / other.total:.1f} times), which it holds up for {best.late * 1e3:.0f} ms"
        f" instead of {inline.late * 1e3:.0f} ms"
    )


async def main() -> None:
    rt = hybridrt.current_runtime()
    cold = await measure(rt, "process", 1, compute_briefly)
    warm = await measure(rt, "process", 1, compute_briefly)
    print(f"The first call in a process takes {cold.total * 1e3:.1f} ms, the next {warm.total * 1e3:.2f} ms.")
    print(f"There are {rt.settings.processes} worker processes and up to {rt.settings.threads} threads.\n")

    print(f"{'job':24} {'lane':8} {'total':>10} {'per call':>13} {'loop late':>10}")
    for name, calls, job in JOBS:
        # The best of three rounds: what else the machine does meanwhile can only make a round slower.
        rounds = [[await measure(rt, lane, calls, job) for lane in LANES] for _ in range(3)]
        rows = [min(of_lane, key=lambda row: row.cost) for of_lane in zip(*rounds, strict=True)]
        for lane, total, late in rows:
            each = total / calls
            print(f"{name:24} {lane:8} {total * 1e3:7.1f} ms {each * 1e3:10.4f} ms {late * 1e3:7.1f} ms")
        print(conclude(rows), "\n")


hybridrt.run(main)
