"""Runs the cells: rounds outside, measurements and contestants inside, each cell bounded in time and cleared away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from time import monotonic, sleep

from .cell import COMMAND, MARK, Order
from .contestants.contract import Contestant
from .measurements import MEASUREMENTS, Scale
from .processes import is_group_running
from .progress import Progress

ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS = 10.0
_NEVER_LEAN = ("many",)
_FAREWELL_SECONDS = 1.0
"""For a forkserver or a resource tracker to see that its cell has gone, and to clear up."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run, and how often."""

    measurements: tuple[str, ...]
    contestants: dict[str, type[Contestant]]
    rounds: int
    loop: str
    added: tuple[str, ...]
    scale: Scale
    seconds: float
    """Most time for one cell."""
    is_lean: bool = False
    """Only those that others are compared with stand beside ours, but for calls at once."""

    def cells(self) -> Iterator[tuple[int, str, str]]:
        """(round, measurement, contestant), interleaved; another contestant begins in each round.

        Peers that no baseline names take part in every other round: so there is time for many of them.
        """
        for number in range(self.rounds):
            for measurement in self.measurements:
                if number >= (MEASUREMENTS[measurement].rounds or self.rounds):
                    continue
                keys = [
                    key
                    for key in self._contestants_of(measurement)
                    if not number % 2 or self._is_key(measurement, key)
                ]
                for at in range(len(keys)):
                    yield number, measurement, keys[(at + number) % len(keys)]

    def _contestants_of(self, measurement: str) -> list[str]:
        is_lean = self.is_lean and measurement not in _NEVER_LEAN
        return [
            key
            for key, contestant in self.contestants.items()
            if measurement in contestant.takes and (not is_lean or self._is_key(measurement, key))
        ]

    def _is_key(self, measurement: str, contestant: str) -> bool:
        """Whether it is ours, a floor, or one that others are compared with."""
        baselines = MEASUREMENTS[measurement].baselines.values()
        return self.contestants[contestant].rank != "peer" or any(contestant in keys for keys in baselines)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one cell: figures, or the reason why there are none."""

    round: int
    measurement: str
    contestant: str
    figures: dict[str, float]
    error: str | None = None
    seconds: float = 0.0
    """What the cell took, with its start and its end."""


def run(plan: Plan, progress: Progress) -> list[Outcome]:
    """Run the plan. A contestant that failed in a measurement is not tried there again."""
    outcomes: list[Outcome] = []
    failed: set[tuple[str, str]] = set()
    cells = list(plan.cells())
    at = 0
    for (number, measurement), group in groupby(cells, key=lambda cell: cell[:2]):
        done: list[Outcome] = []
        for _, _, contestant in group:
            at += 1
            if (measurement, contestant) in failed:
                continue
            progress.begins(at, len(cells), number, measurement, contestant)
            order = Order(measurement, contestant, plan.loop, plan.added, plan.scale, plan.seconds)
            began = monotonic()
            figures, error = run_cell(order)
            if error is not None:
                failed.add((measurement, contestant))
            done.append(Outcome(number, measurement, contestant, figures, error, monotonic() - began))
        progress.has_done(number, measurement, len(done), sum(outcome.seconds for outcome in done))
        outcomes += done
    return outcomes


def run_cell(order: Order) -> tuple[dict[str, float], str | None]:
    """Figures, or the reason why there are none; whatever the cell started is gone afterwards."""
    paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
    # Files, not pipes: a process that the cell left behind would hold a pipe open, and we would wait for it.
    with (
        tempfile.TemporaryFile("w+", errors="replace") as out,
        tempfile.TemporaryFile("w+", errors="replace") as err,
    ):
        cell = subprocess.Popen(
            [sys.executable, "-c", COMMAND, order.as_json()],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )
        try:
            # It ends itself, with its threads' stacks, when its time is up: the rest is for one that cannot even that.
            cell.wait(order.seconds + _START_SECONDS)
        except subprocess.TimeoutExpired:
            pass  # seen by its lack of an exit code
        finally:
            _end_group(cell)
        out.seek(0)
        err.seek(0)
        return _read_answer(out.read(), err.read(), cell.returncode)


def _read_answer(out: str, err: str, exitcode: int) -> tuple[dict[str, float], str | None]:
    for line in reversed(out.splitlines()):
        if line.startswith(MARK):
            answer = json.loads(line.removeprefix(MARK))
            return answer.get("figures", {}), answer.get("error")
    last_words = " / ".join(line.strip() for line in err.strip().splitlines()[-3:])
    return {}, f"no answer, exit code {exitcode}; last words: {last_words or 'none'}"


def _end_group(cell: subprocess.Popen[bytes]) -> None:
    """Kill it if it runs still, and what it left in its session (which has its id) if that does not go by itself."""
    if cell.poll() is None:
        _kill_group(cell.pid)
        cell.wait()
    end = monotonic() + _FAREWELL_SECONDS
    while is_group_running(cell.pid) and monotonic() < end:
        sleep(0.005)
    _kill_group(cell.pid)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass  # nobody is left
