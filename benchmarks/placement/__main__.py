"""The command line: ``python -m benchmarks.placement --help``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import apart, goals, machine
from ..__main__ import default_loop
from ..goals import Verdict
from . import catalogue, data, labelled, lateness, mixes, overhead, picture

_PACKAGES = ("hybridrt", "uvloop", "numpy", "pillow")
_PARTS = ("labelled", "mixes", "overhead", "lateness", "picture")
_LEAST_SHARE = 0.95


def main(argv: list[str] | None = None) -> int:
    """Run what was asked for; 1 where a goal was missed, 2 where nothing fits."""
    options = _parser().parse_intermixed_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.part == "picture":
        return _draw(options)
    names = [name for name in catalogue.BY_NAME if not options.only or name in options.only]
    keys = [key for key in mixes.MIXES if not options.only or key in options.only]
    if not {"labelled": names, "lateness": names, "mixes": keys}.get(options.part, [""]):
        print(f"nothing fits --only {' '.join(options.only)}", file=sys.stderr)
        return 2
    facts = machine.facts(options.loop, _PACKAGES)
    print(
        f"{facts['python']}, {facts['loop']}, {facts['cores']} cores, load {facts['load']}, {facts['date']}"
    )
    if options.part == "lateness":
        return _measure_lateness(options, names)
    found, verdicts = _measure(options, names, keys)
    print("\n".join(goals.lines(verdicts, is_full_scale=not options.quick)))
    if options.json:
        _save(options.json, {"machine": facts, "part": options.part, "goals": verdicts, "found": found})
    return int(any(verdict["is_met"] is False for verdict in verdicts))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.placement",
        description="Where run puts real functions, what that is worth, and what it costs.",
    )
    add = parser.add_argument
    add("part", choices=_PARTS, help="lateness: the labels themselves, measured without hybridrt")
    add("--runs", type=int, help="of the labelled set, each in a fresh process (5; with --quick 1)")
    add("--rounds", type=int, help="of the mixes (3), or of recordings for the picture (5); with --quick 1")
    add("--calls", type=int, default=5, help="of each function of the labelled set (%(default)s)")
    add("--at-once", type=int, default=1, help="functions of the labelled set in flight (%(default)s)")
    add("--processes", type=int, default=2, help="worker processes in the mixes (%(default)s)")
    add("--busy", action=argparse.BooleanOptionalAction, default=True, help="a process keeps a core busy")
    add("--only", action="append", default=[], metavar="NAME", help="a function or a mix; several times")
    add("--quick", action="store_true", help="once, and less of it: rough")
    add("--loop", choices=("uvloop", "asyncio"), default=default_loop(), help="the event loop (%(default)s)")
    add(
        "--json",
        type=Path,
        metavar="FILE",
        help="save all figures; picture draws from them if the file is there",
    )
    add("svg", type=Path, nargs="?", help="with picture: the file to draw")
    return parser  # fmt: skip


def _measure(options: argparse.Namespace, names: list[str], keys: list[str]) -> tuple[Any, list[Verdict]]:
    if options.part == "labelled":
        found = []
        runs = options.runs or (1 if options.quick else 5)
        for placed in labelled.runs(
            runs,
            options.loop,
            is_busy=options.busy,
            names=names,
            calls=options.calls,
            at_once=options.at_once,
        ):
            found.append(placed)
            _tell(f"run {len(found)}: {labelled.share(placed):.1%}")
        _tell("")
        print("\n".join(labelled.lines(found)))
        print("  " + ", ".join(f"{kind} {share:.1%}" for kind, share in labelled.by_kind(found).items()))
        return [[asdict(one) for one in placed] for placed in found], [_labelled_verdict(found)]
    if options.part == "mixes":
        rounds = options.rounds or (1 if options.quick else 3)
        scale = 0.15 if options.quick else 1.0
        figures = mixes.rounds(keys, rounds, options.loop, scale, options.processes, _tell)
        _tell("")
        print("\n".join(mixes.lines(figures)))
        return figures, list(mixes.verdicts(figures))
    order = {"slices": 20 if options.quick else 100, "at_once": 1000, "loop": options.loop}
    costs = apart.carry_out("placement.overhead", order)
    print("\n".join(overhead.lines(costs)))
    return costs, list(overhead.verdicts(costs))


def _labelled_verdict(found: list[list[labelled.Placed]]) -> Verdict:
    least = min(map(labelled.share, found))
    return Verdict(
        text=f"labelled functions placed right, in each of {len(found)} runs",
        sense="at least",
        bound=_LEAST_SHARE,
        unit="",
        value=least,
        is_met=least >= _LEAST_SHARE,
    )


def _measure_lateness(options: argparse.Namespace, names: list[str]) -> int:
    doubtful = 0
    with apart.a_busy_core(options.busy):
        for case in (catalogue.BY_NAME[name] for name in names):
            found = lateness.lateness(case)
            is_clear = lateness.is_clear(case, found)
            doubtful += not is_clear
            print(
                f"  {case.name:<40}{case.kind:<10}{found['ms']:>9.3f} ms, others late by {found['share']:>5.0%} of it"
                + ("" if is_clear else "   NOT CLEAR")
            )
    data.clear()
    print("  Left out, because no label is right:")
    for name, why in catalogue.LEFT_OUT.items():
        print(f"    {name}: {why}")
    return int(doubtful > 0)


def _draw(options: argparse.Namespace) -> int:
    if options.svg is None:
        print("picture needs the file to draw: picture docs/placement.svg", file=sys.stderr)
        return 2
    if options.json and options.json.exists():
        recorded = json.loads(options.json.read_text())
    else:
        recorded = {
            "machine": machine.facts(options.loop, _PACKAGES),
            **picture.record(
                options.loop,
                2.0 if options.quick else 6.0,
                options.rounds or (1 if options.quick else 5),
                _tell,
            ),
        }
        _tell("")
        if options.json:
            _save(options.json, recorded)
    options.svg.parent.mkdir(parents=True, exist_ok=True)
    options.svg.write_text(picture.draw(recorded))
    return 0


def _save(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def _tell(progress: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
