"""What a proof has found so far, and the ways in which it grows."""

from __future__ import annotations

import ast

from .bindings import Meanings
from .scopes import Scope
from .values import (
    BOX,
    FLAT,
    HOLDS_LIVE,
    IS_LIVE,
    IS_PART,
    IS_TOP,
    NEEDS_DEEP,
    NEEDS_NOTHING,
    NEEDS_PARTS,
    Refused,
    Value,
    held,
    is_flat,
    join,
    stricter,
)


class State:
    """One proof: of one function, and of all that it calls."""

    def __init__(self, meanings: Meanings) -> None:
        self.meanings = meanings
        self.heap = FLAT
        self.raised = FLAT
        self.needs = NEEDS_NOTHING
        self.why = ""
        self.is_changed = True
        self.is_last = False
        self.line = 0
        self.scopes: dict[tuple[int, int], Scope] = {}
        self.comprehensions: dict[tuple[int, int], Scope] = {}
        self.functions: dict[int, Scope] = {}
        self.active: set[tuple[object, Value, int]] = set()
        self.called_back: dict[tuple[object, Value, int], Value] = {}
        """What a callable gives to the trusted function that calls it; such calls may go in a circle (``active``)."""
        self.root: Scope | None = None

    def seen(self, value: Value) -> Value:
        """A value with what may have been put into it."""
        return join(value, self.heap) if value.bits & BOX else value

    def store(self, value: Value) -> None:
        """``value`` is put into some container."""
        new = join(self.heap, held(value))
        if new != self.heap:
            self.heap = new
            self.is_changed = True

    def store_key(self, value: Value) -> None:
        """``value`` becomes a key, or a member of a set. Plain data that can be one is immutable throughout."""
        if value.calls or value.bits & (IS_LIVE | HOLDS_LIVE):
            self.store(value)

    def raises(self, value: Value) -> None:
        new = join(self.raised, value)
        if new != self.raised:
            self.raised = new
            self.is_changed = True

    def mutates(self, value: Value, what: str) -> None:
        if value.bits & IS_TOP:
            self.require(NEEDS_DEEP, what)
        elif value.bits & IS_PART:
            self.require(NEEDS_PARTS, what)

    def check_store(self, receiver: Value, value: Value) -> None:
        # What is flat holds nothing, and that is relied upon.
        if self.is_last and is_flat(receiver) and not is_flat(value):
            raise Refused(f"it stores into something of which little is known (line {self.line})")

    def require(self, needs: int, what: str) -> None:
        if needs and stricter(self.needs, needs) != self.needs:
            self.needs = stricter(self.needs, needs)
            self.why = what

    def bind(self, scope: Scope, name: str, value: Value) -> None:
        owner = scope.owner_of(name)
        if owner is None:
            raise Refused(f"it changes a variable that is not its own, {name} (line {self.line})")
        old = owner.variables.get(name)
        new = value if old is None else join(old, value)
        if new != old:
            owner.variables[name] = new
            self.is_changed = True

    def set_returns(self, scope: Scope, value: Value) -> None:
        new = join(scope.returns, value)
        if new != scope.returns:
            scope.returns = new
            self.is_changed = True

    def set_yields(self, scope: Scope, value: Value) -> None:
        new = join(scope.yields, value)
        if new != scope.yields:
            scope.yields = new
            self.is_changed = True

    def changing(self, target: ast.expr) -> str:
        return f"change {ast.unparse(target)!r}, a part of an argument (line {target.lineno})"
