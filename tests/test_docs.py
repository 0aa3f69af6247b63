"""Every snippet in the README and the documentation runs, and what they list is what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from hybridrt import Settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def snippets() -> Iterator[object]:
    for page in PAGES:
        for number, match in enumerate(
            re.finditer(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL), 1
        ):
            yield pytest.param(match[1], id=f"{page.relative_to(ROOT)}:{number}")


@pytest.mark.parametrize("snippet", list(snippets()))
def test_a_snippet_runs(snippet: str, tmp_path: Path) -> None:
    script = tmp_path / "snippet.py"
    script.write_text(snippet)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_every_setting_has_its_row_and_every_row_its_setting() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `(.*?)` \| `(\w+)` \| (.*?) \|$",
        (ROOT / "docs/settings.md").read_text(),
        re.MULTILINE,
    )
    assert rows == [
        (f.name, repr(f.default), f"HYBRIDRT_{f.name.upper()}", f.metadata["doc"]) for f in fields(Settings)
    ]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
