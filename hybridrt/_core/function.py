"""What is known of each function that was called: its kind, what was declared of it, how its calls went where."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from types import CodeType, MethodType
from typing import TYPE_CHECKING, Any

from .knowledge import Knowledge
from .limits import LIMIT, Places

if TYPE_CHECKING:
    from .proof.verdict import Verdict

PLAIN = "plain"
COROUTINE = "coroutine"
GENERATOR = "generator"

DECLARED = "__hybridrt_lane__"
"""The attribute that ``io_bound`` and ``cpu_bound`` set."""

_ENOUGH_RUNS = 3
_WEIGHT = 0.2


class Timing:
    """Run times in one lane, in seconds: a moving mean and a moving deviation from it."""

    __slots__ = ("doubts", "expected", "mean", "runs", "spread")

    def __init__(self) -> None:
        self.runs: int = 0
        self.mean: float = 0.0
        self.spread: float = 0.0
        self.expected: float = float("inf")
        """Seconds that the next run will hardly exceed; infinite while too few are known."""
        self.doubts: int = 0
        """Calls that were not run because of it alone."""

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

    def restart(self, seconds: float) -> None:
        """A run takes ``seconds``, it was found; those before it are no measure of that any more."""
        self.mean = seconds
        self.spread = 0.0


UNKNOWN = Timing()
"""Of what was never measured, or must not be relied on."""


class Function:
    """The facts about one function, shared by all that is called through it."""

    __slots__ = (
        "__weakref__", "by_size", "declared", "examiner", "in_process", "in_thread", "is_measured", "kind",
        "knowledge", "latest", "name", "on_loop", "places", "verdict", "whole",
    )  # fmt: skip

    def __init__(self, fn: Callable[..., Any], knowledge: Knowledge | None = None) -> None:
        self.name: str = name_of(fn)
        self.kind: str = kind_of(fn)
        declared = getattr(fn, DECLARED, None)
        self.declared: str | None = declared if isinstance(declared, str) else None
        self.is_measured: bool = self.declared is None and self.kind == PLAIN
        """Whether it is for measurement to say where its calls belong."""
        most = getattr(fn, LIMIT, None)
        self.places: Places | None = Places(most) if isinstance(most, int) else None
        """Where at most so many of its calls may run at once."""
        self.in_thread: Timing = Timing()
        self.in_process: Timing = Timing()
        self.on_loop: Timing = UNKNOWN if self.kind != COROUTINE else Timing()
        self.knowledge: Knowledge = knowledge or Knowledge()
        """Functions that were made of the same code, as a lambda is each time it is come by, have it in common."""
        self.verdict: Verdict | None = None
        """Whether this very one may be moved to a process, where that was examined."""
        self.examiner: object = None
        """Who is about to find that out; any thread may set it."""
        self.by_size: dict[int, Function] | None = None
        """The facts about calls with arguments of about the same size, where the size matters."""
        self.whole: Function | None = None
        """Where these are the facts about some of its calls only, by the size of their arguments: those about all."""
        self.latest: Function | None = None
        """Those of the size that came last."""

    def remember(self, recalled: tuple[Knowledge, dict[int, Knowledge]] | None) -> None:
        """Start from this knowledge: of all calls, and of those with arguments of one size."""
        if recalled is None:
            return
        self.knowledge, by_size = recalled
        if by_size:
            self.by_size = {}
            for size, known in by_size.items():
                part = self.by_size[size] = self.part()
                part.knowledge = known

    def part(self) -> Function:
        """For some of its calls: the same function, of which nothing has been measured."""
        part: Function = object.__new__(Function)
        part.name, part.kind, part.declared, part.is_measured = (
            self.name,
            self.kind,
            self.declared,
            self.is_measured,
        )
        part.in_thread, part.in_process, part.on_loop = Timing(), Timing(), UNKNOWN
        part.knowledge, part.verdict = Knowledge(), self.verdict
        part.places = self.places
        part.by_size = part.latest = part.examiner = None
        part.whole = self
        return part


class FunctionBook:
    """One ``Function`` for each function; facts go when their function goes. Belongs to one thread."""

    def __init__(self) -> None:
        self.recall: (
            Callable[[Callable[..., Any], str], tuple[Knowledge, dict[int, Knowledge]] | None] | None
        ) = None
        """What was known of a function before it was first called here, and by the size of its arguments."""
        self._facts: dict[int, tuple[Callable[[], Any], Function]] = {}
        self._of_code: weakref.WeakKeyDictionary[CodeType, Knowledge] = weakref.WeakKeyDictionary()

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
        while isinstance(source, functools.partial) and vars(source).keys().isdisjoint((DECLARED, LIMIT)):
            source = source.func
        if isinstance(source, MethodType):
            source = source.__func__
        key = id(source)
        kept = self._facts.get(key)
        if kept is not None and kept[0]() is source:
            return kept[1]
        facts = Function(source, self._knowledge_of(source))
        if self.recall is not None and facts.is_measured and not facts.knowledge.sights:
            facts.remember(self.recall(source, facts.name))
        kept_facts = self._facts
        try:
            # No lock in a weakref callback: taking an entry out of a dict needs none.
            self._facts[key] = (weakref.ref(source, lambda _: kept_facts.pop(key, None)), facts)
        except TypeError:
            pass  # it cannot be watched (a method of a builtin type, say): known for this call only
        return facts

    def known(self) -> list[tuple[Callable[..., Any], Function]]:
        """Each function that is there still, with its facts."""
        pairs = [(kept[0](), kept[1]) for kept in list(self._facts.values())]
        return [(fn, function) for fn, function in pairs if fn is not None]

    def _knowledge_of(self, source: Callable[..., Any]) -> Knowledge | None:
        code = getattr(source, "__code__", None)
        if not isinstance(code, CodeType):
            return None
        known = self._of_code.get(code)
        if known is None:
            known = self._of_code[code] = Knowledge()
        return known


def kind_of(fn: Callable[..., Any]) -> str:
    """``coroutine``, ``generator`` (sync or async) or ``plain``; looks through partials, methods and ``__call__``."""
    call = _called_by(fn)
    if inspect.iscoroutinefunction(call):
        return COROUTINE
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        return GENERATOR
    return PLAIN


def is_async_generator(fn: Callable[..., Any]) -> bool:
    """Whether ``fn`` is an async generator function, as ``kind_of`` looks at it."""
    return inspect.isasyncgenfunction(_called_by(fn))


def _called_by(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function that runs where ``fn`` is called."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if not inspect.isroutine(fn) and not isinstance(fn, type):
        return type(fn).__call__
    return fn


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
