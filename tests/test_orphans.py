"""Nothing outlives its owner, however the owner ends: by its end, by an error, by Ctrl-C, SIGTERM or SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import is_alive

PATIENCE = 10.0

SERVICE = """
import asyncio, os, subprocess, sys, time
import hybridrt

print("top level", flush=True)

def busy(how):
    if how == "grandchild":
        child = subprocess.Popen(["sleep", "1000"])
        print("worker", child.pid, flush=True)
    print("worker", os.getpid(), flush=True)
    while how != "idle":
        sum(range(100000))

async def main():
    rt = hybridrt.current_runtime()
    await rt.warm_up()
    print("zygote", rt._open_lanes().processes._workforce.zygote_pid, flush=True)
    for worker in rt.stats().workers:
        print("worker", worker.pid, flush=True)
    jobs = [rt.options(lane="process").submit(busy, sys.argv[1]) for _ in range(2)]
    await asyncio.gather(*jobs)
    print("ready", flush=True)
    await asyncio.get_running_loop().create_future()

hybridrt.run(main, processes=2, shutdown_grace=0.1, interrupt_grace=0.1, loop=sys.argv[2])
"""


class Service:
    """A process with a runtime, and the ids of all that it started."""

    def __init__(self, script: Path, how: str, loop: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(script), how, loop],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self.lines: list[str] = []
        wanted = {"idle": "ready", "busy": "worker", "grandchild": "worker"}[how]
        count = {"idle": 1, "busy": 4, "grandchild": 6}[how]
        assert self.process.stdout is not None
        while sum(line.startswith(wanted) for line in self.lines) < count:
            line = self.process.stdout.readline()
            assert line, f"it ended early: {self.process.communicate()[1]}"
            self.lines.append(line)

    @property
    def descendants(self) -> set[int]:
        return {int(line.split()[1]) for line in self.lines if line.startswith(("worker", "zygote"))}


@contextmanager
def a_service(tmp_path: Path, how: str, loop: str) -> Iterator[Service]:
    script = tmp_path / "service.py"
    script.write_text(SERVICE)
    service = Service(script, how, loop)
    try:
        yield service
    finally:
        service.process.kill()
        service.process.communicate()


def gone(pids: set[int]) -> bool:
    return _within(lambda: not any(is_alive(pid) for pid in pids))


def _within(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("how", ["idle", "busy", "grandchild"])
def test_a_parent_killed_leaves_nothing(tmp_path: Path, how: str, loop: str) -> None:
    shared_before = set(os.listdir("/dev/shm"))
    with a_service(tmp_path, how, loop) as service:
        assert len(service.descendants) == {"idle": 3, "busy": 3, "grandchild": 5}[how]
        assert all(is_alive(pid) for pid in service.descendants)
        service.process.kill()
        assert gone(service.descendants)
    assert set(os.listdir("/dev/shm")) <= shared_before


@pytest.mark.parametrize("how", ["idle", "busy"])
def test_a_killed_process_group_leaves_nothing(tmp_path: Path, how: str) -> None:
    with a_service(tmp_path, how, "uvloop") as service:
        os.killpg(service.process.pid, signal.SIGKILL)
        assert gone(service.descendants)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("how", ["idle", "busy"])
def test_ctrl_c_ends_it_with_one_traceback(tmp_path: Path, how: str, loop: str) -> None:
    with a_service(tmp_path, how, loop) as service:
        os.killpg(service.process.pid, signal.SIGINT)  # as a terminal does
        _, errors = service.process.communicate(timeout=PATIENCE)
        assert service.process.returncode == -signal.SIGINT
        assert errors.count("Traceback") == errors.count("KeyboardInterrupt\n") + errors.count(
            "CancelledError\n"
        )
        assert "worker" not in errors
        assert gone(service.descendants)


@pytest.mark.parametrize("how", ["idle", "busy"])
def test_sigterm_without_a_handler_leaves_nothing(tmp_path: Path, how: str) -> None:
    with a_service(tmp_path, how, "asyncio") as service:
        service.process.terminate()
        assert service.process.wait(PATIENCE) == -signal.SIGTERM
        assert gone(service.descendants)


def test_the_top_level_of_a_script_runs_once_and_needs_no_guard(tmp_path: Path) -> None:
    with a_service(tmp_path, "idle", "asyncio") as service:
        assert service.lines.count("top level\n") == 1


def run_script(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(body)
    return subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=30, check=False
    )


def test_a_runtime_that_is_never_left_leaves_nothing(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
import asyncio, os, sys, hybridrt

async def main():
    rt = hybridrt.Runtime(processes=2)
    await rt.__aenter__()
    await rt.warm_up()
    print(*[worker.pid for worker in rt.stats().workers], flush=True)
    await rt.to_thread(len, "x")
    os._exit(0) if sys.argv[1:] else None

asyncio.run(main())
""",
    )
    assert done.returncode == 0
    pids = {int(pid) for pid in done.stdout.split()}
    assert len(pids) == 2
    assert gone(pids)


def test_a_thread_that_never_ends_does_not_hold_up_the_exit(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
import asyncio, threading, warnings, hybridrt

warnings.simplefilter("ignore")

async def main():
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    rt = hybridrt.current_runtime()
    job = rt.submit(lambda: (loop.call_soon_threadsafe(begun.set), threading.Event().wait()))
    await begun.wait()
    job.cancel()

hybridrt.run(main, shutdown_grace=0.01)
print("end")
""",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_a_nested_runtime_inside_a_worker_works_and_goes_with_it(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
import os, hybridrt

def inner():
    async def main():
        return await hybridrt.to_process(os.getpid), os.getpid()
    return hybridrt.run(main, processes=1)

async def main():
    grandchild, child = await hybridrt.to_process(inner)
    assert len({grandchild, child, os.getpid()}) == 3
    print("fine")

hybridrt.run(main, processes=1)
""",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")
