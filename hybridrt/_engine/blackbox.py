"""A page of memory that a worker and its parent share and that survives the worker.

The parent writes there which call is to be interrupted (a signal alone cannot say it, and would land in the next
call as well). The worker writes there which call it started last, so that its death is charged to that call alone,
which item of a batch it began last, its process id and how much memory it has; and faulthandler writes the Python
stack there when the worker crashes.
Behind the page there is the ring in which the worker holds answers.
"""

from __future__ import annotations

import mmap
import os

from .ring import FOOTPRINT, Ring

_PAGE = 4096
_SIZE = -(-(_PAGE + FOOTPRINT) // _PAGE) * _PAGE
UNWANTED, STARTED, _MEMORY, _PID, _GIVEN_UP, BATCH, BEGUN, CUT = range(8)
ENDED = 1 << 32
"""On the count of the items of a batch that have begun: all of these have ended, and no other will begin."""
_MOST_STACK = 64 * 1024


class BlackBox:
    """One worker's box; ``fd`` is anonymous memory (an unlinked file where the system has no memfd)."""

    __slots__ = ("_page", "fd", "ring", "words")

    def __init__(self, fd: int | None = None) -> None:
        """A new box, or the one behind the descriptor ``fd`` that came from the parent. May raise OSError."""
        self.fd = _anonymous_file() if fd is None else fd
        try:
            if fd is None:
                os.ftruncate(self.fd, _SIZE)
            self._page = mmap.mmap(self.fd, _SIZE)  # takes a descriptor of its own
        except OSError:
            os.close(self.fd)
            raise
        memory = memoryview(self._page)
        self.words = memory[:_PAGE].cast("Q")
        """For those to whom an attribute would be dear: ``UNWANTED`` and ``STARTED`` are positions in it."""
        self.ring = Ring(memory[_PAGE:])

    @property
    def unwanted(self) -> int:
        """Number of the call that is to be interrupted; 0 for none."""
        return self.words[UNWANTED]

    @unwanted.setter
    def unwanted(self, number: int) -> None:
        self.words[UNWANTED] = number

    @property
    def started(self) -> int:
        """Number of the call that the worker started last; 0 for none."""
        return self.words[STARTED]

    @started.setter
    def started(self, number: int) -> None:
        self.words[STARTED] = number

    def begun(self, number: int) -> int:
        """Of call ``number``, if it has a batch: how many of its items have begun, ENDED added where no more will."""
        return self.words[BEGUN] if self.words[BATCH] == number else 0

    @property
    def cut(self) -> int:
        """Number of the call whose batch is to be cut short."""
        return self.words[CUT]

    @cut.setter
    def cut(self, number: int) -> None:
        self.words[CUT] = number

    @property
    def memory(self) -> int:
        """Bytes that the worker had of its own when it last answered; 0 where it does not look."""
        return self.words[_MEMORY]

    @memory.setter
    def memory(self, size: int) -> None:
        self.words[_MEMORY] = size

    def report(self, pid: int) -> bool:
        """In the worker, before it reads a call: it is there, as ``pid``. False where its parent has given it up."""
        self.words[_PID] = pid
        return not self.words[_GIVEN_UP]

    def give_up(self) -> int:
        """In the parent, where the zygote cannot tell any more: the worker's process id, or 0.

        Then it has not begun, and never will: each side writes first and reads the other's word afterwards.
        """
        self.words[_GIVEN_UP] = 1
        return self.words[_PID]

    def record_crashes(self) -> None:
        """In the worker: from now on a crash leaves the Python stack in the box."""
        import faulthandler

        os.lseek(self.fd, _SIZE, os.SEEK_SET)
        faulthandler.enable(self.fd, all_threads=True)

    def stack(self) -> str:
        """What faulthandler wrote before the worker died, or ""."""
        return os.pread(self.fd, _MOST_STACK, _SIZE).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Let go of the memory; a second time is harmless."""
        if self.fd >= 0:
            self.ring.close()
            self.words.release()
            self._page.close()
            os.close(self.fd)
            self.fd = -1


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("hybridrt", os.MFD_CLOEXEC)
    import tempfile

    with tempfile.TemporaryFile() as file:  # macOS: no name is left, and dup keeps the memory
        return os.dup(file.fileno())
