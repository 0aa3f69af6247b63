"""Whoever is hired is reported as started and, in the end, dead: once, with the way of death, and with nothing left."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from by_hand import call, coroutine, is_gone
from helpers import exists, until

from hybridrt._core.settings import Settings
from hybridrt._engine import nursery, parcel, wire
from hybridrt._engine.child import Child
from hybridrt._engine.staff import Staff
from hybridrt._engine.zygote import receive_message
from hybridrt._lanes.listening import Listening


class Office:
    """A staff and all that it has reported."""

    def __init__(self, *preload: str) -> None:
        self.started: list[Child] = []
        self.deaths: list[tuple[Child, int | None, OSError | None]] = []
        self.answers: dict[int, Any] = {}
        self.listening = Listening(asyncio.get_running_loop())
        self.staff = Staff(
            asyncio.get_running_loop(),
            settings=Settings(processes=1, nice=0, preload=preload),
            on_readable=self._read,
            on_started=self.started.append,
            on_death=lambda *death: self.deaths.append(death),
            output=self.listening.far_end,
        )

    def _read(self, child: Child) -> None:
        count = child.read()
        if count == 0:
            child.deafen()
        for frame in iter(child.next_frame, None):
            self.answers[frame.number] = (frame.kind, bytes(frame.payload))

    async def answer(self, number: int) -> Any:
        await until(lambda: number in self.answers)
        kind, payload = self.answers[number]
        assert kind == wire.RESULT
        return parcel.loads(payload)

    async def hire(self, count: int) -> list[Child]:
        children = [self.staff.hire() for _ in range(count)]
        await until(lambda: all(child in self.started for child in children))
        return children

    async def death_of(self, child: Child) -> tuple[int | None, OSError | None]:
        await until(lambda: [death for death in self.deaths if death[0] is child])
        ((_, exitcode, error),) = [death for death in self.deaths if death[0] is child]
        return exitcode, error


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    office = Office()
    yield office
    await office.staff.close()
    office.listening.close()


HOLD = "import pathlib, signal; pathlib.Path(path).touch()\nwhile True: signal.pause()"


async def test_a_worker_may_be_given_calls_before_it_is_there(office: Office) -> None:
    child = office.staff.hire()
    assert child.pid == 0
    child.send(call(1, os.getpid))
    pid = await office.answer(1)
    await until(lambda: child.pid)  # which the zygote tells: the answer may be here before
    assert child.pid == pid
    assert office.started == [child]
    assert office.deaths == []


async def test_each_hired_worker_is_a_process_of_its_own(office: Office) -> None:
    children = await office.hire(4)
    for number, child in enumerate(children, 1):
        child.send(call(number, os.getpid))
    pids = [await office.answer(number) for number in range(1, 5)]
    await until(lambda: all(child.pid for child in children))
    assert pids == [child.pid for child in children]
    assert len({*pids, office.staff.zygote_pid, os.getpid()}) == 6


@pytest.mark.parametrize(("how", "exitcode"), [(lambda c: c.send(call(1, os._exit, 7)), 7), (Child.kill, -9)])
async def test_a_death_is_reported_once_and_the_child_is_closed(
    office: Office, how: Callable[[Child], None], exitcode: int
) -> None:
    child, other = await office.hire(2)
    how(child)
    assert await office.death_of(child) == (exitcode, None)
    assert child.box.fd == -1
    other.send(call(2, abs, -2))
    assert await office.answer(2) == 2
    assert len(office.deaths) == 1


async def test_a_worker_that_is_killed_before_it_is_there_leaves_by_itself(office: Office) -> None:
    child = office.staff.hire()
    child.kill()
    assert await office.death_of(child) == (0, None)


async def test_a_worker_that_is_stopped_holds_up_nobody(office: Office) -> None:
    stopped, other = await office.hire(2)
    os.kill(stopped.pid, signal.SIGSTOP)
    other.send(call(1, abs, -1))
    assert await office.answer(1) == 1
    pids = [stopped.pid, other.pid]
    stopped.kill()
    assert await office.death_of(stopped) == (-9, None)
    await office.staff.close()
    assert [is_gone(pid) for pid in pids] == [True, True]


async def test_the_death_of_the_zygote_is_no_death_of_its_workers(office: Office) -> None:
    (child,) = await office.hire(1)
    zygote = office.staff.zygote_pid
    assert zygote
    os.kill(zygote, signal.SIGKILL)
    await until(lambda: office.staff.zygote_pid is None)
    child.send(call(1, abs, -1))
    assert await office.answer(1) == 1
    (other,) = await office.hire(1)
    assert office.staff.zygote_pid not in (None, zygote)
    child.kill()
    assert await office.death_of(child) == (None, None)  # nobody is left to tell how
    other.kill()
    assert await office.death_of(other) == (-9, None)


async def test_who_was_not_there_yet_when_the_zygote_died_never_will_be(office: Office) -> None:
    await office.hire(1)
    zygote = office.staff.zygote_pid
    assert zygote
    os.kill(zygote, signal.SIGSTOP)
    child = office.staff.hire()
    os.kill(zygote, signal.SIGKILL)
    assert await office.death_of(child) == (None, None)
    assert len(office.deaths) == 1
    assert child not in office.started
    (other,) = await office.hire(1)
    other.send(call(1, abs, -1))
    assert await office.answer(1) == 1


async def test_zygotes_that_die_again_and_again_are_given_up_on_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "deadly_to_import.py").write_text("import os; os._exit(5)")
    sys.path.append(str(tmp_path))
    office = Office("deadly_to_import")
    try:
        errors = [(await office.death_of(office.staff.hire()))[1] for _ in range(3)]
    finally:
        sys.path.remove(str(tmp_path))
        await office.staff.close()
        office.listening.close()
    assert errors[:2] == [None, None]
    assert "the process that forks workers exited with 5 before it could start one, again and again" in str(
        errors[2]
    )


async def test_a_zygote_whose_death_is_not_known_yet_is_replaced_on_the_way(office: Office) -> None:
    (child,) = await office.hire(1)
    child.send(call(3, abs, -3))
    assert await office.answer(3) == 3  # so it has closed what it inherited of the zygote's
    zygote = office.staff.zygote_pid
    assert zygote
    os.kill(zygote, signal.SIGKILL)
    os.waitid(os.P_PID, zygote, os.WEXITED | os.WNOWAIT)
    office.staff.preload(["colorsys"])  # all of it before the loop has turned
    other = office.staff.hire()
    assert office.staff.zygote_pid not in (None, zygote)
    for number, worker in enumerate((child, other), 1):
        worker.send(call(number, abs, -number))
        assert await office.answer(number) == number


async def test_one_that_was_there_but_not_told_of_when_the_zygote_died_goes_on(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def receive(control: socket.socket) -> tuple[Any, list[int]]:
        message, fds = receive_message(control)
        if message is None or message[0] != "forked":
            return message, fds
        for fd in fds:
            os.close(fd)
        return ("the zygote", "was killed before it could tell"), []

    monkeypatch.setattr(nursery, "receive_message", receive)
    child = office.staff.hire()
    child.send(call(1, os.getpid))
    pid = await office.answer(1)
    assert (child.pid, office.started) == (0, [])
    os.kill(office.staff.zygote_pid or 0, signal.SIGKILL)
    await until(lambda: office.started)
    assert child.pid == pid
    child.send(call(2, abs, -2))
    assert await office.answer(2) == 2
    child.kill()
    assert await office.death_of(child) == (None, None)


async def test_what_a_call_has_started_goes_with_its_worker_also_where_the_zygote_is_dead(
    office: Office, tmp_path: Path
) -> None:
    (child,) = await office.hire(1)
    os.kill(office.staff.zygote_pid or 0, signal.SIGKILL)
    await until(lambda: office.staff.zygote_pid is None)
    code = 'import pathlib, subprocess\nprogram = subprocess.Popen(["sleep", "1000"])\n'
    code += "pathlib.Path(path).write_text(str(program.pid))\nraise SystemExit"
    path = tmp_path / "program"
    child.send(call(1, exec, code, {"path": str(path)}))
    await until(lambda: 1 in office.answers)
    program = int(path.read_text())
    assert not is_gone(program)
    os.kill(child.pid, signal.SIGKILL)  # by somebody else: child.kill() sees to the group itself
    assert await office.death_of(child) == (None, None)
    await until(lambda: is_gone(program))


async def test_a_staff_that_cannot_start_its_zygote_says_so_and_recovers(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.listening.far_end()
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        office.staff.hire()
    assert set(os.listdir("/proc/self/fd")) == before
    monkeypatch.undo()
    await office.hire(1)


async def test_a_change_of_the_path_is_news_once_to_each_worker(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await office.hire(2)
    assert office.staff.path_news(one) is None
    monkeypatch.setattr(sys, "path", [*sys.path, "/somewhere"])
    assert office.staff.path_news(one) == sys.path
    assert office.staff.path_news(one) is None
    assert office.staff.path_news(two) == sys.path
    sys.path.append("/elsewhere")
    assert office.staff.path_news(one) == sys.path


async def test_a_preload_reaches_the_workers_to_come(office: Office) -> None:
    office.staff.preload(["colorsys"])
    (child,) = await office.hire(1)
    child.send(call(1, eval, "'colorsys' in __import__('sys').modules"))
    assert await office.answer(1) is True


async def test_closing_lets_the_exit_hooks_run(office: Office, tmp_path: Path) -> None:
    children = await office.hire(2)
    hook = "import atexit, pathlib; atexit.register(pathlib.Path(path).touch)"
    paths = [tmp_path / "one", tmp_path / "two"]
    for number, (child, path) in enumerate(zip(children, paths, strict=True), 1):
        child.send(call(number, exec, hook, {"path": str(path)}))
        assert await office.answer(number) is None
    await office.staff.close()
    assert [path.exists() for path in paths] == [True, True]
    assert sorted(death[1] for death in office.deaths) == [0, 0]
    assert office.staff.zygote_pid is None


@pytest.mark.parametrize("farewell", [0.0, 0.05])
@pytest.mark.parametrize("what", ["call", "coroutine", "stopped", "hired"])
async def test_closing_leaves_nobody_whatever_they_do(
    office: Office, tmp_path: Path, what: str, farewell: float
) -> None:
    (child,) = await office.hire(1)
    path = tmp_path / "began"

    async def held(code: str, path: str) -> None:
        exec(code, {"path": path})  # noqa: S102

    if what == "call":
        child.send(call(1, exec, HOLD, {"path": str(path)}))
        await exists(path)
    elif what == "coroutine":
        child.send(coroutine(1, held, HOLD, str(path)))
        await exists(path)
    elif what == "stopped":
        os.kill(child.pid, signal.SIGSTOP)
    else:
        office.staff.hire()
    pids = [child.pid, office.staff.zygote_pid or 0]
    await office.staff.close(farewell)
    assert [is_gone(pid) for pid in pids] == [True, True]
    assert len(office.deaths) == 1 + (what == "hired")


async def test_a_cancel_while_it_closes_leaves_nobody_either(office: Office, tmp_path: Path) -> None:
    (child,) = await office.hire(1)
    path = tmp_path / "began"
    child.send(call(1, exec, HOLD, {"path": str(path)}))
    await exists(path)
    pids = [child.pid, office.staff.zygote_pid or 0]
    closing = asyncio.ensure_future(office.staff.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert len(office.deaths) == 1
    await until(lambda: all(is_gone(pid) for pid in pids))


async def test_closing_an_empty_staff_is_nothing(office: Office) -> None:
    await office.staff.close()
    assert office.deaths == []
