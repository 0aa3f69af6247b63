"""What a run holds and what it left: threads, descriptors, memory, processes. Linux only."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from time import monotonic, sleep

from .. import processes

MARK = "BENCHMARKS_CHAOS"
"""The name of the environment variable by which all processes of a run are known."""

_OPENED_ONCE = re.compile(r"/dev/(null|urandom)|/proc/|.*/libffi\.so")
"""By the interpreter; and libffi opens itself at ctypes' first callback."""
_OURS = "hybridrt"


def held() -> set[str]:
    """Our threads, our descriptors, the shared memory that we have mapped, and the names of ours in /dev/shm."""
    found = {f"thread {thread.name} ({thread.native_id})" for thread in threading.enumerate()}
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # the one that listdir itself had open
            continue
        if not _OPENED_ONCE.match(target):
            found.add(f"descriptor {fd} ({target})")
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "memfd:" in line:
            found.add(f"mapped memory {line}")
    found.update(f"/dev/shm/{name}" for name in os.listdir("/dev/shm") if _OURS in name)  # noqa: S108  # read only
    return found


def left(before: set[str], seconds: float) -> list[str]:
    """What was not there before and is still there after so many seconds, processes with our mark included."""
    mark = f"{MARK}={os.environ[MARK]}"
    end = monotonic() + seconds
    while True:
        found = held() - before
        found.update(f"process {pid} ({command})" for pid, command in processes.marked(mark).items())
        if not found or monotonic() > end:
            return sorted(found)
        sleep(0.01)
