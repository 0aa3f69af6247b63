"""``@batched``: a method that takes many items, called with one by each of many callers. Workers load this, too."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar, overload

from .._core.batch import BATCH, Batch

S = TypeVar("S")
X = TypeVar("X")
Y = TypeVar("Y")


class Batching(Protocol):
    """What ``batched(...)`` returns: it turns a method of many items into one of one."""

    @overload
    def __call__(
        self, method: Callable[[S, list[X]], Coroutine[Any, Any, list[Y]]], /
    ) -> Callable[[S, X], Coroutine[Any, Any, Y]]: ...
    @overload
    def __call__(self, method: Callable[[S, list[X]], list[Y]], /) -> Callable[[S, X], Y]: ...
    def __call__(self, method: Callable[..., Any], /) -> Any:
        """The method that takes one item."""
        ...


def batched(*, max_size: int = 32, max_delay: float = 0.002) -> Batching:
    """Decorate a method that takes a list of items and returns a list of as many results: it is called with one item.

    On an actor the calls of many callers are collected into one, of at most ``max_size`` items; the first of them waits
    for others for at most ``max_delay`` seconds, and longer only where every instance is busy with two such calls
    already. A result that is an exception is raised to the caller of its item alone. A caller that is cancelled in time
    is left out. On a plain object the method is called with a list of this one item.

    Raises ValueError or TypeError for what makes no sense.
    """
    if type(max_size) is not int or max_size < 1:
        raise ValueError(f"batched(max_size={max_size!r}) must be a whole number, 1 or more")
    if not _is_seconds(max_delay):
        raise ValueError(f"batched(max_delay={max_delay!r}) must be a number of seconds, 0 or more")
    batch = Batch(max_size, float(max_delay))

    def decorate(method: Callable[..., Any]) -> Any:
        _require_one_list(method)
        one = _one_later(method) if inspect.iscoroutinefunction(method) else _one(method)
        setattr(one, BATCH, batch)
        return one

    return decorate


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < float("inf")


def _require_one_list(method: object) -> None:
    if not inspect.isfunction(method):
        raise TypeError(
            "@batched decorates a method: write it with parentheses, @batched(), in front of 'def'"
        )
    parameters = list(inspect.signature(method).parameters.values())
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if len(parameters) != 2 or any(it.kind not in kinds for it in parameters):
        raise TypeError(
            f"@batched: {method.__qualname__} must take self and a list of items, and nothing else"
        )
    if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
        raise TypeError(f"@batched: {method.__qualname__} must return a list of results, and not yield them")


def _one(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def one(self: Any, item: Any) -> Any:
        return result_of(method(self, [item])[0])

    return one


def _one_later(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def one(self: Any, item: Any) -> Any:
        return result_of((await method(self, [item]))[0])

    return one


def result_of(result: Any) -> Any:
    """One item's result; raised where it is an exception."""
    if isinstance(result, BaseException):
        raise result
    return result
