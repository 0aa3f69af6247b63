"""The nursery starts a zygote for the first worker, passes its news on, and starts another one when it is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from by_hand import PATIENCE, call, is_gone
from helpers import until

from hybridrt._core.settings import Settings
from hybridrt._engine import nursery, parcel, wire
from hybridrt._engine.blackbox import BlackBox
from hybridrt._engine.conditions import ArenaTerms, Conditions
from hybridrt._engine.hatch import open_hatch
from hybridrt._engine.nursery import Nursery
from hybridrt._engine.zygote import receive_message, send_message
from hybridrt._lanes.listening import Listening

LEARNS = sys.platform == "linux"


class Household:
    """A nursery and all that it has told."""

    def __init__(self, *preload: str, **settings: Any) -> None:
        self.news: list[tuple[Any, ...]] = []
        self.workers: dict[int, tuple[socket.socket, int, int]] = {}
        self.listening = Listening(asyncio.get_running_loop())
        self.settings = Settings(processes=1, nice=0, preload=preload, **settings)
        self.terms = ArenaTerms(0, 1, self.settings.shared_by)
        self.nursery = Nursery(
            asyncio.get_running_loop(),
            settings=self.settings,
            on_forked=self._forked,
            on_refused=lambda number, error: self.news.append(("refused", number, error)),
            on_exited=lambda pid, exitcode: self.news.append(("exited", pid, exitcode)),
            on_lost=lambda exitcode: self.news.append(("lost", exitcode)),
            output=self.listening.far_end,
        )
        self._boxes: list[BlackBox] = []

    def fork(self, number: int) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(PATIENCE)
        read, write = os.pipe()
        box = BlackBox()
        hatch = open_hatch()
        try:
            with theirs:
                self.nursery.fork(number, theirs.fileno(), read, box.fd, hatch[1])
        except OSError:
            ours.close()
            raise
        finally:
            os.close(read)
            os.close(write)
            for fd in hatch:
                os.close(fd)
            box.close()
        self.workers[number] = (ours, 0, -1)
        return ours

    def _forked(self, number: int, pid: int, pidfd: int) -> None:
        self.workers[number] = (self.workers[number][0], pid, pidfd)
        self.news.append(("forked", number))

    def pid(self, number: int) -> int:
        return self.workers[number][1]

    async def hears(self, *news: Any) -> tuple[Any, ...]:
        """The first news that begins like this."""
        await until(lambda: [one for one in self.news if one[: len(news)] == news])
        return next(one for one in self.news if one[: len(news)] == news)

    async def close(self) -> None:
        self.nursery.close()
        await self.nursery.wait_closed()
        self.listening.close()
        for channel, _, pidfd in self.workers.values():
            channel.close()
            if pidfd >= 0:
                os.close(pidfd)


@pytest.fixture
async def household() -> AsyncIterator[Household]:
    household = Household()
    yield household
    await household.close()


def ask(channel: socket.socket, fn: Callable[..., Any], *args: Any) -> Any:
    channel.sendall(call(1, fn, *args))
    reader = wire.FrameReader()
    while (frame := reader.next_frame()) is None:
        count = channel.recv_into(reader.room())
        assert count
        reader.filled(count)
    assert frame.kind == wire.RESULT
    return parcel.loads(frame.payload)


async def test_no_zygote_is_there_before_a_worker_is_wanted(household: Household) -> None:
    assert household.nursery.pid is None
    household.nursery.preload(["colorsys"])
    assert household.nursery.pid is None
    channel = household.fork(1)
    pid = household.nursery.pid
    assert pid is not None
    assert household.nursery.path == sys.path
    await household.hears("forked", 1)
    assert ask(channel, os.getpid) == household.pid(1)
    assert ask(channel, os.getppid) == pid
    assert ask(channel, eval, "'colorsys' in __import__('sys').modules") is True


async def test_each_fork_and_each_end_is_told(household: Household) -> None:
    channels = [household.fork(number) for number in (5, 6, 7)]
    for number in (5, 6, 7):
        await household.hears("forked", number)
    channels[0].close()
    os.kill(household.pid(6), signal.SIGKILL)
    channels[2].sendall(call(1, os._exit, 3))
    assert (await household.hears("exited", household.pid(5)))[2] == 0
    assert (await household.hears("exited", household.pid(6)))[2] == -9
    assert (await household.hears("exited", household.pid(7)))[2] == 3


async def test_a_lost_zygote_is_told_and_the_next_worker_has_another(household: Household) -> None:
    household.nursery.preload(["colorsys"])
    channel = household.fork(1)
    await household.hears("forked", 1)
    first = household.nursery.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert await household.hears("lost") == ("lost", -9)
    assert household.nursery.pid is None
    assert ask(channel, abs, -1) == 1  # its workers go on
    other = household.fork(2)
    await household.hears("forked", 2)
    assert household.nursery.pid not in (None, first)
    assert ask(other, eval, "'colorsys' in __import__('sys').modules") is True


async def test_a_bad_preload_is_a_warning(household: Household) -> None:
    household.nursery.preload(["no_such_module", "colorsys"])
    with pytest.warns(
        RuntimeWarning,
        match=r"hybridrt could not preload 'no_such_module' in its workers: ModuleNotFoundError: No module named",
    ):
        channel = household.fork(1)
        await household.hears("forked", 1)
    assert ask(channel, eval, "'colorsys' in __import__('sys').modules") is True


async def test_a_preload_may_come_later(household: Household) -> None:
    household.fork(1)
    household.nursery.preload(["wave"])
    channel = household.fork(2)
    assert ask(channel, eval, "'wave' in __import__('sys').modules") is True
    await household.hears("forked", 2)


async def test_a_zygote_that_cannot_be_started_is_an_error_and_leaves_nothing(
    household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(FileNotFoundError):
        household.fork(1)
    assert household.nursery.pid is None
    monkeypatch.undo()
    channel = household.fork(2)
    await household.hears("forked", 2)
    assert ask(channel, abs, -2) == 2


async def test_a_worker_has_our_interpreters_options(household: Household) -> None:
    channel = household.fork(1)
    theirs = ask(channel, eval, "(s := __import__('sys')) and [tuple(s.flags), s.warnoptions, s._xoptions]")
    assert theirs[0] == tuple(sys.flags)
    assert theirs[2] == sys._xoptions
    assert set(sys.warnoptions) <= set(theirs[1])
    await household.hears("forked", 1)


@pytest.mark.parametrize(
    "options",
    [
        ["-O"],
        ["-OO"],
        ["-B", "-b"],
        ["-I"],
        ["-E", "-s"],
        ["-P"],
        ["-X", "utf8", "-X", "dev"],
        ["-W", "ignore::ImportWarning"],
    ],
)
def test_every_option_is_passed_on(options: list[str]) -> None:
    code = (
        f"import sys; sys.path[:0] = {[p for p in sys.path if p]!r}; import os, subprocess; "
        "from hybridrt._engine.nursery import _interpreter_options as options; "
        "see = 'import sys; print(tuple(sys.flags), sys._xoptions, sys.warnoptions)'; "
        "exec(see); sys.stdout.flush(); subprocess.run([sys.executable, *options(), '-c', see])"
    )
    out = subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE
    ).stdout
    ours, theirs = out.splitlines()
    assert ours == theirs


async def test_closing_ends_the_zygote_and_what_it_has_forked(household: Household) -> None:
    household.fork(1)
    await household.hears("forked", 1)
    zygote, worker = household.nursery.pid, household.pid(1)
    assert zygote
    await household.close()
    assert is_gone(zygote)
    assert is_gone(worker)
    household.workers.clear()
    assert household.nursery.pid is None
    household.nursery.close()
    await household.nursery.wait_closed()  # again: nothing to do


async def test_closing_before_the_first_worker_is_nothing(household: Household) -> None:
    household.nursery.close()
    await household.nursery.wait_closed()


async def test_a_cancel_while_it_closes_leaves_nothing_either(household: Household) -> None:
    household.fork(1)
    zygote = household.nursery.pid
    assert zygote
    os.kill(zygote, signal.SIGSTOP)  # so that it cannot go by itself
    household.nursery.close()
    waiting = asyncio.ensure_future(household.nursery.wait_closed())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert is_gone(zygote)


async def test_a_stopped_zygote_does_not_hold_up_the_end(
    household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nursery, "_GOING_SECONDS", 0.01)
    household.fork(1)
    zygote = household.nursery.pid
    assert zygote
    os.kill(zygote, signal.SIGSTOP)
    household.nursery.close()
    await household.nursery.wait_closed()
    assert is_gone(zygote)


# news that a real zygote has no reason for: the zygote's part is ours


class FakeZygote:
    """In place of its process: what is done at its end of the channel is up to the test."""

    pid = 2**22 + 1  # nobody's

    def __init__(self, command: list[str], *, pass_fds: tuple[int, ...], **options: object) -> None:
        self.control = socket.socket(fileno=os.dup(pass_fds[0]))
        self.control.settimeout(PATIENCE)
        self.waits_in_vain = 0

    def wait(self, timeout: float | None = None) -> int:
        if self.waits_in_vain:
            self.waits_in_vain -= 1
            raise subprocess.TimeoutExpired("zygote", timeout or 0)
        return 9

    def poll(self) -> int:
        return 0

    def kill(self) -> None:
        self.was_killed = True


@pytest.fixture
async def fake(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[FakeZygote]]:
    started: list[FakeZygote] = []

    def start(*args: Any, **options: Any) -> FakeZygote:
        started.append(FakeZygote(*args, **options))
        return started[-1]

    monkeypatch.setattr(nursery.subprocess, "Popen", start)
    yield started
    for zygote in started:
        zygote.control.close()


async def test_a_refused_fork_is_told_with_its_reason(household: Household, fake: list[FakeZygote]) -> None:
    household.fork(3)
    (zygote,) = fake
    assert receive_message(zygote.control) == (("path", sys.path), [])
    assert receive_message(zygote.control) == (
        ("conditions", Conditions(0, 500, 0, tells_needs=LEARNS, arenas=household.terms)),
        [],
    )
    message, fds = receive_message(zygote.control)
    assert message == ("fork", 3)
    assert len(fds) == 4
    for fd in fds:
        os.close(fd)
    send_message(zygote.control, ("refused", 3, 11, "[Errno 11] Resource temporarily unavailable"))
    _, _, error = await household.hears("refused", 3)
    assert type(error) is BlockingIOError
    assert error.errno == 11
    assert "Resource temporarily unavailable" in str(error)


async def test_all_that_has_come_is_told_in_one_go(household: Household, fake: list[FakeZygote]) -> None:
    household.fork(1)
    (zygote,) = fake
    for _ in range(3):  # the path, the conditions, the wish for one
        _, fds = receive_message(zygote.control)
        for fd in fds:
            os.close(fd)
    send_message(zygote.control, ("forked", 1, 4242))  # no pidfd: a system that has none
    send_message(zygote.control, ("exited", 4242, -11))
    send_message(zygote.control, ("what is this",))
    zygote.control.close()
    assert await household.hears("lost") == ("lost", 9)
    assert household.news == [("forked", 1), ("exited", 4242, -11), ("lost", 9)]
    assert household.workers[1][1:] == (4242, -1)


async def test_a_zygote_that_hung_up_and_will_not_go_is_killed(
    household: Household, fake: list[FakeZygote]
) -> None:
    household.fork(1)
    (zygote,) = fake
    for _ in range(3):  # the path, the conditions, the wish for one
        _, fds = receive_message(zygote.control)
        for fd in fds:
            os.close(fd)
    zygote.waits_in_vain = 1
    zygote.control.close()
    await household.hears("lost", 9)
    assert zygote.was_killed


async def test_a_memory_limit_that_the_system_does_not_keep_is_warned_of(
    fake: list[FakeZygote], monkeypatch: pytest.MonkeyPatch
) -> None:
    household = Household(worker_memory_limit=100_000_000)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        with pytest.warns(RuntimeWarning, match="worker_memory_limit has no effect on macOS"):
            household.fork(1)
    (zygote,) = fake
    told = [receive_message(zygote.control) for _ in range(3)]  # the path, the conditions, the wish for one
    for fd in told[2][1]:
        os.close(fd)
    assert told[1][0] == (
        "conditions",
        Conditions(0, 500, 100_000_000, arenas=household.terms),
    )

    await household.close()
