"""The benchmark suite runs whatever becomes of a contestant, and what it saves can be read."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from helpers import until

import hybridrt
from benchmarks import goals, report
from benchmarks.cell import Order
from benchmarks.contestants import everybody
from benchmarks.goals import GOALS, verdicts
from benchmarks.measurements import MEASUREMENTS, Figure, Scale
from benchmarks.processes import is_group_running
from benchmarks.results import Results, better_by
from benchmarks.runner import Outcome, Plan, run_cell

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the floor forks")

ROOT = Path(__file__).resolve().parent.parent
TINY = ("--quick", "--calls", "3", "--at-once", "20", "--fresh", "1")
TINY_SCALE = Scale(
    calls=3,
    at_once=20,
    seconds=0.0,
    fresh=1,
    trips=1,
    array_mb=4,
    sharers=4,
    stall_mb=2,
    dicts=500,
    waiting=500,
    requests=10,
    traced=60,
)
# What one run of the whole command measures here; the other rows run below, cell by cell.
MEASURED = ("many", "one", "cold", "fresh", "memory")

EXTRA = """
import os, subprocess, sys
from benchmarks.contestants.contract import Contestant

class Extra(Contestant):
    lane = "process"
    takes = ("one",)
    async def open(self): pass
    async def close(self): pass
    async def call(self, fn, *args): return fn(*args)

class Failing(Extra):
    key = label = short = "failing"
    async def call(self, fn, *args): raise ValueError("<no> & never")

class Absent(Extra):
    key = label = short = "absent"
    needs = ("no_such_library",)

class Dying(Extra):
    key = label = short = "dying"
    async def call(self, fn, *args):
        print("about to die", file=sys.stderr, flush=True)
        os._exit(3)

class Hanging(Extra):
    key = label = short = "hanging"
    async def call(self, fn, *args):
        self.left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        self.left.wait()

CONTESTANTS = [Failing, Absent, Dying, Hanging]
"""


@dataclass
class Run:
    text: str
    progress: str
    saved: dict[str, Any]
    json: Path
    picture: ElementTree.Element


def run(*options: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=50,
    )


def parse(picture: Path) -> ElementTree.Element:
    """Raises ParseError where it is no well-formed XML."""
    return ElementTree.parse(picture).getroot()  # noqa: S314  # the suite's own file


@pytest.fixture(scope="module")
def extra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module of contestants that do not do well."""
    folder = tmp_path_factory.mktemp("extra")
    (folder / "extra_contestants.py").write_text(EXTRA)
    return folder


@pytest.fixture(scope="module")
def finished(extra: Path) -> Run:
    """One small run of everything that matters."""
    chosen = (
        "hybridrt-process",
        "hybridrt-thread",
        "floor-batches",
        "floor-fork",
        "failing",
        "absent",
        "dying",
    )
    only = [word for key in (*MEASURED, *chosen) for word in ("--only", key)]
    files = ("--json", str(extra / "run.json"), "--picture", str(extra / "run.svg"))
    done = run(*TINY, "--rounds", "1", *only, "--add", "extra_contestants", *files, path=extra)
    assert done.returncode == 0, done.stderr
    saved = json.loads((extra / "run.json").read_text())
    return Run(done.stdout, done.stderr, saved, extra / "run.json", parse(extra / "run.svg"))


def test_every_figure_of_those_who_did_well_is_there(finished: Run) -> None:
    for key in ("hybridrt-process", "hybridrt-thread"):
        for measurement in set(MEASURED) & set(everybody()[key].takes):
            figures = finished.saved["medians"][measurement][key]
            assert set(figures) == {f.key for f in MEASUREMENTS[measurement].figures}
            assert all(value > 0 for value in figures.values())
    assert "hybridrt to_process" in finished.text


@pytest.mark.parametrize(
    ("measurement", "contestant"),
    [
        (key, contestant.key)
        for contestant in everybody().values()
        if contestant.rank == "ours"
        for key in contestant.takes
        if key not in MEASURED
    ],
)
def test_every_other_row_runs_for_us(measurement: str, contestant: str) -> None:
    if measurement.startswith("syscalls") and shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    if measurement.startswith("memory") and not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("the system does not tell what memory is private")
    if measurement == "shared" and not hasattr(hybridrt.Runtime, "share"):
        pytest.skip("no Runtime.share yet")
    figures, error = run_cell(Order(measurement, contestant, "asyncio", (), TINY_SCALE, 30.0))
    assert error is None
    assert set(figures) == {figure.key for figure in MEASUREMENTS[measurement].figures}
    # A few hundred calls may fit into memory that the process has already, and a loop may never be late.
    assert all(value > 0 or key in ("bytes", "growth") for key, value in figures.items())


def test_who_fails_is_reported_with_the_reason(finished: Run) -> None:
    errors = {o["contestant"]: o["error"] for o in finished.saved["outcomes"] if o["error"]}
    assert errors["failing"] == "ValueError: <no> & never"
    assert errors["absent"] == "not installed: no_such_library"
    assert errors["dying"] == "no answer, exit code 3; last words: about to die"
    assert len(errors) == 3, errors
    for error in errors.values():
        assert error in finished.text


def test_progress_is_a_line_for_each_measurement_where_there_is_no_terminal(finished: Run) -> None:
    told = finished.progress.splitlines()
    assert [line.split()[:3] for line in told] == [["round", "1", key] for key in MEASURED]
    assert all(" s in all" in line for line in told)


def test_the_report_says_how_long_the_run_took(finished: Run) -> None:
    outcomes = finished.saved["outcomes"]
    minutes, seconds = divmod(round(sum(o["seconds"] for o in outcomes)), 60)
    assert f"It took {minutes} min {seconds:02} s, in {len(outcomes)} interpreters" in finished.text


def test_the_machine_is_saved_beside_the_figures(finished: Run) -> None:
    machine = finished.saved["machine"]
    assert machine["versions"]["hybridrt"]
    assert machine["cores"] >= 1
    assert {"python", "loop", "date", "system"} <= set(machine)
    assert finished.saved["scale"]["at_once"] == 20


def test_goals_are_answered_where_they_were_measured(finished: Run) -> None:
    answers = {goal["text"]: goal["is_met"] for goal in finished.saved["goals"]}
    assert len(answers) == len(GOALS)
    measured = [text for text, is_met in answers.items() if is_met is not None]
    if sys.platform == "linux":
        assert measured == ["memory of a worker of its own (USS), nothing preloaded"]
    assert "not measured" in finished.text


def test_the_picture_is_an_svg(finished: Run) -> None:
    assert finished.picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert finished.picture.get("role") == "img"


def test_a_saved_run_is_reported_and_drawn_again(finished: Run, extra: Path) -> None:
    again = run("--load", str(finished.json), "--picture", str(extra / "again.svg"), path=extra)
    assert again.stdout.partition("  Goals")[2] == finished.text.partition("  Goals")[2] != ""
    parse(extra / "again.svg")


@pytest.mark.skipif(sys.platform != "linux", reason="zombies are told by /proc")
async def test_a_group_of_zombies_does_not_run() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, process_group=0
    ) as leader:
        assert is_group_running(leader.pid)
        os.killpg(leader.pid, signal.SIGKILL)
        await until(lambda: not is_group_running(leader.pid))
        os.killpg(leader.pid, 0)  # a signal still reaches it, for nobody has waited for it as yet
    assert not is_group_running(leader.pid)


def test_who_hangs_is_ended_with_all_that_it_started(extra: Path) -> None:
    done = run(
        *TINY,
        "--only",
        "hanging",
        "--only",
        "one",
        "--add",
        "extra_contestants",
        "--timeout",
        "0.3",
        path=extra,
    )
    assert done.returncode == 0, done.stderr
    assert "no answer, exit code 1" in done.stdout
    # conftest.no_orphans sees to it that its child is gone.


def test_a_name_that_fits_nothing_is_refused(tmp_path: Path) -> None:
    done = run("--only", "no-such-thing", path=tmp_path)
    assert done.returncode == 2
    assert "no-such-thing" in done.stderr
    assert done.stdout == ""


def test_the_list_names_everything(tmp_path: Path) -> None:
    listed = run("--list", path=tmp_path).stdout
    for key in (*everybody(), *MEASUREMENTS):
        assert f"  {key} " in listed
    for measurement in MEASUREMENTS.values():
        rounds = f"at most {measurement.rounds} " if measurement.rounds else "all rounds "
        assert re.search(rf"  {measurement.key} +{rounds}", listed)


def test_the_tables_name_only_what_there_is() -> None:
    contestants = everybody()
    for contestant in contestants.values():
        assert set(contestant.takes) <= set(MEASUREMENTS)
    for measurement in MEASUREMENTS.values():
        for lane, keys in measurement.baselines.items():
            floor = measurement.floors.get(lane)
            for key in (*keys, *([floor] if floor else [])):
                assert contestants[key].lane == lane or measurement.is_mixed
                assert measurement.key in contestants[key].takes
    for goal in GOALS:
        assert goal.figure in {f.key for f in MEASUREMENTS[goal.measurement].figures}
        for key in (goal.ours, goal.theirs):
            assert key is None or goal.measurement in contestants[key].takes


def test_medians_and_goals_come_from_the_raw_figures() -> None:
    outcomes = [Outcome(n, "one", "hybridrt-thread", {"us": us}) for n, us in enumerate((9.0, 1.0, 2.0))]
    outcomes += [Outcome(n, "one", "asyncio-thread", {"us": 4.0}) for n in range(3)]
    results = Results({}, Scale(), 3, outcomes)
    row = results.row("one", "hybridrt-thread", "us")
    assert row is not None
    assert (row.value, row.least, row.most, row.rounds) == (2.0, 1.0, 9.0, 3)
    (goal,) = [v for v in verdicts(results) if v["value"] is not None]
    assert (goal["value"], goal["is_met"]) == (0.5, True)
    missed = verdicts(Results({}, Scale(), 1, [Outcome(0, "crash", "hybridrt-process", {"ms": 10.1})]))
    assert [(v["value"], v["is_met"]) for v in missed if v["value"] is not None] == [(10.1, False)]


def test_the_same_reason_is_told_once_for_all_that_it_stopped() -> None:
    keys = ("hybridrt-process", "stdlib-process")
    outcomes = [Outcome(0, "syscalls-one", key, {}, "no strace") for key in keys]
    machine = {"python": "", "loop": "", "cores": 1, "cpu": "x", "load": 0, "date": ""}
    text = "\n".join(report.lines(Results(machine, Scale(), 1, outcomes), everybody()))
    assert (
        "no 'syscalls-one' of hybridrt to_process, run_in_executor(ProcessPoolExecutor): no strace"
        in text.replace("\n   ", " ")
    )


def test_goals_are_marked_where_sizes_are_not_theirs() -> None:
    assert not any("rough" in line for line in goals.lines([], is_full_scale=True))
    assert any("rough" in line for line in goals.lines([], is_full_scale=False))


def test_a_lean_plan_keeps_ours_the_floor_and_those_whom_goals_name() -> None:
    lean = Plan(tuple(MEASUREMENTS), everybody(), 1, "asyncio", (), Scale(), 1.0, is_lean=True)
    cells = {(measurement, contestant) for _, measurement, contestant in lean.cells()}
    for goal in GOALS:
        for key in (goal.ours, goal.theirs):
            assert key is None or (goal.measurement, key) in cells
    assert ("many", "loky") in cells
    assert ("array", "loky") not in cells


def test_what_is_counted_is_not_counted_again_in_each_round() -> None:
    plan = Plan(("one", "syscalls-one"), everybody(), 3, "asyncio", (), Scale(), 1.0)
    rounds = [(number, measurement) for number, measurement, key in plan.cells() if key == "hybridrt-process"]
    assert rounds == [(0, "one"), (0, "syscalls-one"), (1, "one"), (2, "one")]


def test_the_report_says_which_rows_had_fewer_rounds() -> None:
    outcomes = [
        Outcome(0, "one", "hybridrt-process", {"us": 1.0}, None, 70.2),
        Outcome(0, "syscalls-one", "hybridrt-process", {"calls": 5.0}, None, 1.0),
    ]
    machine = {"python": "", "loop": "", "cores": 1, "cpu": "x", "load": 0, "date": ""}
    text = " ".join("\n".join(report.lines(Results(machine, Scale(), 5, outcomes), everybody())).split())
    assert "It took 1 min 11 s" in text
    assert text.count("(1 round)") == 1
    assert "same run without them (1 round)" in text


def test_peers_that_nobody_is_compared_with_take_every_other_round() -> None:
    plan = Plan(("one",), everybody(), 5, "asyncio", (), Scale(), 1.0)
    rounds: dict[str, list[int]] = {}
    for number, _, key in plan.cells():
        rounds.setdefault(key, []).append(number)
    assert (
        rounds["hybridrt-process"] == rounds["anyio-process"] == rounds["floor-ping-pong"] == [0, 1, 2, 3, 4]
    )
    assert rounds["loky"] == [0, 2, 4]


@pytest.mark.parametrize(("better", "expected"), [("higher", 2.0), ("lower", 0.5)])
def test_better_is_above_one_whichever_way_a_figure_runs(better: Any, expected: float) -> None:
    assert better_by(4.0, 2.0, Figure("k", "t", "u", better)) == expected


def test_the_readme_shows_the_saved_run() -> None:
    from benchmarks.summary import LATEST, sentences, table

    latest = json.loads(LATEST.read_text())
    readme = (LATEST.parents[2] / "README.md").read_text()
    assert table(latest) in readme
    assert all(sentence in readme for sentence in sentences(latest))
