"""What a function may do to its arguments, found out by running it on possibilities instead of values.

Nothing depends on the order of statements: each variable is all that is ever assigned to it, each function all that it
is ever called with, and one heap is all that is ever put into any container made here. The statements are gone through
until nothing new turns up; once more then, and now whatever is still unknown is a refusal.
"""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any

from .bindings import Known, Module, flat_of
from .calls import Calls
from .plain import is_immutable
from .scopes import Closure, Scope, scope_of
from .source import Node
from .trusted import Trusted, is_harmless_import, trusted
from .values import (
    BOX,
    HOLDS_LIVE,
    IS_LIVE,
    IS_TOP,
    Refused,
    Value,
    anywhere,
    box,
    element,
    join,
    needs_of,
)

_ROUNDS = 40
_STATEMENTS = 4000


class Flow(Calls):
    """One proof: of one function, and of all that it calls."""

    def prove(self, fn: FunctionType) -> None:
        """Raises Refused; else ``needs`` says what must be immutable, and ``why`` for what."""
        self.root = self.scope_of_known(Known(fn))
        self.fill(self.root, Value(IS_TOP))
        if self.root.is_generator:
            raise Refused("it is a generator function")
        for _ in range(_ROUNDS):
            self.is_changed = False
            self._round()
            if not self.is_changed:
                break
        else:
            raise Refused("it is too intricate to be proven")
        self.is_last = True
        self._round()
        self._check_result(self.root.returns, "return")
        self._check_result(Value(self.raised.bits & ~IS_LIVE, self.raised.calls), "raise")

    def _round(self) -> None:
        done: set[Scope] = set()
        while todo := [s for s in (*self.functions.values(), *self.scopes.values()) if s not in done]:
            for scope in todo:
                done.add(scope)
                if isinstance(scope.node, ast.Lambda):
                    self.set_returns(scope, self.eval(scope.node.body, scope))
                elif isinstance(scope.node, ast.FunctionDef):
                    self.body(scope.node.body, scope)
            if len(done) > 300:
                raise Refused("it calls too many functions to be proven")

    def _check_result(self, value: Value, verb: str) -> None:
        value = self.seen(value)
        if value.bits & (IS_LIVE | HOLDS_LIVE):
            raise Refused(f"it may {verb} something that cannot be sent, such as an iterator")
        if any(not isinstance(item, Trusted) for item in value.calls):
            raise Refused(f"it may {verb} a function")
        self.require(needs_of(value), f"{verb} an argument, or a part of one")

    def scope_of_known(self, item: Known) -> Scope:
        """The scope of a Python function that was there before the call."""
        fn = item.fn
        found = self.functions.get(id(fn.__code__))
        if found is not None:
            if found.fn is not fn:
                raise Refused(f"it uses two functions of the same code, {fn.__name__}()")
            return found
        node, view = self.meanings.sources.node_of(fn)
        if not isinstance(node, ast.FunctionDef | ast.Lambda):
            raise Refused(f"it uses the coroutine function {fn.__name__}()")
        scope = scope_of(node, None, view, fn)
        self.functions[id(fn.__code__)] = scope
        self.is_changed = True
        self._defaults(fn, node, scope)
        return scope

    def _defaults(self, fn: FunctionType, node: Node, scope: Scope) -> None:
        args = node.args
        positional = [item.arg for item in (*args.posonlyargs, *args.args)]
        defaults = fn.__defaults__ or ()
        named = dict(zip(positional[len(positional) - len(defaults) :], defaults, strict=True))
        for name, item in (*named.items(), *(fn.__kwdefaults__ or {}).items()):
            self.bind(scope, name, self._object(item, f"the default of its parameter {name}"))

    def free_variable(self, scope: Scope, name: str) -> Value:
        outermost = scope.outermost()
        fn = outermost.fn
        if fn is None:
            raise Refused(f"it uses the name {name}, which is not bound")
        if name in scope.module_names or name not in fn.__code__.co_freevars:
            return self.meanings.of_global(fn.__globals__, name)
        cells: tuple[Any, ...] = fn.__closure__ or ()
        cell = cells[fn.__code__.co_freevars.index(name)]
        try:
            item = cell.cell_contents
        except ValueError:
            raise Refused(f"the variable {name} of the function around it is not bound yet") from None
        assert isinstance(outermost.node, Node)  # noqa: S101 - for the type checker
        if not outermost.view.is_bound_once(outermost.node, name):
            raise Refused(f"it reads the variable {name} of the function around it, which can change")
        return self._object(item, f"the variable {name} of the function around it")

    def _object(self, item: object, what: str) -> Value:
        """The value of an object that was there before the call."""
        entry = trusted(item)
        if entry is not None:
            return Value(0, frozenset({entry}))
        if isinstance(item, FunctionType):
            return Value(0, frozenset({Known(item)}))
        if isinstance(item, ModuleType) and sys.modules.get(item.__name__) is item:
            return Value(0, frozenset({Module(item)}))
        if is_immutable(item):
            return flat_of(item)
        raise Refused(f"{what} is or holds an object that can change ({type(item).__name__})")

    # --- statements ---

    def body(self, statements: list[ast.stmt], scope: Scope) -> None:
        for statement in statements:
            self.line = statement.lineno
            method = getattr(self, f"do_{type(statement).__name__}", None)
            if method is None:
                raise Refused(
                    f"it has a statement that is not looked into ({type(statement).__name__}, line {self.line})"
                )
            method(statement, scope)

    def do_Pass(self, node: ast.stmt, scope: Scope) -> None: ...  # noqa: N802

    do_Break = do_Continue = do_Global = do_Nonlocal = do_Pass  # noqa: N815

    def do_Expr(self, node: ast.Expr, scope: Scope) -> None:  # noqa: N802
        self.eval(node.value, scope)

    def do_Return(self, node: ast.Return, scope: Scope) -> None:  # noqa: N802
        if node.value is not None:
            value = self.eval(node.value, scope)
            self.set_returns(scope, value)

    def do_Assign(self, node: ast.Assign, scope: Scope) -> None:  # noqa: N802
        value = self.eval(node.value, scope)
        for target in node.targets:
            self.assign(target, value, scope)

    def do_AnnAssign(self, node: ast.AnnAssign, scope: Scope) -> None:  # noqa: N802
        # A local variable's annotation is not evaluated, except that of an attribute or item.
        if not isinstance(node.target, ast.Name):
            raise Refused(f"it annotates something that is no variable (line {node.lineno})")
        if node.value is not None:
            self.assign(node.target, self.eval(node.value, scope), scope)

    def do_AugAssign(self, node: ast.AugAssign, scope: Scope) -> None:  # noqa: N802
        value = self.eval(node.value, scope)
        target = node.target
        load = ast.parse(ast.unparse(target), mode="eval").body
        before = self.eval(ast.copy_location(load, target), scope)
        self.mutates(before, f"change its argument {ast.unparse(target)!r} (line {node.lineno})")
        after = self.operation(node.op, before, value)
        if before.bits:
            # In place, what goes in is what comes out where the right side is iterated.
            self.store(join(element(value), Value(0, value.calls)))
        self.assign(target, join(after, Value(before.bits, before.calls)), scope)

    def do_Delete(self, node: ast.Delete, scope: Scope) -> None:  # noqa: N802
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                self.store_key(self.eval(target.slice, scope))
                self.mutates(self.eval(target.value, scope), self.changing(target))
            elif not isinstance(target, ast.Name) or scope.owner_of(target.id) is None:
                raise Refused(f"it deletes {ast.unparse(target)} (line {node.lineno})")

    def do_If(self, node: ast.If | ast.While, scope: Scope) -> None:  # noqa: N802
        self.eval(node.test, scope)
        self.body(node.body, scope)
        self.body(node.orelse, scope)

    do_While = do_If  # noqa: N815

    def do_For(self, node: ast.For, scope: Scope) -> None:  # noqa: N802
        self.assign(node.target, element(self.eval(node.iter, scope)), scope)
        self.body(node.body, scope)
        self.body(node.orelse, scope)

    def do_Try(self, node: ast.Try, scope: Scope) -> None:  # noqa: N802
        self.body(node.body, scope)
        for handler in node.handlers:
            if handler.type is not None:
                self.eval(handler.type, scope)
            if handler.name is not None:
                # Errors of trusted functions hold texts, and keys, which nothing can change.
                self.bind(scope, handler.name, join(Value(BOX | IS_LIVE), self.raised))
            self.body(handler.body, scope)
        self.body(node.orelse, scope)
        self.body(node.finalbody, scope)

    do_TryStar = do_Try  # noqa: N815

    def do_With(self, node: ast.With, scope: Scope) -> None:  # noqa: N802
        for item in node.items:
            value = self.eval(item.context_expr, scope)
            if item.optional_vars is not None:
                self.assign(item.optional_vars, join(value, element(value)), scope)
        self.body(node.body, scope)

    def do_Raise(self, node: ast.Raise, scope: Scope) -> None:  # noqa: N802
        for part in (node.exc, node.cause):
            if part is not None:
                self.raises(self.eval(part, scope))

    def do_Assert(self, node: ast.Assert, scope: Scope) -> None:  # noqa: N802
        self.eval(node.test, scope)
        if node.msg is not None:
            self.raises(box(self.eval(node.msg, scope)))

    def do_Import(self, node: ast.Import, scope: Scope) -> None:  # noqa: N802
        for alias in node.names:
            full = alias.name if alias.asname else alias.name.partition(".")[0]
            if not _is_loaded(alias.name):
                raise Refused(f"it imports {alias.name}, which is not loaded here yet (line {node.lineno})")
            self.bind(scope, alias.asname or full, self._module(full))

    def do_ImportFrom(self, node: ast.ImportFrom, scope: Scope) -> None:  # noqa: N802
        if node.level or node.module is None or not _is_loaded(node.module):
            raise Refused(f"it imports from {'.' * node.level}{node.module or ''} (line {node.lineno})")
        for alias in node.names:
            value = self.meanings.attribute(sys.modules[node.module], alias.name)
            self.bind(scope, alias.asname or alias.name, value)

    def _module(self, name: str) -> Value:
        module: ModuleType = sys.modules[name]
        self.meanings.rely(sys.modules, name, module)
        return Value(0, frozenset({Module(module)}))

    def do_FunctionDef(self, node: ast.FunctionDef, scope: Scope) -> None:  # noqa: N802
        value = self.closure(node, scope)
        for decorator in reversed(node.decorator_list):
            value = self.call(self.eval(decorator, scope), [value], {}, decorator)
        self.bind(scope, node.name, value)

    def closure(self, node: ast.FunctionDef | ast.Lambda, scope: Scope) -> Value:
        """What a def or lambda makes: its defaults are evaluated now, its body when it is called."""
        key = id(node), id(scope)
        inner = self.scopes.get(key)
        if inner is None:
            inner = self.scopes[key] = scope_of(node, scope, scope.view)
            self.is_changed = True
        if isinstance(node, ast.FunctionDef):
            self._annotations(node, scope)
        args = node.args
        positional = [*args.posonlyargs, *args.args]
        for name, default in zip(
            positional[len(positional) - len(args.defaults) :], args.defaults, strict=True
        ):
            self.bind(inner, name.arg, self.eval(default, scope))
        for name, keyword_default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
            if keyword_default is not None:
                self.bind(inner, name.arg, self.eval(keyword_default, scope))
        return Value(0, frozenset({Closure(node, inner)}))

    def _annotations(self, node: ast.FunctionDef, scope: Scope) -> None:
        for item in ast.walk(node.args):
            if (
                isinstance(item, ast.arg)
                and item.annotation is not None
                and not scope.view.has_late_annotations
            ):
                self.eval(item.annotation, scope)
        if node.returns is not None and not scope.view.has_late_annotations:
            self.eval(node.returns, scope)

    def do_Match(self, node: ast.Match, scope: Scope) -> None:  # noqa: N802
        subject = anywhere(self.eval(node.subject, scope))
        for case in node.cases:
            self._pattern(case.pattern, subject, scope)
            if case.guard is not None:
                self.eval(case.guard, scope)
            self.body(case.body, scope)

    def _pattern(self, pattern: ast.pattern, subject: Value, scope: Scope) -> None:
        for part in ast.walk(pattern):
            match part:
                case (
                    ast.MatchAs(name=str(name))
                    | ast.MatchStar(name=str(name))
                    | ast.MatchMapping(rest=str(name))
                ):
                    self.bind(scope, name, join(subject, box(subject)))
                case ast.MatchValue(value=value):
                    self.eval(value, scope)
                case ast.MatchClass(cls=cls, kwd_attrs=names):
                    self.eval(cls, scope)
                    for attr in names:
                        if attr.startswith("_"):
                            raise Refused(f"it matches the attribute {attr} (line {part.lineno})")

    # --- targets ---

    def assign(self, target: ast.expr, value: Value, scope: Scope) -> None:
        match target:
            case ast.Name(id=name):
                self.bind(scope, name, value)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                for part in parts:
                    self.assign(part, element(value), scope)
            case ast.Starred(value=inner):
                # It gets a list of what the others get one each of.
                self.assign(inner, box(value), scope)
            case ast.Subscript(value=owner, slice=index):
                self.store_key(self.eval(index, scope))
                owner_value = self.eval(owner, scope)
                self.mutates(owner_value, self.changing(target))
                stored = join(value, element(value)) if isinstance(index, ast.Slice | ast.Tuple) else value
                self.check_store(owner_value, stored)
                self.store(stored)
            case _:
                raise Refused(f"it sets {ast.unparse(target)} (line {target.lineno})")


def _is_loaded(name: str) -> bool:
    if name not in sys.modules and is_harmless_import(name):
        import_module(name)
    return name in sys.modules
