"""What a caller is told when something cannot cross to a worker or back: which part, why, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from .._engine.context import values_here
from .._engine.culprit import Culprit, find_culprit, reason_of
from .._engine.parcel import dumps_by_value
from .._engine.shares import Unusable, travelling
from ..errors import NotSendable

_MOST_ARGUMENTS = 20


def unsendable_call(
    name: str,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    error: BaseException,
    *,
    dumps: Callable[[Any], bytes] = dumps_by_value,
) -> NotSendable:
    """The error for a call whose function or arguments, or what its context brings, cannot be pickled."""
    with travelling(None):  # a handle of something shared is not what stands in the way
        return _unsendable_call(name, fn, args, kwargs, error, dumps)


def _unsendable_call(
    name: str,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    error: BaseException,
    dumps: Callable[[Any], bytes],
) -> NotSendable:
    if isinstance(error, Unusable):
        return NotSendable(f"{name} cannot be sent to a worker process: {error}")
    context = [(f"context[{name!r}]", value) for name, value in values_here()]
    for root, thing in (("function", fn), ("args", args), ("kwargs", kwargs), *context):
        culprit = find_culprit(thing, root=root, dumps=dumps)
        if culprit is not None and culprit.path == root:
            # Where stack or memory ran out the search ends at once: say at least which argument it was.
            culprit = _first_refused(root, thing, dumps) or culprit
        if culprit is not None:
            return NotSendable(
                f"{name} cannot be sent to a worker process: {culprit.path}: {culprit.explain()}",
                where=culprit.path,
            )
    return NotSendable(f"{name} cannot be sent to a worker process: {reason_of(error)}")


def _first_refused(root: str, thing: object, dumps: Callable[[Any], bytes]) -> Culprit | None:
    parts: Iterable[tuple[object, object]] = ()
    if type(thing) is tuple:
        parts = enumerate(thing[:_MOST_ARGUMENTS])
    elif type(thing) is dict:
        parts = islice(thing.items(), _MOST_ARGUMENTS)
    found = (find_culprit(part, root=f"{root}[{key!r}]", dumps=dumps) for key, part in parts)
    return next(filter(None, found), None)


def generator_call(name: str) -> TypeError:
    """The error for a call of a generator function."""
    return TypeError(
        f"{name} is a generator function, and a generator cannot leave its process: "
        "call a function that returns a list (or another finished result) of what it yields"
    )


def unsendable_result(name: str, where: str, reason: object) -> NotSendable:
    """The error for a call whose result could not be pickled in the worker, or unpickled here."""
    if isinstance(reason, BaseException):
        what = f"it arrived, but cannot be unpickled here ({reason_of(reason, 'unpickle')})"
        error = NotSendable(f"the result of {name} is lost: {what}", where=where)
        error.__cause__ = reason
        return error
    return NotSendable(
        f"{name} ran, but its result cannot come back from the worker process: {reason}", where=where
    )
