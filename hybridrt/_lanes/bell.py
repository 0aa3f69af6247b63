"""What one thread waits at, and what others wake it with.

A thread that waits in a lock is woken by a futex, and the kernel, which cannot know that whoever woke it is about to
sleep, starts it on another CPU, often one that must be fetched out of its idle state first: 15 to 25 us on a virtual
machine, and as much again on the way back. A byte in a socket comes with that very hint, so both ends of a hand-over
mostly share one CPU and its caches. That costs two descriptors a thread: the first few have them, for calls that come
one at a time are served by these; the others have locks.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from typing import TypeAlias

_LEAST_SECONDS = 1e-6
"""In a socket's options zero means: without end."""
_MOST_SECONDS = 1e8
"""Three years: more than these fields hold everywhere is of no use to anybody."""


class SocketBell:
    """Rung through a socket. Whoever waits owns it, and closes it when nobody can ring any more."""

    __slots__ = ("_here", "_there")

    is_swift = True

    def __init__(self, seconds: float) -> None:
        here, there = socket.socketpair()
        try:
            here.setblocking(True)  # also where somebody has set another default for all sockets
            there.setblocking(True)
            whole, rest = divmod(min(max(seconds, _LEAST_SECONDS), _MOST_SECONDS), 1)
            patience = struct.pack("@ll", int(whole), int(rest * 1e6))
            here.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        except BaseException:
            here.close()
            there.close()
            raise
        self._here: int = here.detach()
        self._there: int = there.detach()

    def wait(self) -> bool:
        """Wait until somebody rings; False where nobody has for as long as the bell is patient."""
        try:
            os.read(self._here, 1)
        except BlockingIOError:
            return False
        return True

    def ring(self) -> None:
        """Wake whoever waits, or the next who does. From any thread; once for each wait."""
        os.write(self._there, b"\0")

    def close(self) -> None:
        """Let go of the descriptors."""
        os.close(self._here)
        os.close(self._there)


class LockBell:
    """The same by a lock: no descriptor, a little slower, and to be had everywhere."""

    __slots__ = ("_lock", "_seconds")

    is_swift = False

    def __init__(self, seconds: float) -> None:
        self._seconds = min(max(seconds, _LEAST_SECONDS), _MOST_SECONDS, threading.TIMEOUT_MAX)
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self) -> bool:
        """Wait until somebody rings; False where nobody has for as long as the bell is patient."""
        return self._lock.acquire(timeout=self._seconds)

    def ring(self) -> None:
        """Wake whoever waits, or the next who does. From any thread; once for each wait."""
        self._lock.release()

    def close(self) -> None:
        """Nothing to let go of."""


Bell: TypeAlias = SocketBell | LockBell


def new_bell(seconds: float, *, is_first: bool) -> Bell:
    """A bell with this patience: of the swift kind for one of the first threads, if there are descriptors for it."""
    if is_first and sys.platform != "win32":
        try:
            return SocketBell(seconds)
        except OSError:
            pass  # too many files are open: that is no reason to refuse a call
    return LockBell(seconds)
