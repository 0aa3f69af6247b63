"""The zygote forks workers, tells of each end, and is gone with all of them when its parent or the channel is gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from by_hand import ORDINARY, PATIENCE, Whistle, Zygote, call, coroutine, is_gone, is_readable

from hybridrt._engine import wire
from hybridrt._engine.zygote import open_control, receive_message, send_message


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture
def whistle(tmp_path: Path) -> Iterator[Whistle]:
    whistle = Whistle(tmp_path / "whistle")
    yield whistle
    whistle.close()


HOLD = """
import pathlib, signal
pathlib.Path(path).write_bytes(b"!")
while True:
    signal.pause()
"""
SPAWN_AND_HOLD = 'import subprocess; subprocess.Popen(["sleep", "1000"])' + HOLD


def holds_in_a_coroutine() -> Callable[..., Any]:
    async def held(code: str, path: str) -> None:
        exec(code, {"path": path})  # noqa: S102

    return held


# messages


def test_messages_stay_whole_and_carry_descriptors() -> None:
    ours, theirs = open_control()
    with ours, theirs:
        read, write = os.pipe()
        send_message(ours, ("first", 1), (read, write))
        send_message(ours, ("second", ["x" * 50_000]))
        os.close(read)
        os.close(write)
        message, fds = receive_message(theirs)
        assert message == ("first", 1)
        assert len(fds) == 2
        os.write(fds[1], b"through")
        assert os.read(fds[0], 10) == b"through"
        assert not any(os.get_inheritable(fd) for fd in fds)
        for fd in fds:
            os.close(fd)
        assert receive_message(theirs) == (("second", ["x" * 50_000]), [])


def test_the_end_of_the_channel_is_no_message_and_no_error() -> None:
    ours, theirs = open_control()
    with theirs:
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            receive_message(theirs)
        ours.close()
        assert receive_message(theirs) == (None, [])
        with pytest.raises(OSError, match="Broken pipe"):
            send_message(theirs, ("late",))


def test_what_was_sent_before_a_death_is_received_also_where_a_message_of_ours_was_left_unread() -> None:
    ours, theirs = open_control()
    with ours:
        send_message(theirs, ("forked", 1, 2))
        send_message(ours, ("fork", 2))
        theirs.close()
        assert receive_message(ours) == (("forked", 1, 2), [])
        assert receive_message(ours) == (None, [])


# forks and ends


def test_each_fork_is_a_worker_of_its_own(zygote: Zygote) -> None:
    workers = [zygote.fork() for _ in range(3)]
    for worker in workers:
        assert worker.call(1, os.getpid).result() == worker.pid
        assert worker.call(2, os.getppid).result() == zygote.process.pid
        assert worker.call(3, os.getpgrp).result() == worker.pid
    assert len({worker.pid for worker in workers}) == 3
    for worker in workers:
        worker.close()


@pytest.mark.parametrize(
    ("how", "exitcode"),
    [
        ("os._exit(0)", 0),
        ("os._exit(7)", 7),
        ("os.kill(os.getpid(), 9)", -9),
        ("os.abort()", -signal.SIGABRT),
        ("os.kill(os.getpid(), 11)", -signal.SIGSEGV),
    ],
)
def test_every_end_is_told_with_its_code_or_signal(zygote: Zygote, how: str, exitcode: int) -> None:
    worker, other = zygote.fork(), zygote.fork()
    worker.send(call(1, exec, f"import os; {how}", {}))
    assert worker.exitcode() == exitcode
    assert other.call(1, abs, -3).result() == 3
    worker.close()
    other.close()


def test_many_ends_at_once_are_all_told(zygote: Zygote) -> None:
    workers = [zygote.fork() for _ in range(12)]
    for worker in workers:
        worker.signal(signal.SIGKILL)
    told = {zygote.hear("exited")[0][1:] for _ in workers}
    assert told == {(worker.pid, -9) for worker in workers}
    for worker in workers:
        worker.close()


def test_an_ended_worker_leaves_no_zombie(zygote: Zygote) -> None:
    worker = zygote.fork()
    worker.hang_up()
    assert worker.exitcode() == 0
    assert not Path(f"/proc/{worker.pid}").exists()
    worker.close()


def test_a_worker_holds_only_its_own_descriptors(zygote: Zygote) -> None:
    first = zygote.fork()
    second = zygote.fork()
    second.call(1, abs, -1)
    folder = Path(f"/proc/{second.pid}/fd")
    held = {os.readlink(folder / fd) for fd in os.listdir(folder) if int(fd) > 2}
    held = {
        target for target in held if "libffi" not in target
    }  # which some systems' libffi keeps open itself
    assert len(held) == 5, held  # the lifeline is one
    assert {os.readlink(f"/proc/self/fd/{fd}") for fd in (second.tokens_read, second.box.fd)} < held
    first.close()
    second.close()


def test_a_program_that_a_call_starts_holds_none_of_them(zygote: Zygote) -> None:
    worker = zygote.fork()
    code = "import os; os.posix_spawnp('sleep', ['sleep', '1000'], os.environ); os._exit(3)"
    worker.send(call(1, exec, code, {}))
    assert worker.channel.recv(1) == b""
    assert worker.exitcode() == 3
    worker.close()


def test_a_worker_has_a_plain_workers_signals(zygote: Zygote) -> None:
    worker = zygote.fork()
    worker.signal(signal.SIGINT)  # Ctrl-C is the parent's to answer
    code = "signal.getsignal(signal.SIGCHLD), signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1)"
    result = worker.call(1, eval, code, {"signal": signal}).result()
    assert result == (signal.SIG_DFL, signal.SIG_DFL, -1)
    worker.close()


def test_a_workers_input_is_empty_and_its_output_disturbs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    zygote = Zygote()
    worker = zygote.fork()
    code = "import os, sys; print('printed'); os.write(1, b'written'); os.write(2, b'err'); got = sys.stdin.read()"
    names: dict[str, Any] = {}
    worker.send(call(1, exec, code, names))
    assert worker.answer().kind == wire.RESULT
    assert worker.call(2, eval, "sys.stdin.read()", {"sys": sys}).result() == ""
    worker.close()
    zygote.close()
    assert capfd.readouterr() == ("printed\nwritten", "err")


# preloads


def test_a_preloaded_module_is_there_in_every_worker_to_come() -> None:
    zygote = Zygote("colorsys")
    worker = zygote.fork()
    assert worker.call(1, eval, "'colorsys' in __import__('sys').modules").result() is True
    assert worker.call(2, eval, "'sndhdr' in __import__('sys').modules").result() is False
    zygote.tell("preload", ("wave",))
    later = zygote.fork()
    assert later.call(1, eval, "{'colorsys', 'wave'} <= set(__import__('sys').modules)").result() is True
    worker.close()
    later.close()
    zygote.close()


def test_a_bad_preload_is_told_and_hurts_nothing(zygote: Zygote, tmp_path: Path) -> None:
    (tmp_path / "hybridrt_tests_exits.py").write_text("raise SystemExit('no')")
    zygote.tell("path", [str(tmp_path), *sys.path])
    zygote.tell("preload", ("no_such_module", "hybridrt_tests_exits", "colorsys"))
    assert zygote.hear("preload failed")[0] == (
        "preload failed",
        "no_such_module",
        "ModuleNotFoundError: No module named 'no_such_module'",
    )
    assert zygote.hear("preload failed")[0][1:] == ("hybridrt_tests_exits", "SystemExit: no")
    worker = zygote.fork()
    assert worker.call(1, eval, "'colorsys' in __import__('sys').modules").result() is True
    worker.close()


def test_workers_have_the_path_that_was_told(zygote: Zygote, tmp_path: Path) -> None:
    zygote.tell("path", [*sys.path, str(tmp_path)])
    worker = zygote.fork()
    assert worker.call(1, eval, "__import__('sys').path").result() == [*sys.path, str(tmp_path)]
    worker.close()


def test_the_script_of_the_parent_is_not_loaded(zygote: Zygote) -> None:
    worker = zygote.fork()
    code = "getattr(__import__('sys').modules['__main__'], '__file__', None), 'pytest' in __import__('sys').modules"
    assert worker.call(1, eval, code).result() == (None, False)
    worker.close()


# a fork that fails

REFUSES_ONCE = """
import errno, os
real = os.fork
def refuse():
    os.fork = real
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
os.fork = refuse
"""


def test_a_refused_fork_is_told_and_the_next_one_may_work() -> None:
    zygote = Zygote(boot=REFUSES_ONCE + ORDINARY)  # RLIMIT_NPROC, which root does not have
    ours, far = socket.socketpair()
    with ours, far:
        zygote.tell("fork", 41, fds=(far.fileno(), 0, 0, 0))
        far.close()
        (_, number, code, text), _ = zygote.hear("refused")
        assert (number, text) == (41, "[Errno 11] Resource temporarily unavailable")
        assert code == 11
        assert ours.recv(1) == b""  # the zygote kept nothing of it
    worker = zygote.fork()
    assert worker.call(1, abs, -1).result() == 1
    worker.close()
    zygote.close()


# the end of the zygote


def test_it_goes_when_the_channel_closes() -> None:
    assert Zygote().close() == 0


def test_it_does_not_begin_for_a_parent_that_is_not_its_own() -> None:
    zygote = Zygote(boot="from hybridrt._engine.zygote import main; main({fd}, {parent} + 1, {line})")
    assert zygote.close() == 0


def test_it_shrugs_off_what_a_terminal_sends(zygote: Zygote) -> None:
    zygote.fork().close()  # it is there
    zygote.process.send_signal(signal.SIGINT)
    worker = zygote.fork()
    assert worker.call(1, abs, -1).result() == 1
    worker.close()


@pytest.mark.parametrize("work", ["idle", "call", "coroutine", "stopped"])
def test_its_workers_go_with_it_whatever_they_do(whistle: Whistle, work: str) -> None:
    zygote = Zygote("cloudpickle")
    worker = zygote.fork()
    if work in ("call", "stopped"):
        worker.send(call(1, exec, HOLD, {"path": whistle.path}))
        whistle.wait()
    elif work == "coroutine":
        worker.send(coroutine(1, holds_in_a_coroutine(), HOLD, whistle.path))
        whistle.wait()
    if work == "stopped":
        worker.signal(signal.SIGSTOP)
    assert zygote.close() == 0
    assert is_readable(worker.pidfd, 0)  # dead by the time that the zygote is
    worker.close()


def test_what_a_call_has_started_goes_too(whistle: Whistle) -> None:
    zygote = Zygote()
    worker = zygote.fork()
    worker.send(call(1, exec, SPAWN_AND_HOLD, {"path": whistle.path}))
    whistle.wait()
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    assert len(children) == 1
    grandchild = os.pidfd_open(int(children[0]))
    zygote.close()
    assert is_readable(grandchild)
    os.close(grandchild)
    worker.close()


@pytest.mark.parametrize("ends", [True, False], ids=["its worker ends first", "its worker goes with it"])
def test_what_a_call_has_set_apart_goes_too(whistle: Whistle, ends: bool) -> None:
    zygote = Zygote()
    worker = zygote.fork()
    pid = worker.call(
        1, eval, "__import__('subprocess').Popen(['sleep', '1000'], start_new_session=True).pid"
    ).result()
    apart = os.pidfd_open(pid)
    if ends:
        worker.send(wire.pack(wire.QUIT, 0, 0))
        assert worker.exitcode() == 0
        assert not is_readable(apart, 0)
    zygote.close()
    assert is_readable(apart)
    os.close(apart)
    worker.close()


def test_what_a_call_has_started_goes_when_its_worker_does(zygote: Zygote) -> None:
    worker = zygote.fork()
    pid = worker.call(1, eval, "__import__('subprocess').Popen(['sleep', '1000']).pid").result()
    grandchild = os.pidfd_open(pid)
    worker.signal(signal.SIGKILL)
    assert is_readable(grandchild)
    os.close(grandchild)
    worker.close()


PARENT = """
import os, signal, sys
sys.path[:0] = {path!r}
from by_hand import Zygote, call
zygote = Zygote()
worker = zygote.fork()
worker.send(call(1, exec, {hold!r}, {{"path": {whistle!r}}}))
holder = 0
if {is_held}:
    holder = os.fork()
    if holder == 0:
        while True:
            signal.pause()
print(zygote.process.pid, worker.pid, holder, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    "is_held", [False, True], ids=["", "and a process that it forked holds its channels"]
)
def test_nothing_is_left_when_the_parent_is_killed_while_a_worker_is_busy(
    whistle: Whistle, is_held: bool
) -> None:
    code = PARENT.format(path=[str(Path(__file__).parent)], hold=HOLD, whistle=whistle.path, is_held=is_held)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert is_readable(parent.stdout)
        *pids, holder = [int(pid) for pid in parent.stdout.readline().split()]
        pidfds = [os.pidfd_open(pid) for pid in pids]
        whistle.wait()
        parent.kill()
        assert parent.wait(PATIENCE) == -signal.SIGKILL
    for pid, pidfd in zip(pids, pidfds, strict=True):
        assert is_readable(pidfd), f"{pid} lives on"
        assert is_gone(pid)
        os.close(pidfd)
    if is_held:
        assert not is_gone(holder)
        os.kill(holder, signal.SIGKILL)
