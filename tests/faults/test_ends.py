"""The parent's own ends and forks, as scripts: whatever becomes of it, what it started is gone, and nothing hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import is_alive

HERE = Path(__file__).resolve().parent
LIMIT = 20.0
LOOPS = ["asyncio", "uvloop"]

HEAD = f"""
import asyncio, gc, os, signal, subprocess, sys, time
sys.path[:0] = [{str(HERE)!r}]
import good, messy, stubborn
import hybridrt

LOOP = sys.argv[1]

def new_loop():
    if LOOP == "uvloop":
        import uvloop
        return uvloop.new_event_loop()
    return asyncio.new_event_loop()

def run(main):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)

def tell(rt):
    for worker in rt.stats().workers:
        print("pid", worker.pid, flush=True)
"""


def start(tmp_path: Path, body: str, loop: str) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(HEAD + body)
    return subprocess.Popen(
        [sys.executable, str(script), loop],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        process_group=0,
    )


def finish(process: subprocess.Popen[str]) -> tuple[list[str], str]:
    """Its lines and its errors, and nothing left of it: every process that it named is gone within two seconds."""
    try:
        out, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
        process.communicate()
    lines = out.splitlines()
    pids = [int(line.split()[1]) for line in lines if line.startswith("pid ")]
    assert wait(lambda: not any(map(is_alive, pids)), 2), f"left: {[pid for pid in pids if is_alive(pid)]}"
    return [line for line in lines if not line.startswith("pid ")], err


def wait(condition: Callable[[], object], patience: float = LIMIT) -> bool:
    end = time.monotonic() + patience
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(condition())


def until_line(process: subprocess.Popen[str], wanted: str) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or not lines[-1].startswith(wanted):
        line = process.stdout.readline()
        assert line, f"it ended early: {process.communicate()[1]}"
        lines.append(line)
    return lines


def pids_in(lines: list[str]) -> list[int]:
    return [int(line.split()[1]) for line in lines if line.startswith("pid ")]


# Forks of the parent


# A fork that closes its copy of a uvloop makes its parent's deaf (they share an epoll instance), whatever is on it: to
# leave main is for asyncio's own loop.
FORKS = [
    *[(how, loop) for how in ("os._exit(0)", "os.abort()", "await use(rt)") for loop in LOOPS],
    # In a fork that was made within a task, 3.14's asyncio loses every exception that is to end the loop.
    *[(how, "asyncio") for how in ("sys.exit(0)", "1 / 0") if sys.version_info < (3, 14)],
]


@pytest.mark.parametrize(("how", "loop"), FORKS)
def test_a_fork_of_the_parent_while_calls_run_hurts_neither(tmp_path: Path, how: str, loop: str) -> None:
    process = start(
        tmp_path,
        f"""
async def use(rt):
    try:
        await rt.to_process(good.double, 1)
    except hybridrt.RuntimeClosed as exc:
        print("refused:", exc, flush=True)
    os._exit(0)

async def main():
    async with hybridrt.Runtime(processes=2, interrupt_grace=0.05) as rt:
        submit = rt.options(lane="process").submit
        await rt.warm_up()
        tell(rt)
        before = {{worker.pid for worker in rt.stats().workers}}
        running = submit(good.wait_for, "gate", "begun")
        while not os.path.exists("begun"):
            await asyncio.sleep(0.001)
        jobs = [submit(good.double, i) for i in range(50)]
        pid = os.fork()
        if pid == 0:
            sys.stderr = open(os.devnull, "w")
            {how}
            os._exit(0)
        jobs += [submit(good.double, i) for i in range(50, 100)]
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            await asyncio.sleep(0.001)
        assert await asyncio.gather(*jobs) == [2 * i for i in range(100)]
        good.touch("gate")
        assert await running == "gate"
        assert {{worker.pid for worker in rt.stats().workers}} == before
        assert rt.stats().processes.crashed == 0
    print("fine", flush=True)

run(main())
""",
        loop,
    )
    lines, errors = finish(process)
    assert lines[-1:] == ["fine"], errors
    if how.startswith("await"):
        assert "fork" in lines[0] and lines[0].startswith("refused:")
    assert process.returncode == 0


# Ends of the interpreter


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "how", ["sys.exit(3)", "1 / 0", "os._exit(3)", "os.abort()", "raise KeyboardInterrupt"]
)
def test_every_end_with_busy_workers_in_c_code_leaves_nothing(tmp_path: Path, how: str, loop: str) -> None:
    process = start(
        tmp_path,
        f"""
async def main():
    rt = hybridrt.Runtime(processes=2, interrupt_grace=0.05, shutdown_grace=0.05)
    await rt.__aenter__()
    submit = rt.options(lane="process").submit
    jobs = [submit(stubborn.count_in_c, f"begun{{i}}", "") for i in range(2)]
    while not (os.path.exists("begun0") and os.path.exists("begun1")):
        await asyncio.sleep(0.001)
    while len(rt.stats().workers) < 2:
        await asyncio.sleep(0.001)
    tell(rt)
    return rt

loop = new_loop()
rt = loop.run_until_complete(main())
{how}
""",
        loop,
    )
    lines, errors = finish(process)
    assert lines == []
    assert process.returncode == {"sys.exit(3)": 3, "1 / 0": 1, "os._exit(3)": 3, "os.abort()": -6}.get(
        how, -2
    )
    assert "Traceback" not in errors or how in ("1 / 0", "raise KeyboardInterrupt"), errors


@pytest.mark.parametrize("loop", LOOPS)
def test_ctrl_c_many_times_ends_it_at_once_and_leaves_nothing(tmp_path: Path, loop: str) -> None:
    process = start(
        tmp_path,
        """
async def main():
    async with hybridrt.Runtime(processes=2, interrupt_grace=1000, shutdown_grace=1000) as rt:
        submit = rt.options(lane="process").submit
        jobs = [submit(stubborn.swallow, f"begun{i}", f"ended{i}") for i in range(2)]
        while not (os.path.exists("begun0") and os.path.exists("begun1")) or len(rt.stats().workers) < 2:
            await asyncio.sleep(0.001)
        tell(rt)
        print("ready", flush=True)
        await asyncio.gather(*jobs)

run(main())
""",
        loop,
    )
    pids = pids_in(until_line(process, "ready"))
    assert len(pids) == 2
    while process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, as often as it likes
        time.sleep(0.01)
    finish(process)
    assert process.returncode == -signal.SIGINT or process.returncode == 1
    assert wait(lambda: not any(map(is_alive, pids)), 2)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("with_zygote", [True, False])
def test_what_a_call_has_set_apart_goes_with_a_killed_parent(
    tmp_path: Path, loop: str, with_zygote: bool
) -> None:
    process = start(
        tmp_path,
        """
async def main():
    async with hybridrt.Runtime(processes=1) as rt:
        print("zygote", await rt.to_process(os.getppid), flush=True)
        for how in ("program", "fork", "session"):
            print("pid", await rt.to_process(messy.start_and_leave, how, f"begun {how}"), flush=True)
        tell(rt)
        print("ready", flush=True)
        await rt.to_process(stubborn.count_in_c, "begun", "")

run(main())
""",
        loop,
    )
    lines = until_line(process, "ready")
    pids = pids_in(lines)
    if not with_zygote:
        # Without it nobody finds a session of its own: the kernel ends what is in the worker's process group.
        set_apart = pids.pop(2)
        os.kill(int(lines[0].split()[1]), signal.SIGKILL)
    assert all(map(is_alive, pids)) and len(pids) == (4 if with_zygote else 3)
    process.kill()
    gone = wait(lambda: not any(map(is_alive, pids)), 2)
    if not with_zygote and is_alive(set_apart):
        os.kill(set_apart, signal.SIGKILL)
    process.communicate()
    assert gone, f"left: {[pid for pid in pids if is_alive(pid)]}"


# Places where a program finds itself


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("how", ["spawn", "fork"])
def test_it_works_inside_a_daemonic_process(tmp_path: Path, how: str, loop: str) -> None:
    process = start(
        tmp_path,
        f"""
import multiprocessing

async def main():
    async with hybridrt.Runtime(processes=2) as rt:
        jobs = [rt.to_process(good.double, i) for i in range(20)]
        assert await asyncio.gather(*jobs) == [2 * i for i in range(20)]
        tell(rt)

def child():
    assert multiprocessing.current_process().daemon
    run(main())
    print("fine", flush=True)

if __name__ == "__main__":
    process = multiprocessing.get_context({how!r}).Process(target=child, daemon=True)
    process.start()
    process.join()
    print(process.exitcode, flush=True)
""",
        loop,
    )
    lines, errors = finish(process)
    assert lines == ["fine", "0"], errors


@pytest.mark.parametrize("loop", LOOPS)
def test_a_daemonic_process_that_is_terminated_leaves_nothing(tmp_path: Path, loop: str) -> None:
    process = start(
        tmp_path,
        """
import multiprocessing

async def main(queue):
    async with hybridrt.Runtime(processes=1) as rt:
        await rt.warm_up()
        tell(rt)
        job = rt.options(lane="process").submit(stubborn.count_in_c, "begun", "")
        while not os.path.exists("begun"):
            await asyncio.sleep(0.001)
        queue.send("ready")
        await job

def child(queue):
    run(main(queue))

if __name__ == "__main__":
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=child, args=(there,), daemon=True)
    process.start()
    print(here.recv(), flush=True)
    # and so it ends: multiprocessing terminates its daemons
""",
        loop,
    )
    lines, errors = finish(process)
    assert lines == ["ready"], errors


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("closed", ["0", "1", "2", "0, 1, 2"])
def test_a_parent_without_standard_descriptors_works(tmp_path: Path, closed: str, loop: str) -> None:
    process = start(
        tmp_path,
        f"""
result = os.open("result", os.O_WRONLY | os.O_CREAT)
for fd in ({closed},):
    os.close(fd)

async def main():
    async with hybridrt.Runtime(processes=2) as rt:
        jobs = [rt.to_process(good.double, i) for i in range(20)]
        assert await asyncio.gather(*jobs) == [2 * i for i in range(20)]
        await asyncio.gather(rt.to_process(messy.print_a_lot), return_exceptions=True)
        assert await rt.to_process(good.double, 4) == 8
    os.write(result, b"fine")

run(main())
""",
        loop,
    )
    finish(process)
    assert (tmp_path / "result").read_text() == "fine"


def test_a_folder_that_is_gone_under_the_parent(tmp_path: Path) -> None:
    plain = "import os, sys; os.rmdir(os.getcwd()); os.execv(sys.executable, [sys.executable, '-c', 'import socket'])"
    (tmp_path / "gone").mkdir()
    if subprocess.run([sys.executable, "-c", plain], cwd=tmp_path / "gone", check=False).returncode:
        pytest.skip("this interpreter cannot start in a folder that is gone (as CPython 3.13.0)")
    process = start(
        tmp_path,
        """
os.mkdir("here")
os.chdir("here")
os.rmdir("../here")

async def main():
    async with hybridrt.Runtime(processes=2) as rt:
        assert await rt.to_process(good.double, 4) == 8
    print("fine", flush=True)

run(main())
""",
        "asyncio",
    )
    lines, errors = finish(process)
    assert lines == ["fine"], errors


def test_files_in_the_folder_that_are_named_like_standard_modules(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
os.mkdir("hostile")
os.chdir("hostile")
for name in ("pickle", "socket", "select", "struct", "selectors", "mmap"):
    with open(f"{name}.py", "w") as file:
        file.write("raise SystemExit('not the standard module')")

async def main():
    async with hybridrt.Runtime(processes=2) as rt:
        assert await rt.to_process(good.double, 4) == 8
    print("fine", flush=True)

run(main())
""",
        "asyncio",
    )
    lines, errors = finish(process)
    assert lines == ["fine"], errors


@pytest.mark.parametrize("loop", LOOPS)
def test_signals_that_the_parent_ignores_or_blocks_do_not_disable_the_workers(
    tmp_path: Path, loop: str
) -> None:
    process = start(
        tmp_path,
        """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # and so nobody tells of dead children
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

async def main():
    async with hybridrt.Runtime(processes=1, interrupt_grace=10) as rt:
        job = rt.options(lane="process").submit(stubborn.loop, "begun", "ended")
        while not os.path.exists("begun"):
            await asyncio.sleep(0.001)
        job.cancel()
        while not os.path.exists("ended"):
            await asyncio.sleep(0.001)
        try:
            await rt.to_process(os.kill, 0, signal.SIGKILL)
        except hybridrt.WorkerCrashed as exc:
            print(exc.signal, flush=True)
        assert await rt.to_process(good.double, 4) == 8
    print("fine", flush=True)

run(main())
""",
        loop,
    )
    lines, errors = finish(process)
    assert lines == ["SIGKILL", "fine"], errors
