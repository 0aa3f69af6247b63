"""Several calls of one function that travel to a worker and back together, each with an outcome of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .._core.interrupt import Interrupted
from . import wire
from .desk import Desk


def run_chunk(fn: Callable[..., Any], batch: Sequence[tuple[Any, ...]]) -> list[tuple[int, bytes]]:
    """In a worker: call ``fn`` with each item's arguments, up to the first that fails.

    Returns (kind, payload) of an answer for each item, so that what fails, or cannot travel, takes no other along.
    """
    desk = Desk.here
    outcomes = []
    for args in batch:
        try:
            kind, payload = desk.pack_part(fn(*args))
        except Interrupted:
            raise
        except BaseException as exc:
            kind, payload = desk.pack_failure(exc)
        outcomes.append((kind, payload))
        if kind != wire.RESULT:
            break
    return outcomes
