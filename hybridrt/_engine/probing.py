"""A probe imports what workers needed, before the zygote does, to see whether other processes could feel it.

An import runs code. In the zygote its effects would reach every worker to come, so what starts threads or processes,
opens descriptors, handles signals, talks to the network, changes the environment or the folder, prints or warns, is
not for it. Nor is what differs from one process to the next: a module that draws random numbers or asks for its process
id at import would give all workers the same. A module that fails, crashes or hangs does so in the probe alone.

The probe is a child of the zygote like a worker. It writes the index of each module into a pipe before it imports that
one, and its verdict at the end; the zygote reads the pipe when the probe has gone, so nothing waits for it.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from collections.abc import Callable
from time import monotonic, perf_counter
from types import FrameType
from typing import Any, NamedTuple

from . import needs
from .output import outlet

_INDEX = struct.Struct("<I")
_SECONDS = struct.Struct("<d")
_CLEAN, _UNCLEAN = 0xFFFFFFFF, 0xFFFFFFFE
_MOST_REASON = 200
_NICE = 10
_JOIN_SECONDS = 0.2

_FORBIDDEN = {
    "_thread.start_new_thread": "starts a thread",
    "_thread.start_joinable_thread": "starts a thread",
    "os.fork": "forks",
    "os.forkpty": "forks",
    "os.posix_spawn": "starts a program",
    "os.spawn": "starts a program",
    "os.exec": "becomes another program",
    "os.system": "starts a program",
    "subprocess.Popen": "starts a program",
    "os.kill": "sends a signal",
    "os.killpg": "sends a signal",
    "socket.connect": "talks to the network",
    "socket.getaddrinfo": "talks to the network",
    "socket.sendto": "talks to the network",
    "socket.sendmsg": "talks to the network",
    "sys.settrace": "traces",
    "sys.setprofile": "traces",
}
# They seed themselves anew in each worker (randomness.py), and after a fork (the standard library).
_RANDOM_AND_SAFE = "numpy.random"
_HARMLESS_FILES = ("/dev/null", "/dev/urandom", "/dev/random")


class Verdict(NamedTuple):
    """What became of a probe. ``why`` is empty where all modules are clean; else ``index`` tells the bad one."""

    index: int
    why: str
    seconds: float


class Probe:
    """The zygote's hold on one probe."""

    def __init__(self, pid: int, report: int, patience: float) -> None:
        self.pid = pid
        self._report = report
        self._deadline = monotonic() + patience
        self._is_late = False

    def patience(self) -> float:
        """Seconds that it still has."""
        return max(0.0, self._deadline - monotonic())

    def kill_if_late(self) -> None:
        """SIGKILL it, with what it has started, where its time is over."""
        if monotonic() >= self._deadline and not self._is_late:
            self._is_late = True
            self._deadline = float("inf")
            os.killpg(self.pid, signal.SIGKILL)

    def verdict(self, exitcode: int) -> Verdict:
        """What it has found; to be asked once, when it has gone."""
        os.set_blocking(self._report, False)
        data = bytearray()
        try:
            while piece := os.read(self._report, 1 << 16):
                data += piece
        except BlockingIOError:
            pass  # what it has started holds the other end
        finally:
            os.close(self._report)
        index = 0
        for start in range(0, len(data) - _INDEX.size + 1, _INDEX.size):
            (word,) = _INDEX.unpack_from(data, start)
            rest = data[start + _INDEX.size :]
            if word == _CLEAN and len(rest) == _SECONDS.size:
                return Verdict(0, "", _SECONDS.unpack(rest)[0])
            if word == _UNCLEAN:
                return Verdict(index, rest.decode("utf-8", "replace"), 0.0)
            index = word
        how = f"ends its process with {exitcode}" if not self._is_late else "does not come to an end"
        return Verdict(index, how, 0.0)


def probe(names: tuple[str, ...], report: int) -> None:
    """Be a probe: import these and write what that did. Ends the process."""
    try:
        os.nice(_NICE)
        watch = _Watch()
        began = perf_counter()
        for index, name in enumerate(names):
            if name in sys.modules:
                continue
            os.write(report, _INDEX.pack(index))
            why = _import(name) or watch.complaint()
            if why:
                os.write(report, _INDEX.pack(_UNCLEAN) + why.encode("utf-8", "replace")[:_MOST_REASON])
                os._exit(0)
        seconds = perf_counter() - began
        why = watch.last_complaint()
        if why:  # of nobody knows which
            os.write(report, _INDEX.pack(_UNCLEAN) + why.encode())
        else:
            os.write(report, _INDEX.pack(_CLEAN) + _SECONDS.pack(seconds))
    finally:
        os._exit(0)


def _import(name: str) -> str:
    try:
        __import__(name)
    except BaseException as exc:
        return f"raises {type(exc).__name__}"
    return ""


class _Watch:
    """What may be seen from outside of an import: the state before, and what is done meanwhile."""

    def __init__(self) -> None:
        self._deed = ""
        self._paper = os.memfd_create("hybridrt-probe", os.MFD_CLOEXEC)
        outlet.mute()
        for fd in (1, 2):
            os.dup2(self._paper, fd)
        self._draws_are_told()
        sys.addaudithook(self._on_event)
        self._modules = len(sys.modules)
        self._state = _state()
        self._threads = _threads()

    def complaint(self) -> str:
        """What the import just done is not to be done in the zygote for; "" for nothing."""
        if len(sys.modules) == self._modules and not self._deed:
            return ""
        strangers = [
            name
            for name, module in tuple(sys.modules.items())[self._modules :]
            if module is not None and needs.is_of_a_project(module)
        ]
        self._modules = len(sys.modules)
        if self._deed:
            return self._deed
        if strangers:
            return f"brings {strangers[0]}, which is not installed"
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if outlet.is_used or os.fstat(self._paper).st_size:
            return "prints, logs or warns"
        state = _state()
        for what, before in self._state.items():
            if state[what] != before:
                return f"changes {what}"
        if _threads() > self._threads and not _fork_ends_threads(self._threads):
            return "starts a thread"
        self._deed = ""  # that fork was ours
        return ""

    def last_complaint(self) -> str:
        return self._deed

    def _on_event(self, event: str, args: tuple[Any, ...]) -> None:
        deed = _FORBIDDEN.get(event)
        if deed and not self._deed:
            self._deed = deed

    def _draws_are_told(self) -> None:
        """Random numbers and the process id: with them modules become what no other process should be."""
        os.urandom = self._told(os.urandom, "draws random numbers")
        if hasattr(os, "getrandom"):
            os.getrandom = self._told(os.getrandom, "draws random numbers")
        os.getpid = self._told(os.getpid, "asks for its process id")
        import random  # after those, because it keeps os.urandom for itself

        seed = random.Random.seed
        watch = self

        def told_seed(generator: random.Random, a: Any = None, version: int = 2) -> None:
            if a is None:
                watch._note("draws random numbers", sys._getframe(1))
            seed(generator, a, version)

        random.Random.seed = told_seed  # type: ignore[method-assign, assignment]

    def _told(self, function: Callable[..., Any], deed: str) -> Callable[..., Any]:
        def told(*args: Any, **kwargs: Any) -> Any:
            self._note(deed, sys._getframe(1))
            return function(*args, **kwargs)

        return told

    def _note(self, deed: str, at: FrameType | None) -> None:
        while at is not None and at.f_code.co_name != "<module>":
            at = at.f_back
        if at is None or self._deed:
            return
        name = str(at.f_globals.get("__name__"))
        if name != _RANDOM_AND_SAFE and not name.startswith(_RANDOM_AND_SAFE + "."):
            if not needs.is_of_the_standard_library(at.f_code.co_filename):
                self._deed = deed


def _state() -> dict[str, object]:
    return {
        "descriptors": _descriptors(),
        "signal handlers": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "the environment": dict(os.environ),
        "the folder": os.getcwd(),
        "hooks": (sys.excepthook, sys.displayhook, sys.unraisablehook, sys.stdin, sys.stdout, sys.stderr),
        "the recursion limit": sys.getrecursionlimit(),
    }


def _descriptors() -> list[str]:
    opened = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # the one that listdir had open
        if target not in _HARMLESS_FILES:
            opened.append(f"{fd} {target}")
    return opened


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _fork_ends_threads(count: int) -> bool:
    """Whether the threads of a library go by themselves when a process forks, as OpenBLAS's do: then it can be preloaded."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    deadline = monotonic() + _JOIN_SECONDS
    while _threads() > count:  # the kernel takes a moment to take one off the list that has been joined
        if monotonic() > deadline:
            return False
    return True
