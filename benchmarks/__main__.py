"""The command line: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
from dataclasses import fields, replace
from pathlib import Path

from . import goals, machine, picture, report, runner
from .contestants import everybody
from .contestants.contract import Contestant
from .measurements import MEASUREMENTS, Scale
from .progress import Progress
from .results import Results

_QUICK = Scale(
    calls=100,
    at_once=1000,
    seconds=0.0,
    fresh=2,
    trips=1,
    array_mb=16,
    sharers=10,
    stall_mb=20,
    dicts=10_000,
    waiting=5000,
    requests=30,
    traced=100,
)
_PACKAGES = (
    *("hybridrt", "uvloop", "anyio", "loky", "pebble", "joblib", "mpire", "aiomisc", "aiomultiprocess"),
    *("trio", "trio-parallel", "numpy", "uvicorn"),
)


def main(argv: list[str] | None = None) -> int:
    """Run what was asked for; returns the exit status, 2 where nothing fits."""
    options = _parser().parse_args(argv)
    contestants = everybody(options.add)
    if options.list:
        _list(contestants)
        return 0
    if options.load:
        results = Results.load(options.load)
    else:
        plan = _plan(options, contestants)
        if not any(plan.cells()):
            print(f"nothing fits --only {' '.join(options.only)}: see --list", file=sys.stderr)
            return 2
        # An end by SIGTERM takes the same way out as Ctrl-C: the cell under way is cleared away.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        facts = machine.facts(plan.loop, _PACKAGES)
        results = Results(facts, plan.scale, plan.rounds, runner.run(plan, Progress()))
    found = goals.verdicts(results)
    if options.quick and not options.load:
        print("Quick and rough: one round, small sizes; most peers stand in the rows of calls at once only.")
    print("\n".join(report.lines(results, contestants)))
    print("\n".join(goals.lines(found, results.scale == Scale())))
    if options.json:
        results.save(options.json, found)
    if options.picture:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        options.picture.write_text(picture.draw(results, contestants))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="hybridrt beside its peers and beside the floor."
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="one round, small sizes, few peers: under a minute, and rough")
    add("--rounds", type=int, help="rounds (5; with --quick 1)")
    add(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="a measurement, a contestant or a lane (see --list); may be given several times",
    )
    add("--list", action="store_true", help="what there is, and stop")
    add("--loop", choices=("uvloop", "asyncio"), default=default_loop(), help="the event loop (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="save all raw figures, the medians and the machine")
    add("--picture", type=Path, metavar="FILE.svg", help="draw the medians")
    add("--load", type=Path, metavar="FILE", help="report and draw a run saved with --json; measure nothing")
    add(
        "--add",
        action="append",
        default=[],
        metavar="MODULE",
        help="an importable module with more contestants, in its CONTESTANTS",
    )
    add("--timeout", type=float, default=60.0, metavar="SECONDS", help="most time for one cell (%(default)g)")
    for field in fields(Scale):
        kind = float if field.name == "seconds" else int
        add(f"--{field.name.replace('_', '-')}", type=kind, metavar="N", help=f"scale: {field.default}")
    return parser  # fmt: skip


def default_loop() -> str:
    return "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"


def _plan(options: argparse.Namespace, contestants: dict[str, type[Contestant]]) -> runner.Plan:
    given = {f.name: v for f in fields(Scale) if (v := getattr(options, f.name)) is not None}
    only = set(options.only)
    measurements = tuple(key for key in MEASUREMENTS if key in only) or tuple(MEASUREMENTS)
    chosen = {k: c for k, c in contestants.items() if k in only or c.lane in only}
    if only - set(MEASUREMENTS) - set(contestants) - {"process", "thread"}:
        measurements = ()
    return runner.Plan(
        measurements,
        chosen or contestants,
        options.rounds or (1 if options.quick else 5),
        options.loop,
        tuple(options.add),
        replace(_QUICK if options.quick else Scale(), **given),
        options.timeout,
        is_lean=options.quick and not chosen,
    )


def _list(contestants: dict[str, type[Contestant]]) -> None:
    print("measurements")
    for measurement in MEASUREMENTS.values():
        titles = "; ".join(figure.title for figure in measurement.figures)
        rounds = f"at most {measurement.rounds}" if measurement.rounds else "all rounds"
        print(f"  {measurement.key:<26}{rounds:<12}{titles.replace('{at_once:,}', 'many')}")
    print("contestants")
    for contestant in contestants.values():
        print(
            f"  {contestant.key:<26}{contestant.lane:<9}{contestant.label:<42}{', '.join(contestant.takes)}"
        )


if __name__ == "__main__":
    sys.exit(main())
