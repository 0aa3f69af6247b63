"""What a caller is told when something cannot cross to a worker or back: which part, why, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._engine.context import values_here
from .._engine.culprit import find_culprit, reason_of
from .._engine.parcel import dumps_by_value
from ..errors import NotSendable


def unsendable_call(
    name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception
) -> NotSendable:
    """The error for a call whose function or arguments, or what its context brings, cannot be pickled."""
    context = [(f"context[{name!r}]", value) for name, value in values_here()]
    for root, thing in (("function", fn), ("args", args), ("kwargs", kwargs), *context):
        culprit = find_culprit(thing, root=root, dumps=dumps_by_value)
        if culprit is not None:
            return NotSendable(
                f"{name} cannot be sent to a worker process: {culprit.path}: {culprit.explain()}",
                where=culprit.path,
            )
    return NotSendable(f"{name} cannot be sent to a worker process: {reason_of(error)}")


def unsendable_result(name: str, where: str, reason: object) -> NotSendable:
    """The error for a call whose result could not be pickled in the worker, or unpickled here."""
    if isinstance(reason, BaseException):
        what = f"it arrived, but cannot be unpickled here ({reason_of(reason)})"
        error = NotSendable(f"the result of {name} is lost: {what}", where=where)
        error.__cause__ = reason
        return error
    return NotSendable(
        f"{name} ran, but its result cannot come back from the worker process: {reason}", where=where
    )
