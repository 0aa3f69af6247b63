"""A function in, a verdict out."""

from __future__ import annotations

import ast
import functools
import inspect
import types
import weakref
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from .bindings import Known, Meanings
from .flow import Flow
from .methods import GIVES
from .plain import is_immutable
from .state import State
from .trusted import Trusted, trusted
from .values import IS_LIVE, IS_TOP, NEEDS_DEEP, NEEDS_PARTS, Refused, Value, needs_of
from .verdict import FunctionSeen, Verdict


def examine(fn: Callable[..., Any]) -> Verdict:
    """Whether ``fn`` may be moved to a worker process: reads source text and takes milliseconds; never raises."""
    try:
        return _examine(fn)
    except Refused as refusal:
        return Verdict(False, str(refusal))
    except RecursionError:
        return Verdict(False, "it is too deep to be looked into")
    except Exception as error:
        return Verdict(False, f"the proof went wrong ({type(error).__name__}: {error})"[:200])


def _examine(fn: Any) -> Verdict:
    if type(fn) is functools.partial:
        return _partial(fn)
    if isinstance(fn, MethodType):
        raise Refused("it is a bound method, and its object stays here")
    entry = trusted(fn)
    if entry is not None:
        return _trusted(entry)
    if isinstance(fn, type):
        raise Refused("it is a class, of which nothing is proven")
    if isinstance(fn, BuiltinFunctionType):
        return _builtin(fn)
    if hasattr(fn, "cache_info"):
        raise Refused("it has a cache, which stays here")
    if type(fn) is not FunctionType:
        raise Refused(f"it is an object of type {type(fn).__name__}, and stays here")
    if inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn):
        raise Refused("it is a coroutine function")
    return _function(fn)


def _function(fn: FunctionType) -> Verdict:
    meanings = Meanings()
    flow = Flow(meanings)
    flow.prove(fn)
    _check_name(fn, meanings)
    functions = tuple(_fingerprint(scope.fn) for scope in flow.functions.values() if scope.fn is not None)
    for scope in flow.functions.values():
        for name, item in ((scope.fn.__kwdefaults__ if scope.fn else None) or {}).items():
            assert scope.fn is not None  # noqa: S101 - for the type checker
            meanings.rely(scope.fn.__kwdefaults__ or {}, name, item)
    depends_on = tuple(meanings.relied_on.values())
    return Verdict(True, _praise(flow), flow.needs, depends_on, functions)


def _praise(flow: State) -> str:
    if not flow.needs:
        return "it changes nothing but what it makes itself"
    who = "all arguments" if flow.needs == NEEDS_DEEP else "the parts of all arguments"
    return f"it changes nothing of others, where {who} are immutable: it may {flow.why}"


def _fingerprint(fn: FunctionType) -> FunctionSeen:
    cells = []
    for cell in fn.__closure__ or ():
        content = cell.cell_contents
        cells.append(weakref.ref(content) if isinstance(content, FunctionType) else content)
    return weakref.ref(fn), fn.__code__, fn.__defaults__, tuple(cells)


def _check_name(fn: FunctionType, meanings: Meanings) -> None:
    """A worker that imports the function by its name must get the same one."""
    first, *rest = fn.__qualname__.split(".")
    namespace = fn.__globals__
    if "<locals>" in rest or first == "<lambda>" or first not in namespace:
        return  # it travels by value
    if not rest:
        if namespace[first] is fn:
            value = meanings.of_global(namespace, first)
            if Known(fn) not in value.calls:
                raise Refused(f"its module's name {first} is not surely this function")
        return
    owner = namespace[first]
    if len(rest) != 1 or not isinstance(owner, type):
        raise Refused(f"it is not at the top level of its module ({fn.__qualname__})")
    node, view = meanings.sources.node_of(fn)
    bound = view.bindings.get(first, [])
    if len(bound) != 1 or not isinstance(bound[0], ast.ClassDef):
        raise Refused(f"its module does not bind the name {first} once and for all")
    names = [item for item in bound[0].body if getattr(item, "name", None) == rest[0]]
    raw = vars(owner).get(rest[0])
    if names != [node] or (raw.__func__ if isinstance(raw, staticmethod) else raw) is not fn:
        raise Refused(f"the name {fn.__qualname__} is not surely this function")
    meanings.rely(namespace, first, owner)


def _trusted(entry: Trusted) -> Verdict:
    if entry.changes_first:
        return Verdict(True, "it is known, and changes its first argument", NEEDS_DEEP)
    if entry.gives in ("flat", "tuple", "box") and entry.at_most is None:
        return Verdict(True, "it is known to change nothing, and to give back something new")
    if entry.gives == "list":
        return Verdict(
            True, "it is known to change nothing, and to give back parts of its arguments", NEEDS_PARTS
        )
    if entry.gives == "any" and entry.at_most is None and entry.name != "next":
        return Verdict(True, "it is known to change nothing, and may give back its arguments", NEEDS_DEEP)
    if entry.at_most is not None:
        return Verdict(
            True, "it is known; it may write into or give back an array that it is given", NEEDS_DEEP
        )
    raise Refused(f"what {entry.name}() gives back cannot be sent")


def _builtin(fn: BuiltinFunctionType) -> Verdict:
    owner, name = fn.__self__, fn.__name__
    if owner is None or isinstance(owner, types.ModuleType):
        raise Refused(f"nothing is known of {owner.__name__ + '.' if owner else ''}{name}()")
    if isinstance(owner, type):
        entry = trusted(owner)
        known = None if entry is None else _member(entry, name)
        if known is None:
            raise Refused(f"nothing is known of {owner.__name__}.{name}()")
        return _trusted(known)
    if not is_immutable(owner) or name not in GIVES:
        raise Refused("it is a bound method, and its object stays here")
    flow = Flow(Meanings())
    args = [Value(IS_TOP)] * 2
    given = flow.call_method(name, args)
    if given.bits & IS_LIVE or given.calls:
        raise Refused("what it gives back cannot be sent")
    return Verdict(True, "it is a method of an immutable object", needs_of(given))


def _member(entry: Trusted, name: str) -> Trusted | None:
    from .trusted import member

    return member(entry, name)


def _partial(fn: functools.partial[Any]) -> Verdict:
    inner = _examine(fn.func)
    if not all(map(is_immutable, (*fn.args, *fn.keywords.values()))):
        raise Refused("it is a functools.partial of arguments that can change")
    if fn.__dict__:
        raise Refused("it is a functools.partial with attributes")
    keywords = tuple((fn.keywords, name, item) for name, item in fn.keywords.items())
    return Verdict(
        inner.is_movable,
        inner.reason,
        inner.needs_immutable,
        (*inner.depends_on, *keywords),
        inner.functions,
    )
