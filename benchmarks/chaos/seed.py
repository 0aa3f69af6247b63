"""One seed, in an interpreter of its own: what the command line starts, again and again.

``main`` takes the order as JSON from the command line and writes the answer as the last line of stdout.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any

from ..contestants.contract import loop_factory
from . import cancels, storm
from .leftovers import held, left
from .plan import Storm

COMMAND = "from benchmarks.chaos.seed import main; main()"
ANSWER = "benchmarks.chaos.seed:"
LEAVE_SECONDS = 2.0
"""What everything that a runtime had has to be gone after it was left."""
_LAST_SECONDS = 90.0


def main() -> None:
    """Carry out the order in ``sys.argv[1]``."""
    order = Storm(**json.loads(sys.argv[1]))
    faulthandler.dump_traceback_later(order.seconds + _LAST_SECONDS, exit=True)
    began = monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=loop_factory(order.loop)) as runner,
    ):
        counts, broken = runner.run(_run(order, Path(folder)))
    print(
        f"\n{ANSWER}{json.dumps({'counts': counts, 'broken': broken, 'seconds': monotonic() - began})}",
        flush=True,
    )


async def _run(order: Storm, folder: Path) -> tuple[dict[str, int], list[str]]:
    heard: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(_tell(context)))
    before = held()
    try:
        counts, broken = await (cancels if order.cancels else storm).run(order, folder)
    except TimeoutError as exc:  # leaving what hangs might hang as well
        print(
            f"\n{ANSWER}{json.dumps({'counts': {}, 'broken': [str(exc)], 'seconds': order.seconds})}",
            flush=True,
        )
        os._exit(1)
    broken += [f"nothing is left behind: {what}" for what in left(before, LEAVE_SECONDS)]
    broken += [f"the loop hears of no stray error: {text}" for text in heard]
    return counts, broken


def _tell(context: dict[str, Any]) -> str:
    exc = context.get("exception")
    return f"{context.get('message')} {type(exc).__name__}: {exc}" if exc else str(context.get("message"))
