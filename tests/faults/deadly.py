"""Ways for a worker to die, each in its own manner; all are run in workers by test_deaths.py."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
from typing import Any

import good


def segfault() -> None:
    ctypes.string_at(0)


def get_signal(name: str) -> None:
    signal.signal(getattr(signal, name), signal.SIG_DFL) if name not in ("SIGKILL", "SIGSTOP") else None
    os.kill(os.getpid(), getattr(signal, name))
    signal.pause()


def exit_with(code: int) -> None:
    os._exit(code)


def abort() -> None:
    os.abort()


def overflow_the_c_stack() -> None:
    nested: list[Any] = []
    for _ in range(900):
        nested = [nested]
    # The stack cannot grow any more: the next page is a fault, whatever the interpreter's own limit of depth is.
    resource.setrlimit(resource.RLIMIT_STACK, (4096, resource.RLIM_INFINITY))
    repr(nested)


def use_up_cpu_time() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (0, 5))
    while True:
        pass


def become_another_program() -> None:
    os.execvp("sleep", ["sleep", "1000"])  # noqa: S606, S607


def kill_own_group() -> None:
    os.killpg(0, signal.SIGKILL)
    signal.pause()


def kill_the_parent() -> int:
    parent = os.getppid()
    os.kill(parent, signal.SIGKILL)
    while os.getppid() == parent:
        os.sched_yield()
    return parent


def kill_the_parent_and_die() -> None:
    kill_the_parent()
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def die_in_a_thread(how: str) -> None:
    target = segfault if how == "segfault" else lambda: os._exit(11)
    threading.Thread(target=target).start()
    threading.Event().wait()


def die_while_a_thread_works() -> None:
    begun = threading.Event()
    threading.Thread(target=lambda: (begun.set(), threading.Event().wait()), daemon=True).start()
    begun.wait()
    os.kill(os.getpid(), signal.SIGSEGV)


def a_dead_child(how: str) -> int:
    """Start a process of its own, see it die, and go on."""
    import subprocess

    if how == "program":
        return subprocess.run([sys.executable, "-c", "import os; os.abort()"], check=False).returncode
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def stop_oneself(begun: str) -> None:
    good.touch(begun)
    os.kill(os.getpid(), signal.SIGSTOP)


def die_in_finally() -> None:
    try:
        raise ValueError("first")
    finally:
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()


class DiesOnArrival:
    def __reduce__(self) -> Any:
        return os._exit, (12,)


class DiesWhenSent:
    def __reduce__(self) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()
        return int, ()


def return_dies_when_sent() -> Any:
    return {"deep": [DiesWhenSent()]}


class DeadlyError(Exception):
    def __reduce__(self) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()
        return int, ()


def raise_deadly_error() -> None:
    raise DeadlyError


class DiesWhenDropped:
    """Harmless in the process that made it."""

    def __init__(self) -> None:
        self.home = os.getpid()

    def __del__(self) -> None:
        if os.getpid() != self.home:
            os._exit(13)


def drop_it() -> None:
    thing = DiesWhenDropped()
    thing.home = 0
    del thing


def take_it(thing: DiesWhenDropped) -> str:
    return "taken"


def _is_asleep() -> bool:
    with open(f"/proc/self/task/{os.getpid()}/stat") as stat:  # of the main thread
        return stat.read().rpartition(")")[2].split()[0] == "S"


def die_in_the_middle_of_the_answer() -> bytes:
    """The answer is larger than what the channel takes without a reader; a thread waits until it is under way."""
    main = threading.main_thread().ident

    def watch() -> None:
        frame: Any = None
        while frame is None or frame.f_code.co_name != "_send" or not _is_asleep():
            frame = sys._current_frames().get(main or 0)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    return bytes(4_000_000)


def eat_all_memory(folder: str) -> None:
    """Put this process into the cgroup ``folder``, which has a limit, and use more than that."""
    with open(os.path.join(folder, "cgroup.procs"), "w") as procs:
        procs.write(str(os.getpid()))
    hoard = []
    while True:
        hoard.append(b"x" * 1_000_000)


async def meet_and_die(folder: str, count: int, me: int) -> None:
    import asyncio

    good.touch(os.path.join(folder, f"{me}"))
    while len(os.listdir(folder)) < count:
        await asyncio.sleep(0.001)
    if me == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.get_running_loop().create_future()


async def stop_the_loop() -> str:
    import asyncio

    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)
    return "stopped"


async def exit_in_a_callback() -> str:
    import asyncio

    asyncio.get_running_loop().call_soon(sys.exit, 3)
    await asyncio.sleep(0.001)
    return "went on"


async def cancel_everybody() -> None:
    import asyncio

    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.get_running_loop().create_future()


async def close_the_loop() -> None:
    import asyncio

    asyncio.get_running_loop().close()


async def wait_for_ever(begun: str) -> None:
    import asyncio

    good.touch(begun)
    await asyncio.get_running_loop().create_future()
