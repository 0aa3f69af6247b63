"""What strace, callgrind and setprofile say becomes figures of one call, and what people wrote on the page stays."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from benchmarks import traced
from benchmarks.profile import frames, instructions, page, times
from benchmarks.profile.subjects import SUBJECTS, PerCall, per_call

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the floor forks")

CALLGRIND = """# callgrind format
version: 1
positions: line
events: Ir

ob=(1) /usr/lib/libpython3.11.so.1.0
fl=(1) eval.c
fn=(1) evaluate
10 100
cfn=(2) _PyObject_Malloc
calls=7 20
12 3000
+2 5
fn=(3) evaluate'2
* 40

ob=(2) /venv/site-packages/uvloop/loop.cpython-311-x86_64-linux-gnu.so
fn=(4) poll
1 60
cob=(1)
cfn=(2)
calls=3 20
-4 1500

ob=(1)
fn=(2)
20 450
"""
MACHINE = {
    "date": "2026-01-02T03:04",
    "python": "CPython",
    "loop": "uvloop",
    "system": "Linux",
    "commit": "abc",
}


def test_system_calls_of_threads_count_with_their_process() -> None:
    counts = traced._read(
        {
            10: "clone3({flags=CLONE_VM|CLONE_THREAD|CLONE_SYSVSEM} => {parent_tid=[11]}, 88) = 11\n"
            "clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 12\n"
            "--- SIGCHLD {si_signo=SIGCHLD} ---\n"
            'read(3, ""..., 4) = 4\n+++ exited with 0 +++\n',
            11: 'read(3, ""..., 4) = 4\nfutex(0x1, FUTEX_WAKE) = 0\n',
            12: 'write(4, ""..., 4) = 4\n',
        },
        first=10,
    )
    assert counts == {
        10: Counter({"read": 2, "clone3": 1, "clone": 1, "futex": 1}),
        12: Counter({"write": 1}),
    }
    assert counts.total() == 6


def test_processes_are_in_the_order_of_their_birth_when_ids_start_anew() -> None:
    assert traced.by_birth([300, 32766, 301, 32767], first=32766) == [32766, 32767, 300, 301]


def test_instructions_are_those_of_a_function_itself_and_recursion_is_one_function() -> None:
    found = instructions.read(CALLGRIND)
    assert found.by_function == {
        "evaluate (libpython3)": 145,
        "poll (uvloop.loop)": 60,
        "_PyObject_Malloc (libpython3)": 450,
    }
    assert found.by_library == {"libpython3": 595, "uvloop.loop": 60}
    assert found.allocations == {instructions.ALLOCATIONS["_PyObject_Malloc"]: 10}


def test_figures_of_one_call_are_a_difference_and_idle_processes_have_no_part() -> None:
    none = {5: Counter(read=100), 6: Counter(poll=50), 7: Counter(write=10)}
    later = {
        25: Counter(read=300, send=100),
        26: Counter(poll=51),
        27: Counter(write=210),
        28: Counter(write=100),
    }
    assert per_call(none, later, 100) == PerCall(
        caller=Counter({"read": 2.0, "send": 1.0}), workers=Counter({"write": 3.0})
    )


def test_the_page_keeps_what_people_wrote() -> None:
    old = f"# Old\n\n| figures |\n\n{page.BY_HAND}\n\nA queue for all: no.\n\n## More\n"
    assert page.by_hand(old) == f"{page.BY_HAND}\n\nA queue for all: no.\n\n## More\n"
    assert page.by_hand("").startswith(page.BY_HAND)


def test_the_page_tells_what_was_counted_and_why_it_was_not() -> None:
    counted = {
        "process": PerCall(Counter({"read": 2.0, "poll": 0.001}), Counter({"write": 1.5})),
        "thread": PerCall(Counter({"futex": 3.0}), Counter()),
    }
    tables = {
        "system calls": counted,
        "libraries": "no valgrind",
        "instructions": "no valgrind",
        "allocations": "no valgrind",
        "frames": {},
    }
    measured = {"process": {"wall": 12.34}, "thread": {"wall": 5.0, "bytes": 200.0}}
    text = page.page(MACHINE, "make it", measured, tables, page.by_hand(""))
    for line in (
        "| a call | process: caller | workers |",
        "| `read` | 2.00 |  |",
        "| **all** | **2.00** | **1.50** |",
        "| `futex` | 3.00 |",
        "| from call to call | 12.3 | 5.0 |",
        "Not counted: no valgrind.",
    ):
        assert line in text.splitlines(), line
    assert text.endswith("Nothing yet.\n")


def test_frames_are_counted_here_and_in_a_worker() -> None:
    (subject,) = (s for s in SUBJECTS if s.title == "process, one at a time")
    caller, worker = frames.count(subject.order("asyncio", 1, 5)).values()
    assert caller["hybridrt/verbs Verbs.to_process"] >= 5
    # The call that begins the counting ends inside of it, and so does the one that reads it.
    assert worker["benchmarks/work noop"] == 5
    assert caller[frames.ASIDE] > worker[frames.ASIDE] > 0


def test_times_and_what_a_waiting_call_keeps() -> None:
    (subject,) = (s for s in SUBJECTS if s.title == "process, at once")
    found = times.measure(subject.order("asyncio", 1, 200))
    assert {"wall", "user", "system", "worker_user", "worker_system", "blocks", "bytes"} == set(found)
    assert found["wall"] > 0
    assert found["blocks"] >= 1
    assert found["bytes"] >= 50
