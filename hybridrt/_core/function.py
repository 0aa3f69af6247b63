"""What is known of each function that was called: its kind, what was declared of it, how long it ran where."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from types import MethodType
from typing import Any

PLAIN = "plain"
COROUTINE = "coroutine"
GENERATOR = "generator"

DECLARED = "__hybridrt_lane__"
"""The attribute that ``io_bound`` and ``cpu_bound`` set."""

_ENOUGH_RUNS = 3
_WEIGHT = 0.2


class Timing:
    """Run times in one lane, in seconds: a moving mean and a moving deviation from it."""

    __slots__ = ("expected", "mean", "runs", "spread")

    def __init__(self) -> None:
        self.runs: int = 0
        self.mean: float = 0.0
        self.spread: float = 0.0
        self.expected: float = float("inf")
        """Seconds that the next run will hardly exceed; infinite while too few are known."""

    def record(self, seconds: float) -> None:
        """One more run took ``seconds``."""
        runs = self.runs = self.runs + 1
        if runs == 1:
            self.mean = seconds
            return
        off = seconds - self.mean
        self.mean += _WEIGHT * off
        self.spread += _WEIGHT * (abs(off) - self.spread)
        if runs >= _ENOUGH_RUNS:
            self.expected = self.mean + 2.0 * self.spread


UNKNOWN = Timing()
"""Of what was never measured, or must not be relied on."""


class Function:
    """The facts about one function, shared by all that is called through it."""

    __slots__ = ("__weakref__", "declared", "in_process", "in_thread", "kind", "name")

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.name: str = name_of(fn)
        self.kind: str = kind_of(fn)
        declared = getattr(fn, DECLARED, None)
        self.declared: str | None = declared if isinstance(declared, str) else None
        self.in_thread: Timing = Timing()
        self.in_process: Timing = Timing()


class FunctionBook:
    """One ``Function`` for each function; facts go when their function goes. Belongs to one thread."""

    def __init__(self) -> None:
        self._facts: dict[int, tuple[Callable[[], Any], Function]] = {}

    def look_up(self, fn: Callable[..., Any]) -> Function:
        """The facts about ``fn``. Raises TypeError where ``fn`` cannot be called."""
        kept = self._facts.get(id(fn))
        if kept is not None and kept[0]() is fn:
            return kept[1]
        return self._look_up_source(fn)

    def _look_up_source(self, fn: Callable[..., Any]) -> Function:
        if not callable(fn):
            raise TypeError(f"hybridrt can only run something callable, not {_a_value_of(fn)}")
        source = fn
        while isinstance(source, functools.partial) and DECLARED not in vars(source):
            source = source.func
        if isinstance(source, MethodType):
            source = source.__func__
        key = id(source)
        kept = self._facts.get(key)
        if kept is not None and kept[0]() is source:
            return kept[1]
        facts = Function(source)
        kept_facts = self._facts
        try:
            # No lock in a weakref callback: taking an entry out of a dict needs none.
            self._facts[key] = (weakref.ref(source, lambda _: kept_facts.pop(key, None)), facts)
        except TypeError:
            pass  # it cannot be watched (a method of a builtin type, say): known for this call only
        return facts


def kind_of(fn: Callable[..., Any]) -> str:
    """``coroutine``, ``generator`` (sync or async) or ``plain``; looks through partials, methods and ``__call__``."""
    call = fn
    while isinstance(call, functools.partial):
        call = call.func
    if not inspect.isroutine(call) and not isinstance(call, type):
        call = type(call).__call__
    if inspect.iscoroutinefunction(call):
        return COROUTINE
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        return GENERATOR
    return PLAIN


def name_of(fn: Any) -> str:
    """A name for messages: ``package.module.function``, never a repr (it could show values)."""
    name = getattr(fn, "__qualname__", None)
    if isinstance(name, str):
        module = getattr(fn, "__module__", None)
        return f"{module}.{name}" if isinstance(module, str) and module != "builtins" else name
    if isinstance(fn, functools.partial):
        return f"partial({name_of(fn.func)})"
    return f"a {name_of(type(fn))} object"


def _a_value_of(thing: object) -> str:
    if inspect.iscoroutine(thing):
        return f"the coroutine {name_of(thing)}(...): pass the function itself, then its arguments, without calling it"
    if thing is None:
        return "None: was the function called, in place of being passed?"
    return f"a value of type {name_of(type(thing))}: pass the function itself, then its arguments, without calling it"
