"""The command line: ``python -m benchmarks.chaos --help``."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from typing import Any

from .. import processes
from ..__main__ import default_loop
from ..runner import ROOT
from .leftovers import MARK
from .plan import Storm
from .seed import ANSWER, COMMAND

_START_SECONDS = 100.0


def main(argv: list[str] | None = None) -> int:
    """Run the seeds; 1 where a promise was broken."""
    options = _parser().parse_args(argv)
    if sys.platform != "linux":
        print("this reads /proc, which only Linux has", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    first = random.SystemRandom().randrange(1 << 24) if options.seed is None else options.seed
    bad = []
    for seed in range(first, first + options.seeds):
        storm = Storm(
            seed,
            options.loop,
            options.tasks,
            options.kills,
            options.retries,
            options.cancels,
            options.timeout,
        )
        answer = run_seed(storm)
        _report(storm, answer)
        if answer["broken"]:
            bad.append(seed)
    kept = options.seeds - len(bad)
    print(f"{kept} of {options.seeds} seeds kept every promise" + (f"; not: {bad}" if bad else ""))
    return 1 if bad else 0


def run_seed(storm: Storm) -> dict[str, Any]:
    """Run one seed in a process of its own: ``counts``, ``broken`` promises, ``seconds``."""
    mark = f"{MARK}={os.getpid()}.{storm.seed}"
    paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
    with (
        tempfile.TemporaryFile("w+", errors="replace") as out,
        tempfile.TemporaryFile("w+", errors="replace") as err,
    ):
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", COMMAND, json.dumps(asdict(storm))],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | dict([mark.split("=")]),
        )
        try:
            process.wait(storm.seconds + _START_SECONDS)
        except subprocess.TimeoutExpired:
            pass  # seen by its lack of an exit code
        finally:
            exitcode = process.poll()
            process.kill()
            process.wait()
            stayed = processes.wait_until_gone(mark, 2.0)
            processes.kill_marked(mark)
        out.seek(0)
        err.seek(0)
        return _read(out.read(), err.read(), exitcode, stayed)


def _read(out: str, err: str, exitcode: int | None, stayed: dict[int, str]) -> dict[str, Any]:
    answer: dict[str, Any] = {"counts": {}, "broken": [], "seconds": 0.0}
    for line in out.splitlines():
        if line.startswith(ANSWER):
            answer = json.loads(line.removeprefix(ANSWER))
            break
    else:
        answer["broken"].append(f"the run ends: it gave no answer, exit code {exitcode}")
    if stray := _without_expected(err):
        answer["broken"].append("nobody writes to stderr: " + "\n    ".join(stray.splitlines()[-25:]))
    answer["broken"] += [
        f"nothing outlives its owner: process {pid} ({command})" for pid, command in stayed.items()
    ]
    return answer


def _without_expected(err: str) -> str:
    """What was written to stderr, but for what Python says where an interrupt hits a callback or ``Popen`` itself.

    Neither can raise it. A worker that is killed while it writes that leaves a part of it: no last line.
    """
    return "".join(
        block
        for block in re.split(r"^(?=Exception ignored in)", err, flags=re.MULTILINE)
        if not (
            block.startswith("Exception ignored in")
            and (
                "Interrupted: this call was cancelled" in block
                or "is still running" in block
                or not re.search(r"^[\w.]+(Error|Warning|Exception|Interrupt)\b", block, re.MULTILINE)
            )
        )
    ).strip()


def _report(storm: Storm, answer: dict[str, Any]) -> None:
    counts = ", ".join(f"{count:,} {what}" for what, count in sorted(answer["counts"].items()))
    verdict = "BROKEN" if answer["broken"] else "ok"
    print(f"seed {storm.seed:<9} {storm.loop:<8} {answer['seconds']:6.1f} s  {verdict}  {counts}", flush=True)
    for promise in answer["broken"][:20]:
        print(f"    broken: {promise}", flush=True)
    if len(answer["broken"]) > 20:
        print(f"    and {len(answer['broken']) - 20} more", flush=True)
    if answer["broken"]:
        options = (
            f"--tasks {storm.tasks} --kills {storm.kills} --retries {storm.retries} --cancels {storm.cancels}"
        )
        print(f"    again: python -m benchmarks.chaos --seed {storm.seed} --loop {storm.loop} {options}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description="Random calls, kills, cancels and time limits: nothing is lost, doubled, hung or left.",
        epilog="A seed fixes what is drawn, not how the machine schedules it: a rare failure may need several runs.",
    )
    add = parser.add_argument
    add("--seed", type=int, metavar="N", help="the first seed (default: a random one)")
    add("--seeds", type=int, default=1, metavar="K", help="how many, one after another (%(default)s)")
    add(
        "--loop",
        choices=("uvloop", "asyncio"),
        default=default_loop(),
        help="the event loop (%(default)s)",
    )
    add("--tasks", type=int, default=5000, metavar="N", help="calls (%(default)s)")
    add("--kills", type=int, default=200, metavar="N", help="SIGKILLs during them (%(default)s)")
    add(
        "--retries",
        type=int,
        default=0,
        metavar="N",
        help="options(retries=N): every crashed call ends right then",
    )
    add(
        "--cancels",
        type=int,
        default=0,
        metavar="N",
        help="another test: no kills, but so many cancels at every point of a tiny call's life",
    )
    add(
        "--timeout",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="what is not done by then hangs (%(default)g)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
