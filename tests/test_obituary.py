"""What a call is told of its worker's death: which function, how, why that may be, and what becomes of the others."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from hybridrt._lanes.obituary import Death, crash_report


def child(stack: str = "", fate: str = "") -> Any:
    return SimpleNamespace(pid=4711, fate=fate, box=SimpleNamespace(stack=lambda: stack))


def job(name: str = "f", crashes: int = 1) -> Any:
    return SimpleNamespace(function=SimpleNamespace(name=name), crashes=crashes)


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
