"""Object <-> bytes, the same on both sides.

What can be imported travels by reference, through the C pickler alone. What lives in ``__main__``, in a notebook
or in another function travels by value, through cloudpickle, which is loaded when first needed.
"""

from __future__ import annotations

import builtins
import pickle
import sys
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from .variables import pickled_with

loads = pickle.loads

_PROTOCOL = 5
_MAIN = b"__main__"


def dumps(obj: object) -> bytes:
    """``obj`` as bytes that ``loads`` understands in any process of ours; raises what the pickler raises."""
    try:
        data = pickle.dumps(obj, _PROTOCOL)
    except MemoryError:
        raise  # by value it would take more
    except Exception:
        # A lambda, a local function, a class of __main__ seen from a worker: by value then. Where that fails too,
        # cloudpickle's error is the one to report, because it got further.
        return dumps_by_value(obj)
    if _MAIN in data:
        # A reference into __main__ would mean the worker's own __main__ there.
        return dumps_by_value(obj)
    return data


def dumps_by_value(obj: object) -> bytes:
    """``obj`` with the functions and classes of ``__main__`` carried whole."""
    global _by_value_is_used
    import cloudpickle

    _by_value_is_used = True
    if _main_is_shared:
        from . import main_globals

        return main_globals.dumps(obj, _PROTOCOL)
    data: bytes = cloudpickle.dumps(obj, _PROTOCOL)
    return data


def pickle_by_value(
    file: Any,
    buffer_callback: Callable[[pickle.PickleBuffer], object],
    obj: object,
    reduce_view: Callable[[memoryview], Any],
) -> None:
    """``dumps_by_value`` into a file, with buffers out of band; ``reduce_view`` says how a memoryview travels."""
    global _by_value_is_used
    from . import by_value

    _by_value_is_used = True
    by_value.dump(file, buffer_callback, obj, reduce_view, main_is_shared=_main_is_shared)


_by_value_is_used = _main_is_shared = False


def share_main() -> None:
    """From now on the functions of ``__main__`` share their globals in workers that have an initializer."""
    global _main_is_shared
    _main_is_shared = True


def by_value_is_used() -> bool:
    """Whether anything has travelled by value from this process, so that workers need cloudpickle as well."""
    return _by_value_is_used


def is_importable(fn: Callable[..., object]) -> bool:
    """Whether a worker finds ``fn`` by importing its module: then its name is all that travels."""
    if isinstance(fn, BuiltinFunctionType):
        if fn.__self__ is not None and not isinstance(fn.__self__, ModuleType):
            return False  # a bound method of a builtin type: its object would have to travel
    elif not isinstance(fn, FunctionType | type):
        return False
    if fn.__module__ in (None, "__main__"):
        return False
    try:
        return _MAIN not in pickle.dumps(fn, _PROTOCOL)
    except Exception:
        return False


_FIXED_TYPES = (
    int,
    float,
    complex,
    bool,
    str,
    bytes,
    type(None),
    type(...),
    CodeType,
)


def fixed_state(fn: object) -> tuple[object, ...] | None:
    """All that the pickled form of a by-value function depends on, or None where that can change unseen.

    Two states whose items are pairwise identical (``is``) pickle alike, so bytes made once may be sent again. A
    function that reads a list, or an object with attributes, has no fixed state: it is pickled anew for each call.
    The state keeps no function alive.
    """
    state: list[object] = []
    seen: set[int] = set()
    todo: list[object] = [fn]
    while todo:
        if len(state) > 500:
            return None
        item = todo.pop()
        if type(item) is FunctionType:
            state.append(weakref.ref(item))  # the same one each time, for as long as the function lives
        elif type(item) is tuple:
            state += (tuple, len(item))  # it may hold functions
        else:
            state.append(item)
        if type(item) in _FIXED_TYPES or id(item) in seen:
            continue
        seen.add(id(item))
        if type(item) is FunctionType:
            if item is not fn and is_importable(item):
                continue
            todo.extend(_parts(item))
        elif type(item) is tuple:
            todo.extend(item)
        elif type(item) is ContextVar:
            known = pickled_with(item)
            if known is None:
                return None
            todo.extend(known)
        elif not _travels_by_name(item):
            return None
    return tuple(state)


def _travels_by_name(item: object) -> bool:
    if type(item) is ModuleType:
        return sys.modules.get(item.__name__) is item
    if type(item) is BuiltinFunctionType:
        return item.__self__ is None or type(item.__self__) is ModuleType
    return isinstance(item, type) and is_importable(item)


def same_state(one: tuple[object, ...] | None, other: tuple[object, ...] | None) -> bool:
    """Whether two fixed states are the same, item by item, by identity."""
    if one is None or other is None or len(one) != len(other):
        return False
    return all(a is b for a, b in zip(one, other, strict=True))


def _parts(fn: FunctionType) -> Iterator[object]:
    yield fn.__code__
    yield from fn.__defaults__ or ()
    for source in (fn.__kwdefaults__ or {}, fn.__dict__):
        for name, value in source.items():
            yield name
            yield value
    names = _names_read(fn.__code__)
    for cell in fn.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:  # a variable that is not assigned yet: it may be by the next call
            value = cell
        yield value
        if type(value) is ModuleType and "__path__" in vars(value):
            yield from _submodules(value, names)
    known = fn.__globals__
    for name in names:
        value = known.get(name, _names_read)
        if value is _names_read and not hasattr(builtins, name):
            continue  # an attribute's name, or a global that does not exist (yet: its coming changes the length)
        yield name
        yield value
        if type(value) is ModuleType and "__path__" in vars(value):
            yield from _submodules(value, names)


def _submodules(package: ModuleType, names: tuple[str, ...]) -> Iterator[object]:
    """Modules that the function may reach through ``package``: its pickled form imports those that are loaded."""
    prefix = f"{package.__name__}."
    for name in names:
        module = sys.modules.get(prefix + name)
        if module is not None:
            yield name
            yield module
            yield from _submodules(module, names)


# By id, with the code object kept beside: hashing a code object goes through all its constants.
_names_of_code: dict[int, tuple[CodeType, tuple[str, ...]]] = {}


def _names_read(code: CodeType) -> tuple[str, ...]:
    """Names that the code, or code nested in it, may look up among the globals (attribute names included)."""
    known = _names_of_code.get(id(code))
    if known is None:
        names = set(code.co_names)
        for const in code.co_consts:
            if isinstance(const, CodeType):
                names.update(_names_read(const))
        if len(_names_of_code) > 1000:
            _names_of_code.clear()
        known = _names_of_code[id(code)] = (code, tuple(sorted(names)))
    return known[1]
