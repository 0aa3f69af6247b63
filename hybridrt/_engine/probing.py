"""A probe imports what workers needed, before the zygote does, to see whether other processes could feel it.

An import runs code. In the zygote its effects would reach every worker to come, so what starts threads or processes,
opens descriptors, handles signals, talks to the network, changes the environment or the folder, prints or warns, is
not for it. Nor is what differs from one process to the next: a module that draws random numbers or asks for its process
id at import would give all workers the same. A module that fails, crashes or hangs does so in the probe alone.

The probe is a child of the zygote like a worker. It writes the index of each module into a pipe before it imports that
one, and its verdict at the end; the zygote reads the pipe when the probe has gone, so nothing waits for it. What Python
announces before it does it (an audit event) is not even done: the probe ends there.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from collections.abc import Callable
from time import monotonic, perf_counter
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from . import needs
from .conditions import Conditions
from .output import outlet

_INDEX = struct.Struct("<I")
_SECONDS = struct.Struct("<d")
_CLEAN, _UNCLEAN = 0xFFFFFFFF, 0xFFFFFFFE
_MOST_REASON = 200
_NICE = 10
_JOIN_SECONDS = 0.2
"""Within this a thread that was joined is off the kernel's list."""

_FORBIDDEN = {
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
_RANDOM_AND_SAFE = "numpy.random."
_ASKS_WHO = "asks for its process id"
_HARMLESS_FILES = ("/dev/null", "/dev/urandom", "/dev/random")
_LIBFFI = "libffi.so"
"""It opens itself at the first callback of ctypes (since Python 3.14 its import), to map its trampolines, and closes
that file at an exec."""


class Verdict(NamedTuple):
    """What became of a probe. ``why`` is empty where all modules are clean; else ``at`` is the index of the bad one."""

    at: int
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
        """SIGKILL where its time is over. Its group is left for when it is reaped."""
        if monotonic() >= self._deadline and not self._is_late:
            self._is_late = True
            self._deadline = float("inf")
            os.kill(self.pid, signal.SIGKILL)  # not reaped yet, so this is still its pid

    def verdict(self, exitcode: int) -> Verdict:
        """What it has found; to be asked once, when it has gone."""
        os.set_blocking(self._report, False)
        data = b""
        try:
            while piece := os.read(self._report, 1 << 16):
                data += piece
        except BlockingIOError:
            pass  # what it has started holds the other end
        finally:
            os.close(self._report)
        at = 0
        for start in range(0, len(data) - _INDEX.size + 1, _INDEX.size):
            (word,) = _INDEX.unpack_from(data, start)
            rest = data[start + _INDEX.size :]
            if word == _CLEAN and len(rest) == _SECONDS.size:
                return Verdict(0, "", _SECONDS.unpack(rest)[0])
            if word == _UNCLEAN:
                return Verdict(at, rest.decode("utf-8", "replace"), 0.0)
            at = word
        how = "does not come to an end" if self._is_late else f"ends its process with {exitcode}"
        return Verdict(at, how, 0.0)


def probe(names: tuple[str, ...], report: int, conditions: Conditions) -> NoReturn:
    """Be a probe: import these and write what that did. Ends the process.

    It lives under the ``conditions`` of workers, who have to be able to import the same, and yields to all of them.
    """
    try:
        conditions._replace(nice=max(_NICE, conditions.nice)).take_on()
        watch = _Watch(report)
        began = perf_counter()
        for index, name in enumerate(names):
            if name in sys.modules:
                continue
            os.write(report, _INDEX.pack(index))
            try:
                __import__(name)
            except BaseException as exc:
                watch.refuse(f"raises {type(exc).__name__}")
            watch.look()
        os.write(report, _INDEX.pack(_CLEAN) + _SECONDS.pack(perf_counter() - began))
    finally:
        os._exit(0)


class _Watch:
    """What may be seen of an import from outside: the state before and after, and what is done meanwhile."""

    def __init__(self, report: int) -> None:
        self._report = report
        self._paper = os.memfd_create("hybridrt-probe", os.MFD_CLOEXEC)
        outlet.mute()
        for fd in (1, 2):
            os.dup2(self._paper, fd)
        self._hear_of_draws()
        self._is_ours = self._has_hooks = False
        sys.addaudithook(self._on_event)
        self._modules = len(sys.modules)
        self._state = _state()
        self._threads = _threads()

    def refuse(self, why: str) -> NoReturn:
        """The module that is being imported is nothing for the zygote."""
        os.write(self._report, _INDEX.pack(_UNCLEAN) + why.encode("utf-8", "replace")[:_MOST_REASON])
        os._exit(0)

    def look(self) -> None:
        """Refuse the module just imported where it has left a trace."""
        for name, module in tuple(sys.modules.items())[self._modules :]:
            if needs.is_of_a_project(module):
                self.refuse(f"brings {name}, which is not installed")
        self._modules = len(sys.modules)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if outlet.is_used or os.fstat(self._paper).st_size:
            self.refuse("prints, logs or warns")
        state = _state()
        for what, before in self._state.items():
            if state[what] != before:
                self.refuse(f"changes {what}")
        if self._has_hooks or _threads() > self._threads:
            self._has_hooks = False
            self._try_a_fork(state)

    def _try_a_fork(self, state: dict[str, object]) -> None:
        """Refuse what a fork does not survive as it should.

        A library's own threads may go by themselves when a process forks, as OpenBLAS's do: they harm nobody. What is
        to be done in each forked process may harm it.
        """
        self._is_ours = True
        pid = os.fork()
        if pid == 0:
            os._exit(0 if _threads() == 1 and _state() == state else 1)
        _, status = os.waitpid(pid, 0)
        self._is_ours = outlet.is_used = False
        if status:
            self.refuse("makes a mess of each process that is forked")
        deadline = monotonic() + _JOIN_SECONDS
        while _threads() > self._threads:
            if monotonic() > deadline:
                self.refuse("starts a thread")

    def _on_event(self, event: str, args: tuple[Any, ...]) -> None:
        deed = _FORBIDDEN.get(event)
        if deed and not self._is_ours:
            self.refuse(deed)

    def _hear_of_draws(self) -> None:
        """Of random numbers and the process id: with them modules become what no other process should be."""
        os.urandom = self._heard(os.urandom, "draws random numbers")
        os.getrandom = self._heard(os.getrandom, "draws random numbers")
        os.getpid = self._heard(os.getpid, _ASKS_WHO)
        os.register_at_fork = self._noted(os.register_at_fork)
        import random  # after those, because it keeps os.urandom for itself

        seed = random.Random.seed
        hear = self._hear

        def heard_seed(generator: random.Random, a: Any = None, version: int = 2) -> None:
            if a is None:
                hear("draws random numbers", sys._getframe(1))
            seed(generator, a, version)

        setattr(random.Random, "seed", heard_seed)  # noqa: B010

    def _heard(self, function: Callable[..., Any], deed: str) -> Callable[..., Any]:
        def heard(*args: Any, **kwargs: Any) -> Any:
            self._hear(deed, sys._getframe(1))
            return function(*args, **kwargs)

        return heard

    def _noted(self, register: Callable[..., None]) -> Callable[..., None]:
        def noted(**hooks: Any) -> None:
            self._has_hooks = True
            register(**hooks)

        return noted

    def _hear(self, deed: str, at: FrameType | None) -> None:
        if self._is_ours or at is None:
            return
        caller = at.f_code.co_filename
        while at is not None and at.f_code.co_name != "<module>":
            at = at.f_back
        if deed == _ASKS_WHO and needs.is_of_the_standard_library(caller):
            return  # a log record has it, and is nothing that stays
        # The outermost one is what this process was started with.
        if at is None or at.f_back is None or needs.is_of_the_standard_library(at.f_code.co_filename):
            return
        if not f"{at.f_globals.get('__name__')}.".startswith(_RANDOM_AND_SAFE):
            self.refuse(deed)


def _state() -> dict[str, object]:
    return {
        "descriptors": _descriptors(),
        "signal handlers": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "the environment": dict(os.environ),
        "the folder": os.getcwd(),
        "sys.path": list(sys.path),
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
        if target not in _HARMLESS_FILES and not os.path.basename(target).startswith(_LIBFFI):
            opened.append(f"{fd} {target}")
    return sorted(opened)


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))
