"""What a call is told of its worker's death: which function, how, why that may be, and what becomes of the others."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from hybridrt._core.oom import OomEvidence
from hybridrt._lanes.obituary import Death, crash_report


def child(stack: str = "", fate: str = "") -> Any:
    return SimpleNamespace(pid=4711, fate=fate, box=SimpleNamespace(stack=lambda: stack))


def job(name: str = "f", crashes: int = 1) -> Any:
    return SimpleNamespace(function=SimpleNamespace(name=name), crashes=crashes, home=None)


@pytest.mark.parametrize(
    ("exitcode", "says", "name"),
    [
        (-signal.SIGKILL, "was killed by SIGKILL after 1.5 s", "SIGKILL"),
        (-signal.SIGSEGV, "C code that it was running read or wrote where it must not", "SIGSEGV"),
        (-signal.SIGUSR1, "It got SIGUSR1", "SIGUSR1"),
        (-(signal.SIGRTMIN + 9), "was killed by signal 43", "signal 43"),
        (3, "exited with code 3", None),
        (None, "How is not known", None),
    ],
)
def test_the_message_says_how_and_why(exitcode: int | None, says: str, name: str | None) -> None:
    crash = crash_report(job("pkg.work"), child(), Death(exitcode), 1.5, 1)
    assert says in str(crash)
    assert str(crash).startswith("pkg.work was lost: its worker process 4711 ")
    assert "was not run again" in str(crash)
    assert (crash.pid, crash.function, crash.exitcode, crash.seconds) == (4711, "pkg.work", exitcode, 1.5)
    assert crash.signal == name


def test_the_stack_at_the_crash_is_shown_and_kept() -> None:
    crash = crash_report(job(), child('File "x.py", line 1 in f'), Death(-11), 0.1, 1)
    assert crash.stack == 'File "x.py", line 1 in f'
    assert 'The Python stack at the crash:\nFile "x.py"' in str(crash)


def test_coroutines_that_shared_the_worker_are_counted() -> None:
    assert "with 2 other coroutine calls on the same worker" in str(
        crash_report(job(), child(), Death(-9), 0.1, 3)
    )


def test_what_was_run_several_times_is_named_and_not_run_again() -> None:
    crash = crash_report(job(crashes=3), child(), Death(-9), 0.1, 1)
    assert crash.attempts == 3
    assert "has now been run 3 times, and each time its worker died" in str(crash)


def test_a_kill_of_our_own_is_owned_up_to() -> None:
    assert "was killed by hybridrt after 0.1 s of it. The reason: it hung." in str(
        crash_report(job(), child(fate="it hung"), Death(-9), 0.1, 1)
    )


OURS = "/sys/fs/cgroup/memory.events"


@pytest.mark.parametrize(
    ("exitcode", "oom", "is_out_of_memory", "says"),
    [
        (
            -9,
            OomEvidence(True, OURS, False, 2 * 10**9),
            True,
            (
                f"It ran out of memory: the kernel killed it, as {OURS} counts, for want of memory in this control "
                "group (container), which may use 2 GB. Give each call less to do, run fewer at once (processes=), or"
            ),
        ),
        (
            -9,
            OomEvidence(True, OURS, False, None),
            True,
            "in this control group (container). Give each call less",
        ),
        (
            -9,
            OomEvidence(True, "/proc/vmstat", True, 16 * 10**9),
            True,
            (
                "Very likely it ran out of memory: the kernel has killed a process on this machine, which has 16 GB, "
                "for want of memory (oom_kill in /proc/vmstat went up). Give each call less to do"
            ),
        ),
        (None, OomEvidence(True, OURS, False, None), True, "died after 1.5 s of it. It ran out of memory"),
        (None, OomEvidence(False, OURS, False, None), False, "How is not known"),
        (None, OomEvidence(True, "/proc/vmstat", True, None), False, "How is not known"),
        (
            -9,
            OomEvidence(False, OURS, False, 2 * 10**9),
            False,
            (
                "Something sent it SIGKILL: an operator, a supervisor or a container that is being stopped. It was "
                f"hardly the kernel for want of memory, which has counted no such kill ({OURS}). Other calls"
            ),
        ),
        (-9, None, False, "the kernel does when memory runs out"),
    ],
)
def test_out_of_memory_is_said_where_the_kernel_counted_it(
    exitcode: int | None, oom: OomEvidence | None, is_out_of_memory: bool, says: str
) -> None:
    crash = crash_report(job(), child(), Death(exitcode, oom), 1.5, 1)
    assert crash.is_out_of_memory is is_out_of_memory
    assert says in str(crash)


@pytest.mark.parametrize(
    ("exitcode", "is_suspect"), [(1, True), (-11, True), (-6, True), (-9, False), (-15, False), (None, False)]
)
def test_a_memory_limit_is_named_where_it_may_have_done_it(exitcode: int | None, is_suspect: bool) -> None:
    crash = crash_report(job(), child(), Death(exitcode, None, 512_000_000), 1.5, 1)
    told = "Or its memory limit did it (worker_memory_limit, 512 MB): C code that cannot get memory often crashes"
    assert (told in str(crash)) is is_suspect
    assert "worker_memory_limit" not in str(crash_report(job(), child(), Death(exitcode), 1.5, 1))
