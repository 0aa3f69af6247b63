"""For how long a thread had to wait for a CPU, as the kernel counts it."""

from __future__ import annotations

import os


class RunQueue:
    """How long one thread has had work and no CPU, since it began; always 0 where the kernel does not tell (Linux)."""

    def __init__(self, native_id: int | None = None) -> None:
        """``native_id``: the thread; None for the one that calls. Holds a file descriptor until it is closed."""
        whose = "thread-self" if native_id is None else f"self/task/{native_id}"
        try:
            self._file = os.open(f"/proc/{whose}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1

    def seconds(self) -> float:
        """Until now. Lets others have the GIL for a moment."""
        if self._file < 0:
            return 0.0
        try:
            return int(os.pread(self._file, 80, 0).split()[1]) * 1e-9
        except (OSError, IndexError, ValueError):
            return 0.0

    def close(self) -> None:
        """Close the file; a second time is harmless."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def queued_seconds(native_id: int | None = None) -> float:
    """``RunQueue(native_id).seconds()``, and nothing is left open."""
    run_queue = RunQueue(native_id)
    try:
        return run_queue.seconds()
    finally:
        run_queue.close()
