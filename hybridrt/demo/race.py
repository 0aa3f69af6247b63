"""The four ways, one after the other, each time in a fresh interpreter; measured from outside; results compared."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .analysis import Facts
from .heartbeat import Sender
from .memory import HAS_PSS, Memory, memory_of
from .one_way import BOOT, Order, Outcome
from .tree import Tree, read
from .ways import WAYS, Results, here

WINDOW_PER_PROCESS = 4  # enough that no worker waits for the next file, few enough that memory is no question
_SAMPLE_SECONDS = 0.1
_PATIENCE = 5.0  # seconds for an interrupted run to end by itself


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


class BadTree(DemoError):
    """There is nothing to work on."""


@dataclass
class Lap:
    """What was measured of one way, over all rounds."""

    way: str
    seconds: list[float] = field(default_factory=list[float])
    delays: list[int] = field(default_factory=list[int])
    memory: list[Memory] = field(default_factory=list[Memory])

    @property
    def best_seconds(self) -> float:
        """Of the quickest round: whatever else runs on the machine only ever adds to it."""
        return min(self.seconds)

    @property
    def peak(self) -> Memory:
        """Of the round that took most."""
        return max(self.memory, key=lambda memory: memory.total)

    def delay(self, share: float) -> float:
        """Seconds of loop delay that ``share`` of all beats stayed within; 1 gives the worst."""
        ordered = sorted(self.delays)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e6 if ordered else 0.0


@dataclass
class Race:
    """How it went: the figures of each way, the results of the first, and where others came to different ones."""

    tree: Tree
    processes: int
    window: int
    rounds: int
    laps: dict[str, Lap]
    results: Results
    differences: list[str]

    @property
    def facts(self) -> list[Facts]:
        """Of all files that could be read."""
        return [told for told in self.results.values() if isinstance(told, Facts)]

    @property
    def problems(self) -> Counter[str]:
        """Why others could not be, and how many."""
        return Counter(told for told in self.results.values() if isinstance(told, str))


def race(tree: Tree, processes: int, rounds: int) -> Race:
    """Run them all, ``rounds`` times, each round beginning with another way. Raises DemoError."""
    window = WINDOW_PER_PROCESS * processes
    total = asyncio.run(_look_through(tree))
    laps = {way: Lap(way) for way in WAYS}
    seen: list[tuple[str, Results]] = []
    names = list(WAYS)
    for number in range(rounds):
        for way in names[number % len(names) :] + names[: number % len(names)]:
            label = f"{number + 1}/{rounds} {way}"
            with Sender() as beats:
                outcome, memory = run_one(Order(way, label, tree, processes, window, total, beats.fd))
            laps[way].seconds.append(outcome.seconds)
            laps[way].delays += outcome.delays
            laps[way].memory.append(memory)
            seen.append((f"{way}, round {number + 1}", outcome.results))
    return Race(tree, processes, window, rounds, laps, seen[0][1], list(differences(seen)))


async def _look_through(tree: Tree) -> int:
    """Read everything once, so that no way finds the files on the disk and the next one in memory; count it."""
    try:
        entries = [entry async for entry in tree.walk(here)]
    except OSError as exc:
        raise BadTree(f"cannot read the directory {tree.root}: {exc.strerror}") from None
    if not entries:
        raise BadTree(f"there are no files in {tree.root}")
    count = 0
    for name, problem in entries:
        if not problem:
            count += 1
            try:
                read(tree.path(name))
            except OSError:
                pass  # each way meets it too, and reports it
    return count


def run_one(order: Order) -> tuple[Outcome, Memory]:
    """One way in a fresh interpreter, and the most memory that it and its children held. Raises DemoError."""
    # -P: a file in the current folder, named as a module is, must not be taken for it.
    command = [sys.executable, "-P", "-c", BOOT, order.to_json()]
    with tempfile.TemporaryFile() as answer:  # and not a pipe, which would be full before it is read
        process = subprocess.Popen(command, stdout=answer, pass_fds=(order.beats,))
        try:
            peak = _watch(process)
        finally:
            _end(process)
        if process.returncode:
            raise DemoError(f"{order.way}: its run ended with exit code {process.returncode}; see above")
        answer.seek(0)
        outcome = _outcome(json.load(answer))
    return outcome, peak if HAS_PSS else Memory(outcome.peak_resident, 0)


def _watch(process: subprocess.Popen[bytes]) -> Memory:
    """Until it ends."""
    peak = Memory(0, 0)
    while True:
        try:
            process.wait(_SAMPLE_SECONDS)
        except subprocess.TimeoutExpired:
            peak = max(peak, memory_of(process.pid), key=lambda memory: memory.total)
        else:
            return peak


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C has reached it too; give it the time to stop its workers."""
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _outcome(fields: dict[str, Any]) -> Outcome:
    results = fields.pop("results")
    facts = {name: told if isinstance(told, str) else Facts(*told) for name, told in results.items()}
    return Outcome(results=facts, **fields)


def differences(seen: list[tuple[str, Results]]) -> Iterator[str]:
    """Where a run came to other results than the first, a line each."""
    (first, right), *others = seen
    for run, results in others:
        for name in sorted(right.keys() | results.keys()):
            if results.get(name) != right.get(name):
                yield f"{os.fsencode(name)!r}: {run}: {results.get(name)}, {first}: {right.get(name)}"
