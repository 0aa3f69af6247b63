"""One contestant, one measurement, in an interpreter of its own: what the runner starts, again and again.

``main`` takes the order as JSON from the command line and writes the answer as the last line of stdout.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import sys
from dataclasses import asdict, dataclass

from .contestants import everybody
from .measurements import MEASUREMENTS, Scale

COMMAND = "from benchmarks.cell import main; main()"
"""Run by ``python -c``: a ``__main__`` that is a file would be imported anew by each worker of some contestants."""

MARK = "benchmarks.cell:"


@dataclass(frozen=True, slots=True)
class Order:
    """What a cell is to do."""

    measurement: str
    contestant: str
    loop: str
    added: tuple[str, ...]
    scale: Scale
    seconds: float
    """After these a cell that hangs writes every thread's stack to stderr and exits."""

    def as_json(self) -> str:
        """As ``from_json`` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """An order as the runner wrote it."""
        fields = json.loads(text)
        return cls(**fields | {"scale": Scale(**fields["scale"]), "added": tuple(fields["added"])})


def main() -> None:
    """Carry out the order in ``sys.argv[1]``."""
    order = Order.from_json(sys.argv[1])
    faulthandler.dump_traceback_later(order.seconds, exit=True)
    answer = _carry_out(order)
    sys.stdout.flush()
    print(f"\n{MARK}{json.dumps(answer)}", flush=True)


def _carry_out(order: Order) -> dict[str, object]:
    contestant = everybody(order.added)[order.contestant]
    for module in contestant.needs:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as exc:
            return {"error": f"not installed: {exc.name}"}
    measurement = MEASUREMENTS[order.measurement]

    async def run() -> dict[str, float]:
        return await measurement.run(contestant, order.scale)

    try:
        return {"figures": contestant.run(run, order.loop)}
    except Exception as exc:
        return {"error": f"{type(exc).__name__}: {exc}"}
