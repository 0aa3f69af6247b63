"""What a class offers to those who call its instance from afar: told from the class, before anything is sent."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from .._core.batch import BATCH, Batch
from .._core.function import COROUTINE, GENERATOR, PLAIN, Function, kind_of, name_of
from .._engine.instances import is_entered, is_entered_on_loop

_NO_SUCH = object()


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """A method that can be called from afar."""

    name: str
    function: Function
    """The facts about its calls."""
    is_coroutine: bool
    batch: Batch | None
    """Set where it takes many items at once, and its callers have one each."""


class Methods:
    """The methods of ``cls``; each is examined once, when somebody first wants it.

    Where the class has coroutine functions, and the instance lives in a process, all calls run ``on_loop``.
    """

    def __init__(self, cls: type, *, lane: str) -> None:
        self.cls: type = cls
        self.name: str = name_of(cls)
        self._lane = lane
        self.on_loop: bool = lane == "process" and _has_coroutines(cls)
        self.has_end: bool = is_entered(cls) or is_entered_on_loop(cls)
        if lane == "thread" and is_entered_on_loop(cls) and not is_entered(cls):
            raise TypeError(
                f"{self.name} is an asynchronous context manager, which needs an event loop and not a thread: let it "
                "live in a process, or give it __enter__ and __exit__"
            )
        self._found: dict[str, Method] = {}

    def names(self) -> list[str]:
        """The public ones, as ``dir`` shows them."""
        public = [name for name in dir(self.cls) if not name.startswith("_") and self._is_method(name)]
        return [name for name in public if kind_of(getattr(self.cls, name)) != GENERATOR]

    def of(self, name: str) -> Method:
        """The public method of this name. Raises AttributeError where there is none, TypeError for a generator."""
        if name.startswith("_"):
            raise AttributeError(
                f"{self.name}.{name} is not public: an actor offers public methods "
                f"(actor.call({self.cls.__name__}.{name}, ...) calls it all the same)"
            )
        return self._of(name)

    def named_by(self, function: object) -> Method:
        """The method that ``function``, as it stands in the class, is. Raises TypeError where it is none."""
        plain = getattr(function, "__func__", function)
        for cls in self.cls.__mro__:
            for name, own in vars(cls).items():
                if own is function or getattr(own, "__func__", _NO_SUCH) is plain:
                    return self._of(name)
        called = name_of(function) if callable(function) else f"a value of type {type(function).__name__}"
        here = self.cls.__name__
        raise TypeError(
            f"call takes a method of {self.name} as it stands in the class, then its arguments: "
            f"actor.call({here}.method, ...), not {called}"
        )

    def step(self, what: str) -> Function:
        """The facts about a step of its life."""
        return self._function(len, f"{self.name}{what}", PLAIN)

    def _of(self, name: str) -> Method:
        method = self._found.get(name)
        if method is None:
            method = self._found[name] = self._examine(name)
        return method

    def _examine(self, name: str) -> Method:
        cls = self.cls
        static = inspect.getattr_static(cls, name, _NO_SUCH)
        if static is _NO_SUCH:
            if not hasattr(cls, "__getattr__"):
                raise AttributeError(self._none_of(name))
            return Method(name, self._function(len, f"{self.name}.{name}", PLAIN), False, None)
        if not self._is_method(name):
            raise AttributeError(self._no_method(name, static))
        attribute = getattr(cls, name)
        kind = kind_of(attribute)
        if kind == GENERATOR:
            raise TypeError(
                f"{self.name}.{name} is a generator method, and a generator cannot leave its worker: return a list "
                "of what it yields, a part at a time where that is long"
            )
        if kind == COROUTINE and self._lane == "thread":
            raise TypeError(
                f"{self.name}.{name} is a coroutine function, which needs an event loop, and this actor lives in a "
                "thread: let it live in a process, or make it a plain method"
            )
        batch = getattr(attribute, BATCH, None)
        is_coroutine = kind == COROUTINE
        return Method(name, self._function(attribute, f"{self.name}.{name}", kind), is_coroutine, batch)

    def _function(self, fn: Callable[..., Any], name: str, kind: str) -> Function:
        function = Function(fn)
        function.name = name
        function.kind = COROUTINE if self.on_loop else kind
        return function

    def _is_method(self, name: str) -> bool:
        static = inspect.getattr_static(self.cls, name, None)
        if isinstance(static, property | functools.cached_property | type):
            return False
        return callable(getattr(self.cls, name, None))

    def _none_of(self, name: str) -> str:
        close = get_close_matches(name, self.names(), 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return (
            f"{self.name} has no method {name!r}{hint} (an attribute that its instance has in the worker cannot be "
            "seen from here: a method may return it)"
        )

    def _no_method(self, name: str, static: object) -> str:
        what = "a property" if isinstance(static, property | functools.cached_property) else "an attribute"
        what = "a class" if isinstance(static, type) else what
        return (
            f"{self.name}.{name} is {what}, and an actor offers methods only: what its instance holds is in another "
            "worker, so write a method that returns it"
        )


def _has_coroutines(cls: type) -> bool:
    if is_entered_on_loop(cls):
        return True
    for name in dir(cls):
        if name.startswith("__"):
            continue
        static = inspect.getattr_static(cls, name, None)
        if inspect.iscoroutinefunction(getattr(static, "__func__", static)):
            return True
    return False
