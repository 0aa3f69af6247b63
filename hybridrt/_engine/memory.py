"""A worker's memory of its own: how much it has, and a hard limit on it.

*Its own* is what it took since its birth. At birth all that it has is shared with the zygote, and what the preloaded
modules hold stays so (measured, 30 MB in them: reading and even overwriting them moves nothing here, a leak of 50 MB
moves it by 50 MB, 40 MB of memory shared with our process by nothing). The whole of what is resident, the usual
figure, would charge the preloaded modules to every worker.
"""

from __future__ import annotations

import errno
import os
import sys

from .._core.sizes import in_words

_NOTE = "[hybridrt: "
_LOOKED_THROUGH = 20


class OwnMemory:
    """The meter of this process; make it at the process's birth, right after the fork.

    It opens one descriptor and keeps it. A read takes one system call, about 2 µs.
    """

    __slots__ = ("_at_birth", "_fd", "_page")

    def __init__(self) -> None:
        self._page = os.sysconf("SC_PAGE_SIZE")
        try:
            self._fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1
        self._at_birth = self._taken()

    def read(self) -> int:
        """Bytes in memory that this process took since its birth; 0 where the system cannot say.

        Linux: private memory that is resident, exact to a few hundred kB. Elsewhere: by how much the peak has grown,
        which never falls.
        """
        return max(0, self._taken() - self._at_birth)

    def _taken(self) -> int:
        if self._fd < 0:
            return _peak()
        try:
            fields = os.pread(self._fd, 256, 0).split()
            return (int(fields[1]) - int(fields[2])) * self._page
        except (OSError, ValueError, IndexError):
            return 0  # a call closed our descriptor, or has something else behind the number now


def _peak() -> int:
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:
        return 0
    peak = getrusage(RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class MemoryCap:
    """A hard limit: from its making on, this process can take ``allowed`` more bytes, and then gets no more.

    What is out of reach is ``malloc`` and the like, so Python raises MemoryError. On Linux it is RLIMIT_DATA, which
    counts private writable memory: not files, not shared memory, not what is only reserved (RLIMIT_AS counts these
    too: numpy alone takes 90 MB of address space). It counts memory that was taken, used or not: a thread takes 8 MB
    for its stack, each of OpenBLAS's threads 40 MB.
    """

    __slots__ = ("_allowed", "_found", "_hard", "_kind", "_setrlimit", "_soft")

    def __init__(self, allowed: int) -> None:
        import resource  # not in workers without a limit

        on_linux = sys.platform == "linux"
        self._allowed = allowed
        self._setrlimit = resource.setrlimit
        self._kind = resource.RLIMIT_DATA if on_linux else resource.RLIMIT_AS
        self._found, self._hard = resource.getrlimit(self._kind)
        self._soft = _taken_of(is_data=on_linux) + allowed
        if self._found != resource.RLIM_INFINITY:
            self._soft = min(self._soft, self._found)  # ulimit -d is narrower
        self.hold()

    def hold(self) -> None:
        """The limit holds."""
        self._set(self._soft)

    def lift(self) -> None:
        """Until ``hold`` is called there is no limit: for answers, which must not fail where a call went too far."""
        self._set(self._found)

    def _set(self, soft: int) -> None:
        try:
            self._setrlimit(self._kind, (soft, self._hard))
        except (OSError, ValueError):
            pass  # not on this system (macOS), or a call has lowered the hard limit itself

    def explain(self, exc: BaseException) -> None:
        """Add a note to the exception, or to the one behind it, that came of too little memory."""
        seen = 0
        link: BaseException | None = exc
        while link is not None and seen < _LOOKED_THROUGH:
            if is_shortage(link):
                self._add_note(link)
                return
            link = link.__cause__ or link.__context__
            seen += 1

    def _add_note(self, exc: BaseException) -> None:
        allowed = in_words(self._allowed)
        note = (
            f"{_NOTE}the worker process {os.getpid()} may take at most {allowed} of memory of its own, because the "
            f"setting worker_memory_limit is {self._allowed}. Raise it, or give the call less to do at once. "
            "The worker goes on]"
        )
        try:
            if not any(str(old).startswith(_NOTE) for old in getattr(exc, "__notes__", ())):
                exc.add_note(note)
        except Exception:  # a class of its own mind; it arrives without
            pass


def allocator_variables() -> dict[str, str]:
    """Environment variables with which an interpreter's allocator takes memory in steps that a cap can count.

    A free-threaded Python takes a whole gigabyte from the system at its start, to share out itself: no limit would be
    felt before that is used up. So told, it takes 32 MB at a time, and large blocks by themselves.
    """
    return {"MIMALLOC_ARENA_RESERVE": "0"} if "t" in getattr(sys, "abiflags", "") else {}


def is_shortage(exc: BaseException) -> bool:
    """Whether the exception says that memory could not be had."""
    if isinstance(exc, MemoryError):
        return True
    if isinstance(exc, OSError):
        return exc.errno == errno.ENOMEM
    if isinstance(exc, RuntimeError):
        return exc.args == ("can't start new thread",)
    # An extension module that cannot be mapped says so, with or without the system's reason.
    return isinstance(exc, ImportError) and "failed to map segment" in str(exc.msg)


def _taken_of(*, is_data: bool) -> int:
    """Bytes that this process has by the count that the limit goes by."""
    try:
        with open("/proc/self/statm", "rb") as file:
            fields = file.read().split()
        return int(fields[5 if is_data else 0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
