"""The command line: ``python -m benchmarks.failures --help``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from . import page
from .pools import POOLS
from .runner import ALL_PROBES, run_probe
from .verdicts import MUST, row


def main(argv: list[str] | None = None) -> int:
    """Run the probes; 1 where hybridrt does not do what it promises, 2 where nothing can be run."""
    options = _parser().parse_args(argv)
    if options.list:
        for pool in POOLS.values():
            print(f"  {pool.key:<18}{pool.label:<30}{_state(pool.key)}")
        return 0
    saved = json.loads(options.load.read_text()) if options.load else _measure(options.only)
    if saved is None:
        return 2
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(saved, indent=1))
    print("\n".join(page.table(saved["results"])))
    if options.docs:
        if not page.is_complete(saved):
            print("--docs wants hybridrt beside its peers: leave out --only", file=sys.stderr)
            return 2
        page.PAGE.write_text(page.document(saved))
        print(f"written: {page.PAGE}", file=sys.stderr)
    ours = saved["results"].get("hybridrt")
    if ours is not None and row(ours) != MUST:
        print(f"hybridrt does not do what it promises: {' | '.join(MUST)}", file=sys.stderr)
        return 1
    return 0


def _measure(only: list[str]) -> dict[str, Any] | None:
    if sys.platform != "linux":
        print("these probes read /proc, which only Linux has", file=sys.stderr)
        return None
    if unknown := set(only) - set(POOLS):
        print(f"there is no pool {', '.join(sorted(unknown))}: see --list", file=sys.stderr)
        return None
    chosen = [key for key in POOLS if not only or key in only]
    for key in list(chosen):
        if page.version(POOLS[key]) is None:
            print(f"{POOLS[key].label}: {_state(key)}", file=sys.stderr)
            chosen.remove(key)
    if not chosen:
        return None
    # An end by SIGTERM takes the same way out as Ctrl-C: the probe under way is cleared away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    results: dict[str, dict[str, Any]] = {}
    for key in chosen:
        for probe in ALL_PROBES:
            _tell(f"{key}: {probe}")
            results.setdefault(key, {})[probe] = run_probe(POOLS[key], probe)
    _tell("")
    return {"machine": page.facts(), "results": results}


def _state(key: str) -> str:
    version = page.version(POOLS[key])
    return f"not installed (pip install {POOLS[key].package})" if version is None else version


def _tell(progress: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.failures",
        description="What hybridrt and its peers do when things go wrong: a Markdown table, made by running it.",
    )
    add = parser.add_argument
    add("--only", action="append", default=[], metavar="NAME", help="a pool (see --list); may be given again")
    add("--list", action="store_true", help="the pools, and which of them are installed; then stop")
    add("--json", type=Path, metavar="FILE", help="save all that was seen")
    add("--load", type=Path, metavar="FILE", help="a run saved with --json; probe nothing")
    add("--docs", action="store_true", help=f"write docs/{page.PAGE.name}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
