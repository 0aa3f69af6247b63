"""What a call may give and change: of a function under proof, a trusted one, or a method."""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Mapping, Sequence

from . import arrays
from .bindings import Known, Module
from .expressions import Expressions
from .methods import GIVES, KEYWORDS_REFUSED, POSITIONAL
from .scopes import Bound, Closure, Method, Scope, Unbound, without_chains
from .trusted import Trusted
from .values import (
    BOX,
    FLAT,
    HOLDS_LIVE,
    IS_LIVE,
    IS_PART,
    IS_TOP,
    NEW,
    ROW,
    Refused,
    Value,
    anywhere,
    box,
    element,
    held,
    join,
    join_all,
)

Keywords = Mapping[str | None, Value]
_STORES = frozenset({"append", "appendleft", "insert", "setdefault", "fill", "move_to_end"})
_STORES_ELEMENTS = frozenset({"extend", "extendleft", "update", "writelines", "subtract"})
_TAKES_OUT = frozenset({"pop", "popitem", "popleft", "setdefault"})
_CALLS_NOTHING = frozenset({"isinstance", "issubclass", "callable", "hasattr", "len", "repr", "str", "type"})
_OF_ELEMENTS = frozenset(
    {"statistics.median", "statistics.median_high", "statistics.median_low", "statistics.mode"}
)
"""They give back an element, or a number made of two."""
_WITH_KEYWORDS = frozenset(
    {"dict", "collections.OrderedDict", "collections.Counter", "collections.defaultdict"}
)
_DTYPES = frozenset("biufcSUmM")
_MANY = 3
"""So many arguments stand for any number of them."""


def _spread(args: Sequence[Value], node: ast.expr) -> Sequence[Value]:
    """The arguments, where some come out of a container (``*items``) and might be any number."""
    if isinstance(node, ast.Call) and any(isinstance(item, ast.Starred) for item in node.args):
        return [join(*args)] * max(_MANY, len(args))
    return args


class Calls(Expressions):
    """Knows what calls do."""

    @abstractmethod
    def scope_of_known(self, item: Known) -> Scope: ...

    def call(self, callee: Value, args: Sequence[Value], keywords: Keywords, node: ast.expr) -> Value:
        if not callee.calls:
            if self.is_last:
                called = node.func if isinstance(node, ast.Call) else node
                raise Refused(f"it calls something unknown, {ast.unparse(called)} (line {self.line})")
            return FLAT
        return self.seen(join(*(self._call_one(item, args, keywords, node) for item in callee.calls)))

    def _call_one(self, item: object, args: Sequence[Value], keywords: Keywords, node: ast.expr) -> Value:
        match item:
            case Closure(_, scope):
                self._fill(scope, args, keywords, node)
                return self._result(scope)
            case Known():
                scope = self.scope_of_known(item)
                self._fill(scope, args, keywords, node)
                return self._result(scope)
            case Trusted():
                arrays.check_call(item, args, keywords, node, self.line)
                return self._trusted(item, _spread(args, node), keywords)
            case Method(name, value):
                return self._method(name, value, _spread(args, node), keywords, node)
            case Unbound(name):
                args = _spread(args, node)
                first = args[0] if args else FLAT
                return self._method(name, first, args[1:], keywords, node)
            case Bound():
                return self._everywhere(item, join(*args, *keywords.values()))
        raise Refused(f"it calls {ast.unparse(node)}, of which nothing is known (line {self.line})")

    # --- functions under proof ---

    def fill(self, scope: Scope, value: Value) -> None:
        """Each parameter may be ``value``."""
        assert isinstance(scope.node, ast.FunctionDef | ast.Lambda)  # noqa: S101 - for the type checker
        arguments = scope.node.args
        for item in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            self.bind(scope, item.arg, value)
        for rest in (arguments.vararg, arguments.kwarg):
            if rest is not None:
                self.bind(scope, rest.arg, box(value))

    def _fill(self, scope: Scope, args: Sequence[Value], keywords: Keywords, node: ast.expr) -> None:
        is_spread = isinstance(node, ast.Call) and any(isinstance(item, ast.Starred) for item in node.args)
        if is_spread or None in keywords:
            self.fill(scope, join(*args, *keywords.values()))
            return
        assert isinstance(scope.node, ast.FunctionDef | ast.Lambda)  # noqa: S101 - for the type checker
        arguments = scope.node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        for item, value in zip(positional, args, strict=False):
            self.bind(scope, item.arg, value)
        if arguments.vararg is not None:
            self.bind(scope, arguments.vararg.arg, box(*args[len(positional) :]))
        named = {item.arg for item in (*arguments.args, *arguments.kwonlyargs)}
        for name, value in keywords.items():
            if name in named:
                self.bind(scope, str(name), value)
        if arguments.kwarg is not None:
            self.bind(scope, arguments.kwarg.arg, box(*(v for k, v in keywords.items() if k not in named)))

    def _result(self, scope: Scope) -> Value:
        if scope.is_generator:
            return join(Value(IS_LIVE), held(join(scope.yields, scope.returns)))
        return scope.returns

    def _everywhere(self, item: object, value: Value, count: int = _MANY) -> Value:
        """``item`` is called by a trusted function, with ``value`` for each of ``count`` arguments."""
        key = item, value, count
        if key in self.active:
            return self.called_back.get(key, FLAT)
        self.active.add(key)
        found = self._everywhere_now(item, value, count)
        self.active.discard(key)
        old = self.called_back.get(key, FLAT)
        new = join(old, found)
        if new != old:
            self.called_back[key] = new
            self.is_changed = True
        return new

    def _everywhere_now(self, item: object, value: Value, count: int) -> Value:
        match item:
            case Closure(_, scope):
                self.fill(scope, value)
                return self._result(scope)
            case Known():
                scope = self.scope_of_known(item)
                self.fill(scope, value)
                return self._result(scope)
            case Trusted():
                if item.at_most is not None:
                    raise Refused(f"it has {item.name}() called by another function")
                return self._trusted(item, [value] * count, {})
            case Method(name, receiver):
                return self._method(name, receiver, [value] * count, {}, None)
            case Unbound(name):
                return self._method(name, value, [value] * (count - 1), {}, None)
            case Bound(callees, given):
                return join_all(self._everywhere(c, join(value, given)) for c in callees)
            case Module():
                return FLAT
        raise Refused("it passes on something to be called, of which nothing is known")

    def _called_back(self, value: Value, inside: Value, count: int = _MANY) -> Value:
        """What the callables in ``value`` give where they are called with ``inside``, or with what they gave."""
        data = Value(inside.bits, frozenset())
        found = FLAT
        for _ in range(2):
            given = self.seen(join(data, found))
            for item in value.calls:
                found = join(
                    found, self._everywhere(item, Value(given.bits, given.calls | inside.calls), count)
                )
        return found

    # --- trusted functions ---

    def _trusted(self, item: Trusted, args: Sequence[Value], keywords: Keywords) -> Value:
        key = keywords.get("key", FLAT)
        keywords = {name: value for name, value in keywords.items() if name != "key"}
        values = [*args, *keywords.values()]
        everything = join(*values)
        elements = join_all(map(element, values))
        if item.gives == "unknown":
            raise Refused(f"it calls the type of something (line {self.line})")
        if item.gives == "special":
            return self._special(item, args, everything)
        inside = self._given_to_callbacks(item, args, everything, elements)
        given = FLAT
        if key.calls:
            self._called_back(key, Value(inside.bits), 1)
        if everything.calls and item.name not in _CALLS_NOTHING and item.gives != "error":
            seen = join(inside, Value(IS_LIVE)) if item.name.startswith("re.") else inside
            count = 1 if item.name == "map" and len(args) == 2 else _MANY
            given = self._called_back(everything, Value(seen.bits), count)
        if item.changes_first and args:
            self._stores_into(args[0], args[1:], item.name)
        return self._gives(item, args, keywords, everything, elements, given)

    @staticmethod
    def _given_to_callbacks(
        item: Trusted, args: Sequence[Value], everything: Value, elements: Value
    ) -> Value:
        if item.name == "functools.reduce":
            return join(*(element(arg) for arg in args[:2]), *args[2:])
        if item.gives in ("live", "lives", "list") or (item.name in ("max", "min", "sum") and len(args) == 1):
            return join(elements, element(elements))
        return anywhere(everything)

    def _gives(
        self,
        item: Trusted,
        args: Sequence[Value],
        keywords: Keywords,
        everything: Value,
        elements: Value,
        given: Value,
    ) -> Value:
        live = Value(everything.bits & (IS_LIVE | HOLDS_LIVE))
        deeper = join(elements, element(elements))
        # Only what else it is given, for missing fields, comes out as it is.
        gives = "live" if item.name == "csv.DictReader" and len(args) == 1 else item.gives
        match gives:
            case "flat":
                return FLAT
            case "tuple":
                return ROW
            case "box":
                return join(box(given), live)
            case "list":
                return self._gives_list(item, args, keywords, everything, elements, given)
            case "live" | "lives":
                if item.name in ("map", "itertools.starmap"):
                    deeper = FLAT
                lives = Value(HOLDS_LIVE) if gives == "lives" else FLAT
                # A keyword may be what comes out at the start, or where there is nothing else.
                return join(Value(IS_LIVE), held(join(deeper, given, *keywords.values())), lives)
            case "keep":
                return join(Value(IS_LIVE | BOX), held(join(everything, deeper, given)))
            case "error":
                if keywords:
                    raise Refused(f"it calls {item.name} with keywords (line {self.line})")
                return join(Value(IS_LIVE), box(everything))
        return self._gives_any(item, args, keywords, everything, given)

    @staticmethod
    def _gives_list(
        item: Trusted,
        args: Sequence[Value],
        keywords: Keywords,
        everything: Value,
        elements: Value,
        given: Value,
    ) -> Value:
        inside = elements
        if item.name in _WITH_KEYWORDS:
            inside = join(elements, element(elements), *keywords.values())
        if item.name == "collections.defaultdict":
            inside = join(inside, given, Value(0, everything.calls))
        return box(inside)

    def _gives_any(
        self, item: Trusted, args: Sequence[Value], keywords: Keywords, everything: Value, given: Value
    ) -> Value:
        if item.name in ("max", "min") and len(args) == 1:
            return join(element(args[0]), keywords.get("default", FLAT), keywords.get(None, FLAT))
        if item.name in ("max", "min"):
            return join(*args, element(args[0]) if args else FLAT)
        if item.name in _OF_ELEMENTS and args and not keywords:
            return element(args[0])
        if item.name == "sum":
            # Nothing but a number can be added to the 0 that it starts from. Any other start may be given back.
            start = join(*args[1:], *keywords.values())
            return join(start, box(element(args[0]), element(start))) if len(args) > 1 or keywords else FLAT
        if item.name == "next" and args:
            return join(element(args[0]), *args[1:])
        if item.name == "functools.reduce":
            return join(given, *map(element, args[1:2]), *args[2:])
        if item.name == "copy.copy":
            return join(box(element(everything)), Value(everything.bits & (IS_LIVE | HOLDS_LIVE)))
        return join(everything, anywhere(everything), given, box(everything, element(everything)))

    def _special(self, item: Trusted, args: Sequence[Value], everything: Value) -> Value:
        if item.name == "functools.partial" and args:
            bound = Bound(
                without_chains(args[0]).calls, without_chains(join(*args[1:], Value(everything.bits)))
            )
            return Value(IS_LIVE, frozenset({bound}))
        if item.name == "functools.cmp_to_key":
            return Value(IS_LIVE, everything.calls)
        if item.name == "operator.itemgetter":
            return Value(IS_LIVE, frozenset({Trusted("operator.getitem", "any")}))
        if item.name == "type" and len(args) == 1:
            return Value(0, frozenset({Trusted("type of something", "unknown")}))
        raise Refused(f"it calls {item.name}()")

    def _stores_into(self, receiver: Value, others: Sequence[Value], name: str) -> None:
        self.mutates(receiver, f"change an argument by {name}() (line {self.line})")
        for other in others:
            self.check_store(receiver, other)
            self.store(join(other, element(other)))

    # --- methods ---

    def _method(
        self, name: str, receiver: Value, args: Sequence[Value], keywords: Keywords, node: ast.expr | None
    ) -> Value:
        self._check_method(name, receiver, args, keywords, node)
        everything = join(*args, *keywords.values())
        given = FLAT
        if everything.calls:
            inside = join(element(receiver), element(everything), Value(IS_LIVE) if "sub" in name else FLAT)
            given = self._called_back(everything, Value(inside.bits))
        if GIVES[name] == "changes":
            return self._changing_method(name, receiver, args, everything)
        return self._method_gives(name, receiver, args, keywords, given)

    def _method_gives(
        self, name: str, receiver: Value, args: Sequence[Value], keywords: Keywords, given: Value
    ) -> Value:
        everything = join(*args, *keywords.values())
        gives = GIVES[name]
        if gives == "array":
            gives = "any" if receiver.bits & BOX else "flat"
        if name in ("groups", "groupdict") and everything.bits:
            return box(everything)  # it is the default
        match gives:
            case "tuple":
                return ROW
            case "box":
                return NEW
            case "list":
                return box(element(receiver), element(everything))
            case "live":
                inside = join(element(receiver), element(element(receiver)))
                return join(Value(IS_LIVE), held(Value(inside.bits, receiver.calls)))
            case "lives":
                return Value(IS_LIVE | HOLDS_LIVE)
            case "any":
                if name == "get":
                    return join(element(receiver), *args[1:], *keywords.values())
                if name in ("find", "findtext"):
                    return join(Value(receiver.bits & BOX), everything if name == "findtext" else FLAT)
                return join(receiver, anywhere(receiver), everything, given)
        return FLAT

    def _check_method(
        self, name: str, receiver: Value, args: Sequence[Value], keywords: Keywords, node: ast.expr | None
    ) -> None:
        is_known = isinstance(node, ast.Call) and not any(isinstance(arg, ast.Starred) for arg in node.args)
        most = POSITIONAL.get(name)
        is_path_like = (name == "replace" and (len(args) != 2 and (args or not keywords))) or (
            name == "group"
            and not args
            and receiver.bits & (IS_TOP | IS_PART)
            and not receiver.bits & IS_LIVE
        )
        is_unseen = (most is not None or name == "replace") and not is_known
        if (
            is_unseen
            or is_path_like
            or KEYWORDS_REFUSED & set(keywords)
            or (most is not None and len(args) > most)
        ):
            raise Refused(f"it calls .{name}() with arguments that are not looked into (line {self.line})")
        if most is not None and None in keywords:
            raise Refused(f"it calls .{name}() with arguments that are not known (line {self.line})")
        if name == "astype" or name == "view":
            if not isinstance(node, ast.Call) or len(node.args) != 1 or node.keywords:
                raise Refused(f"it calls .{name}() in a way that is not looked into (line {self.line})")
            arrays.check_dtype(node.args[0], args[0], self.line)

    def _changing_method(self, name: str, receiver: Value, args: Sequence[Value], everything: Value) -> Value:
        self.mutates(receiver, f"change an argument by .{name}() (line {self.line})")
        if name in _STORES:
            self.check_store(receiver, everything)
            self.store(everything)
        elif name in _STORES_ELEMENTS:
            self.check_store(receiver, element(everything))
            one = element(everything)
            self.store(join(everything if name == "update" else FLAT, one, element(one)))
        else:
            self.store_key(everything)
        if name in _TAKES_OUT:
            return join(element(receiver), *args[1:])
        if name in ("partition", "readlines"):
            return NEW
        return FLAT

    def call_method(self, name: str, args: Sequence[Value]) -> Value:
        """What a method of a flat object may give."""
        return self._method(name, FLAT, args, {}, ast.Call(ast.Name("it"), [], []))
