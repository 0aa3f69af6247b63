"""What a pickler looks into when it is given an object, each part with its place: ``[3]``, ``['key']``, ``.name``."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

MOST_PARTS = 200_000
LONGEST_NAME = 40

_Items = Iterable[tuple[Any, Any]]


class Part(NamedTuple):
    """An object and the step that leads to it from the one it is part of."""

    label: str
    obj: object


class Parts(NamedTuple):
    """The parts of an object, and how to make the label of each."""

    objects: Sequence[object]
    label: Callable[[int], str]


def parts_of(obj: object) -> Parts:
    """The parts of ``obj``, at most ``MOST_PARTS``; none where it has none or its own code fails. Never raises."""
    if type(obj) is list or type(obj) is tuple:
        return Parts(obj, "[{}]".format)  # as it is: it may be long
    found: list[Part] = []
    try:
        for part in islice(_parts(obj), MOST_PARTS):
            found.append(part)  # noqa: PERF402  (keeps what came before an error)
    except BaseException:
        pass  # what cannot be laid open is taken as one piece
    return Parts([part.obj for part in found], lambda at: found[at].label)


def _parts(obj: Any) -> Iterator[Part]:
    cls = type(obj)
    if cls is dict:
        yield from _dict_parts(obj.items())
    elif cls is set or cls is frozenset:
        yield from (Part(".<member of the set>", member) for member in obj)
    elif cls is FunctionType:
        yield from _function_parts(obj)
    elif cls is MethodType:
        yield Part(".__self__", obj.__self__)
        yield Part(".__func__", obj.__func__)
    elif cls is partial:
        yield Part(".func", obj.func)
        yield from _indexed(".args", obj.args)
        yield from _dict_parts(obj.keywords.items(), ".keywords")
        yield from _attributes(vars(obj))
    elif cls in (staticmethod, classmethod):
        yield Part(".__func__", obj.__func__)
    elif cls is property:
        yield from (Part(f".{name}", getattr(obj, name)) for name in ("fget", "fset", "fdel"))
    elif cls is CellType:
        yield Part(".cell_contents", obj.cell_contents)
    elif issubclass(cls, type):
        yield from _class_parts(obj)
    else:
        yield from _reduced_parts(obj, cls)


def _indexed(label: str, items: Iterable[Any]) -> Iterator[Part]:
    return (Part(f"{label}[{at}]", item) for at, item in enumerate(items))


def _dict_parts(items: _Items, label: str = "") -> Iterator[Part]:
    for at, (key, value) in enumerate(items):
        if type(key) not in (str, int):
            yield Part(f"{label}.<key {at}>", key)
        yield Part(f"{label}[{_key(key, at)}]", value)


def _key(key: Any, at: int) -> str:
    """A key as it may be shown: a name or a small number; of all others type and position."""
    if type(key) is str and len(key) <= LONGEST_NAME and key.translate(_NAME_SIGNS).isidentifier():
        return f"'{key}'"
    if type(key) is int and -10_000 < key < 10_000:
        return str(key)
    return f"<{type(key).__name__}, key {at}>"


_NAME_SIGNS = str.maketrans("-.", "__")


def _attributes(state: dict[Any, Any]) -> Iterator[Part]:
    for name, value in state.items():
        shown = (
            name if type(name) is str and len(name) <= LONGEST_NAME and name.isidentifier() else "<attribute>"
        )
        yield Part(f".{shown}", value)


def _function_parts(fn: FunctionType) -> Iterator[Part]:
    """What travels with a function that is sent by value."""
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False):
        try:
            yield Part(f".<closure of {fn.__name__}>.{name}", cell.cell_contents)
        except ValueError:  # not assigned yet
            pass
    for name in sorted(_globals_read(fn.__code__)):
        if name in fn.__globals__:
            yield Part(f".<globals of {fn.__name__}>.{name}", fn.__globals__[name])
    yield from _indexed(f".<defaults of {fn.__name__}>", fn.__defaults__ or ())
    for name, value in (fn.__kwdefaults__ or {}).items():
        yield Part(f".<defaults of {fn.__name__}>.{name}", value)
    yield from _attributes(vars(fn))
    yield from _dict_parts(fn.__annotations__.items(), f".<annotations of {fn.__name__}>")


def _globals_read(code: CodeType) -> set[str]:
    """Names of globals that the code, or code nested in it, uses; no names of attributes."""
    from dis import get_instructions

    names = {
        i.argval for i in get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL")
    }
    for const in code.co_consts:
        if isinstance(const, CodeType):
            names |= _globals_read(const)
    return names


def _class_parts(cls: type) -> Iterator[Part]:
    """What travels with a class that is sent by value."""
    for name, value in vars(type)["__dict__"].__get__(cls).items():
        if name not in ("__dict__", "__weakref__", "__module__", "__doc__", "__qualname__"):
            yield Part(f".{name}", value)
    yield from _indexed(".__bases__", vars(type)["__bases__"].__get__(cls))


def _reduced_parts(obj: Any, cls: type) -> Iterator[Part]:
    """The parts of what ``__reduce_ex__`` gives: function, arguments, state, items of a list, items of a dict."""
    reduce: Callable[[Any], Any] | None = copyreg.dispatch_table.get(cls)
    reduced = reduce(obj) if reduce else obj.__reduce_ex__(5)
    if type(reduced) is not tuple or len(reduced) < 2:
        return
    function, args, state, items, pairs = (*reduced, None, None, None)[:5]
    # The items first: they have the plainer names, and most containers give them in their state or arguments again.
    if items is not None:
        yield from _indexed("", items)
    if pairs is not None:
        yield from _dict_parts(pairs)
    yield from _state_parts(state)
    yield from _argument_parts(obj, cls, function, args)


def _state_parts(state: Any) -> Iterator[Part]:
    if type(state) is tuple and len(state) == 2 and all(type(s) in (dict, type(None)) for s in state):
        for attributes in state:  # __dict__ and slots
            yield from _attributes(attributes or {})
    elif type(state) is dict:
        yield from _attributes(state)
    elif state is not None:
        yield Part(".<state>", state)


def _argument_parts(obj: Any, cls: type, function: Any, args: Any) -> Iterator[Part]:
    if getattr(function, "__name__", "") in ("__newobj__", "__newobj_ex__") and args and args[0] is cls:
        yield Part(".__class__", cls)
        args = args[1:]
        fields = getattr(cls, "_fields", ())
        if issubclass(cls, tuple) and len(fields) == len(args):
            yield from _attributes(dict(zip(fields, args, strict=True)))
            return
    elif function is cls:
        yield Part(".__class__", cls)
    else:
        yield Part(".<constructor>", function)
    if issubclass(cls, tuple | set | frozenset) and len(args) == 1 and type(args[0]) in (tuple, list):
        # What they are made from is what they hold.
        yield from _indexed("", args[0]) if issubclass(cls, tuple) else _parts(frozenset(args[0]))
    elif issubclass(cls, BaseException):
        yield from _indexed(".args", args)
    else:
        yield from _indexed(".<argument of its constructor>", args)
