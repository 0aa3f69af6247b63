"""What an expression may give, and what its evaluation may do."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from .bindings import Module
from .methods import ATTRIBUTES_ANY, ATTRIBUTES_FLAT, ATTRIBUTES_TUPLE, CHANGES, GIVES
from .scopes import Closure, Method, Scope, Unbound, Unknown, without_chains
from .state import State
from .trusted import Trusted
from .values import (
    FLAT,
    HOLDS_LIVE,
    IS_LIVE,
    ROW,
    TUPLE,
    Refused,
    Value,
    anywhere,
    box,
    element,
    held,
    is_flat,
    join,
)

_PRIVATE = ("_", "gi_", "ag_", "cr_", "f_", "tb_", "co_", "func_", "im_")
_SINGLETONS = (None, True, False, ...)


class Expressions(State, ABC):
    """Evaluates expressions; what calls do is told by those who know."""

    @abstractmethod
    def call(
        self, callee: Value, args: Sequence[Value], keywords: Mapping[str | None, Value], node: ast.expr
    ) -> Value: ...

    @abstractmethod
    def closure(self, node: ast.FunctionDef | ast.Lambda, scope: Scope) -> Value: ...

    @abstractmethod
    def free_variable(self, scope: Scope, name: str) -> Value: ...

    @abstractmethod
    def assign(self, target: ast.expr, value: Value, scope: Scope) -> None: ...

    def eval(self, node: ast.expr, scope: Scope) -> Value:
        """What ``node`` may give, with all that may have been put into it."""
        method = getattr(self, f"on_{type(node).__name__}", None)
        if method is None:
            raise Refused(
                f"it has an expression that is not looked into ({type(node).__name__}, line {node.lineno})"
            )
        self.line = node.lineno
        value: Value = method(node, scope)
        return self.seen(value)

    def _all(self, nodes: Sequence[ast.expr | None], scope: Scope) -> list[Value]:
        return [self.eval(node, scope) for node in nodes if node is not None]

    def on_Constant(self, node: ast.Constant, scope: Scope) -> Value:  # noqa: N802
        return FLAT

    def on_Name(self, node: ast.Name, scope: Scope) -> Value:  # noqa: N802
        owner = scope.owner_of(node.id)
        if owner is not None:
            return owner.variables.get(node.id, FLAT)
        return self.free_variable(scope, node.id)

    def on_NamedExpr(self, node: ast.NamedExpr, scope: Scope) -> Value:  # noqa: N802
        value = self.eval(node.value, scope)
        self.bind(scope.function(), node.target.id, value)
        return value

    def _display(self, node: ast.Tuple | ast.List | ast.Set, scope: Scope) -> Value:
        return box(*self._all(node.elts, scope))

    def on_Tuple(self, node: ast.Tuple, scope: Scope) -> Value:  # noqa: N802
        values = self._all(node.elts, scope)
        # A tuple of flat things is as immutable as they are.
        inside = join(*values)
        return ROW if not inside.calls and inside.bits in (0, TUPLE) else box(inside)

    on_List = on_Set = _display  # noqa: N815

    def on_Starred(self, node: ast.Starred, scope: Scope) -> Value:  # noqa: N802
        return element(self.eval(node.value, scope))

    def on_Dict(self, node: ast.Dict, scope: Scope) -> Value:  # noqa: N802
        parts = self._all(node.keys, scope)
        for key, item in zip(node.keys, node.values, strict=True):
            value = self.eval(item, scope)
            parts.append(value if key is not None else element(value))
        return box(*parts)

    def on_JoinedStr(self, node: ast.JoinedStr, scope: Scope) -> Value:  # noqa: N802
        self._all(node.values, scope)
        return FLAT

    def on_FormattedValue(self, node: ast.FormattedValue, scope: Scope) -> Value:  # noqa: N802
        self._all([node.value, node.format_spec], scope)
        return FLAT

    def on_BoolOp(self, node: ast.BoolOp, scope: Scope) -> Value:  # noqa: N802
        return join(*self._all(node.values, scope))

    def on_IfExp(self, node: ast.IfExp, scope: Scope) -> Value:  # noqa: N802
        self.eval(node.test, scope)
        return join(*self._all([node.body, node.orelse], scope))

    def on_Compare(self, node: ast.Compare, scope: Scope) -> Value:  # noqa: N802
        sides = [node.left, *node.comparators]
        values = self._all(sides, scope)
        for index, op in enumerate(node.ops):
            if isinstance(op, ast.Is | ast.IsNot):
                pair = (index, index + 1)
                if not any(self._is_one_everywhere(sides[i], values[i]) for i in pair):
                    raise Refused(f"it asks whether two objects are the same (line {node.lineno})")
        # Of arrays it is an array.
        return FLAT

    @staticmethod
    def _is_one_everywhere(node: ast.expr, value: Value) -> bool:
        """Whether it is an object of which each process has just one."""
        if isinstance(node, ast.Constant):
            return any(node.value is item for item in _SINGLETONS)
        return not value.bits and bool(value.calls) and all(isinstance(c, Trusted) for c in value.calls)

    def on_UnaryOp(self, node: ast.UnaryOp, scope: Scope) -> Value:  # noqa: N802
        self.eval(node.operand, scope)
        return FLAT

    def on_BinOp(self, node: ast.BinOp, scope: Scope) -> Value:  # noqa: N802
        left, right = self.eval(node.left, scope), self.eval(node.right, scope)
        if isinstance(node.op, ast.Mult):
            for side in (node.left, node.right):
                if isinstance(side, ast.Constant) and type(side.value) in (float, complex):
                    return FLAT
            # What is multiplied with a list is a number; where it is an array, so is the product.
            for side, value in ((node.left, left), (node.right, right)):
                if isinstance(side, ast.List | ast.Tuple | ast.ListComp):
                    return box(element(value))
        return self.operation(node.op, left, right)

    def operation(self, op: ast.operator, left: Value, right: Value) -> Value:
        """``left op right``, where both are plain data or come from trusted functions."""
        if is_flat(left) and is_flat(right):
            return FLAT
        match op:
            case ast.Add() | ast.BitOr():
                # A number, a text or an array adds to its like only, and a frozenset holds what is immutable.
                if is_flat(left) or is_flat(right):
                    return FLAT
                return box(element(left), element(right))
            case ast.Mult():
                return box(element(left), element(right))
            case ast.BitAnd() | ast.Sub() | ast.BitXor():
                # Of sets: their members are immutable, or live.
                both = join(element(left), element(right))
                return box(Value(both.bits & (IS_LIVE | HOLDS_LIVE), both.calls))
        return FLAT

    def on_Subscript(self, node: ast.Subscript, scope: Scope) -> Value:  # noqa: N802
        owner = self.eval(node.value, scope)
        self.store_key(self.eval(node.slice, scope))
        found = element(owner)
        if any(isinstance(item, Trusted | Unknown) for item in owner.calls) and not owner.bits:
            # list[int] and the like
            return Value(0, frozenset({Unknown()}))
        if isinstance(node.slice, ast.Constant) and type(node.slice.value) in (int, str):
            return found
        # A slice is a new container, or, of an array, a view.
        if owner.bits in (0, TUPLE):
            return found
        return join(found, box(found))

    def on_Slice(self, node: ast.Slice, scope: Scope) -> Value:  # noqa: N802
        self._all([node.lower, node.upper, node.step], scope)
        return FLAT

    def on_Attribute(self, node: ast.Attribute, scope: Scope) -> Value:  # noqa: N802
        owner = self.eval(node.value, scope)
        found = [self._attribute_of(item, node.attr) for item in owner.calls]
        if owner.bits or not owner.calls:
            found.append(self._data_attribute(owner, node.attr))
        return join(*found)

    def _attribute_of(self, item: object, name: str) -> Value:
        match item:
            case Module(module):
                return self.meanings.attribute(module, name)
            case Trusted(gives="error"):
                raise Refused(f"it uses {item.name}.{name} (line {self.line})")
            case Trusted():
                if name == "__name__":
                    return FLAT
                try:
                    return self.meanings.class_attribute(item, name)
                except Refused:
                    if name in GIVES:
                        return Value(0, frozenset({Unbound(name)}))
                    raise
            case Closure() if name != "__name__":
                raise Refused(f"it uses the attribute {name} of a function (line {self.line})")
        if name in ("__name__", "__qualname__"):
            return FLAT
        raise Refused(f"it uses the attribute {name} of a function (line {self.line})")

    def _data_attribute(self, owner: Value, name: str) -> Value:
        if name in GIVES:
            # It may be called, or be read: some names are both.
            inside = join(element(owner), owner) if name in ATTRIBUTES_ANY | ATTRIBUTES_FLAT else FLAT
            method = Method(name, without_chains(owner))
            return Value(inside.bits, frozenset({method}) | inside.calls)
        if name in ATTRIBUTES_TUPLE:
            return ROW
        if name in ATTRIBUTES_ANY:
            return join(owner, anywhere(owner))
        if name in ATTRIBUTES_FLAT:
            return FLAT
        if name.startswith(_PRIVATE) or name in CHANGES or name == "obj":
            raise Refused(f"it uses the attribute {name} (line {self.line})")
        inside = anywhere(owner)
        return Value(inside.bits, inside.calls | {Unknown()})

    def on_Call(self, node: ast.Call, scope: Scope) -> Value:  # noqa: N802
        callee = self.eval(node.func, scope)
        args: list[Value] = []
        for item in node.args:
            value = self.eval(item, scope)
            args.append(value)
        keywords: dict[str | None, Value] = {}
        for keyword in node.keywords:
            value = self.eval(keyword.value, scope)
            if keyword.arg is None:
                value = join(element(value), keywords.get(None, FLAT))
            keywords[keyword.arg] = value
        return self.call(callee, args, keywords, node)

    def on_Lambda(self, node: ast.Lambda, scope: Scope) -> Value:  # noqa: N802
        return self.closure(node, scope)

    # --- comprehensions ---

    def _comprehension(self, node: ast.expr, generators: list[ast.comprehension], scope: Scope) -> Scope:
        key = id(node), id(scope)
        inner = self.comprehensions.get(key)
        if inner is None:
            names = {
                part.id
                for generator in generators
                for part in ast.walk(generator.target)
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            }
            inner = self.comprehensions[key] = Scope(node, scope, scope.view, scope.fn, frozenset(names))
        for index, generator in enumerate(generators):
            if generator.is_async:
                raise Refused(f"it awaits (line {node.lineno})")
            source = self.eval(generator.iter, inner if index else scope)
            self.assign(generator.target, element(source), inner)
            for test in generator.ifs:
                self.eval(test, inner)
        return inner

    def on_ListComp(self, node: ast.ListComp, scope: Scope) -> Value:  # noqa: N802
        inner = self._comprehension(node, node.generators, scope)
        return box(self.eval(node.elt, inner))

    def on_SetComp(self, node: ast.SetComp, scope: Scope) -> Value:  # noqa: N802
        inner = self._comprehension(node, node.generators, scope)
        return box(self.eval(node.elt, inner))

    def on_GeneratorExp(self, node: ast.GeneratorExp, scope: Scope) -> Value:  # noqa: N802
        inner = self._comprehension(node, node.generators, scope)
        return join(Value(IS_LIVE), held(self.eval(node.elt, inner)))

    def on_DictComp(self, node: ast.DictComp, scope: Scope) -> Value:  # noqa: N802
        inner = self._comprehension(node, node.generators, scope)
        return box(*self._all([node.key, node.value], inner))

    # --- generators ---

    def on_Yield(self, node: ast.Yield, scope: Scope) -> Value:  # noqa: N802
        if node.value is not None:
            self.set_yields(scope.function(), self.eval(node.value, scope))
        return FLAT

    def on_YieldFrom(self, node: ast.YieldFrom, scope: Scope) -> Value:  # noqa: N802
        value = self.eval(node.value, scope)
        self.set_yields(scope.function(), element(value))
        return element(value)
