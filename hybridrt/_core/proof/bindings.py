"""What a global name, or a name in a module, means, and whether a fresh import would give it the same meaning."""

from __future__ import annotations

import ast
import builtins
import datetime
import enum
import sys
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from .plain import is_immutable
from .source import Sources, View
from .trusted import Trusted, class_named, is_library, member, trusted
from .values import FLAT, ROW, Refused, Value
from .verdict import ABSENT, Dependency

"""Stands for a name that a namespace does not have."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module as a value."""

    module: ModuleType


@dataclass(frozen=True, slots=True)
class Known:
    """A Python function whose source is to be looked at as well."""

    fn: Any  # a FunctionType: as a field's type, checkers take that for a method


class Meanings:
    """Looks names up, and writes down what it has relied on."""

    def __init__(self) -> None:
        self.sources = Sources()
        self.relied_on: dict[tuple[int, str], Dependency] = {}
        self._known: dict[tuple[int, str], Value] = {}

    def rely(self, namespace: dict[str, Any], name: str, item: object) -> None:
        self.relied_on[id(namespace), name] = (namespace, name, item)

    def of_global(self, namespace: dict[str, Any], name: str) -> Value:
        """What a function with these globals gets for ``name``; raises Refused."""
        key = id(namespace), name
        found = self._known.get(key)
        if found is None:
            self._known[key] = found = self._look_up(namespace, name)
        return found

    def _look_up(self, namespace: dict[str, Any], name: str) -> Value:
        if name.startswith("__") and not name.endswith("__"):
            raise Refused(f"it uses the name {name}, which means another one inside a class")
        item = namespace.get(name, ABSENT)
        self.rely(namespace, name, item)
        if item is not ABSENT:
            return self._bound(self.sources.view_of(namespace), name, item)
        shared: dict[str, Any] = builtins.__dict__
        item = shared.get(name, ABSENT)
        self.rely(shared, name, item)
        return self._library("", name, item)

    def attribute(self, module: ModuleType, name: str) -> Value:
        """What ``module.name`` is; raises Refused."""
        namespace = vars(module)
        item = namespace.get(name, ABSENT)
        self.rely(namespace, name, item)
        if item is ABSENT:
            raise Refused(f"{module.__name__}.{name} is not there")
        if isinstance(item, ModuleType):
            return self._module(item)
        has_source = str(namespace.get("__file__", "")).endswith(".py")
        if is_library(module):
            is_known = trusted(item) is not None or _is_fixed(module, name, item)
            if is_known or not has_source or (not isinstance(item, FunctionType) and callable(item)):
                return self._library(f"{module.__name__}.", name, item)
        elif not has_source:
            raise Refused(f"it uses {module.__name__}.{name}, whose source is not at hand")
        return self._bound(self.sources.view_of(namespace), name, item)

    def _library(self, where: str, name: str, item: Any) -> Value:
        entry = trusted(item)
        if entry is not None:
            return Value(0, frozenset({entry}))
        if item is ABSENT:
            raise Refused(f"it uses the name {name}, which is not bound")
        if not where and name == "__debug__":
            return FLAT
        if where and not callable(item):
            if is_immutable(item) and _is_fixed(sys.modules[where[:-1]], name, item):
                return flat_of(item)
            raise Refused(f"it reads {where}{name}, which can change")
        called = callable(item) and not isinstance(item, type)
        raise Refused(f"it uses {where}{name}{'()' if called else ''}")

    def _module(self, module: ModuleType) -> Value:
        if sys.modules.get(module.__name__) is not module:
            raise Refused(f"the module {module.__name__} is not the one that is loaded")
        return Value(0, frozenset({Module(module)}))

    def _bound(self, view: View, name: str, item: Any) -> Value:
        """The meaning of a name of a module with source: it must be bound once, in a way that an import repeats."""
        bound = view.bindings.get(name, [])
        if name in view.rebound or len(bound) != 1 or not view.is_top_level(bound[0]):
            if isinstance(item, FunctionType | ModuleType | type):
                raise Refused(f"its module does not bind the name {name} once and for all")
            raise Refused(f"it reads the module's variable {name}, which can change")
        match bound[0]:
            case ast.Import(names=names):
                return self._imported(names, name, item)
            case ast.ImportFrom() as node:
                return self._imported_from(view, node, name, item)
            case ast.FunctionDef() as node:
                return self._defined(view, node, item)
            case ast.Assign(targets=[ast.Name()], value=expression):
                return self._assigned(view, name, expression, item)
            case ast.AnnAssign(target=ast.Name(), value=ast.expr() as expression):
                return self._assigned(view, name, expression, item)
            case ast.ClassDef():
                return self._class(name, item)
        raise Refused(f"it reads the module's variable {name}, which can change")

    def _imported(self, names: list[ast.alias], name: str, item: Any) -> Value:
        for alias in names:
            if (alias.asname or alias.name.partition(".")[0]) == name:
                full = alias.name if alias.asname else name
                if isinstance(item, ModuleType) and sys.modules.get(full) is item:
                    return Value(0, frozenset({Module(item)}))
        raise Refused(f"the name {name} is not the module that was imported")

    def _imported_from(self, view: View, node: ast.ImportFrom, name: str, item: Any) -> Value:
        package = view.module.__dict__.get("__package__") or ""
        base = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package if node.level else ""
        full = ".".join(part for part in (base, node.module or "") if part)
        original = next((a.name for a in node.names if (a.asname or a.name) == name), None)
        source = sys.modules.get(full)
        if original is None or source is None or vars(source).get(original, ABSENT) is not item:
            raise Refused(f"the name {name} is not what was imported")
        return self.attribute(source, original)

    def _defined(self, view: View, node: ast.FunctionDef, item: Any) -> Value:
        if not isinstance(item, FunctionType) or item.__globals__ is not vars(view.module):
            raise Refused(f"the name {node.name} is not the function that its module defines (a decorator?)")
        first = min([node.lineno, *(deco.lineno for deco in node.decorator_list)])
        is_own = item.__code__.co_firstlineno == first and item.__code__.co_name == node.name
        wraps = bool(node.decorator_list) and all(
            self._only_wraps(view, deco) for deco in node.decorator_list
        )
        if not is_own and not wraps:
            raise Refused(f"the name {node.name} is not the function that its module defines")
        return Value(0, frozenset({Known(item)}))

    def _only_wraps(self, view: View, decorator: ast.expr) -> bool:
        """Whether a decorator does nothing but to define a function around the one it gets, and to give it back."""
        try:
            calls = self._named(view, decorator).calls
        except Refused:
            return False
        for item in calls:
            if isinstance(item, Known):
                node, _ = self.sources.node_of(item.fn)
                body = node.body if isinstance(node, ast.FunctionDef) else []
                if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                    body = body[1:]
                match body:
                    case [ast.FunctionDef(name=inner), ast.Return(value=ast.Name(id=given))] if (
                        inner == given
                    ):
                        return True
        return False

    def _class(self, name: str, item: Any) -> Value:
        raise Refused(f"it uses the class {name}, of which nothing is proven")

    def _assigned(self, view: View, name: str, expression: ast.expr, item: Any) -> Value:
        if isinstance(expression, ast.Name | ast.Attribute | ast.Lambda) and callable(item):
            return self._alias(view, name, expression, item)
        if not is_immutable(item):
            raise Refused(f"it reads the module's variable {name}, which can change")
        inside = expression
        if type(item) is frozenset and isinstance(expression, ast.Call) and len(expression.args) == 1:
            # Only here may a set come in: of all else that is made from one, its order may become a part.
            inside = expression.args[0]
            inside = ast.List(inside.elts) if isinstance(inside, ast.Set) else inside
        if not self._is_stable(view, inside):
            raise Refused(f"it reads the module's variable {name}, which a fresh import could set otherwise")
        try:
            code = compile(ast.Expression(expression), "<constant>", "eval", dont_inherit=True)
            again = eval(code, vars(view.module), {})  # noqa: S307 - its own source, and only what is trusted in it
        except Exception as error:
            raise Refused(
                f"the module's variable {name} cannot be made again ({type(error).__name__})"
            ) from None
        if not same(again, item):
            raise Refused(f"the module's variable {name} has been changed since")
        return flat_of(item)

    def _alias(self, view: View, name: str, expression: ast.expr, item: Any) -> Value:
        if isinstance(expression, ast.Lambda):
            if not isinstance(item, FunctionType) or item.__code__.co_firstlineno != expression.lineno:
                raise Refused(f"the name {name} is not the function that its module defines")
            return Value(0, frozenset({Known(item)}))
        value = self._named(view, expression)
        for callee in value.calls:
            if isinstance(callee, Known) and callee.fn is item:
                return value
            if isinstance(callee, Trusted) and callee == trusted(item):
                return value
        raise Refused(f"the name {name} is not what its module assigns")

    def _named(self, view: View, expression: ast.expr) -> Value:
        """The meaning of a dotted name at the top level of a module."""
        match expression:
            case ast.Name(id=name):
                return self.of_global(vars(view.module), name)
            case ast.Attribute(value=owner, attr=attr):
                for callee in self._named(view, owner).calls:
                    if isinstance(callee, Module):
                        return self.attribute(callee.module, attr)
                    if isinstance(callee, Trusted):
                        return self.class_attribute(callee, attr)
        raise Refused("it is more than a name")

    def class_attribute(self, owner: Trusted, name: str) -> Value:
        """A trusted function that is an attribute of a trusted class, such as ``datetime.now``."""
        entry = member(owner, name)
        if entry is not None:
            return Value(0, frozenset({entry}))
        cls = class_named(owner)
        constant = getattr(cls, name, None)
        if cls is not None and constant is not None and is_immutable(constant):
            return flat_of(constant)
        raise Refused(f"it uses {owner.name}.{name}")

    def _is_stable(self, view: View, expression: ast.expr) -> bool:
        """Whether ``expression``, at a module's top level, gives the same in each process."""
        match expression:
            case ast.Constant():
                return True
            case ast.Tuple() | ast.List() | ast.Dict() | ast.UnaryOp() | ast.BinOp():
                parts = [item for item in ast.iter_child_nodes(expression) if isinstance(item, ast.expr)]
                return all(self._is_stable(view, item) for item in parts)
            case ast.Name() | ast.Attribute():
                try:
                    value = self._named(view, expression)
                except Refused:
                    return False
                return type(self._constant(view, expression)) is not frozenset and all(
                    isinstance(item, Trusted) and not item.varies for item in value.calls
                )
            case ast.Call(func=func, args=args, keywords=keywords):
                parts = [func, *args, *(item.value for item in keywords)]
                return all(self._is_stable(view, item) for item in parts) and self._is_pure(view, func)
        return False

    @staticmethod
    def _constant(view: View, expression: ast.expr) -> object:
        return vars(view.module).get(expression.id) if isinstance(expression, ast.Name) else None

    def _is_pure(self, view: View, func: ast.expr) -> bool:
        if not isinstance(func, ast.Name | ast.Attribute):
            return False
        calls = self._named(view, func).calls
        return bool(calls) and all(
            isinstance(c, Trusted)
            and not c.varies
            and not c.changes_first
            and c.name not in ("set", "frozenset")
            for c in calls
        )


_NUMBERS = {"pi": 3.141592653589793, "e": 2.718281828459045, "tau": 6.283185307179586, "inf": float("inf")}


def _is_fixed(module: ModuleType, name: str, item: object) -> bool:
    """Whether a constant of a library is, without a look at its source, what it is in each process."""
    if module is sys:
        return name in ("maxsize", "maxunicode", "byteorder", "platform", "version", "hexversion")
    if isinstance(item, enum.Enum):
        return getattr(type(item), item.name, None) is item
    if item is datetime.timezone.utc:  # noqa: UP017 - the object, under whatever name
        return True
    return type(item) is float and item == _NUMBERS.get(name)


def flat_of(item: object) -> Value:
    """The value of an immutable constant."""
    return ROW if isinstance(item, tuple) else FLAT


def same(one: Any, other: Any) -> bool:
    """Whether two immutable values are equal, types included."""
    if type(one) is not type(other):
        return False
    if type(one) is tuple:
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
