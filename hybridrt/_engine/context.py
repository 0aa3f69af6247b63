"""The caller's context on its way to a worker: the values of registered variables, and what carriers pick up.

A call's payload has it as one more element, where there is any; it is pickled with the call, so what cannot travel is
the caller's error. In the worker the call then runs in a context of its own: neither its neighbours nor the next call
ever see it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from importlib import import_module
from typing import Any, Protocol, TypeAlias, cast

from .variables import MISSING, Address, resolve, travellers

TRACER = "opentelemetry.context"
CARRIERS = {TRACER: "hybridrt._engine.tracing"}
"""What follows a call beside registered variables: a ``Carrier`` for each of these modules, once it is loaded."""

Luggage: TypeAlias = tuple[list[tuple[Address, Any]], list[tuple[str, Any]]]
"""The values, each with the address of its variable; the loads, each with the name of its carrier."""


class Carrier(Protocol):
    """Brings something from around the caller to around the call. What it raises is warned of, once."""

    def pick_up(self) -> Any:
        """What is to travel, in a form that can be pickled; None for nothing."""
        ...

    def attach(self, load: Any, /) -> Any:
        """In the worker, in the context of the call: put it in place, and return what ``detach`` needs."""
        ...

    def detach(self, attached: Any, /) -> None:
        """The call has ended."""
        ...


# In the caller's process


def accompany(call: tuple[Any, ...]) -> tuple[Any, ...]:
    """``call`` with the luggage of the current context as one more element, or as it is where there is none."""
    values = [
        (traveller.address, value)
        for traveller in travellers
        if (value := traveller.var.get(MISSING)) is not MISSING
    ]
    loads = [
        (name, load) for name in CARRIERS if name in sys.modules and (load := _pick_up(name)) is not None
    ]
    return (*call, (values, loads)) if values or loads else call


def values_here() -> Iterator[tuple[str, Any]]:
    """Name and value of each registered variable that is set in the current context."""
    for traveller in travellers:
        value = traveller.var.get(MISSING)
        if value is not MISSING:
            yield traveller.var.name, value


def _pick_up(name: str) -> Any:
    try:
        return _carrier(name).pick_up()
    except Exception as exc:
        _warn_once(name, "does not travel with calls to worker processes", exc)
        return None


# In the worker


def within(luggage: Luggage, fn: Callable[..., Any], *, is_coroutine: bool) -> Callable[..., Any]:
    """``fn`` for one call, with the luggage around it."""
    return partial(_await_within if is_coroutine else _call_within, luggage, fn)


def _call_within(luggage: Luggage, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return copy_context().run(_call, luggage, fn, args, kwargs)


def _call(luggage: Luggage, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    attached: list[tuple[str, Any]] = []
    try:
        _unpack(luggage, attached)
        return fn(*args, **kwargs)
    finally:
        _detach(attached)


async def _await_within(luggage: Luggage, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    attached: list[tuple[str, Any]] = []
    try:
        _unpack(luggage, attached)  # the call's task has a context of its own anyway
        return await fn(*args, **kwargs)
    finally:
        _detach(attached)


def _unpack(luggage: Luggage, attached: list[tuple[str, Any]]) -> None:
    values, loads = luggage
    for address, value in values:
        var = resolve(address)
        if var is not None:
            var.set(value)
    for name, load in loads:
        try:
            attached.append((name, _carrier(name).attach(load)))
        except Exception as exc:
            _warn_once(name, "did not arrive with a call in this worker process", exc)


def _detach(attached: list[tuple[str, Any]]) -> None:
    while attached:
        name, what = attached.pop()
        try:
            _carrier(name).detach(what)
        except Exception as exc:
            _warn_once(name, "could not be put back after a call in this worker process", exc)


# On both sides

_warned_of: set[str] = set()


def _carrier(name: str) -> Carrier:
    return cast(Carrier, import_module(CARRIERS[name]))


def _warn_once(name: str, what: str, error: Exception) -> None:
    if name in _warned_of:
        return
    _warned_of.add(name)
    try:
        warnings.warn(
            f"hybridrt: the current {name} {what}: {type(error).__name__}: {error}. The calls themselves go on",
            RuntimeWarning,
            stacklevel=2,
        )
    except RuntimeWarning:
        pass  # warnings are errors here, and yet this must not fail the call
