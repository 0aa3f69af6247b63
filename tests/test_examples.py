"""Each example runs as a user runs it, from anywhere and on either loop, and its output says what it promises."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
# hybridrt.run takes asyncio's own loop where uvloop cannot be imported.
WITHOUT_UVLOOP = """
import runpy, sys
sys.modules["uvloop"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
PATIENCE = 50.0  # seconds; less than a test may take, so that the failure shows the output

on_each_loop = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


def run(
    cwd: Path, script: Path, *args: str, loop: str = "uvloop", exitcode: int = 0, **environ: str
) -> tuple[list[str], str]:
    """The lines that an example prints, in order, and what it says on stderr; two workers wherever it runs."""
    command = [str(script)] if loop == "uvloop" else ["-c", WITHOUT_UVLOOP, str(script)]
    done = subprocess.run(
        [sys.executable, "-W", "error", *command, *args],
        cwd=cwd,
        env=os.environ | {"HYBRIDRT_PROCESSES": "2"} | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == exitcode, done.stdout + done.stderr
    return done.stdout.splitlines(), done.stderr


@on_each_loop
def test_background_thread_counts_while_the_loop_speaks(tmp_path: Path, loop: str) -> None:
    lines, errors = run(tmp_path, EXAMPLES / "background_thread.py", "0.1", loop=loop)
    assert not errors
    counted = [line for line in lines if line.startswith("thread:")]
    assert counted == [f"thread: {number}" for number in range(1, 6)]
    assert lines[-1] == "Done"
    between = lines[lines.index("thread: 1") : lines.index("thread: 5")]
    assert any(line.startswith("loop:") for line in between), lines


@on_each_loop
def test_cpu_tasks_run_side_by_side(tmp_path: Path, loop: str) -> None:
    lines, errors = run(tmp_path, EXAMPLES / "cpu_tasks.py", "200000", loop=loop)
    assert not errors
    for number in range(5):
        assert lines.index(f"Process {number}: starting") < lines.index(f"Process {number}: finishing")
        assert any(
            re.match(rf"Process {number}: 17984 primes below 200000, found in", line) for line in lines
        )
    # 15 lines for the tasks and one for all of them: no part of the script has run twice.
    assert len(lines) == len(set(lines)) == 16
    assert lines.index("Process 1: starting") < lines.index("Process 0: finishing")
    at_a_time = re.fullmatch(r"[\d.]+ s of work in [\d.]+ s on the clock: ([\d.]+) at a time", lines[-1])
    assert at_a_time, lines[-1]
    assert 0 < float(at_a_time[1]) <= 2


@on_each_loop
def test_which_lane_measures_each_job_on_each_lane(tmp_path: Path, loop: str) -> None:
    lines, errors = run(tmp_path, EXAMPLES / "which_lane.py", "0.4", loop=loop)
    assert not errors
    rows: dict[tuple[str, str], tuple[float, float]] = {}
    for line in lines:
        row = re.fullmatch(r"(.+?) +(loop|thread|process) +([\d.]+) ms +[\d.]+ ms +([\d.]+) ms", line)
        if row:
            assert (row[1], row[2]) not in rows, "measured twice"
            rows[row[1], row[2]] = (float(row[3]), float(row[4]))
    jobs = ["8 waits", "4 heavy computations", "1000 quick computations"]
    assert list(rows) == [(job, lane) for job in jobs for lane in ("loop", "thread", "process")]
    waits, _, quick = (line for line in lines if line.startswith("=> "))
    assert waits.startswith("=> best in a thread")
    assert quick.startswith("=> leave it on the loop")
    for job in jobs[:2]:
        time, late = rows[job, "loop"]
        assert late > time / 2, "a job on the loop holds it up"
        assert rows[job, "process"][1] < late, "one in a process does not"


@on_each_loop
def test_adaptive_finds_the_place_of_each_function(tmp_path: Path, loop: str) -> None:
    lines, errors = run(tmp_path, EXAMPLES / "adaptive.py", "--seconds", "5", loop=loop)
    assert not errors
    heads = [line for line in lines if line.endswith("(p99)")]
    assert all(re.match(r"[\d.]+ s: \d+ calls/s, loop late by [\d.]+ ms", head) for head in heads)
    rows = [re.match(r"  (\w+) +(thread|process) +\d+ calls   (.+)", line) for line in lines]
    found = [(row[1], row[2], row[3]) for row in rows if row]
    lanes: dict[str, list[str]] = {}
    for name, lane, _ in found:
        lanes.setdefault(name, []).append(lane)
    assert {len(of_function) for of_function in lanes.values()} == {len(heads)}
    assert lanes["hash_of"][0] == "thread", "short texts are quicker there"
    # On a crowded machine the probe may have no CPU for some of them in so short a time; they stay in threads then.
    computing = [name for name in ("value_of", "count_pairs", "hash_of") if "process" in lanes[name]]
    assert computing, found
    for name in ("sleep", "ask_database", "add_up"):
        assert set(lanes[name]) == {"thread"}, [row for row in found if row[0] == name]


@on_each_loop
def test_pipeline_holds_a_few_files_at_a_time(tmp_path: Path, loop: str) -> None:
    source = tmp_path / "source"
    texts = {Path(f"{number % 7}/{number}.py"): b"spam eggs spam " * number for number in range(1, 60)}
    for path, text in texts.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(text)
    (source / "no_python.txt").write_text("spam")
    target = tmp_path / "target"

    lines, errors = run(tmp_path, EXAMPLES / "pipeline.py", "source", "target", "--window", "3", loop=loop)
    assert not errors
    written = {path.relative_to(target): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert written == {
        Path(f"{path}.words"): b"".join(b"%7d %s\n" % counted for counted in _words(text))
        for path, text in texts.items()
    }
    assert re.match(rf"{len(texts)} files, [\d.]+ MB in [\d.]+ s: \d+ files/s, [\d.]+ MB/s$", lines[0])
    in_hand = re.fullmatch(r"in hand at once: 3 files, at most ([\d.]+) kB of them", lines[1])
    assert in_hand, lines[1]
    assert float(in_hand[1]) * 1e3 <= sum(sorted(map(len, texts.values()))[-3:])
    assert re.match(r"peak memory: \d+ MB here, \d+ MB in the largest worker$", lines[2])
    assert len(lines) == 3


@on_each_loop
def test_stream_rows_leaves_the_loop_free_and_the_file_closed(tmp_path: Path, loop: str) -> None:
    lines, errors = run(
        tmp_path, EXAMPLES / "stream_rows.py", "--rows", "20000", loop=loop, TMPDIR=str(tmp_path)
    )
    assert not errors
    assert re.match(r"worker \d+: closed the file at byte \d", lines[0])
    assert re.match(r"process \d+: 20,000 rows in [\d.]+ s: [\d,]+ rows/s$", lines[1])
    means = [re.fullmatch(r"  (\S+) +([\d.]+) °C in the mean of ([\d,]+) rows", line) for line in lines[2:6]]
    found = [(row[1], float(row[2]), int(row[3].replace(",", ""))) for row in means if row]
    assert [name for name, _, _ in found] == ["Aachen", "Bergen", "Cádiz", "Debrecen"]
    assert all(11 < mean < 13 for _, mean, _ in found)
    assert sum(count for _, _, count in found) == 20_000
    assert re.match(r"the event loop turned \d\d+ times meanwhile$", lines[6])
    assert not list(tmp_path.iterdir())


def test_stream_rows_may_stop_early(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("station,day,celsius\n" + "Aachen,1,10.0\n" * 100_000)
    lines, errors = run(tmp_path, EXAMPLES / "stream_rows.py", "table.csv", "--first", "3")
    assert not errors
    closed = re.fullmatch(r"worker \d+: closed the file at byte ([\d,]+)", lines[0])
    assert closed, lines
    assert int(closed[1].replace(",", "")) < table.stat().st_size / 2
    assert re.match(r"process \d+: 3 rows", lines[1])


def _words(text: bytes) -> list[tuple[int, bytes]]:
    return [(count, word) for word, count in Counter(text.split()).most_common()]


def test_pipeline_takes_the_standard_library_by_default(tmp_path: Path) -> None:
    lines, errors = run(tmp_path, EXAMPLES / "pipeline.py", "--pattern", "ast.py", TMPDIR=str(tmp_path))
    assert not errors
    assert re.match(r"\d+ files, ", lines[0])
    assert not list(tmp_path.iterdir()), "what it wrote by default is thrown away"


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["nowhere"], "there is no folder nowhere"),
        (["--window", "0"], "--window must be at least 1"),
    ],
)
def test_pipeline_says_what_is_wrong(tmp_path: Path, args: list[str], complaint: str) -> None:
    lines, errors = run(tmp_path, EXAMPLES / "pipeline.py", *args, exitcode=2)
    assert complaint in errors
    assert "Traceback" not in errors
    assert not lines


@on_each_loop
def test_model_server_answers_many_at_once(tmp_path: Path, loop: str) -> None:
    pytest.importorskip("uvicorn")
    args = ("--load", "0.5", "--clients", "64")
    lines, errors = run(tmp_path, EXAMPLES / "model_server.py", *args, loop=loop, REPLICAS="2")
    assert not errors
    assert lines[0] == "64 clients, 2 x the model"
    rows = [re.fullmatch(r"(.+): (\d+) answers/s, the slowest after (\d+) ms", line) for line in lines[1:]]
    rates = {row[1]: int(row[2]) for row in rows if row}
    assert list(rates) == ["one at a time", "batched"], lines
    assert rates["batched"] > rates["one at a time"] > 0


async def test_model_server_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("uvicorn")
    monkeypatch.syspath_prepend(EXAMPLES)
    import model_server  # type: ignore[import-not-found]

    async with model_server.lifespan(model_server.app) as state:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await model_server.app(scope | {"state": state}, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            texts = ["", *(f"text {number}" for number in range(40))]
            empty, *answers = await asyncio.gather(
                *[client.get("/language", params={"text": text}) for text in texts]
            )
    assert (empty.status_code, empty.text) == (400, "a text is needed")
    for text, answer in zip(texts[1:], answers, strict=True):
        assert answer.json()["text"] == text
        assert answer.json()["language"] in model_server.LANGUAGES


@pytest.mark.parametrize("name", ["background_thread.py", "cpu_tasks.py"])
def test_top_level_runs_once_without_a_guard(tmp_path: Path, name: str) -> None:
    script = tmp_path / name
    script.write_text((EXAMPLES / name).read_text() + '\nprint("the end of the script")\n')
    lines, errors = run(tmp_path, script, "0.01" if name.startswith("background") else "1000")
    assert not errors
    assert lines.count("the end of the script") == 1


def test_no_example_has_a_guard() -> None:
    guarded = re.compile(r"^if __name__", re.MULTILINE)
    assert [path.name for path in EXAMPLES.glob("*.py") if guarded.search(path.read_text())] == []
