"""Only the source that surely is the running code is believed."""

from __future__ import annotations

import _pydecimal
import argparse
import ast
import difflib
import importlib.util
import inspect
import statistics
import sys
import tarfile
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

from hybridrt._core.proof import examine
from hybridrt._core.proof.source import pieces

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    names: list[str] = []

    def load(text: str) -> ModuleType:
        name = f"written_{len(names)}"
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        names.append(name)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    yield load
    for name in names:
        sys.modules.pop(name, None)


def judged(module: ModuleType, name: str = "f") -> tuple[bool, str]:
    verdict = examine(getattr(module, name))
    return verdict.is_movable, verdict.reason


def test_a_function_that_was_edited_since_is_refused(load: Load) -> None:
    module = load("def f(n):\n    return str(n)\n")
    assert judged(module)[0]
    assert module.__file__
    Path(module.__file__).write_text("def f(n):\n    return repr(n) + ' '\n")
    assert judged(module) == (False, "its source is not what runs (edited since, or rewritten)")


def test_a_constant_that_was_edited_since_is_refused(load: Load) -> None:
    module = load("LIMIT = 3\ndef f(n):\n    return str(n + LIMIT)\n")
    assert judged(module)[0]
    assert module.__file__
    Path(module.__file__).write_text("LIMIT = 5\ndef f(n):\n    return str(n + LIMIT)\n")
    assert judged(module) == (False, "the module's variable LIMIT has been changed since")


def test_a_function_without_source_is_refused(load: Load) -> None:
    module = load("def f(n):\n    return str(n)\n")
    assert module.__file__
    Path(module.__file__).unlink()
    assert judged(module) == (False, "the source of written_0 is not at hand")


def test_a_module_that_was_replaced_is_refused(load: Load) -> None:
    module = load("def f(n):\n    return str(n)\n")
    sys.modules[module.__name__] = ModuleType(module.__name__)
    assert judged(module) == (False, "its globals are not those of a module that is loaded")


def test_a_function_of_this_file_which_pytest_has_rewritten_is_refused() -> None:
    def asserting(n: int) -> str:
        assert n
        return str(n)

    def plain(n: int) -> str:
        return str(n)

    assert "its source is not what runs" in examine(asserting).reason
    assert examine(plain).is_movable


def test_lambdas_on_one_line_are_told_apart(load: Load) -> None:
    module = load("f, g = lambda rows: str(rows), lambda rows: rows.append(1)\n")
    assert examine(module.f).needs_immutable == 0
    assert examine(module.g).needs_immutable == 1


def test_lambdas_on_one_line_within_each_other_are_told_apart(load: Load) -> None:
    module = load(
        "def make():\n    return (lambda a: (lambda a: a.append(1))(a)), (lambda a: len(a))\nf, g = make()\n"
    )
    assert [examine(fn).needs_immutable for fn in (module.f, module.g)] == [1, 0]


def test_of_two_functions_of_one_name_neither_is_believed(load: Load) -> None:
    module = load("def f(n):\n    return str(n)\n\n\nold = f\n\n\ndef f(n):\n    return repr(n)\n")
    assert not judged(module)[0]
    text = "def g(n):\n    return str(n)\nif True:\n    def g(n): return repr(n)\ndef f(n):\n    return len(g(n))\n"
    assert judged(load(text)) == (False, "its module does not bind the name g once and for all")


@pytest.mark.parametrize(
    "text",
    [
        "from math import *\ndef f(n):\n    return str(sqrt(n))\n",
        "try:\n    import json\nexcept ImportError:\n    json = None\ndef f(n):\n    return json.dumps(n)\n",
        "LIMIT = 3\nglobals()['LIMIT'] = 4\ndef f(n):\n    return str(n + LIMIT)\n",
        "LIMIT = 3\ndef set_it():\n    global LIMIT\n    LIMIT = 4\ndef f(n):\n    return str(n + LIMIT)\n",
        "for LIMIT in (3,): pass\ndef f(n):\n    return str(n + LIMIT)\n",
        "LIMIT = id(3)\ndef f(n):\n    return str(n + LIMIT)\n",
        "import os\nLIMIT = os.getpid()\ndef f(n):\n    return str(n + LIMIT)\n",
        "import time\nLIMIT = time.time()\ndef f(n):\n    return str(n + LIMIT)\n",
        "[LIMIT := 3]\ndef f(n):\n    return str(n + LIMIT)\n",
        "WORDS = ' '.join({'a', 'b'})\ndef f(n):\n    return WORDS[n]\n",
        "SET = frozenset({'a', 'b'})\nFIRST = next(iter(SET))\ndef f(n):\n    return FIRST[n:n + 1] + ''\n",
        "def g(n):\n    return n\ng = len\ndef f(n):\n    return str(g(n))\n",
        "def g(n):\n    return str(n)\ndel g\nfrom os import getcwd as g\ndef f(n):\n    return g(n)\n",
        "def f(n):\n    return str(n)\nf.__code__ = (lambda n: n.clear()).__code__\n",
    ],
)
def test_a_name_that_may_mean_something_else_in_a_fresh_import_is_refused(text: str, load: Load) -> None:
    assert not judged(load(text))[0]


@pytest.mark.parametrize(
    "text",
    [
        "from math import sqrt as root\ndef f(n):\n    return str(root(n))\n",
        "import os.path\ndef f(n):\n    return os.path.join(str(n), 'x')\n",
        "import re\nA = 3\nB = (A, A + 1)\nC = re.compile('a' * B[0] if 0 else 'a')\ndef f(n):\n    return str(B)\n",
        "from json import dumps\nwrite = dumps\ndef f(n):\n    return write(n)\n",
        "half = lambda n: n / 2\ndef f(n):\n    return half(n)\n",
        "WORDS = frozenset({'a', 'b'})\ndef f(n):\n    return n in WORDS\n",
        "import datetime\nA = datetime.timedelta(days=2)\ndef f(n):\n    return str(n * A)\n",
        "def f(n):\n    def fib(n):\n        return 1 if n < 2 else fib(n - 1) + fib(n - 2)\n    return str(fib(n))\n",
        "class A:\n    @staticmethod\n    def f(n):\n        return str(n)\nf = A.f\n",
    ],
)
def test_a_name_with_one_meaning_is_believed(text: str, load: Load) -> None:
    is_movable, reason = judged(load(text))
    assert is_movable, reason


def test_a_helper_in_another_module_is_followed(load: Load) -> None:
    load("LIMIT = 3\nSEEN = []\ndef g(n):\n    return str(n + LIMIT)\ndef h(n):\n    SEEN.append(n)\n")
    user = load(
        "import written_0\nfrom written_0 import g, h\n"
        "def f(n):\n    return g(n) + written_0.g(n)\ndef k(n):\n    return h(n)\n"
    )
    assert judged(user)[0]
    assert judged(user, "k") == (False, "it reads the module's variable SEEN, which can change")


def test_the_proof_runs_nothing_of_the_function(load: Load) -> None:
    module = load("LOG = []\ndef f(n):\n    LOG.append(n)\n    return len(LOG)\n")
    examine(module.f)
    log: Any = module.LOG
    assert log == []


def _flat(code: CodeType) -> Iterator[CodeType]:
    for const in code.co_consts:
        if isinstance(const, CodeType) and const.co_name != "__annotate__":  # nothing that anyone calls
            yield const
            yield from _flat(const)


@pytest.mark.parametrize(
    "module",
    [_pydecimal, argparse, ast, difflib, inspect, statistics, tarfile, typing],
    ids=lambda module: module.__name__,
)
def test_in_pieces_it_is_the_same_as_in_one_go(module: ModuleType) -> None:
    text = inspect.getsource(module)
    found = list(pieces(text, "x.py"))
    assert len(found) > 2
    whole = ast.parse(text)
    body = [statement for tree, _ in found for statement in tree.body]
    assert [ast.dump(it, include_attributes=True) for it in body] == [
        ast.dump(it, include_attributes=True) for it in whole.body
    ]
    parts = [part for _, code in found for part in _flat(code)]
    expected = list(_flat(compile(text, "x.py", "exec", dont_inherit=True)))
    assert parts == expected


def test_a_statement_may_be_as_long_as_it_likes() -> None:
    text = 'A = """\n' + "B = 1\n" * 300 + '"""\n' + "x = [\n" + "1,\n" * 300 + "]\n"
    text += "if x:\n" + " y = 1\n" * 100 + "else:\n z = 2\n"
    found = list(pieces(text, "x.py"))
    statements = [it for tree, _ in found for it in tree.body]
    assert [ast.unparse(it) for it in statements] == [ast.unparse(it) for it in ast.parse(text).body]
    with pytest.raises(SyntaxError):
        list(pieces(text + "x = (\n", "x.py"))
    assert list(pieces("", "x.py")) == []
