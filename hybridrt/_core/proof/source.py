"""The source of running code: a module's tree, and the node in it from which a code object was surely made."""

from __future__ import annotations
import __future__

import ast
import linecache
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from .values import Refused

Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_KEPT = 32
_LINES_AT_ONCE = 60
_INSIDE = " \t\r\n\f)]}#\"'"
"""What a line begins with that is hardly the first of a statement."""
_GOES_ON = ("else", "elif", "except", "finally")
_views: dict[str, View] = {}
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_LOOPS = (ast.For, ast.While, ast.AsyncFor, *_COMPREHENSIONS)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, *_COMPREHENSIONS)


class View:
    """A module's source text, read once: its tree, the code that it compiles to, and what binds its names."""

    __slots__ = (
        "_parents",
        "bindings",
        "codes",
        "has_late_annotations",
        "module",
        "names",
        "nodes",
        "nonlocals",
        "rebound",
        "text",
        "tree",
    )

    def __init__(self, module: ModuleType, file: str, text: str) -> None:
        self.module = module
        self.text = text
        self.tree = ast.Module(body=[], type_ignores=[])
        self.codes: dict[tuple[str, int], list[CodeType]] = {}
        try:
            for tree, code in pieces(text, file):
                self.tree.body += tree.body
                for part in _nested(code):
                    self.codes.setdefault((part.co_name, part.co_firstlineno), []).append(part)
        except (SyntaxError, ValueError, RecursionError):
            raise Refused(f"the source in {file} cannot be read") from None
        self.nodes: dict[tuple[str, int], list[Node]] = {}
        self.rebound: set[str] = set()
        self.nonlocals: set[str] = set()
        self.names: dict[Node, tuple[frozenset[str], frozenset[str], frozenset[str], bool]] = {}
        """For each function that was looked at, as scopes.names_of found it."""
        self._parents: dict[ast.AST, ast.AST] | None = None
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Global):
                self.rebound.update(node.names)
            elif isinstance(node, ast.Nonlocal):
                self.nonlocals.update(node.names)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
                self.nodes.setdefault((node.name, first), []).append(node)
            elif isinstance(node, ast.Lambda):
                self.nodes.setdefault(("<lambda>", node.lineno), []).append(node)
        self.has_late_annotations = sys.version_info >= (3, 14) or any(
            isinstance(item, ast.ImportFrom) and item.module == "__future__" and _names(item, "annotations")
            for item in self.tree.body
        )
        self.bindings: dict[str, list[ast.AST]] = {}
        for name, binder in binders(self.tree.body):
            self.bindings.setdefault(name, []).append(binder)

    def is_bound_once(self, node: Node, name: str) -> bool:
        """Whether a free variable of ``node`` is bound once in the functions around it, and not in a loop."""
        found = 0
        for outer in self.around(node):
            if not isinstance(outer, Node):
                continue
            args = outer.args
            named = (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg)
            found += sum(item is not None and item.arg == name for item in named)
            if isinstance(outer, ast.Lambda):
                continue
            for bound, binder in binders(outer.body):
                if bound == name:
                    found += 1
                    if any(isinstance(item, _LOOPS) for item in (binder, *self.around(binder, outer))):
                        return False
        return found == 1 and name not in self.nonlocals

    def around(self, node: ast.AST, end: ast.AST | None = None) -> Iterator[ast.AST]:
        """The nodes that ``node`` is in, innermost first, up to ``end``."""
        if self._parents is None:
            self._parents = {child: up for up in ast.walk(self.tree) for child in ast.iter_child_nodes(up)}
        up = self._parents.get(node)
        while up is not None and up is not end:
            yield up
            up = self._parents.get(up)

    def is_top_level(self, node: ast.AST) -> bool:
        return any(node is item for item in self.tree.body)


class Sources:
    """The sources that one proof reads: each is compared with its file once."""

    def __init__(self) -> None:
        self._seen: dict[int, View] = {}

    def view_of(self, namespace: dict[str, Any], file: str | None = None) -> View:
        """The source of the module that owns ``namespace``; raises Refused where it has none."""
        found = self._seen.get(id(namespace))
        if found is None:
            found = self._seen[id(namespace)] = _view_of(namespace, file)
        return found

    def node_of(self, fn: FunctionType) -> tuple[Node, View]:
        """The one node of the module's source that compiles to the code of ``fn``; raises Refused where none does."""
        view = self.view_of(fn.__globals__, fn.__code__.co_filename)
        return _node_of(fn, view), view


def _view_of(namespace: dict[str, Any], file: str | None) -> View:
    name = namespace.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is None or vars(module) is not namespace:
        raise Refused("its globals are not those of a module that is loaded")
    path = namespace.get("__file__") or file
    if not isinstance(path, str) or not path.endswith(".py"):
        raise Refused(f"the source of {name} is not at hand")
    linecache.checkcache(path)
    text = "".join(linecache.getlines(path, namespace))
    if not text:
        raise Refused(f"the source of {name} is not at hand")
    known = _views.get(path)
    if known is None or known.text != text or known.module is not module:
        if len(_views) >= _KEPT:
            _views.clear()
        known = _views[path] = View(module, path, text)
    return known


def _node_of(fn: FunctionType, view: View) -> Node:
    code = fn.__code__
    if code.co_filename != view.module.__dict__.get("__file__", code.co_filename):
        raise Refused("its code is not from the source of its module")
    key = (code.co_name, code.co_firstlineno)
    equal = [
        item for item in view.codes.get(key, ()) if item == code and item.co_qualname == code.co_qualname
    ]
    nodes = view.nodes.get(key, [])
    if not equal or not nodes:
        raise Refused("its source is not what runs (edited since, or rewritten)")
    if len(nodes) > 1:
        nodes = [node for node in nodes if _covers(node, code)]
    if len(nodes) != 1:
        raise Refused("its source cannot be told from others on the same line")
    return nodes[0]


def pieces(text: str, file: str) -> Iterator[tuple[ast.Module, CodeType]]:
    """A module's source, parsed and compiled in some pieces, each of whole statements; raises SyntaxError, ValueError.

    In one go either would keep the GIL from everybody for as long as it takes: 20 ms for a thousand lines.
    """
    lines = text.splitlines(keepends=True)
    starts = [at for at, line in enumerate(lines) if line[0] not in _INSIDE and not line.startswith(_GOES_ON)]
    trees, begin = [], 0
    while begin < len(lines):
        tree, begin = _piece(lines, begin, [at for at in starts if at >= begin + _LINES_AT_ONCE])
        trees.append(tree)
    bound = [node for tree in trees for _, node in binders(tree.body)]
    imports = [node for node in bound if isinstance(node, ast.Import | ast.ImportFrom)]
    late = [it for it in imports if isinstance(it, ast.ImportFrom) and it.module == "__future__"]
    flags = __future__.annotations.compiler_flag if any(_names(it, "annotations") for it in late) else 0
    # What a name is imported as decides which instructions call it, in the whole module.
    known = ast.If(ast.Constant(0), [it for it in imports if it not in late], [])
    for tree in trees:
        body = [it for it in tree.body if it not in late]
        whole = ast.Module([known, *body] if known.body else body, [])
        yield tree, compile(ast.fix_missing_locations(whole), file, "exec", flags=flags, dont_inherit=True)


def _names(node: ast.ImportFrom, name: str) -> bool:
    return any(alias.name == name for alias in node.names)


def _piece(lines: list[str], begin: int, ends: list[int]) -> tuple[ast.Module, int]:
    """The statements from this line on, to the first of these lines at which one may end, and where that is."""
    for end in (*ends, len(lines)):
        try:
            tree = ast.parse("".join(lines[begin:end]))
        except SyntaxError:
            if end == len(lines):
                raise
        else:
            return ast.increment_lineno(tree, begin), end
    raise AssertionError("the last line is the end of a piece")


def _covers(node: Node, code: CodeType) -> bool:
    """Whether all instructions of ``code`` are from within the body of ``node``, and are not of a smaller one in it."""
    body = node.body if isinstance(node, ast.Lambda) else node.body[0]
    first, last = (body.lineno, body.col_offset), (body.end_lineno or 0, body.end_col_offset or 0)
    seen = []
    for line, end_line, column, end_column in code.co_positions():
        if None not in (line, end_line, column, end_column) and end_column:
            seen.append(((line, column), (end_line, end_column)))
    return bool(seen) and min(seen)[0] == first and max(end for _, end in seen) == last


def _nested(code: CodeType) -> Iterator[CodeType]:
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield const
            yield from _nested(const)


def binders(body: list[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    """(name, what binds it) for each name that these statements bind in their own scope, nested ones left out.

    A name that is bound by a plain statement comes with that statement, else with the node inside that binds it.
    """
    for statement in body:
        yield from _bound_by(statement, statement)


def _bound_by(node: ast.AST, statement: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    yield from _names_bound(node, statement)
    if isinstance(node, _COMPREHENSIONS):
        # Its targets are its own; a walrus inside binds out here.
        for inner in ast.walk(node):
            if isinstance(inner, ast.NamedExpr):
                yield inner.target.id, inner
    elif isinstance(node, _SCOPES):
        for outside in _outside(node):
            yield from _bound_by(outside, node)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _bound_by(child, child if isinstance(child, ast.stmt) else statement)


def _names_bound(node: ast.AST, statement: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name, node
        case ast.Name(ctx=ast.Store() | ast.Del()):
            yield node.id, statement
        case ast.Import() | ast.ImportFrom():
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], node
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name, node
        case ast.MatchMapping(rest=str(name)):
            yield name, node


def _outside(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a definition that are evaluated in the scope around it."""
    yield from getattr(node, "decorator_list", [])
    yield from getattr(node, "bases", [])
    arguments = getattr(node, "args", None)
    if isinstance(arguments, ast.arguments):
        yield from arguments.defaults
        yield from (item for item in arguments.kw_defaults if item is not None)
