"""A pool and so many calls, in an interpreter under strace.

``count`` starts it and counts; ``main`` is what runs there.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from . import work
from .contestants.contract import Contestant

COMMAND = "from benchmarks.traced import main; main()"
MEETING = "BENCHMARKS_MEETING"
"""An environment variable: a folder with a named pipe ``go``, for whoever wants to look before the pool is closed."""
_WARMING = 100
_SECONDS = 50.0
_CALL = re.compile(r"(?:\d+ )?(\w+)\(")


@dataclass(frozen=True, slots=True)
class Order:
    """Which contestant, by module and class; on which loop; how many calls, and whether all are made at once."""

    module: str
    name: str
    loop: str
    workers: int
    how: Literal["one", "many"]
    calls: int

    @property
    def contestant(self) -> type[Contestant]:
        found: type[Contestant] = getattr(importlib.import_module(self.module), self.name)
        return found

    def command(self) -> list[str]:
        """What carries it out, in an interpreter of its own."""
        return [sys.executable, "-c", COMMAND, json.dumps(asdict(self))]


class Counts(dict[int, Counter[str]]):
    """System calls by name, by process id (those of its threads included), in the order in which they began."""

    def total(self) -> int:
        return sum(counter.total() for counter in self.values())


def name_of(loop: asyncio.AbstractEventLoop) -> str:
    return "uvloop" if type(loop).__module__.startswith("uvloop") else "asyncio"


def count(order: Order) -> Counts:
    """The first process is the one that makes the calls."""
    strace = shutil.which("strace")
    if strace is None:
        raise NotImplementedError("strace is not installed (Debian, Ubuntu: apt-get install strace)")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *(strace, "-ff", "-qq", "-s", "0", "-o", f"{folder}/trace"),
                *order.command(),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            last_words = " / ".join(done.stderr.strip().splitlines()[-3:])
            raise RuntimeError(f"under strace it ended with {done.returncode}: {last_words}")
        traces = {int(path.suffix[1:]): path.read_text() for path in Path(folder).iterdir()}
    # The first that strace sees of this one is its own execve; of all others, what comes after their fork.
    first = next(tid for tid, trace in traces.items() if trace.startswith("execve("))
    return _read(traces, first)


def by_birth(ids: Iterable[int], first: int) -> list[int]:
    """Process ids in the order in which they were given, from ``first`` on; they start anew at the system's limit."""
    try:
        limit = int(Path("/proc/sys/kernel/pid_max").read_text())
    except OSError:
        limit = 1 << 31
    return sorted(ids, key=lambda pid: (pid - first) % limit)


def _read(traces: dict[int, str], first: int) -> Counts:
    """From a trace for each thread of each process, by its id; ``first`` began all others."""
    owner: dict[int, int] = {}
    for tid, trace in traces.items():
        for line in trace.splitlines():
            if line.startswith(("clone", "clone3")) and "CLONE_THREAD" in line:
                # clone3({flags=CLONE_VM|..., ...} => {parent_tid=[17]}, 88) = 17
                owner[int(line.rpartition(" = ")[2].split()[0])] = tid
    counts = Counts()
    for tid in by_birth(traces, first):
        process = tid
        while process in owner:
            process = owner[process]
        calls = (found[1] for line in traces[tid].splitlines() if (found := _CALL.match(line)))
        counts.setdefault(process, Counter()).update(calls)
    return counts


def main() -> None:
    """Carry out the order in ``sys.argv[1]``."""
    order = Order(**json.loads(sys.argv[1]))
    order.contestant.run(lambda: make_calls(order), order.loop)


async def make_calls(order: Order) -> None:
    """Some to warm up, whatever is ordered; then those that are counted."""
    async with order.contestant(order.workers) as pool:
        for _ in range(_WARMING):
            await pool.call(work.noop)
        if order.how == "one":
            for _ in range(order.calls):
                await pool.call(work.noop)
        else:
            await pool.at_once(_WARMING, work.noop)
            await pool.at_once(order.calls, work.noop)
        if meeting := os.environ.get(MEETING):
            _wait_there(meeting)


def _wait_there(folder: str) -> None:
    """Say that the calls are done, and stand still until somebody has looked at all processes as they are now."""
    Path(folder, "done").touch()
    with open(f"{folder}/go") as go:  # a named pipe: this blocks until it is opened at its other end
        go.read()
