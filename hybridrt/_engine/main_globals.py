"""The globals of a script's functions, one dict in each worker that has an initializer.

Functions of ``__main__`` travel by value, each with a copy of the globals that it reads, so what one assigns no other
sees. An initializer is written to assign globals that the calls behind it read. So where there is one, all functions
that come out of ``__main__`` share one dict in the worker, and whatever is in it when the initializer has run stays:
the calls do not bring these names anew.

Both halves are here: ``dumps`` is ours, the rest the worker's.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

_ABOUT_THE_MODULE = ("__package__", "__name__", "__path__", "__file__")

_shared: dict[str, Any] | None = None
_settled: frozenset[str] = frozenset()


def dumps(obj: object, protocol: int) -> bytes:
    """``cloudpickle.dumps``, with the globals of ``__main__`` to be found in the worker by ``main_globals``."""
    with io.BytesIO() as file:
        pickler = pickler_class()(file, protocol)
        prepare(pickler)
        pickler.dump(obj)
        return file.getvalue()


def prepare(pickler: Any) -> None:
    """Have a fresh pickler of ``pickler_class`` put a reference in place of the globals."""
    for known in (vars(sys.modules["__main__"]), _shared):
        if known is not None:
            pickler.globals_ref[id(known)] = _MainGlobals(known)


@cache
def pickler_class() -> Any:
    """The pickler that ``dumps`` uses."""
    import cloudpickle  # not in every worker

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            reduced = super().reducer_override(obj)
            # (make, its arguments, state, None, None, set state): of a function that travels whole
            if type(obj) is FunctionType and type(reduced) is tuple and len(reduced) == 6:
                return (*reduced[:2], (reduced[5], reduced[2]), None, None, set_state)
            return reduced

    return Pickler


class _MainGlobals(dict[str, Any]):
    """Stands for the globals of ``__main__`` in a pickle."""

    def __init__(self, known: dict[str, Any]) -> None:
        super().__init__({name: known[name] for name in _ABOUT_THE_MODULE if name in known})

    def __reduce__(self) -> Any:
        return main_globals, (dict(self),)


def main_globals(about: dict[str, Any]) -> dict[str, Any]:
    """In the worker: the globals of a function that comes out of ``__main__``."""
    if _shared is None:
        return about
    for name, value in about.items():
        _shared.setdefault(name, value)
    return _shared


def set_state(function: Any, packed: tuple[Callable[[Any, Any], None], Any]) -> None:
    """In the worker: what cloudpickle does, but for the globals that the initializer has settled."""
    set_it, state = packed
    if _settled and function.__globals__ is _shared:
        brought = state[1]["__globals__"]
        for name in _settled.intersection(brought):
            del brought[name]
    set_it(function, state)


def share() -> None:
    """In the worker, before the initializer arrives: from now on ``__main__``'s functions share their globals."""
    global _shared
    _shared = {}


def settle() -> None:
    """In the worker: the initializer has run; the globals that there are now stay as the worker has them."""
    global _settled
    _settled = frozenset(_shared or ())
