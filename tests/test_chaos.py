"""The chaos run keeps every promise on small seeds, and its judge finds each kind of broken promise."""

from __future__ import annotations

import os
import random
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.chaos import judge, leftovers, tasks
from benchmarks.chaos.__main__ import _without_expected
from benchmarks.chaos.plan import Call, Storm, draw
from benchmarks.chaos.tasks import BEGIN, END, LINE_BYTES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")

ROOT = Path(__file__).resolve().parent.parent
LOOPS = ["asyncio", "uvloop"]


def run(*options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", "--timeout", "30", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=55,
    )
    print(done.stdout)  # with the seed, and what was broken
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def count(what: str, text: str) -> int:
    found = re.search(rf"([\d,]+) {what}", text)
    return int(found[1].replace(",", "")) if found else 0


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("seed", [1, 4, None])
def test_calls_under_kills_cancels_and_limits(seed: int | None, loop: str) -> None:
    chosen = [] if seed is None else ["--seed", str(seed)]
    text = run("--tasks", "500", "--kills", "25", "--loop", loop, *chosen)
    assert sum(count(w, text) for w in ("right", "cancelled", "timed out", "crashed")) == 500
    assert count("worker kills", text) + count("zygote kills", text) >= 15
    assert count("right", text) > 150
    assert "1 of 1 seeds kept every promise" in text


@pytest.mark.parametrize("loop", LOOPS)
def test_with_retries_every_crashed_call_ends_right(loop: str) -> None:
    text = run("--tasks", "400", "--kills", "30", "--retries", "20", "--loop", loop)
    assert count("crashed", text) == 0
    assert count("worker kills", text) + count("zygote kills", text) >= 20


@pytest.mark.parametrize("loop", LOOPS)
def test_cancels_at_every_point_of_a_call_s_life(loop: str) -> None:
    text = run("--cancels", "3000", "--loop", loop)
    ways = ("Job.cancel", "task.cancel", "task group", "asyncio.timeout", "anyio.move_on_after", "hunting")
    assert sum(count(f"by {way}", text) for way in ways) >= 3000
    assert all(count(f"by {way}", text) for way in ways)


# The judge

NOW = time.monotonic_ns()
STORM = Storm(seed=1, loop="asyncio", tasks=1, kills=0, retries=0, cancels=0, seconds=1.0)


def a_call(fate: str = "await", outcome: str = judge.RIGHT) -> Call:
    return Call(7, "quick", 0.0, fate, 0.0, outcome=outcome, told_at=NOW)


def lines(*whats: str, at: int = NOW) -> dict[int, list[judge.Line]]:
    return {7: [judge.Line(what, 7, 100 + n, at) for n, what in enumerate(whats)]}


def found(call: Call, ledger: dict[int, list[judge.Line]], storm: Storm = STORM) -> list[str]:
    return list(judge.broken_promises(storm, [call], ledger))


@pytest.mark.parametrize(
    ("call", "ledger", "promise"),
    [
        (a_call(outcome=""), lines(BEGIN), r"every call ends: call 7 \(quick, by await\) hung"),
        (a_call(outcome=judge.CANCELLED), {}, "every call ends as it must: .* ended with cancelled"),
        (a_call(outcome="the wrong result 1"), lines(BEGIN, END), "ended with the wrong result 1"),
        (a_call(), lines(BEGIN, BEGIN, END), "at most 1 times: .* began 2 times, in processes 100, 101"),
        (a_call(), lines(BEGIN), "a result comes from a run to the end"),
        (
            a_call("job.cancel", judge.CANCELLED),
            lines(BEGIN, at=NOW + 3_000_000_000),
            "nothing begins after its caller was told the outcome: .* 3.0 s after it ended with cancelled",
        ),
    ],
)
def test_a_broken_promise_is_found(call: Call, ledger: dict[int, list[judge.Line]], promise: str) -> None:
    (words,) = found(call, ledger)
    assert re.search(promise, words), words


def test_kept_promises_are_not_found() -> None:
    assert found(a_call(), lines(BEGIN, END)) == []
    assert found(a_call("job.cancel", judge.CANCELLED), {}) == []
    assert found(a_call("anyio.fail_after", judge.TIMED_OUT), lines(BEGIN)) == []
    assert found(a_call(outcome=judge.CRASHED), lines(BEGIN)) == []


def test_two_calls_lost_to_one_death_are_found() -> None:
    first, second = (Call(n, "spin", 0.0, "job", 0.0, outcome=judge.CRASHED, pid=44) for n in (7, 8))
    assert list(judge.broken_promises(STORM, [first, second], {})) == [
        "a death hurts one call: that of process 44 took call 7 (spin, by job), call 8 (spin, by job)"
    ]
    second.pid = 45
    assert list(judge.broken_promises(STORM, [first, second], {})) == []


def test_with_retries_no_call_may_crash_but_it_may_begin_again() -> None:
    storm = Storm(**STORM.as_fields() | {"retries": 2})
    assert found(a_call(), lines(BEGIN, BEGIN, BEGIN, END), storm) == []
    assert len(found(a_call(), lines(BEGIN, BEGIN, BEGIN, BEGIN, END), storm)) == 1
    assert len(found(a_call(outcome=judge.CRASHED), lines(BEGIN), storm)) == 1


def test_a_call_that_nobody_made_is_found() -> None:
    ledger = lines(BEGIN, END) | {8: [judge.Line(BEGIN, 8, 1, NOW)]}
    assert found(a_call(), ledger) == ["calls ran that nobody had made: [8]"]


def test_a_torn_line_of_the_ledger_is_no_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_text(f"{BEGIN} 7 1 5\n{END} 7 1 6\n")
    assert judge.read(path)[7] == [judge.Line(BEGIN, 7, 1, 5), judge.Line(END, 7, 1, 6)]
    path.write_text(f"{BEGIN} 7 1 5{END} 7 1 6\n")
    with pytest.raises(ValueError, match="too many values"):
        judge.read(path)


def test_no_line_of_the_ledger_is_in_two_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger"
    opened: dict[str, int] = {}
    monkeypatch.setattr(tasks, "_open", opened)
    for number in (1, 20_000, 999_999_999):
        tasks.quick(str(path), number, 0.0)
    os.close(opened[str(path)])
    assert [len(line) for line in path.read_bytes().splitlines(keepends=True)] == [LINE_BYTES] * 6
    assert resource.getpagesize() % LINE_BYTES == 0
    assert {number: [line.what for line in lines] for number, lines in judge.read(path).items()} == {
        number: [BEGIN, END] for number in (1, 20_000, 999_999_999)
    }


def test_what_is_left_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(leftovers.MARK, f"a test {os.getpid()}")
    before = leftovers.held()
    assert leftovers.left(before, 0) == []
    read, write = os.pipe()
    program = subprocess.Popen(["sleep", "1000"])  # noqa: S607
    try:
        found = leftovers.left(before, 0)
    finally:
        program.kill()
        program.wait()
        os.close(read)
        os.close(write)
    assert len(found) == 3
    assert f"process {program.pid} (sleep 1000)" in found
    assert sum(what.startswith("descriptor") for what in found) == 2
    assert leftovers.left(before, 5) == []


def test_the_same_seed_draws_the_same_calls() -> None:
    one, other = (list(draw(Storm(**STORM.as_fields() | {"tasks": 50}), random.Random(5))) for _ in range(2))
    assert one == other
    assert len({call.function for call in one}) > 5


INTERRUPT_IN_A_CALLBACK = """\
Exception ignored in: <function _releaseLock at 0x7f>
Traceback (most recent call last):
  File "worker.py", line 1, in _on_interrupt
hybridrt.Interrupted: this call was cancelled
"""


def test_only_what_an_interrupt_may_leave_on_stderr_is_passed_over() -> None:
    torn = INTERRUPT_IN_A_CALLBACK.rpartition("hybridrt")[0]
    warning = "Exception ignored in: <socket>\nResourceWarning: unclosed <socket>\n"
    assert _without_expected(INTERRUPT_IN_A_CALLBACK + torn) == ""
    assert _without_expected(torn + warning + INTERRUPT_IN_A_CALLBACK) == warning.strip()
    assert _without_expected("Traceback\nValueError: x\n") == "Traceback\nValueError: x"
