"""What every test gets: both event loops, a time limit that says where it hangs, and a look at what it left behind."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from loops import ALL_LOOPS, LOOPS

PATIENCE = 2.0  # seconds for what is on its way out (a reaped child, a closing thread) to be gone
ON_LINUX = Path("/proc/self/fd").is_dir()
# What the interpreter opens once and keeps; it belongs to nobody's test. libffi opens itself at ctypes' first callback.
OPENED_ONCE = re.compile(r"/dev/(null|u?random)|/proc/|.*/libffi\.so")
KEPT_BY_A_RUNTIME = "thread hybridrt-porter|/memfd:hybridrt-arena"
# Inherited by every process that a test starts, so that one whose parent died can still be told for ours.
MARK = f"TESTS_OF_HYBRIDRT={os.getpid()}"

os.environ.update([MARK.split("=")])
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has started us in the background. What the tests start would inherit it, and be deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
for new_loop in ALL_LOOPS.values():
    new_loop().close()  # libuv opens a pipe with its first loop and keeps it for good: no test's leak
hypothesis.settings.register_profile("here", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile(
    "here"
)  # no deadline: the machine is shared, and a slow example is no failure


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], Any]]:
    """Each async test runs on each loop; `@pytest.mark.asyncio(loop_factories=["asyncio"])` picks."""
    return LOOPS


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Stop an async test that hangs, a little before pytest-timeout ends the whole run, at the `await` that hangs.

    pytest-timeout's gentler method, a signal, never arrives in a uvloop that has nothing to do.
    """
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            mark = item.get_closest_marker("timeout")
            seconds = float(mark.args[0] if mark else config.getini("timeout"))
            item.obj = _limited(item.obj, seconds * 0.75)


def _limited(test: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    @functools.wraps(test)
    async def limited(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(seconds):
            await test(*args, **kwargs)

    return limited


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        # The traceback keeps the test's objects alive: what it left open is no news then.
        item.add_marker("leaves_processes")
    return report


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test no child process, descriptor or thread is there that was not there before."""
    before = _held()
    yield
    if request.node.get_closest_marker("leaves_processes"):
        return
    stays = KEPT_BY_A_RUNTIME if request.node.get_closest_marker("shares_a_runtime") else "nothing"
    left = _wait_until_empty(lambda: {thing for thing in _held() - before if not re.search(stays, thing)})
    assert not left, f"left behind: {', '.join(sorted(left))}"


@pytest.fixture(autouse=True, scope="module")
def no_orphans() -> Iterator[None]:
    """After each file no process runs on whose parent, a child of ours, is gone."""
    before = _orphans()
    yield
    left = _wait_until_empty(lambda: _orphans() - before)
    assert not left, f"processes left behind without a parent: {', '.join(sorted(left))}"


def _wait_until_empty(look: Callable[[], set[str]]) -> set[str]:
    end = time.monotonic() + PATIENCE
    while (left := look()) and time.monotonic() < end:
        time.sleep(0.01)
    return left


def _held() -> set[str]:
    """Our threads, child processes and descriptors, each as a text to be read in a message."""
    held = {f"thread {thread.name} ({thread.native_id})" for thread in threading.enumerate()}
    if ON_LINUX:
        held.update(_descriptors())
        for children in Path("/proc/self/task").glob("*/children"):
            held.update(f"process {pid} ({_command(pid)})" for pid in _read(children).split())
    return held


def _descriptors() -> Iterator[str]:
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # the one that listdir itself had open
            continue
        if not OPENED_ONCE.match(target):
            yield f"descriptor {fd} ({target})"


def _orphans() -> set[str]:
    """Processes with our mark whose chain of parents no longer leads to us."""
    found: set[str] = set()
    for environ in Path("/proc").glob("[0-9]*/environ") if ON_LINUX else ():
        if f"{MARK}\0" not in _read(environ):
            continue
        pid = environ.parent.name
        if not _descends_from_us(pid):
            found.add(f"process {pid} ({_command(pid)})")
    return found


def _descends_from_us(pid: str) -> bool:
    while pid not in ("", "0", "1"):
        if int(pid) == os.getpid():
            return True
        status = _read(Path(f"/proc/{pid}/stat"))
        pid = status.rpartition(")")[2].split()[1] if status else ""
    return False


def _command(pid: str) -> str:
    return _read(Path(f"/proc/{pid}/cmdline")).replace("\0", " ").strip()[:100] or "a zombie, not yet reaped"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it ended in between, or is not ours to read
        return ""
