"""Answers of quick calls, held in memory that worker and parent share until one message tells of them all.

An answer that waits in the worker would die with it, and a death is to hurt one call only; an answer written here is
safe, for the memory outlives the worker. One side writes, the other reads. What is held is the same stream of frames
as on the socket, in a ring of bytes between two counters that only grow: the writer moves ``tail`` when its bytes are
in place, the reader moves ``head`` when it has copied them out. A counter is one aligned word, stored at once.
"""

from __future__ import annotations

import os

SIZE = 1 << 14
_COUNTERS = 64
FOOTPRINT = _COUNTERS + SIZE
"""Bytes of shared memory that a ring takes."""

_HEAD, _TAIL = 0, 1

CAN_BE_READ_UNTOLD = os.uname().machine in ("x86_64", "amd64", "i686")
"""Whether the reader may look without a message from the writer: here a processor's stores become visible in order."""


class Ring:
    """One end of the ring in ``memory``, ``FOOTPRINT`` zeros at first, 8-byte aligned."""

    __slots__ = ("_bytes", "_position", "_words")

    def __init__(self, memory: memoryview) -> None:
        self._words = memory[:_COUNTERS].cast("Q")
        self._bytes = memory[_COUNTERS:FOOTPRINT]
        self._position = 0  # our own counter: tail where we write, head where we read

    def put(self, frame: bytes) -> bool:
        """Writer: hold this frame; False where there is no room."""
        start = self._position
        end = start + len(frame)
        if end - self._words[_HEAD] > SIZE:
            return False
        at = start % SIZE
        room = SIZE - at
        if len(frame) <= room:
            self._bytes[at : at + len(frame)] = frame
        else:
            self._bytes[at:] = frame[:room]
            self._bytes[: len(frame) - room] = frame[room:]
        self._words[_TAIL] = self._position = end
        return True

    def is_empty(self) -> bool:
        """Reader: whether nothing is held."""
        return self._words[_TAIL] == self._position

    def take(self) -> bytes:
        """Reader: all frames that are held, one behind the other; they are held no more."""
        start = self._position
        end = self._words[_TAIL]
        if start == end:
            return b""
        at = start % SIZE
        count = end - start
        if at + count <= SIZE:
            taken = bytes(self._bytes[at : at + count])
        else:
            taken = b"".join((self._bytes[at:], self._bytes[: at + count - SIZE]))
        self._words[_HEAD] = self._position = end
        return taken

    def close(self) -> None:
        """Let go of the memory."""
        self._words.release()
        self._bytes.release()
