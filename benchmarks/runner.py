"""Runs the cells: rounds outside, measurements and contestants inside, each cell bounded in time and cleared away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .cell import COMMAND, MARK, Order
from .contestants.contract import Contestant
from .measurements import Scale

ROOT = Path(__file__).resolve().parent.parent


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

    def cells(self) -> Iterator[tuple[int, str, str]]:
        """(round, measurement, contestant), interleaved; another contestant begins in each round."""
        for number in range(self.rounds):
            for measurement in self.measurements:
                keys = [key for key, c in self.contestants.items() if measurement in c.takes]
                for at in range(len(keys)):
                    yield number, measurement, keys[(at + number) % len(keys)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one cell: figures, or the reason why there are none."""

    round: int
    measurement: str
    contestant: str
    figures: dict[str, float]
    error: str | None = None


def run(plan: Plan, tell: Callable[[str], None]) -> list[Outcome]:
    """Run the plan. A contestant that failed in a measurement is not tried there again."""
    outcomes: list[Outcome] = []
    failed: set[tuple[str, str]] = set()
    cells = list(plan.cells())
    for at, (number, measurement, contestant) in enumerate(cells):
        if (measurement, contestant) in failed:
            continue
        tell(f"{at + 1}/{len(cells)}  round {number + 1}  {measurement}  {contestant}")
        order = Order(measurement, contestant, plan.loop, plan.added, plan.scale, plan.seconds)
        figures, error = run_cell(order)
        if error is not None:
            failed.add((measurement, contestant))
        outcomes.append(Outcome(number, measurement, contestant, figures, error))
    tell("")
    return outcomes


def run_cell(order: Order) -> tuple[dict[str, float], str | None]:
    """Figures, or the reason why there are none; whatever the cell started is gone afterwards."""
    paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
    cell = subprocess.Popen(
        [sys.executable, "-c", COMMAND, order.as_json()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    try:
        # Its workers hold the two pipes as well: this ends when all of them have gone.
        out, err = cell.communicate(timeout=order.seconds + 10)
    except subprocess.TimeoutExpired:
        return {}, f"it, or a process that it left behind, still ran after {order.seconds + 10:g} s"
    finally:
        _end_group(cell)
    for line in reversed(out.splitlines()):
        if line.startswith(MARK):
            answer = json.loads(line.removeprefix(MARK))
            return answer.get("figures", {}), answer.get("error")
    last_words = " / ".join(err.strip().splitlines()[-3:])
    return {}, f"exit code {cell.returncode} without an answer; last words: {last_words or 'none'}"


def _end_group(cell: subprocess.Popen[str]) -> None:
    try:
        os.killpg(cell.pid, signal.SIGKILL)  # its session and group have its id
    except ProcessLookupError:
        pass
    try:
        cell.communicate(timeout=5)
    except (subprocess.TimeoutExpired, ValueError):
        pass  # ValueError: the pipes were read to their end before
    cell.wait()
