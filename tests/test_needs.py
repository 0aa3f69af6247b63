"""What a call brought into its worker is told by name where it was installed, outermost first; other code is not."""

from __future__ import annotations

import sys
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType

import pytest
from installed import install

from hybridrt._engine import needs


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = install(tmp_path, lib_leaf="", lib_root="import lib_leaf, lib_pack.inner")
    pack = Path(path, "lib_pack")
    pack.mkdir()
    (pack / "__init__.py").write_text("from . import inner")
    (pack / "inner.py").write_text("")
    (tmp_path / "lib_mine.py").write_text("import lib_root")
    monkeypatch.syspath_prepend(path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("lib_leaf", "lib_root", "lib_pack", "lib_pack.inner", "lib_mine", "lib_false"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    invalidate_caches()
    return path


def test_installed_modules_are_told_each_after_what_it_needs_and_a_projects_own_are_not(site: str) -> None:
    known = len(sys.modules)
    import_module("lib_mine")
    assert needs.learnable(known) == ["lib_leaf", "lib_pack", "lib_root", "lib_pack.inner"]
    assert needs.is_of_a_project(sys.modules["lib_mine"])
    assert not needs.is_of_a_project(sys.modules["lib_root"])


def test_what_cannot_be_imported_by_its_name_is_not_told(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = len(sys.modules)
    monkeypatch.setitem(sys.modules, "lib_false", import_module("lib_leaf"))  # under another name
    monkeypatch.setitem(sys.modules, "lib_made", ModuleType("lib_made"))
    monkeypatch.setitem(sys.modules, "lib_none", None)  # type: ignore[arg-type]
    assert needs.learnable(known) == ["lib_leaf"]


def test_python_itself_and_we_count_as_installed() -> None:
    for name in ("json", "_json", "sys", "importlib._bootstrap", "hybridrt._engine.needs"):
        assert not needs.is_of_a_project(import_module(name)), name
    assert needs.is_of_a_project(sys.modules[__name__])
    assert needs.is_of_the_standard_library(import_module("json").__file__ or "")
    assert not needs.is_of_the_standard_library(pytest.__file__)
