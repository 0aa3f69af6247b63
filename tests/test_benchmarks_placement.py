"""The labelled set finds its places, and what the placement benchmarks save can be reported and drawn again."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("numpy")
pytest.importorskip("PIL")

from benchmarks.apart import Failed, carry_out
from benchmarks.placement import catalogue, data, labelled, lateness, mixes, overhead, picture, recording
from benchmarks.placement.__main__ import main
from benchmarks.placement.case import HOLDER, LANE_OF, QUICK, RELEASER, Case
from benchmarks.placement.labelled import Placed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no worker processes of ours")

# Far from every line, all of them: long enough, and either all Python or none.
CLEAR = (
    "knapsack",
    "LZW",
    "matrix product in lists",
    "prime sieve",
    "lakes in a grid",
    "sha256 of 4 MB",
    "pbkdf2",
    "time.sleep, 5 ms",
    "a subprocess of 30 ms",
    "square root",
    "a global total",
    "a bound method",
    "work under a lock",
    "a list normalised in place",
)
RIGHT = Placed("a", HOLDER, "process", "process", 2, "a -> process: it computes.")
WRONG = replace(RIGHT, name="b", lane="thread", calls=None, explanation="b -> thread: nobody knows why.")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_clear_functions_are_placed_right(
    tmp_path: Path, loop: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    only = [word for name in CLEAR for word in ("--only", name)]
    # Far more calls than the benchmark allows: beside other tests, little can be seen of each.
    status = main(
        ["labelled", "--runs", "1", "--calls", "30", "--no-busy", "--loop", loop, "--json", str(file), *only]
    )
    told = capfd.readouterr().out
    saved = json.loads(file.read_text())
    (placed,) = ([Placed(**row) for row in run] for run in saved["found"])
    assert {one.name for one in placed} == set(CLEAR)
    wrong = [one for one in placed if not one.is_right]
    # Where the probe has no CPU, a call that keeps the GIL or releases it may be taken for the other; nothing else may.
    assert {one.kind for one in wrong} <= {HOLDER, RELEASER}, told
    assert len(wrong) <= 4, told
    assert status == int(len(wrong) > 0.05 * len(placed))
    share = 1 - len(wrong) / len(CLEAR)
    assert f"run 1: {len(CLEAR) - len(wrong)} of {len(CLEAR)} placed right, {share:.1%}" in told
    assert saved["goals"][0]["value"] == pytest.approx(share)
    assert saved["machine"]["loop"] == loop


def test_the_labelled_set_is_what_it_must_be() -> None:
    cases = catalogue.CATALOGUE
    assert len(cases) == len(catalogue.BY_NAME) >= 50, "names are not told apart, or few"
    assert {case.kind for case in cases} == set(LANE_OF)
    assert sum(case.kind == HOLDER for case in cases) * 3 >= len(cases)
    for case in cases:
        if case.kind == HOLDER:
            module = sys.modules[case.fn.__module__]
            assert getattr(module, case.fn.__name__) is case.fn, "a worker could not import it"


def test_holders_answer_the_same_every_time() -> None:
    for case in catalogue.CATALOGUE:
        if case.kind == HOLDER and case.name not in ("two bodies", "longest Collatz chain"):
            assert case.fn(*case.args()) == case.fn(*case.args()), case.name


def test_a_misplaced_function_is_named_with_its_explanation() -> None:
    told = list(labelled.lines([[RIGHT, WRONG]]))
    assert "run 1: 1 of 2 placed right, 50.0%" in told[0]
    assert told[1].strip() == "b (holder) belongs in a process: b -> thread: nobody knows why."
    assert labelled.by_kind([[RIGHT, WRONG], [RIGHT, RIGHT]]) == {HOLDER: 0.75}


def test_what_raises_is_not_right() -> None:
    failed = replace(RIGHT, error="ValueError: no")
    assert not failed.is_right
    assert "ValueError: no" in list(labelled.lines([[failed]]))[1]


async def test_calls_that_raise_are_told_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Case("bad", int, lambda: ("no number",), QUICK, "raises")
    monkeypatch.setitem(catalogue.BY_NAME, "bad", bad)
    rows = await labelled.carry_out(["bad", "square root"], calls=2, seed=0)
    placed = {row["name"]: Placed(**row) for row in rows}
    assert (placed["bad"].error or "").startswith("ValueError")
    assert placed["square root"].is_right
    assert placed["square root"].calls == 1


def test_lateness_tells_a_holder_from_one_that_lets_go() -> None:
    holder, releaser = catalogue.BY_NAME["mandelbrot"], catalogue.BY_NAME["pbkdf2"]
    held, free = (lateness.lateness(case, 0.3) for case in (holder, releaser))
    assert held["share"] > 2 * free["share"]
    assert lateness.is_clear(replace(holder, kind=RELEASER), {"name": "", "ms": 1.0, "share": 0.9}) is False
    assert lateness.is_clear(holder, {"name": "", "ms": 1.0, "share": 0.9}) is True
    data.clear()


def test_mixes_are_measured_in_every_placement_and_reported() -> None:
    told: list[str] = []
    found = mixes.rounds(["tiny"], 1, "asyncio", 0.005, 2, told.append)
    assert set(found["tiny"]) == set(mixes.PLACEMENTS)
    assert len(told) == len(mixes.PLACEMENTS)
    for (figures,) in found["tiny"].values():
        assert figures["done"] == 1.0
        assert figures["per_second"] > 0
    table = "\n".join(mixes.lines(found))
    assert all(placement in table for placement in mixes.PLACEMENTS)
    assert next(mixes.verdicts(found))["bound"] == 0.9


def figures(per_second: float, p99_ms: float) -> list[dict[str, float]]:
    return [{"per_second": per_second, "p99_ms": p99_ms, "p99_later_ms": p99_ms}]


def test_a_mix_is_held_against_the_best_and_the_worst() -> None:
    found: mixes.Figures = {
        "cpu": {
            mixes.RUN: figures(85.0, 9.0),
            mixes.THREAD: figures(20.0, 80.0),
            mixes.PROCESS: figures(90.0, 5.0),
            mixes.BY_HAND: figures(100.0, 5.0),
        }
    }
    throughput, late, worst = mixes.verdicts(found)
    assert throughput["value"] == pytest.approx(0.85)
    assert throughput["is_met"] is False
    assert late["value"] == pytest.approx(1.8)
    assert late["is_met"] is False
    assert worst["value"] == pytest.approx(4.25)
    assert worst["is_met"] is True


def test_the_sequence_of_a_mix_is_the_same_each_time() -> None:
    mix = mixes.MIXES["half"]
    names = [case.name for case in mix.sequence(0.1)]
    assert names == [case.name for case in mix.sequence(0.1)]
    assert set(names) == set(mix.phases[0].names)


def test_overhead_is_reported_for_each_subject() -> None:
    costs: dict[str, Any] = carry_out("placement.overhead", {"slices": 2, "at_once": 20, "loop": "asyncio"})
    table = "\n".join(overhead.lines(costs))
    assert all(name in table for name, *_ in overhead.SUBJECTS)
    assert len(list(overhead.verdicts(costs))) == len(overhead.SUBJECTS) + 2


def test_the_picture_is_recorded_and_drawn_and_drawn_again(tmp_path: Path) -> None:
    file, svg = tmp_path / "recorded.json", tmp_path / "placement.svg"
    command = ["picture", "--quick", "--json", str(file), str(svg)]
    assert main(command) == 0
    drawn = svg.read_text()
    text = " ".join(ElementTree.fromstring(drawn).itertext())  # noqa: S314  # our own
    assert all(guest.label in text for guest in recording.GUESTS)
    samples = json.loads(file.read_text())["samples"]
    assert set(samples[mixes.RUN][0][-1]["lanes"]) == {guest.name for guest in recording.GUESTS}
    svg.unlink()
    assert main(command) == 0
    assert svg.read_text() == drawn, "it was measured again, or is drawn in another way"


def test_a_function_that_moves_is_drawn_in_both_lanes() -> None:
    lanes = [{"XML depth": lane} for lane in ("thread", "thread", "process", "process")]
    rows = [{"t": 0.5 * (n + 1), "done": 5, "late_ms": 1.0, "lanes": lane} for n, lane in enumerate(lanes)]
    machine = {"python": "P", "loop": "l", "cores": 2, "cpu": "", "system": "<S>", "date": "2026-01-01T00"}
    drawn = picture.draw(
        {"seconds": 2.0, "machine": machine, "samples": {mixes.RUN: [rows], mixes.THREAD: [rows, rows]}}
    )
    bars = [
        element.get("class")
        for element in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}rect")  # noqa: S314
        if element.get("class") in ("thread", "process")
    ]
    assert bars == ["thread", "process"]
    assert "&lt;S&gt;" in drawn


@pytest.mark.parametrize(
    ("command", "complaint"),
    [(["labelled", "--only", "no such"], "nothing fits"), (["picture"], "picture needs the file")],
)
def test_what_cannot_be_done_is_refused(
    command: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    assert complaint in capsys.readouterr().err


def test_an_interpreter_that_fails_is_told_with_its_errors() -> None:
    with pytest.raises(Failed, match="KeyError"):
        carry_out(
            "placement.mixes",
            {"mix": "no such", "placement": "run", "scale": 1, "processes": 1, "loop": "asyncio"},
        )
