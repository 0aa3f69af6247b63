"""One way, once, in an interpreter of its own: its order comes as JSON in ``argv``, its outcome goes to stdout."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, cast

from .heartbeat import Heartbeat
from .progress import Progress
from .tree import Tree
from .ways import WAYS, Job, Results

BOOT = "from hybridrt.demo.one_way import main; main()"
_INTERRUPTED = 130


@dataclass(frozen=True)
class Order:
    """What to do, and what to call it; ``total`` files are expected, and the heartbeat comes in through ``beats``."""

    way: str
    label: str
    tree: Tree
    processes: int
    window: int
    total: int
    beats: int

    def to_json(self) -> str:
        """As ``from_json`` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """From what ``to_json`` made."""
        fields: dict[str, Any] = json.loads(text)
        tree = Tree(**fields.pop("tree"))
        return cls(tree=tree, **fields)


@dataclass(frozen=True)
class Outcome:
    """What came of it: ``seconds`` from the first call to the last result, start and end of all workers included."""

    results: Results
    seconds: float
    delays: list[int]
    peak_resident: int


def new_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop: uvloop where it can be had, as in ``hybridrt.run``, and the same for every way."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def do(order: Order) -> Outcome:
    """Do it and measure it. Is cancelled when whoever ordered it has gone."""
    this_task = cast("asyncio.Task[Outcome]", asyncio.current_task())
    heartbeat = Heartbeat(order.beats, this_task.cancel)
    progress = Progress(order.label, order.total)
    job = Job(order.tree, order.processes, order.window, progress.step)
    try:
        await heartbeat.start()
        began = time.perf_counter()
        results = await WAYS[order.way](job)
        seconds = time.perf_counter() - began
    finally:
        heartbeat.close()
        progress.clear()
    return Outcome(results, seconds, heartbeat.delays, _peak_resident())


def _peak_resident() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Carry out the order in ``sys.argv[1]``."""
    order = Order.from_json(sys.argv[1])
    if order.way == "hybridrt":
        # Opened lazily, it would be loaded while the loop runs. The other ways shall not carry it in their memory.
        import hybridrt.runtime  # noqa: F401
    try:
        with asyncio.Runner(loop_factory=new_loop()) as runner:
            outcome = runner.run(do(order))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(_INTERRUPTED)
    json.dump(vars(outcome), sys.stdout)
