"""What one process writes into the box, the other one reads there, also when the writer has died."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hybridrt._engine.blackbox import BlackBox


@pytest.fixture
def box() -> Iterator[BlackBox]:
    box = BlackBox()
    yield box
    box.close()


def run(box: BlackBox, code: str) -> int:
    """In a process of its own that has the box's descriptor, as ``fd``."""
    text = f"from hybridrt._engine.blackbox import BlackBox; fd = {box.fd}; {code}"
    return subprocess.run([sys.executable, "-c", text], pass_fds=[box.fd], check=False).returncode


def test_a_number_crosses_both_ways(box: BlackBox) -> None:
    assert box.unwanted == 0
    box.unwanted = 2**63 + 5
    assert run(box, "box = BlackBox(fd); assert box.unwanted == 2**63 + 5; box.unwanted += 1") == 0
    assert box.unwanted == 2**63 + 6


def test_the_numbers_do_not_disturb_one_another(box: BlackBox) -> None:
    box.unwanted = 2**64 - 1
    assert (box.unwanted, box.started) == (2**64 - 1, 0)
    assert run(box, "BlackBox(fd).started = 2**63 + 7") == 0
    assert (box.unwanted, box.started) == (2**64 - 1, 2**63 + 7)


def test_a_worker_that_reports_first_is_known_and_one_that_was_given_up_first_never_begins(
    box: BlackBox,
) -> None:
    other = BlackBox()
    assert run(box, "assert BlackBox(fd).report(4711)") == 0
    assert box.give_up() == 4711
    assert other.give_up() == 0
    assert run(other, "assert not BlackBox(fd).report(4711)") == 0
    other.close()


def test_a_crash_leaves_the_stack(box: BlackBox) -> None:
    assert box.stack() == ""
    code = "BlackBox(fd).record_crashes(); import ctypes\ndef breaks(): ctypes.string_at(0)\nbreaks()"
    assert run(box, code) < 0
    assert "Segmentation fault" in box.stack()
    assert "in breaks" in box.stack()


def test_an_orderly_end_leaves_no_stack(box: BlackBox) -> None:
    assert run(box, "BlackBox(fd).record_crashes(); raise SystemExit(3)") == 3
    assert box.stack() == ""


def test_the_stack_does_not_disturb_the_number(box: BlackBox) -> None:
    box.unwanted = 77
    assert run(box, "BlackBox(fd).record_crashes(); import os; os.abort()") < 0
    assert box.unwanted == 77
    assert box.stack().startswith("Fatal Python error: Aborted")


def test_stack_is_cut_where_it_is_endless_and_survives_nonsense(box: BlackBox) -> None:
    os.pwrite(box.fd, b"\xff" * 200_000, 4096)
    assert 0 < len(box.stack()) <= 64 * 1024


def test_it_has_no_name_and_is_not_inherited(box: BlackBox) -> None:
    assert not os.get_inheritable(box.fd)
    assert os.fstat(box.fd).st_nlink == 0


def test_closing_gives_everything_back_and_may_be_repeated() -> None:
    box = BlackBox()
    fd = box.fd
    box.close()
    box.close()
    with pytest.raises(OSError) as told:  # noqa: PT011  (its errno is what counts)
        os.fstat(fd)
    assert told.value.errno == errno.EBADF


def test_without_memfd_it_is_a_file_that_nobody_else_can_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)  # as on macOS
    box = BlackBox()
    try:
        box.unwanted = 5
        assert run(box, "assert BlackBox(fd).unwanted == 5") == 0
        assert os.fstat(box.fd).st_nlink == 0
    finally:
        box.close()
