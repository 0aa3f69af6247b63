"""Context variables that are known by the same address in our process and in its workers.

A variable is a global of some module as a rule, and that is its address: a worker imports the module and finds its own
there. One that lives in ``__main__``, in a notebook or in a function has a random token for an address; a worker makes
it when a function arrives that brings it along, and there is one for each token, whatever brings it.

A registered variable can be pickled for that reason, as its address. For all others pickle refuses, as ever.
"""

from __future__ import annotations

import copyreg
import os
import sys
from collections.abc import Iterator
from contextvars import Context, ContextVar
from importlib import import_module
from types import ModuleType
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

Address: TypeAlias = tuple[str, str] | str
"""Module and (dotted) name in it, or a token."""

MISSING: Any = object()


class Traveller:
    """A registered variable and its address."""

    __slots__ = ("_found", "_scope", "_token", "var")

    def __init__(
        self, var: ContextVar[Any], *, scope: dict[str, Any], address: Address | None = None
    ) -> None:
        self.var = var
        self._scope = scope  # globals of the code that registered it: where it is most likely found
        self._found = address
        self._token = os.urandom(8).hex()  # now, so that two threads which look for it agree on it

    @property
    def address(self) -> Address:
        """Where a worker finds it; looked for on first use, for a variable is assigned after it was registered."""
        if self._found is None:
            found = _global_of(self.var, self._scope)
            if found is None:
                _by_address[self._token] = self.var
            self._found = found or self._token
        return self._found

    @property
    def default(self) -> Any:
        """What ``get`` gives where it was never set, or MISSING."""
        try:
            return Context().run(self.var.get)
        except LookupError:
            return MISSING


travellers: list[Traveller] = []
"""In the order of their registration. Only ever appended to, so any thread may go through it."""

_by_var: dict[ContextVar[Any], Traveller] = {}
_by_address: dict[Address, ContextVar[Any]] = {}
_not_here: set[Address] = set()


def register_contextvar(var: ContextVar[T]) -> ContextVar[T]:
    """From now on the value of ``var`` travels with every process call whose caller has set it. Returns ``var``.

    ``request_id = hybridrt.register_contextvar(ContextVar("request_id", default=""))``, once, where the variable is
    made; one of somebody else's library may be registered as well. It is set in the worker for that call alone. The
    value is pickled with the call: one that cannot be is NotSendable.

    The variable itself is found in the worker by its place: a global of an importable module, or an attribute of a
    class or object that is one. The worker imports that module, so a small one is best. A variable that lives elsewhere
    (in ``__main__``, a notebook, a function) is there for the functions that use it and travel by value themselves.

    May be called from any thread, and again for the same variable. Raises TypeError for anything but a ContextVar.
    """
    if type(var) is not ContextVar:
        raise TypeError(
            f"hybridrt.register_contextvar takes a contextvars.ContextVar, not a {type(var).__qualname__}"
        )
    _register(Traveller(var, scope=sys._getframe(1).f_globals))
    return var


def _register(traveller: Traveller) -> None:
    if not _by_var:
        copyreg.pickle(ContextVar, _reduce)
    if _by_var.setdefault(traveller.var, traveller) is traveller:
        travellers.append(traveller)


# Pickling the variable itself


def _reduce(var: ContextVar[Any]) -> Any:
    traveller = _by_var.get(var)
    if traveller is None:
        return object.__reduce_ex__(var, 5)  # refuses, in the words of this Python
    address = traveller.address
    if type(address) is tuple:
        return find, address
    default = traveller.default
    return make, (address, var.name) if default is MISSING else (address, var.name, default)


def pickled_with(var: ContextVar[Any]) -> tuple[object, ...] | None:
    """What the pickled form of ``var`` depends on beside the variable, or None where it cannot be pickled."""
    traveller = _by_var.get(var)
    if traveller is None:
        return None
    if type(traveller.address) is tuple:
        return ()
    return (traveller.default,)


def find(module: str, path: str) -> ContextVar[Any]:
    """The variable at this address; registered from here on, so that it travels further. Raises what importing does."""
    found: Any = import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    if type(found) is not ContextVar:
        raise TypeError(f"{module}.{path} is no ContextVar in this process")
    _by_address[module, path] = found
    _register(Traveller(found, scope={}, address=(module, path)))
    return found


def make(token: str, name: str, *default: Any) -> ContextVar[Any]:
    """The one variable of this token; made where it is not known yet."""
    var = _by_address.get(token)
    if var is None:
        fresh: ContextVar[Any] = ContextVar(name, default=default[0]) if default else ContextVar(name)
        var = _by_address.setdefault(token, fresh)
        _register(Traveller(var, scope={}, address=token))
    return var


def resolve(address: Address) -> ContextVar[Any] | None:
    """The variable at this address, or None where this process cannot have it: then no code here can read it."""
    var = _by_address.get(address)
    if var is None and type(address) is tuple:
        # Failing to import is slow, so it is tried once, and again only if the module has come in some other way.
        if address in _not_here and address[0] not in sys.modules:
            return None
        try:
            var = find(*address)
        except Exception:
            _not_here.add(address)  # the module's own error shows in whatever needs the module
    return var


# Where a variable lives


def _global_of(var: ContextVar[Any], scope: dict[str, Any]) -> Address | None:
    home = scope.get("__name__")
    if type(home) is not str or _globals_of(home) is not scope:
        home = None
    if home is not None:
        for name in _names_of(var, scope):
            return home, name
    for module in tuple(sys.modules):
        for name in _names_of(var, _globals_of(module) or {}):
            return module, name
    if home is not None:
        for owner, value in tuple(scope.items()):
            for name in _names_of(var, _attributes_of(value)):
                return home, f"{owner}.{name}"
    return None


def _names_of(var: ContextVar[Any], names: Any) -> Iterator[str]:
    return (name for name, value in tuple(names.items()) if value is var and type(name) is str)


def _globals_of(module: str) -> dict[str, Any] | None:
    """The globals of a module that a worker can import as well."""
    loaded: object = sys.modules.get(module)
    if module in ("__main__", "__mp_main__") or not issubclass(type(loaded), ModuleType):
        return None
    known = _attributes_of(loaded)
    return known if known.get("__spec__") is not None else None


def _attributes_of(thing: object) -> Any:
    """Its ``__dict__``, without a word to its own ``__getattr__``: a lazy module would load, a proxy complain."""
    try:
        if isinstance(thing, type):
            return type.__getattribute__(thing, "__dict__")
        return object.__getattribute__(thing, "__dict__")
    except Exception:
        return {}
