"""The command line: ``python -m benchmarks.flow map|stream|actor|flood``."""

from __future__ import annotations

import argparse
import importlib
import sys

from .. import goals, machine
from ..__main__ import default_loop

PARTS = {
    "map": "a million small items through rt.map, beside ProcessPoolExecutor.map; memory",
    "stream": "small items and arrays out of a worker, beside the same generator here",
    "actor": "a method's call beside a plain call; batched inference beside unbatched",
    "flood": "ten times what the machine can do: with max_queue and deadlines, without, and two tenants",
}
_PACKAGES = ("uvloop", "anyio")


def main(arguments: list[str] | None = None) -> int:
    """Measure one part, or all; 1 where a goal is not met."""
    options = _parser().parse_args(arguments)
    rounds = options.rounds or (1 if options.quick else 3)
    is_missed = False
    for name in [options.part] if options.part else PARTS:
        part = importlib.import_module(f"{__package__}.of_{name}")
        facts = machine.facts(options.loop, _PACKAGES)
        print(
            f"\n{facts['python']}, {facts['loop']}, {facts['cores']} cores, load {facts['load']}, {facts['date']}"
        )
        lines, verdicts = part.measure(rounds=rounds, loop=options.loop, is_quick=options.quick, tell=_tell)
        _tell("")
        print("\n".join([*lines, "", *goals.lines(verdicts, not options.quick)]))
        is_missed |= any(verdict["is_met"] is False for verdict in verdicts)
    return int(is_missed and not options.quick)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flow", description=__doc__)
    add = parser.add_argument
    add("part", choices=PARTS, nargs="?", help="; ".join(f"{name}: {what}" for name, what in PARTS.items()))
    add("--rounds", type=int, help="of everything, interleaved (3; with --quick 1)")
    add("--quick", action="store_true", help="once, and less of it: rough")
    add("--loop", choices=("uvloop", "asyncio"), default=default_loop(), help="the event loop (%(default)s)")
    return parser


def _tell(progress: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
