"""A finished run: every raw figure, the machine, and the medians taken from them. Saved and loaded as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from .measurements import Figure, Scale
from .runner import Outcome


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant's figure over all rounds."""

    value: float
    """The median."""
    least: float
    most: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Results:
    """``machine`` is what ``machine.facts`` told at the time of the run."""

    machine: dict[str, Any]
    scale: Scale
    rounds: int
    outcomes: list[Outcome]

    def row(self, measurement: str, contestant: str, figure: str) -> Row | None:
        """None where there is no such figure."""
        values = [
            o.figures[figure]
            for o in self.outcomes
            if (o.measurement, o.contestant) == (measurement, contestant) and figure in o.figures
        ]
        return Row(median(values), min(values), max(values), len(values)) if values else None

    def median(self, measurement: str, contestant: str, figure: str) -> float | None:
        """None where there is no such figure."""
        row = self.row(measurement, contestant, figure)
        return row.value if row else None

    def seconds(self) -> float:
        """What all cells together took; none runs beside another."""
        return sum(outcome.seconds for outcome in self.outcomes)

    def errors(self) -> dict[tuple[str, str], str]:
        """By measurement and contestant: why it has no figures, or none after some round."""
        return {(o.measurement, o.contestant): o.error for o in self.outcomes if o.error is not None}

    def title(self, figure: Figure) -> str:
        """With the counts of this run filled in."""
        return figure.title.format(**asdict(self.scale))

    def save(self, path: Path, goals: Iterable[object]) -> None:
        """All of it, and the goals as they came out."""
        medians: dict[str, dict[str, dict[str, float]]] = {}
        for o in self.outcomes:
            of_contestant = medians.setdefault(o.measurement, {}).setdefault(o.contestant, {})
            for figure in o.figures:
                of_contestant[figure] = self.median(o.measurement, o.contestant, figure) or 0.0
        content = {
            "machine": self.machine,
            "scale": asdict(self.scale),
            "rounds": self.rounds,
            "medians": medians,
            "goals": list(goals),
            "outcomes": [asdict(o) for o in self.outcomes],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        """What ``save`` wrote."""
        content = json.loads(path.read_text())
        outcomes = [Outcome(**row) for row in content["outcomes"]]
        return cls(content["machine"], Scale(**content["scale"]), content["rounds"], outcomes)


def better_by(value: float, other: float, figure: Figure) -> float:
    """How many times as good as ``other``: above 1 is better, whichever way the figure runs."""
    return value / other if figure.better == "higher" else other / value


def amount(value: float, unit: str) -> str:
    """Three digits that can be read, with the unit."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    space = "" if unit.startswith("/") else " "
    return f"{value:,.{digits}f}{space}{unit}"


def times(ratio: float) -> str:
    """``12x``, ``3.4x``, ``0.81x``."""
    return f"{ratio:.0f}x" if ratio >= 20 else f"{ratio:.1f}x" if ratio >= 1.95 else f"{ratio:.2f}x"
