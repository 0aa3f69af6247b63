"""hybridrt does what the table of failures says, put to the probes that its peers are put to; and so says the page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.failures import page, verdicts
from benchmarks.failures.pools import POOLS
from benchmarks.failures.runner import ALL_PROBES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the probes read /proc")

ROOT = Path(__file__).resolve().parent.parent
OURS = (
    "fine / usable",
    "right exception",
    "clear error",
    "yes, C code too",
    "leave / leave / leave",
    "works",
)
LINE = f"| **hybridrt** | {' | '.join(f'**{cell}**' for cell in OURS)} |"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.failures", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.timeout(120)
def test_our_row_is_what_we_promise(tmp_path: Path) -> None:
    done = run("--only", "hybridrt", "--json", str(tmp_path / "run.json"))
    assert LINE in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stderr
    saved = json.loads((tmp_path / "run.json").read_text())
    probes = saved["results"]["hybridrt"]
    assert set(probes) == set(ALL_PROBES)
    assert verdicts.row(probes) == OURS
    # So much was really there to be seen.
    assert probes["segfault"]["bad"]["error"] == "WorkerCrashed"
    for probe in ("killed-idle", "killed-busy"):
        # A zygote and two workers; one that finds out what may be preloaded may be there as well.
        assert len(probes[probe]["there"]) in (3, 4)
    assert probes["killed-grandchild"]["there"][str(probes["killed-grandchild"]["pids"][0])] == "sleep 600"
    assert probes["cancel-c"]["killed"]
    assert not probes["cancel-python"]["killed"]
    assert saved["machine"]["versions"]["hybridrt"]


def test_the_page_says_the_same() -> None:
    text = page.PAGE.read_text()
    assert LINE in text
    assert "python -m benchmarks.failures --docs" in text
    for key in ("stdlib", "multiprocessing", "loky", "pebble", "anyio"):
        assert f"| {POOLS[key].label} |" in text


def test_a_page_is_made_from_a_saved_run_of_several_pools_only(tmp_path: Path) -> None:
    saved = {"machine": {}, "results": {"hybridrt": {probe: {} for probe in ALL_PROBES}}}
    (tmp_path / "run.json").write_text(json.dumps(saved))
    before = page.PAGE.read_text()
    done = run("--load", str(tmp_path / "run.json"), "--docs")
    assert done.returncode == 2
    assert "leave out --only" in done.stderr
    assert page.PAGE.read_text() == before


def test_who_is_not_known_is_refused_and_who_is_not_installed_is_named() -> None:
    done = run("--only", "no-such-pool")
    assert done.returncode == 2
    assert "no-such-pool" in done.stderr
    listed = run("--list").stdout
    for key, pool in POOLS.items():
        assert f"  {key} " in listed
        if page.version(pool) is None:
            assert f"not installed (pip install {pool.package})" in listed


GOOD = [{"value": x * x} for x in range(1, 8)]
FAILED = {"error": "BrokenProcessPool", "message": "terminated abruptly"}
AFTER = [{"value": 100}, {"value": 121}]


@pytest.mark.parametrize(
    ("facts", "cell"),
    [
        ({"good": GOOD, "bad": FAILED, "after": AFTER}, "fine / usable"),
        ({"good": [FAILED] * 7, "bad": FAILED, "after": [FAILED] * 2}, "all fail / dead"),
        ({"good": GOOD, "bad": {}, "after": AFTER}, "fine / usable, but the crashed task never resolves"),
        ({"good": [{}, {}, *GOOD[2:]], "bad": FAILED, "after": [{}, AFTER[1]]}, "2 of 7 hang / hangs"),
        ({"good": [{"value": 2}, *GOOD[1:]], "bad": FAILED, "after": AFTER}, "1 of 7 fail / usable"),
        (
            {},
            "all hang / hangs, but the crashed task never resolves",
        ),  # its event loop was blocked from the start
    ],
)
def test_a_segfault_in_words(facts: dict[str, object], cell: str) -> None:
    assert verdicts.segfault({"segfault": facts}) == cell


@pytest.mark.parametrize(
    ("bad", "cell"),
    [
        ({"error": "TwoArguments", "message": "this and that"}, "right exception"),
        ({"error": "TwoArguments", "message": "something else"}, "wrong type (`TwoArguments`)"),
        ({"error": "TypeError", "message": "missing 1 required"}, "wrong type (`TypeError`)"),
        ({}, "never resolves"),
    ],
)
def test_an_exception_in_words(bad: dict[str, str], cell: str) -> None:
    assert verdicts.two_arguments({"two-arguments": {"good": GOOD, "bad": bad, "after": AFTER}}) == cell


def test_harm_done_to_others_is_told_beside_the_exception() -> None:
    facts = {"good": [FAILED] * 7, "bad": {"error": "E", "message": ""}, "after": [FAILED] * 2}
    assert verdicts.two_arguments({"two-arguments": facts}) == (
        "wrong type (`E`), the others: all fail, the pool is dead"
    )
    assert verdicts.unpicklable({"unpicklable": facts}) == (
        "an error that does not say it (`E`), the others: all fail, the pool is dead"
    )


@pytest.mark.parametrize(
    ("stopped", "cell"),
    [
        ((True, True, True), "yes, C code too"),
        ((True, False, False), "Python code only"),
        ((True, True, False), "Python code, and C code that holds the GIL"),
        ((True, False, True), "Python code, and C code that lets the GIL go"),
        ((False, False, False), "no"),
    ],
)
def test_cancels_in_words(stopped: tuple[bool, ...], cell: str) -> None:
    names = ("cancel-python", "cancel-c", "cancel-c-without-gil")
    assert verdicts.cancel({n: {"stopped": s} for n, s in zip(names, stopped, strict=True)}) == cell


def test_who_stays_is_told_one_by_one() -> None:
    probes = {
        "killed-idle": {"left": {}},
        "killed-busy": {"left": {"7": "worker"}},
        "killed-grandchild": {"pids": [9], "left": {"7": "worker"}},
    }
    assert verdicts.parent_killed(probes) == "leave / stay / leave"
    probes["killed-grandchild"]["left"] = {"9": "sleep 600"}
    assert verdicts.parent_killed(probes) == "leave / stay / stay"
    assert verdicts.parent_killed({**probes, "killed-idle": {}}) == "– / stay / stay"


@pytest.mark.parametrize(
    ("facts", "cell"),
    [
        ({"exitcode": 0, "lines": ["top level", "9"]}, "works"),
        (
            {"exitcode": 0, "lines": ["top level", "top level", "9"]},
            "works, but its top level runs again in workers",
        ),
        ({"exitcode": 1, "lines": ["top level"]}, "fails"),
        ({"exitcode": None, "lines": ["top level"]}, "hangs"),
    ],
)
def test_a_script_in_words(facts: dict[str, object], cell: str) -> None:
    assert verdicts.no_guard({"no-guard": facts}) == cell
