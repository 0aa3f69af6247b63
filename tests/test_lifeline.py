"""A worker dies with our process although the zygote is dead: busy or idle, with all that it has started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from by_hand import Whistle, Worker, Zygote, call, is_readable

HOLD = """
import pathlib, signal, subprocess
if starts:
    subprocess.Popen(["sleep", "1000"])
pathlib.Path(path).write_bytes(b"!")
if computes:
    pow(3, 10**9)
while True:
    signal.pause()
"""


@pytest.fixture
def whistle(tmp_path: Path) -> Iterator[Whistle]:
    whistle = Whistle(tmp_path / "whistle")
    yield whistle
    whistle.close()


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.control.close()
    zygote.process.wait()
    zygote.cut_lifeline()


def kill_zygote(zygote: Zygote) -> None:
    zygote.process.kill()
    zygote.process.wait()


def close(worker: Worker) -> None:
    assert is_readable(worker.pidfd), "it lives on"
    worker.close()


@pytest.mark.parametrize("how", ["idle", "busy", "in C code", "stopped"])
def test_a_worker_dies_when_the_lifeline_is_cut(zygote: Zygote, whistle: Whistle, how: str) -> None:
    worker = zygote.fork()
    if how == "idle":
        worker.call(1, abs, -1)
    else:
        variables = {"path": whistle.path, "starts": False, "computes": how == "in C code"}
        worker.send(call(1, exec, HOLD, variables))
        whistle.wait()
    if how == "stopped":
        worker.signal(signal.SIGSTOP)
    kill_zygote(zygote)
    if (
        how != "stopped"
    ):  # the kernel hangs up a stopped group that its parent's death has orphaned (setpgid(2))
        assert not is_readable(worker.pidfd, 0), "the zygote's death alone is no reason"
    zygote.cut_lifeline()
    close(worker)


def test_what_a_call_has_started_goes_too(zygote: Zygote, whistle: Whistle) -> None:
    worker = zygote.fork()
    worker.send(call(1, exec, HOLD, {"path": whistle.path, "starts": True, "computes": False}))
    whistle.wait()
    (child,) = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    grandchild = os.pidfd_open(int(child))
    kill_zygote(zygote)
    zygote.cut_lifeline()
    assert is_readable(grandchild)
    os.close(grandchild)
    close(worker)


def test_each_worker_has_a_line_of_its_own(zygote: Zygote) -> None:
    workers = [zygote.fork() for _ in range(3)]
    for number, worker in enumerate(workers, 1):
        assert worker.call(number, abs, -1).result() == 1
    workers[0].signal(signal.SIGKILL)
    assert is_readable(workers[0].pidfd)
    kill_zygote(zygote)
    assert workers[1].call(7, abs, -1).result() == 1
    zygote.cut_lifeline()
    for worker in workers:
        close(worker)


def test_a_worker_that_comes_when_the_line_is_cut_already_does_not_begin(zygote: Zygote) -> None:
    zygote.wait_until_there()
    zygote.cut_lifeline()
    worker = zygote.fork()
    assert worker.exitcode() == 0
    worker.close()
