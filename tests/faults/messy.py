"""Calls that leave a mess in their worker; all are run in workers by test_surroundings.py."""

from __future__ import annotations

import atexit
import builtins
import ctypes
import os
import resource
import signal
import sys
import threading
import time
from typing import Any

import good


def close_descriptors(first: int, last: int) -> str:
    os.closerange(first, last)
    return "closed"


def print_after_close() -> str:
    os.closerange(0, 3)
    try:
        print("nobody hears this", flush=True)
    except OSError:
        return "refused"
    return "printed"


def replace_standard_descriptors() -> str:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    return "replaced"


def set_blocking(how: bool) -> str:
    for fd in range(3, 64):
        try:
            os.set_blocking(fd, how)
        except OSError:
            pass
    return "set"


def print_everywhere(word: str) -> str:
    print(f"{word} from print", flush=True)
    print(f"{word} from stderr", file=sys.stderr, flush=True)
    os.write(1, f"{word} from write\n".encode())
    os.write(2, b"\xff\x00\x01 binary\n")
    libc = ctypes.CDLL(None)
    libc.puts(f"{word} from puts".encode())
    libc.fflush(None)
    return word


def print_a_lot() -> int:
    return sum(os.write(1, b"x" * 1000 + b"\n") for _ in range(300))


def replace_streams(how: str) -> str:
    if how == "none":
        sys.stdout = sys.stderr = sys.stdin = None  # type: ignore[assignment]
    elif how == "closed":
        sys.stdout.close()
        sys.stderr.close()
    else:
        sys.stdout = sys.stderr = Explodes()  # type: ignore[assignment]
    return how


class Explodes:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


def read_stdin() -> list[Any]:
    try:
        asked: Any = input()
    except EOFError:
        asked = "end of file"
    return [sys.stdin.read(), os.read(0, 10), asked]


# Where it is, and who


def change_folder(path: str) -> str:
    os.makedirs(path, exist_ok=True)
    os.chdir(path)
    return os.getcwd()


def change_to_deleted_folder(path: str) -> str:
    os.makedirs(path)
    os.chdir(path)
    os.rmdir(path)
    return path


def change_umask() -> int:
    return os.umask(0o777)


def clear_environment() -> int:
    os.environ.clear()
    return len(os.environ)


def new_session() -> None:
    os.setsid()


def join_the_zygotes_group() -> int:
    os.setpgid(0, os.getpgid(os.getppid()))
    return os.getpgid(0)


def be_nice() -> int:
    return os.nice(10)


def drop_privileges() -> int:
    if os.getuid() == 0:
        os.setresuid(65534, 65534, 65534)
    return os.getuid()


# Limits


def limit_descriptors() -> str:
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as exc:
        return os.strerror(exc.errno or 0)
    return "opened"


def limit_memory() -> int:
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000, resource.RLIM_INFINITY))
    return len(bytearray(500_000_000))


def limit_file_size(path: str) -> int:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
    with open(path, "wb", 0) as file:
        return file.write(b"x" * 100) + file.write(b"y")


def limit_recursion() -> int:
    sys.setrecursionlimit(60)
    return sys.getrecursionlimit()


def no_recursion_limit() -> int:
    sys.setrecursionlimit(10**9)
    return sys.getrecursionlimit()


# Children and threads


def fork_and(how: str, code: str = "") -> int:
    """The child does what it likes with this call; the exit code that its parent, the worker, sees."""
    pid = os.fork()
    if pid == 0:
        if how == "returns":
            return 5
        if how == "raises":
            raise ValueError("in the child")
        if how == "exits":
            sys.exit(6)
        if how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def start_and_leave(how: str, begun: str) -> int:
    """A process that outlives this call."""
    if how == "program":
        import subprocess

        with open(begun, "w"):
            return subprocess.Popen(["sleep", "1000"]).pid  # noqa: S607
    pid = os.fork()
    if pid == 0:
        if how == "session":
            os.setsid()
        good.touch(begun)
        time.sleep(1000)
        os._exit(0)
    while not os.path.exists(begun):
        time.sleep(0.001)
    return pid


def start_thread_that_stays() -> int:
    threading.Thread(target=lambda: threading.Event().wait()).start()
    return threading.active_count()


def hook_that_sleeps() -> None:
    atexit.register(time.sleep, 1000)


def hook_that_dies(how: str) -> None:
    atexit.register(ctypes.string_at if how == "segfault" else sys.exit, 0)


def threads_that_raise() -> str:
    for exc in (ValueError("in a thread"), SystemExit(3), KeyboardInterrupt()):
        thread = threading.Thread(target=_raise, args=(exc,))
        thread.start()
        thread.join()
    return "fine"


def _raise(exc: BaseException) -> None:
    raise exc


# The interpreter


def break_builtins(name: str) -> str:
    setattr(builtins, name, Explodes())
    return name


def break_module(module: str, name: str) -> str:
    setattr(sys.modules[module], name, Explodes())
    return name


def forget_modules(kept: int) -> str:
    for name in list(sys.modules)[kept:]:
        del sys.modules[name]
    return "forgotten"


def empty_path() -> str:
    sys.path.clear()
    sys.meta_path.clear()
    return "emptied"


def replace_hooks() -> str:
    sys.excepthook = sys.unraisablehook = threading.excepthook = Explodes()  # type: ignore[assignment]
    return "replaced"


def trace_everything() -> str:
    sys.settrace(_explode)
    sys.setprofile(_explode)
    return "traced"


def _explode(*args: Any) -> Any:
    raise RuntimeError("traced")


def stop_collecting() -> str:
    import gc

    gc.disable()
    gc.callbacks.append(_explode)
    return "off"


# Signals


def handle_signals() -> str:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, lambda *_: None)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    return "handled"


def ignore_signals() -> str:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return "ignored"


def default_sigint() -> str:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return "default"


def interrupt_oneself() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(os.getpid(), signal.SIGINT)


def wake_up_by(descriptor: str) -> str:
    _, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    return descriptor


def set_alarm(seconds: float) -> int:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return os.getpid()


def wait_a_little(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def is_deaf_to_sigpipe() -> bool:
    read, write = os.pipe()
    os.close(read)
    try:
        os.write(write, b"x")
    except BrokenPipeError:
        return True
    finally:
        os.close(write)
    return False
