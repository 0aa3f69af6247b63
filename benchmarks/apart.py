"""One order, carried out in an interpreter of its own; and a process that keeps a core busy."""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from .runner import ROOT

_COMMAND = "from benchmarks.apart import main; main()"
_MARK = "benchmarks.apart:"
_BURN = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


class Failed(Exception):
    """The interpreter of its own gave no answer; the text is what it wrote to stderr."""


def carry_out(part: str, order: dict[str, Any], seconds: float = 120.0) -> Any:
    """What ``benchmarks.<part>.carry_out(**order)`` answers, a coroutine on a fresh loop (``order["loop"]``).

    Raises Failed where it does not answer within ``seconds``.
    """
    paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, part, json.dumps(order), str(seconds)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    answer = done.stdout.rpartition(_MARK)[2]
    if done.returncode or not answer:
        raise Failed(f"{part} {order}: exit code {done.returncode}\n{done.stderr[-4000:]}")
    return json.loads(answer)


def main() -> None:
    """Carry out the order in ``sys.argv``; the answer is the last line of stdout."""
    part, text, seconds = sys.argv[1:]
    faulthandler.dump_traceback_later(float(seconds), exit=True)
    order = json.loads(text)
    loop = order.pop("loop")
    work = importlib.import_module(f"{__package__}.{part}").carry_out(**order)
    answer = _run(work, loop)
    print(f"\n{_MARK}{json.dumps(answer)}", flush=True)


def _run(work: Coroutine[Any, Any, Any], loop: str) -> Any:
    if loop == "asyncio":
        return asyncio.run(work)
    import uvloop

    return uvloop.run(work)


@contextmanager
def a_busy_core(is_wanted: bool = True) -> Iterator[None]:
    """A process burns a core meanwhile; it ends with us, however we end."""
    if not is_wanted:
        yield
        return
    burning = subprocess.Popen([sys.executable, "-c", _BURN], stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        burning.kill()
        burning.wait()
