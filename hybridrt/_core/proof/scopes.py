"""Scopes of the code under proof: which names are local to each, and what has been found out about them so far."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from .source import Node, View, binders
from .values import FLAT, Value


@dataclass(frozen=True, slots=True)
class Closure:
    """A function or lambda that is made while the function under proof runs."""

    node: Node
    scope: Scope


@dataclass(frozen=True, slots=True)
class Method:
    """A method, taken from a value and not called yet."""

    name: str
    value: Value


@dataclass(frozen=True, slots=True)
class Unbound:
    """A method of a trusted class, such as ``str.strip``: its first argument is what it works on."""

    name: str


@dataclass(frozen=True, slots=True)
class Bound:
    """``functools.partial``: what is called, and all that goes in before."""

    callees: frozenset[object]
    value: Value


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something of which nothing is known, should it ever be called."""


@dataclass(eq=False, slots=True)
class Scope:
    """One function, lambda or comprehension: what each name may be, whoever calls it and however often."""

    node: ast.AST
    parent: Scope | None
    view: View
    fn: Any = None
    """The function that was there before the call, where it was."""
    names: frozenset[str] = frozenset()
    outer: frozenset[str] = frozenset()
    module_names: frozenset[str] = frozenset()
    variables: dict[str, Value] = field(default_factory=dict)
    returns: Value = FLAT
    yields: Value = FLAT
    is_generator: bool = False

    def owner_of(self, name: str) -> Scope | None:
        """The scope whose variable ``name`` is here; None where it is a global, or a free variable of a function."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.module_names:
                return None
            if name in scope.names and name not in scope.outer:
                return scope
            scope = scope.parent
        return None

    def outermost(self) -> Scope:
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    def function(self) -> Scope:
        """The function or lambda that this scope is in: a comprehension's walrus and yield belong there."""
        scope = self
        while not isinstance(scope.node, Node) and scope.parent is not None:
            scope = scope.parent
        return scope


def scope_of(node: Node, parent: Scope | None, view: View, fn: FunctionType | None = None) -> Scope:
    """The scope of a function or lambda, its names read from its body."""
    found = view.names.get(node)
    if found is None:
        found = view.names[node] = _names_of(node)
    names, outer, module_names, is_generator = found
    return Scope(node, parent, view, fn, names, outer, module_names, is_generator=is_generator)


def _names_of(node: Node) -> tuple[frozenset[str], frozenset[str], frozenset[str], bool]:
    args = node.args
    names = {item.arg for item in (*args.posonlyargs, *args.args, *args.kwonlyargs)}
    names.update(item.arg for item in (args.vararg, args.kwarg) if item is not None)
    body: list[ast.stmt] = [ast.Expr(node.body)] if isinstance(node, ast.Lambda) else node.body
    names.update(name for name, _ in binders(body))
    outer: set[str] = set()
    module_names: set[str] = set()
    is_generator = False
    for item in _own_nodes(body):
        if isinstance(item, ast.Nonlocal):
            outer.update(item.names)
        elif isinstance(item, ast.Global):
            module_names.update(item.names)
        elif isinstance(item, ast.Yield | ast.YieldFrom):
            is_generator = True
    return frozenset(names), frozenset(outer), frozenset(module_names), is_generator


def without_chains(value: Value) -> Value:
    """What a method or a partial keeps of its object: chains of such, which could grow for ever, end in Unknown."""
    kept = frozenset(item for item in value.calls if not isinstance(item, Method | Bound))
    return value if len(kept) == len(value.calls) else Value(value.bits, kept | {Unknown()})


def _own_nodes(body: list[ast.stmt]) -> list[ast.AST]:
    """All nodes of these statements, nested functions left out."""
    found: list[ast.AST] = []
    todo: list[ast.AST] = list(body)
    while todo:
        node = todo.pop()
        found.append(node)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            todo.extend(ast.iter_child_nodes(node))
    return found
