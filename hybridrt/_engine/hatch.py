"""How descriptors cross between us and a worker: a socket beside the channel, which is read in a way that loses them.

One message for each arena: its number, its size, and the descriptor. It is sent before the frame that needs it,
so whoever reads that frame finds it here. Nobody ever waits at a hatch.
"""

from __future__ import annotations

import array
import os
import socket
import struct
import sys
import threading
from typing import NamedTuple

_opening = threading.Lock()

_MESSAGE = struct.Struct("<QQ")
# Without it a program that a call starts would get them too; macOS has none.
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_NO_WAIT = getattr(socket, "MSG_DONTWAIT", 0)


class Delivery(NamedTuple):
    """One arena that has come through; whoever takes it closes its descriptor."""

    number: int
    size: int
    fd: int


def open_hatch() -> tuple[int, int]:
    """The two ends, as descriptors. May raise OSError."""
    kind = socket.SOCK_DGRAM if sys.platform == "darwin" else socket.SOCK_SEQPACKET
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    return ours.detach(), theirs.detach()


class Hatch:
    """One end; owns its descriptor. Cheap until it is used."""

    __slots__ = ("_fd", "_socket")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._socket: socket.socket | None = None

    def _open(self) -> socket.socket:
        opened = self._socket
        if opened is not None:
            return opened
        with _opening:  # two sockets of one descriptor would close it twice
            if self._socket is None:
                if self._fd < 0:
                    raise OSError("the hatch is closed")
                opened = socket.socket(fileno=self._fd)
                opened.setblocking(False)
                self._socket = opened
            return self._socket

    def send(self, number: int, size: int, fd: int) -> bool:
        """Pass ``fd`` on; False where that cannot be done now (the other side has gone, or does not read)."""
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
        try:
            self._open().sendmsg([_MESSAGE.pack(number, size)], [rights], _NO_WAIT)
        except OSError:
            return False
        return True

    def receive(self) -> Delivery | None:
        """The next one, or None where there is none. Raises OSError where there is no room for a descriptor here."""
        fds = array.array("i")
        room = socket.CMSG_SPACE(fds.itemsize)
        while True:
            try:
                data, ancillary, _, _ = self._open().recvmsg(_MESSAGE.size, room, _CLOEXEC | _NO_WAIT)
            except OSError:
                return None
            if not data:
                return None
            for level, kind, content in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
            if fds:
                number, size = _MESSAGE.unpack(data)
                return Delivery(number, size, fds[0])
            raise OSError("a descriptor did not arrive: this process has as many open as it may")

    def close(self) -> None:
        """Give back the descriptor, behind any loop's back; a second time is harmless."""
        fd, self._fd = self._fd, -1
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
        if fd >= 0:
            os.close(fd)
