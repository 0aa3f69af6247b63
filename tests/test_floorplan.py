"""The architecture holds: who imports whom, what each room may know of, and how long a file may grow.

The plan is in docs/design.md. The checks read the sources with `ast`, so an import counts wherever it stands: at the
top, inside a function, under `if TYPE_CHECKING`, or as a constant text given to `import_module`.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOOR = "hybridrt"

# A room is a file or folder directly in hybridrt/. It imports from itself and from lower floors. New rooms go in here.
FLOORS = {
    "errors": -1,  # drawn on floor 0; below it here, because all others may raise them and they know nobody
    "_core": 0,
    "_engine": 1,
    "_lanes": 2,
    "streams": 2.4,  # these are drawn on floor 3, as parts of what the runtime shows; below it here
    "actors": 2.4,
    "files": 2.5,
    "verbs": 2.5,
    "lifetime": 2.5,
    "scopes": 2.6,
    "runtime": 3,
    "ambient": 4,
    "executor": 4,
    "demo": 5,
    "ext": 5,
    "testing": 5,
    "cli": 6,  # drawn on floor 5; above it here, because it starts what stands there
    "__main__": 7,
}
# Listens, and stands beside the floors: it knows these rooms only, and nobody below the runtime knows it.
WATCH, WATCH_KNOWS, WATCH_KNOWN_FROM = "watch", {"_core", "errors"}, FLOORS["runtime"]
# (room, module): the reason why it may import that one all the same.
LET_IN = {
    (
        "errors",
        "hybridrt._core.interrupt",
    ): "Interrupted is an error of ours, but a worker, which raises it, must not"
    " load errors.py, because BrokenProcessPool there brings all of multiprocessing",
}
# From this floor up, code is a user of ours and may come in by the front door (`from hybridrt import Runtime`).
DOOR_OPENS_FROM = 5

# `_core` decides; it can neither wait nor ask the time, so that every decision can be replayed in a test.
CORE_NEVER = {
    "asyncio",
    "concurrent",
    "multiprocessing",
    "selectors",
    "socket",
    "subprocess",
    "threading",
    "time",
}
# Their private names change without notice; the accelerators behind them are private altogether.
NO_PRIVATES_OF = ("asyncio", "multiprocessing", "concurrent.futures")
PRIVATE_MODULES = {"_asyncio", "_multiprocessing", "_posixshmem", "_queue"}

FILE_LINES, FUNCTION_LINES = 400, 60
# Path, or path::function, and the reason why it may be longer.
LONGER: dict[str, str] = {}


@dataclass
class Module:
    name: str  # dotted, without ".__init__"
    path: Path
    tree: ast.Module
    lines: int
    known: dict[str, Path] = field(repr=False)  # all modules of the tree

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def room(self) -> str:
        return room_of(self.name)

    def absolute(self, level: int, name: str) -> str:
        """The dotted name that a relative import of `level` dots means here."""
        if level == 0:
            return name
        parts = self.name.split(".")
        base = parts[: len(parts) - level + self.is_package]
        return ".".join([*base, name] if name else base)

    def imports(self) -> Iterator[tuple[int, str]]:
        """(line, dotted name) of everything imported; of our own, the module and not the name in it."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self.absolute(node.level, node.module or "")
                for alias in node.names:
                    full = f"{base}.{alias.name}"
                    yield node.lineno, full if full in self.known or not is_ours(base) else base
            elif isinstance(node, ast.Call) and (name := _import_call(node)):
                yield node.lineno, self.absolute(len(name) - len(name.lstrip(".")), name.lstrip("."))

    def own_imports(self) -> Iterator[tuple[int, str]]:
        return ((line, name) for line, name in self.imports() if is_ours(name))


def _import_call(node: ast.Call) -> str:
    function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if function in {"import_module", "__import__"} and node.args and isinstance(node.args[0], ast.Constant):
        return str(node.args[0].value)
    return ""


def is_ours(name: str) -> bool:
    return name == DOOR or name.startswith(f"{DOOR}.")


def room_of(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def read(root: Path) -> list[Module]:
    known: dict[str, Path] = {}
    for path in sorted((root / DOOR).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        known[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    modules = []
    for name, path in known.items():
        text = path.read_text()
        modules.append(Module(name, path.relative_to(root), ast.parse(text), text.count("\n"), known))
    return modules


def rooms_without_a_floor(modules: list[Module]) -> Iterator[str]:
    for room in sorted({module.room for module in modules} - {"", WATCH, *FLOORS}):
        yield f"hybridrt/{room} has no floor: give it one in FLOORS, in tests/test_floorplan.py and docs/design.md"


def imports_from_above(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        if module.room and (module.room in FLOORS or module.room == WATCH):
            for line, target in module.own_imports():
                if not _may_import(module.room, room_of(target)) and (module.room, target) not in LET_IN:
                    yield f"{module.path}:{line}: {module.room} may not import {target}"


def _may_import(source: str, target: str) -> bool:
    if source == target:
        return True
    if source == WATCH:
        return target in WATCH_KNOWS
    if target == WATCH:
        return FLOORS[source] >= WATCH_KNOWN_FROM
    if not target:
        return FLOORS[source] >= DOOR_OPENS_FROM
    return FLOORS.get(target, max(FLOORS.values())) < FLOORS[source]


def cycles(modules: list[Module]) -> Iterator[str]:
    # The front door names everybody, lazily, and nobody below floor 5 may name it: it closes no circle.
    graph = {m.name: {target for _, target in m.own_imports()} - {m.name, DOOR} for m in modules if m.room}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield "imports go in a circle: " + " -> ".join(reversed(error.args[1]))


def core_that_acts(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        if module.room == "_core":
            for line, name in module.imports():
                if name.split(".")[0] in CORE_NEVER:
                    yield f"{module.path}:{line}: _core may not import {name}"


def privates_of_others(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        for line, name in module.imports():
            if _is_private_of_others(name) or name.split(".")[0] in PRIVATE_MODULES:
                yield f"{module.path}:{line}: {name} is private"
        names = _names_bound_by_import(module.tree)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute):
                first, *rest = ast.unparse(node).split(".")
                full = ".".join([names.get(first, ""), *rest])
                if _is_private_of_others(full):
                    yield f"{module.path}:{node.lineno}: {full} is private"


def _names_bound_by_import(tree: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.update((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)
    return names


def _is_private_of_others(name: str) -> bool:
    of_theirs = name.startswith(tuple(f"{package}." for package in NO_PRIVATES_OF))
    return of_theirs and any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def without_docstring(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        if not module.is_package and not ast.get_docstring(module.tree):
            yield f"{module.path}:1: say in a docstring what this module is"


def too_long(modules: list[Module], longer: dict[str, str] = LONGER) -> Iterator[str]:
    found: dict[str, str] = {}
    for module in modules:
        if module.lines > FILE_LINES:
            found[str(module.path)] = f"{module.lines} lines, at most {FILE_LINES}"
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    found[f"{module.path}::{node.name}"] = f"{lines} lines, at most {FUNCTION_LINES}"
    yield from (f"{where}: {what}" for where, what in found.items() if where not in longer)
    yield from (f"{where} is short enough: drop it from LONGER" for where in longer if where not in found)


CHECKS: list[Callable[[list[Module]], Iterator[str]]] = [
    rooms_without_a_floor,
    imports_from_above,
    cycles,
    core_that_acts,
    privates_of_others,
    without_docstring,
    too_long,
]


@pytest.fixture(scope="module")
def ours() -> list[Module]:
    return read(ROOT)


@pytest.mark.parametrize("check", CHECKS)
def test_the_plan_holds(check: Callable[[list[Module]], Iterator[str]], ours: list[Module]) -> None:
    assert "\n".join(check(ours)) == ""


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("hybridrt", {"asyncio", "multiprocessing", "cloudpickle", "tblib", "anyio", "uvloop", "aiofiles"}),
        # What a worker loads, every worker pays for: the standard library only, and no loop until one is needed.
        ("hybridrt._engine.worker", {"asyncio", "cloudpickle", "tblib", "anyio", "uvloop", "aiofiles"}),
    ],
)
def test_a_light_module_loads_nothing_heavy(module: str, never: set[str]) -> None:
    code = f"import sys; before = set(sys.modules); import {module}; print(*(set(sys.modules) - before))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert loaded.returncode == 0, loaded.stderr
    assert module in loaded.stdout.split()
    assert set(loaded.stdout.split()) & never == set()


# --- the checker, on a made-up tree in which each rule is broken once ---

SOUND = {
    "__init__.py": "from .runtime import Runtime",
    "errors.py": '"""Errors."""',
    "_core/__init__.py": "",
    "_core/job.py": '"""Job."""\nfrom ..errors import Oops',
    "_engine/child.py": '"""Child."""\nfrom hybridrt._core import job\nfrom . import wire\nimport asyncio\nasyncio.run',
    "_engine/wire.py": '"""Wire."""\nfrom asyncio import __doc__ as d',
    "runtime.py": '"""Runtime."""\nfrom ._engine.child import Child\nfrom .watch import lag',
    "watch/lag.py": '"""Lag."""\nfrom .._core.job import Job',
    "cli.py": '"""Cli."""\nfrom hybridrt import Runtime\nfrom . import demo, __version__',
    "demo/__init__.py": "",
}


def build(root: Path, changed: dict[str, str]) -> list[Module]:
    for name, text in (SOUND | changed).items():
        path = root / DOOR / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read(root)


def test_the_checker_accepts_a_sound_tree(tmp_path: Path) -> None:
    modules = build(tmp_path, {})
    assert [message for check in CHECKS for message in check(modules)] == []


D = '"""D."""\n'


@pytest.mark.parametrize(
    ("check", "path", "text", "said"),
    [
        (rooms_without_a_floor, "misc.py", D, "hybridrt/misc has no floor: give it one"),
        (
            imports_from_above,
            "errors.py",
            D + "from ._core import job",
            "errors.py:2: errors may not import hybridrt._core.job",
        ),
        (
            imports_from_above,
            "_core/x.py",
            D + "from .. import runtime",
            "_core may not import hybridrt.runtime",
        ),
        (
            imports_from_above,
            "_core/x.py",
            D + "import hybridrt.runtime as r",
            "_core may not import hybridrt.runtime",
        ),
        (
            imports_from_above,
            "_core/x.py",
            D + "def f():\n    from .._engine.wire import W",
            "x.py:3: _core may not",
        ),
        (
            imports_from_above,
            "_core/x.py",
            D + "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..runtime import Runtime",
            "x.py:4: _core may not import hybridrt.runtime",
        ),
        (
            imports_from_above,
            "_core/x.py",
            D + "import_module('hybridrt.cli')",
            "_core may not import hybridrt.cli",
        ),
        (
            imports_from_above,
            "_core/x.py",
            D + "import_module('..cli', __package__)",
            "_core may not import hybridrt.cli",
        ),
        (
            imports_from_above,
            "_core/__init__.py",
            "from .._engine import wire",
            "_core may not import hybridrt._engine.wire",
        ),
        (imports_from_above, "runtime.py", D + "from hybridrt import run", "runtime may not import hybridrt"),
        (
            imports_from_above,
            "_engine/x.py",
            D + "from ..watch import lag",
            "_engine may not import hybridrt.watch.lag",
        ),
        (
            imports_from_above,
            "watch/x.py",
            D + "from .._engine import wire",
            "watch may not import hybridrt._engine.wire",
        ),
        (
            cycles,
            "_engine/wire.py",
            D + "def f():\n    from .child import Child",
            "hybridrt._engine.child -> hybridrt._engine.",
        ),
        (
            core_that_acts,
            "_core/x.py",
            D + "from asyncio import Future",
            "_core may not import asyncio.Future",
        ),
        (core_that_acts, "_core/x.py", D + "import threading", "_core may not import threading"),
        (
            privates_of_others,
            "_engine/x.py",
            D + "import asyncio as a\na.events._x()",
            "asyncio.events._x is private",
        ),
        (privates_of_others, "_engine/x.py", D + "from asyncio import _x", "asyncio._x is private"),
        (
            privates_of_others,
            "_engine/x.py",
            D + "import concurrent.futures\nconcurrent.futures._base",
            "_base is private",
        ),
        (
            privates_of_others,
            "_engine/x.py",
            D + "from multiprocessing.util import _y",
            "multiprocessing.util._y is private",
        ),
        (privates_of_others, "_engine/x.py", D + "import _posixshmem", "_posixshmem is private"),
        (without_docstring, "_engine/x.py", "x = 1", "x.py:1: say in a docstring"),
        (too_long, "_engine/x.py", D + "\n" * 400, "x.py: 401 lines, at most 400"),
        (too_long, "_engine/x.py", D + "async def f():\n" + "    1\n" * 60, "x.py::f: 61 lines, at most 60"),
    ],
)
def test_the_checker_finds(
    check: Callable[[list[Module]], Iterator[str]], path: str, text: str, said: str, tmp_path: Path
) -> None:
    messages = list(check(build(tmp_path, {path: text})))
    assert len(messages) == 1
    assert said in messages[0]


def test_an_exemption_that_is_not_needed_is_found(tmp_path: Path) -> None:
    assert list(too_long(build(tmp_path, {}), {"hybridrt/cli.py": "why"})) == [
        "hybridrt/cli.py is short enough: drop it from LONGER"
    ]
