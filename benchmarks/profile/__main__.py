"""The command line: ``python -m benchmarks.profile --help``."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from .. import machine, traced
from ..__main__ import default_loop
from ..traced import Order
from . import frames, instructions, page, times
from .subjects import SUBJECTS, PerCall, Subject, per_call

_OF_CALLGRIND = {"libraries": "by_library", "instructions": "by_function", "allocations": "allocations"}
"""Tables, and what of ``Instructions`` is in them."""
PAGE = Path(__file__).resolve().parent.parent / "profile.md"


def main(argv: list[str] | None = None) -> int:
    """Count, and write the page; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile", description="Where the time of one call goes, counted by tools."
    )
    parser.add_argument("--output", type=Path, default=PAGE, metavar="FILE.md", help="(%(default)s)")
    parser.add_argument(
        "--calls", type=int, default=1000, metavar="N", help="calls that are counted (%(default)s)"
    )
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default=default_loop(), help="(%(default)s)")
    parser.add_argument(
        "--without", choices=("strace", "callgrind"), action="append", default=[], help="leave out"
    )
    options = parser.parse_args(argv)
    profile = _Profile(options.loop, options.calls, frozenset(options.without))
    old = options.output.read_text() if options.output.exists() else ""
    command = " ".join(["python -m benchmarks.profile", *(argv if argv is not None else sys.argv[1:])])
    facts = machine.facts(options.loop, ())
    options.output.write_text(page.page(facts, command, profile.times(), profile.tables(), page.by_hand(old)))
    return 0


class _Profile:
    """All that is counted, by tool."""

    def __init__(self, loop: str, calls: int, without: frozenset[str]) -> None:
        self.loop = loop
        self.calls = calls
        self.without = without

    def times(self) -> dict[str, dict[str, float]]:
        """By subject; ten times as many calls, for these are not slowed down."""
        return {
            subject.title: times.measure(subject.order(self.loop, 1, 10 * self.calls)) for subject in SUBJECTS
        }

    def tables(self) -> dict[str, page.Columns | str]:
        """By what is counted."""
        found: dict[str, page.Columns | str] = {
            "system calls": self._system_calls(),
            "frames": self._columns(frames.count, 1),
        }
        return found | self._instructions()

    def _columns(
        self, count: Callable[[Order], Mapping[int, Counter[str]]], workers: int
    ) -> dict[str, PerCall]:
        found = {}
        for subject in SUBJECTS:
            _tell(f"{count.__module__}: {subject.title}")
            calls = subject.calls(self.calls)
            none, all_of_them = (count(subject.order(self.loop, workers, n)) for n in (0, calls))
            found[subject.title] = per_call(none, all_of_them, calls)
        return found

    def _system_calls(self) -> page.Columns | str:
        if "strace" in self.without:
            return "it was not asked for"
        try:
            return self._columns(traced.count, 2)
        except NotImplementedError as exc:
            return str(exc)

    def _instructions(self) -> dict[str, page.Columns | str]:
        reason = "it was not asked for" if "callgrind" in self.without else instructions.missing()
        if reason is not None:
            return dict.fromkeys(_OF_CALLGRIND, reason)
        found: dict[str, dict[str, PerCall]] = {what: {} for what in _OF_CALLGRIND}
        for subject in SUBJECTS:
            _tell(f"callgrind: {subject.title}")
            none, all_of_them = self._counted(subject)
            for what, part in _OF_CALLGRIND.items():
                found[what][subject.title] = per_call(
                    {pid: getattr(process, part) for pid, process in none.items()},
                    {pid: getattr(process, part) for pid, process in all_of_them.items()},
                    subject.calls(self.calls),
                )
        return dict(found)

    def _counted(self, subject: Subject) -> list[dict[int, instructions.Instructions]]:
        return [instructions.count(subject.order(self.loop, 1, n)) for n in (0, subject.calls(self.calls))]


def _tell(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
