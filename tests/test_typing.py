"""To mypy and to pyright a call has the type of its function, and a wrong argument is an error."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "tests" / "typing" / "public_api.py"


def mypy() -> dict[int, str]:
    run = _run("mypy", "--strict", "--output=json", str(PROGRAM))
    found = [json.loads(line) for line in run.splitlines() if line.startswith("{")]
    return {error["line"]: error["message"] for error in found if Path(error["file"]).name == PROGRAM.name}


def basedpyright() -> dict[int, str]:
    report = json.loads(_run("basedpyright", "--outputjson", "--pythonpath", sys.executable, str(PROGRAM)))
    return {error["range"]["start"]["line"] + 1: error["message"] for error in report["generalDiagnostics"]}


def _run(tool: str, *args: str) -> str:
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is in the dependency group 'lint', installed in .venv only")
    done = subprocess.run(
        [sys.executable, "-m", tool, *args], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(180)  # a cold mypy reads the whole library first
@pytest.mark.parametrize("checker", [mypy, basedpyright])
def test_errors_where_they_belong_and_nowhere_else(checker: Callable[[], dict[int, str]]) -> None:
    lines = PROGRAM.read_text().splitlines()
    wanted = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    found = checker()
    missed = [lines[number - 1].strip() for number in sorted(wanted - found.keys())]
    wrong = [f"line {number}: {found[number]}" for number in sorted(found.keys() - wanted)]
    assert (missed, wrong) == ([], [])
