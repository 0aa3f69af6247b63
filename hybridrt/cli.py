"""The ``hybridrt`` command."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from . import __version__

_BAD_USE, _INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 where something went wrong, 2 for wrong use, 130 after Ctrl-C."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        code = _demo(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (`hybridrt demo | head`); the rest of the buffer needs a place at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hybridrt", description="One awaitable runtime for asyncio.")
    parser.add_argument("--version", action="version", version=f"hybridrt {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    demo = commands.add_parser(
        "demo",
        help="real files read, parsed and compressed in four ways: time, loop delay and memory of each",
        description="Reads, parses, measures and compresses real files: with hybridrt, with asyncio's threads and a "
        "ProcessPoolExecutor, with threads alone, and inline on the loop; compares results, time, loop delay, memory.",
    )
    demo.add_argument(
        "--dir", metavar="PATH", help="a directory of any files (default: this Python's standard library)"
    )
    demo.add_argument("--json", action="store_true", help="print the figures as JSON, and nothing else")
    demo.add_argument(
        "--limit", type=_count, default=1000, metavar="N", help="at most N files (default: %(default)s)"
    )
    demo.add_argument(
        "--rounds", type=_count, default=2, metavar="N", help="do all of it N times (default: %(default)s)"
    )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _demo(options: argparse.Namespace) -> int:
    from ._core.settings import Settings
    from .demo.race import BadTree, DemoError, race
    from .demo.report import figures, set_up, table
    from .demo.tree import Tree

    if options.dir is None:
        tree = Tree.standard_library(options.limit)
    else:
        tree = Tree(os.path.abspath(options.dir), options.limit)
    processes = Settings.load({}).processes
    if not options.json:
        print(set_up(processes, options.rounds), flush=True)
    try:
        result = race(tree, processes, options.rounds)
    except DemoError as exc:
        print(f"hybridrt demo: {exc}", file=sys.stderr)
        return _BAD_USE if isinstance(exc, BadTree) else 1
    if options.json:
        print(json.dumps(figures(result), indent=2))
    else:
        print("\n".join(table(result)))
    return 1 if result.differences else 0
