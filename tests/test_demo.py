"""The demo does one job in four ways, copes with whatever is in a directory, and tells the truth about the outcome."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hybridrt import cli
from hybridrt.demo import race as race_module
from hybridrt.demo import tree as tree_module
from hybridrt.demo.analysis import Facts, analyse
from hybridrt.demo.heartbeat import Heartbeat, Sender
from hybridrt.demo.memory import HAS_PSS, Memory, memory_of
from hybridrt.demo.one_way import Order, Outcome
from hybridrt.demo.race import Lap, Race, differences
from hybridrt.demo.report import figures, table, verdict
from hybridrt.demo.tree import Entry, Tree, read
from hybridrt.demo.ways import WAYS, Job, Results, here

GOOD = b"class A:\n    def f(self):\n        return [x for x in self if x]\n"
FACTS = analyse("good.py", GOOD)


@pytest.fixture
def odd_tree(tmp_path: Path) -> Path:
    """Of everything that directories have in them, one."""
    root = tmp_path / "tree"
    (root / "deep" / "deeper").mkdir(parents=True)
    (root / "good.py").write_bytes(GOOD)
    (root / "broken.py").write_text("def f(:\n")
    (root / "nul.py").write_bytes(b"x = 1\0")
    (root / "latin.py").write_bytes(b"name = '\xe9'\n")
    (root / "endless.py").write_text("(" * 5000)
    (root / "escape.py").write_text(r"pattern = '\d'" + "\n")
    (root / "empty.py").touch()
    (root / "picture.png").write_bytes(bytes(range(256)) * 40)
    (root / "deep" / "deeper" / "text.txt").write_text("one\ntwo\n")
    (root / os.fsdecode(b"name-\xff.txt")).write_text("its name is no UTF-8")
    (root / "circle").symlink_to(root)
    (root / "to itself").symlink_to("to itself")
    (root / "to nowhere").symlink_to("vanished")
    os.mkfifo(root / "pipe")
    return root


ODD_ONES = {"python": 3, "not parseable": 4, "other": 3}
ODD_PROBLEMS = {
    "a link to a folder, not followed": 1,
    "a link that leads nowhere": 1,
    "Too many levels of symbolic links": 1,
    "not a regular file": 1,
}


COMMAND = [sys.executable, "-c", "import sys; from hybridrt.cli import main; sys.exit(main())", "demo"]


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)


def test_json_has_the_figures_of_each_way_and_nothing_else(odd_tree: Path) -> None:
    ended = demo("--dir", str(odd_tree), "--rounds", "1", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    told = json.loads(ended.stdout)
    assert list(told["ways"]) == list(WAYS)
    for way in told["ways"].values():
        assert way["seconds"] > 0
        assert way["files_per_second"] > 0
        delay = way["loop_delay"]
        assert 0 <= delay["p50"] <= delay["p99"] <= delay["worst"]
        assert way["memory"]["own"] >= 0
    assert told["kinds"] == ODD_ONES
    assert told["not_read"] == ODD_PROBLEMS
    assert told["differences"] == []


def test_the_table_ends_with_a_verdict(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_bytes(GOOD)
    ended = demo("--dir", str(tmp_path), "--rounds", "1")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert f"{tmp_path}: files: 1," in ended.stdout
    assert [line.split("  ")[0] for line in lines if " s  " in line] == list(WAYS)
    assert [line.split(":")[0] for line in lines[-3:]] == ["results", "time", "loop delay"]


@contextmanager
def demo_on_a_terminal(root: Path) -> Iterator[tuple[subprocess.Popen[str], Iterator[str]]]:
    """A demo that has begun, and what comes to the terminal; the end of that is the end of everything it started."""
    for number in range(1000):
        (root / f"{number}.py").write_bytes(GOOD * 100)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "--dir", str(root)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm"},
    ) as process:
        os.close(theirs)
        try:
            yield process, _until_hung_up(ours)
        finally:
            process.kill()
            os.close(ours)


def _until_hung_up(terminal: int) -> Iterator[str]:
    with suppress(OSError):  # Linux's way to say that nobody has the other end any more
        while text := os.read(terminal, 10_000):
            yield text.decode(errors="replace")


def test_a_terminal_gets_a_progress_bar_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    with demo_on_a_terminal(tmp_path) as (process, texts):
        assert "files/s" in next(texts)
        os.killpg(process.pid, signal.SIGINT)
        rest = "".join(texts)
        assert process.wait() == 130
    assert "Traceback" not in rest
    assert rest.endswith("\r\x1b[K")


def test_nothing_outlives_a_demo_that_is_killed(tmp_path: Path) -> None:
    with demo_on_a_terminal(tmp_path) as (process, texts):
        next(texts)
        process.kill()
        assert "Traceback" not in "".join(texts)


# --- the parts ---


@pytest.mark.parametrize(
    "way", [w for w in WAYS if w != "process pool"]
)  # its forkserver stays; the tests above run it
async def test_each_way_finds_the_same(way: str, odd_tree: Path) -> None:
    steps: list[int] = []
    tree = Tree(str(odd_tree), 100)
    results = await WAYS[way](Job(tree, 1, 4, lambda: steps.append(1)))
    assert results["good.py"] == FACTS
    assert isinstance(results["deep/deeper/text.txt"], Facts)
    assert len(steps) == sum(isinstance(told, Facts) for told in results.values()) == sum(ODD_ONES.values())


async def test_never_more_files_in_hand_than_the_window(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").touch()
    in_hand = most = 0

    async def read_here(fn: Callable[..., Any], *args: Any) -> Any:
        nonlocal in_hand, most
        in_hand += fn is read
        most = max(most, in_hand)
        await asyncio.sleep(0)
        return fn(*args)

    async def analyse_here(fn: Callable[..., Any], *args: Any) -> Any:
        nonlocal in_hand
        await asyncio.sleep(0)
        in_hand -= 1
        return fn(*args)

    results = await Job(Tree(str(tmp_path), 100), 1, 3, lambda: None).do(read_here, analyse_here)
    assert len(results) == 20
    assert most == 3


async def test_what_vanishes_or_may_not_be_read_is_told(tmp_path: Path) -> None:
    for name in ("there", "gone", "secret"):
        (tmp_path / name).touch()

    async def read_here(fn: Callable[..., Any], *args: Any) -> Any:
        if fn is read and args[0].endswith("gone"):
            os.unlink(args[0])
        if fn is read and args[0].endswith("secret"):
            raise PermissionError(13, "Permission denied", args[0])
        return fn(*args)

    results = await Job(Tree(str(tmp_path), 100), 1, 3, lambda: None).do(read_here, here)
    assert results == {
        "gone": "No such file or directory",
        "secret": "Permission denied",
        "there": analyse("there", b""),
    }


async def test_the_walk_is_sorted_and_bounded(odd_tree: Path) -> None:
    tree = Tree(str(odd_tree), 100)
    names = [entry.name async for entry in tree.walk(here)]
    assert names == [*sorted(names[:-1]), "deep/deeper/text.txt"]
    assert [entry.name async for entry in Tree(str(odd_tree), 3).walk(here)] == names[:3]


async def test_a_folder_that_cannot_be_listed_is_told(odd_tree: Path) -> None:
    async def call(fn: Callable[..., Any], *args: Any) -> Any:
        if args == ("deep/deeper",):
            raise PermissionError(13, "Permission denied")
        return fn(*args)

    entries = [entry async for entry in Tree(str(odd_tree), 100).walk(call)]
    assert entries[-1] == Entry("deep/deeper", "Permission denied")


async def test_the_standard_library_is_its_sources_alone(tmp_path: Path) -> None:
    for name in ("a.py", "a.so", "site-packages/b.py", "__pycache__/c.py", "email/d.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    tree = Tree(str(tmp_path), 100, only_sources=True)
    assert [entry.name async for entry in tree.walk(here)] == ["a.py", "email/d.py"]
    assert Tree.standard_library(100).only_sources


def test_a_huge_file_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "huge").write_bytes(b"x" * 100)
    monkeypatch.setattr(tree_module, "MOST_READ", 10)
    assert read(str(tmp_path / "huge")) == b"x" * 10


def test_analysis_counts() -> None:
    assert FACTS._replace(compressed=0, checksum=0) == Facts("python", len(GOOD), 3, 1, 1, 1, 0, 0)


async def test_each_beat_that_fell_into_a_stall_counts_with_its_own_delay() -> None:
    reading, writing = os.pipe()
    heartbeat = Heartbeat(reading, lambda: None)
    try:
        now = time.monotonic_ns()
        os.write(writing, struct.pack("3q", *(now - age * 1_000_000 for age in (100, 60, 20))))
        await heartbeat.wait_beat()
    finally:
        heartbeat.close()
        os.close(reading)
        os.close(writing)
    first, second, third = heartbeat.delays
    assert (first - second, second - third) == (40_000, 40_000)
    assert third >= 20_000


async def test_the_heartbeat_begins_anew_and_tells_when_its_sender_has_gone() -> None:
    gone = asyncio.Event()
    sender = Sender()
    beats = os.dup(sender.fd)
    with sender:
        heartbeat = Heartbeat(beats, gone.set)
        await heartbeat.start()
        assert heartbeat.delays == []
        await heartbeat.wait_beat()
        assert min(heartbeat.delays) >= 0
    await gone.wait()
    os.close(beats)


@pytest.mark.skipif(not HAS_PSS, reason="this system does not tell the memory of others")
def test_memory_counts_children_too() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        memory = memory_of(os.getpid())
        assert memory.own > 1_000_000
        assert memory.descendants > 1_000_000
        child.communicate(b"\n")


# --- what it says ---


def raced(seconds: dict[str, float], p99: dict[str, int], differences: list[str] | None = None) -> Race:
    laps = {way: Lap(way, [seconds[way]], [p99[way]] * 10, [Memory(1, 1)]) for way in WAYS}
    return Race(
        Tree("/x", 1), 2, 8, 1, laps, {"good.py": FACTS, "bad": "Permission denied"}, differences or []
    )


SLOW = dict.fromkeys(WAYS, 9.0)
LATE = dict.fromkeys(WAYS, 9000)


@pytest.mark.parametrize(
    ("ours", "theirs", "said", "is_within"),
    [
        (1.0, 1.5, "hybridrt is the fastest; threads comes next, with 1.50 times its time", True),
        (1.05, 1.0, "1.05 times as long as the fastest, threads: within 10% of it", True),
        (1.2, 1.0, "1.20 times as long as the fastest, threads: NOT within 10% of it", False),
    ],
)
def test_the_verdict_on_time_comes_from_the_figures(
    ours: float, theirs: float, said: str, is_within: bool
) -> None:
    race = raced(SLOW | {"hybridrt": ours, "threads": theirs}, LATE)
    assert said in list(verdict(race))[-2]
    assert figures(race)["is_within_10_percent"] is is_within


@pytest.mark.parametrize(
    ("ours", "theirs", "said", "is_lowest"),
    [
        (300, 4000, "hybridrt has the lowest p99, 0.30 ms; inline comes next, with 4.00 ms", True),
        (4000, 4000, "hybridrt does NOT have the lowest p99: 4.00 ms, and inline 4.00 ms", False),
        (40_000, 300, "hybridrt does NOT have the lowest p99: 40 ms, and inline 0.30 ms", False),
    ],
)
def test_the_verdict_on_delay_comes_from_the_figures(
    ours: int, theirs: int, said: str, is_lowest: bool
) -> None:
    race = raced(SLOW, LATE | {"hybridrt": ours, "inline": theirs})
    assert said in list(verdict(race))[-1]
    assert figures(race)["has_lowest_p99"] is is_lowest


def test_the_table_tells_what_was_not_read() -> None:
    assert "1 not read: 1 × Permission denied" in list(table(raced(SLOW, LATE)))


@pytest.mark.parametrize(
    "doctored", [{"good.py": FACTS._replace(functions=2)}, {"good.py": "Permission denied"}, {}]
)
def test_other_results_are_found(doctored: Results) -> None:
    right: Results = {"good.py": FACTS}
    found = list(differences([("a", right), ("b", dict(right)), ("c", doctored), ("d", right)]))
    assert len(found) == 1
    assert found[0].startswith("b'good.py': c: ")


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_other_results_are_a_failure(
    as_json: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.py").write_bytes(GOOD)

    def run_one(order: Order) -> tuple[Outcome, Memory]:
        told = FACTS._replace(checksum=0) if order.way == "threads" else FACTS
        return Outcome({"good.py": told}, 1.0, [100], 0), Memory(1, 1)

    monkeypatch.setattr(race_module, "run_one", run_one)
    assert cli.main(["demo", "--dir", str(tmp_path), "--rounds", "1", *as_json]) == 1
    told = capsys.readouterr().out
    assert "b'good.py': threads, round 1: Facts(kind='python'" in told
    assert "RESULTS DIFFER in 1 place:" in told or as_json


def test_a_way_that_fails_is_an_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.py").write_bytes(GOOD)
    monkeypatch.setattr(race_module, "BOOT", "raise SystemExit(3)")
    assert cli.main(["demo", "--dir", str(tmp_path), "--json"]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err) == (
        "",
        "hybridrt demo: hybridrt: its run ended with exit code 3; see above\n",
    )
