"""Without the GIL threads may compute: as many as asked for, apart from those that wait, and the loop goes first."""

from __future__ import annotations

import os
import sys
import sysconfig
import threading

import pytest
import work

from hybridrt import Runtime, cpu_bound
from hybridrt._core import gil
from hybridrt._core.gil import is_gil_off


@cpu_bound
def where() -> tuple[int, str, int]:
    """Process, thread, and how much it yields to others."""
    niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) if sys.platform == "linux" else 0
    return os.getpid(), threading.current_thread().name, niceness


@pytest.fixture
def no_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as hybridrt can see."""
    monkeypatch.setattr(gil, "_is_gil_enabled", lambda: False)


def test_it_says_what_the_interpreter_says() -> None:
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert not is_gil_off()
    else:
        assert is_gil_off() is not sys._is_gil_enabled()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("no_gil")
async def test_computing_functions_get_threads_of_their_own() -> None:
    async with Runtime(threads=1, processes=1, cpu_threads=2, nice=3) as rt:
        assert rt.stats().cpu_threads is None
        job = rt.submit(where)
        pid, name, niceness = await job
        assert job.lane == "thread"
        assert pid == os.getpid() and name.startswith("hybridrt-cpu_threads-")
        if sys.platform == "linux":
            assert niceness == os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) + 3
        explanation = rt.explain(where)
        assert explanation.lane == "thread" and "threads compute side by side here" in explanation.reason
        meeting = threading.Barrier(2)
        meet = cpu_bound(lambda: meeting.wait(30))
        assert sorted([await job for job in [rt.submit(meet), rt.submit(meet)]]) == [0, 1], "two at once"
        stats = rt.stats()
        assert stats.cpu_threads is not None
        assert (stats.cpu_threads.name, stats.cpu_threads.limit, stats.cpu_threads.workers) == (
            "cpu_threads",
            2,
            2,
        )
        assert stats.threads.workers == 0 and stats.processes.workers == 0


@pytest.mark.usefixtures("no_gil")
async def test_whoever_asks_for_a_process_gets_one() -> None:
    async with Runtime(processes=1, cpu_threads=2) as rt:
        assert (await rt.to_process(where))[0] != os.getpid()
        assert (await rt.options(lane="process").run(where))[0] != os.getpid()
        assert not (await rt.to_thread(where))[1].startswith("hybridrt-cpu")
        assert rt.stats().cpu_threads is None


async def test_with_the_gil_or_unasked_they_go_to_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gil, "_is_gil_enabled", lambda: True)
    async with Runtime(processes=1, cpu_threads=2) as rt:
        assert rt.explain(where).lane == "process"
        assert (await rt.run(where))[0] != os.getpid()
        monkeypatch.setattr(
            gil, "_is_gil_enabled", lambda: False
        )  # asked each time: an import may turn it on
        assert (await rt.run(where))[0] == os.getpid()
    async with Runtime(processes=1) as rt:
        assert rt.explain(where).lane == "process"
        assert (await rt.run(where))[0] != os.getpid()
        assert await rt.run(work.double, 2) == 4
