"""Outside of the probe: start it, kill it where the probe is about that, give it a bound, clear up after it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from .. import processes
from .pools import Pool
from .probes import COMMAND, PROBES

ROOT = Path(__file__).resolve().parent.parent.parent
NO_GUARD = "no-guard"
ALL_PROBES = (*PROBES, NO_GUARD)

_BOUND_SECONDS = 30.0
"""For a whole probe; each of its stages has a bound of its own."""
_LEAVE_SECONDS = 5.0
"""What workers have to see that their parent was killed."""

_numbers = iter(range(1, sys.maxsize))


def run_probe(pool: type[Pool], probe: str) -> dict[str, Any]:
    """The facts; whatever the probe started is gone afterwards."""
    mark = f"BENCHMARKS_FAILURES={os.getpid()}.{next(_numbers)}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = _start(pool, probe, folder, mark)
        try:
            facts = _watch(process, probe, folder, mark)
        finally:
            process.kill()
            process.wait()
            processes.kill_marked(mark, session=process.pid)
        facts["last_words"] = (folder / "stderr").read_text(errors="replace").strip().splitlines()[-3:]
        if probe == NO_GUARD:
            facts["lines"] = (folder / "stdout").read_text(errors="replace").splitlines()
        return facts


def _start(pool: type[Pool], probe: str, folder: Path, mark: str) -> subprocess.Popen[bytes]:
    if probe == NO_GUARD:
        script = folder / "script.py"
        script.write_text(pool.script)
        command = [sys.executable, str(script)]
    else:
        command = [sys.executable, "-c", COMMAND, pool.key, probe, str(folder)]
    paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
    # Files, not pipes: a process that is left behind would hold a pipe open, and we would wait for it.
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | dict([mark.split("=")]),
        )


def _watch(process: subprocess.Popen[bytes], probe: str, folder: Path, mark: str) -> dict[str, Any]:
    answer = folder / "answer.json"
    end = monotonic() + _BOUND_SECONDS
    facts: dict[str, Any] = {}
    while process.poll() is None and monotonic() < end:
        if probe.startswith("killed-") and answer.exists():
            facts = json.loads(answer.read_text())
            if facts.get("ready"):
                return facts | _kill_parent(process, mark)
        sleep(0.02)
    if answer.exists():
        facts = json.loads(answer.read_text())
    return facts | {"exitcode": process.poll()}


def _kill_parent(process: subprocess.Popen[bytes], mark: str) -> dict[str, Any]:
    there = processes.marked(mark, session=process.pid)
    there.pop(process.pid, None)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    began = monotonic()
    left = processes.wait_until_gone(mark, _LEAVE_SECONDS, session=process.pid)
    seconds = monotonic() - began
    return {"there": _as_json(there), "left": _as_json(left), "seconds": seconds}


def _as_json(commands: dict[int, str]) -> dict[str, str]:
    return {str(pid): command[:200] for pid, command in commands.items()}
