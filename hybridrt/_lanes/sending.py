"""Calls that the crew gave out, as frames on their way to a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._core.crew import Seat
from .._engine import parcel, wire
from .._engine.child import Child
from .._engine.definitions import Definition
from .job import LargeJob, ProcessJob

_LARGE = 1 << 16
"""Payloads from this size on are not copied together with their header."""


def send_calls(
    seat: Seat[ProcessJob[Any]], batch: list[ProcessJob[Any]], path_news: Callable[[Child], list[str] | None]
) -> None:
    """Send ``batch``, which ``seat`` holds already, in one go, with the functions that its worker does not know yet.

    A call for an idle worker is for at once; every other one is written ahead, with a token that allows it.
    """
    child: Child = seat.worker
    if child.side.berth is not None and child.side.has_news:
        child.send(child.side.news())  # what memory it has back
    parts: list[bytes] = _forgotten(child) if child.to_forget else []
    ahead: list[int] = []
    if batch[0].is_coroutine:
        kind = wire.COROUTINE
    elif len(seat.under_way) == len(batch):
        kind = wire.CALL
    else:
        kind = wire.AHEAD
    known = child.known
    pack_header = wire.pack_header
    for job in batch:
        definition = job.definition
        if definition is None:
            extra = 0  # the function travels inside the call
        else:
            extra = definition.number
            if known.get(extra) != definition.version:
                _define(definition, child, parts, path_news)
        if kind == wire.AHEAD:
            ahead.append(job.number)
        payload = job.payload
        parts.append(pack_header(len(payload), job.number, extra, kind))
        if len(payload) < _LARGE:
            parts.append(payload)
        else:
            # Calls ahead are small (the crew sees to it), so no token is overdue here.
            child.send(b"".join(parts))
            child.send(payload)
            parts.clear()
        if kind == wire.CALL:
            kind = wire.AHEAD
    if ahead:
        child.allow(ahead)  # before the calls: a worker that finds no token takes its call for taken back
    if parts:
        child.send(b"".join(parts))


def send_now(
    seat: Seat[ProcessJob[Any]], job: ProcessJob[Any], path_news: Callable[[Child], list[str] | None]
) -> None:
    """As ``send_calls`` for one call that ``seat``, which was idle, holds now; quicker where there is nothing else."""
    child: Child = seat.worker
    definition = job.definition
    if (
        definition is None
        or child.known.get(definition.number) != definition.version
        or child.to_forget
        or child.side.berth is not None
        or len(job.payload) >= _LARGE
    ):
        send_calls(seat, [job], path_news)
        return
    payload = job.payload
    child.send(wire.pack_header(len(payload), job.number, definition.number, wire.CALL) + payload)


def send_large(
    seat: Seat[ProcessJob[Any]], job: LargeJob[Any], path_news: Callable[[Child], list[str] | None]
) -> None:
    """Send a call that was packed, and that ``seat`` holds already, with its function if its worker does not know it.

    That worker has nothing else, or serves coroutines: nothing is written ahead to either.
    """
    cargo = job.cargo
    if cargo is None:
        return  # it has just been let go, and is done
    child: Child = seat.worker
    if child.side.has_news:
        child.send(child.side.news())
    parts: list[bytes] = []
    kind = (wire.COROUTINE if job.is_coroutine else wire.CALL) | cargo.flag
    definition = job.definition
    if definition is not None and child.known.get(definition.number) != definition.version:
        _define(definition, child, parts, path_news)
    extra = 0 if definition is None else definition.number
    if cargo.shares and (shared := child.side.introduce(cargo)):
        child.send_pieces(shared)
    pieces = child.side.accept(cargo, keep=job.retries > job.crashes)
    parts.append(wire.pack_header(sum(map(len, pieces)), job.number, extra, kind))
    child.send(b"".join(parts))
    child.send_pieces(pieces)
    job.make_room(job)


def _define(
    definition: Definition, child: Child, parts: list[bytes], path_news: Callable[[Child], list[str] | None]
) -> None:
    """Once ``parts`` has reached it, the worker knows this function by its number."""
    child.known[definition.number] = definition.version
    path = path_news(child)
    if path is not None:
        parts.append(wire.pack(wire.PATH, 0, 0, parcel.dumps(path)))
    parts.append(wire.pack(wire.DEFINE, 0, definition.number, definition.data))


def _forgotten(child: Child) -> list[bytes]:
    frames = []
    while child.to_forget:
        number = child.to_forget.pop()
        if child.known.pop(number, None) is not None:
            frames.append(wire.pack(wire.FORGET, 0, number))
    return frames
