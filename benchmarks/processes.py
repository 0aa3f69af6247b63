"""Processes told by a mark in their environment, which all that a marked process starts inherits, or by their group.

Linux only, but for ``is_group_running``.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from time import monotonic, sleep

_PATIENCE_SECONDS = 5.0


def marked(mark: str, session: int | None = None) -> dict[int, str]:
    """Running processes, without zombies, whose environment holds ``mark`` ("NAME=value"): pid -> command line.

    ``session`` adds those of that session: some programs overwrite their environment (setproctitle does).
    """
    found: dict[int, str] = {}
    needle = b"\0" + mark.encode() + b"\0"
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        fields = _fields(f"/proc/{entry.name}/stat")
        if not fields or fields[0] in b"ZX":
            continue
        is_marked = needle in b"\0" + _read(f"/proc/{entry.name}/environ")
        if is_marked or (session is not None and int(fields[3]) == session):
            command = _read(f"/proc/{entry.name}/cmdline").replace(b"\0", b" ").decode(errors="replace")
            found[int(entry.name)] = command.strip()
    found.pop(os.getpid(), None)
    return found


def wait_until_gone(mark: str, seconds: float, session: int | None = None) -> dict[int, str]:
    """Wait until no marked process is left, at most ``seconds``; those that stayed."""
    end = monotonic() + seconds
    while (left := marked(mark, session)) and monotonic() < end:
        sleep(0.01)
    return left


def kill_marked(mark: str, session: int | None = None) -> None:
    """SIGKILL every marked process, again and again (they may start others), until none is left."""
    end = monotonic() + _PATIENCE_SECONDS
    while (left := marked(mark, session)) and monotonic() < end:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass  # gone meanwhile
        sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether it runs, or could; a zombie does not."""
    return (_fields(f"/proc/{pid}/stat") or [b"Z"])[0] not in b"ZX"


def is_group_running(group: int) -> bool:
    """Whether a process of this group runs. Zombies do not count: not every first process reaps orphans at once."""
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    if not os.path.exists("/proc/self/stat"):
        return True
    return any(
        int(fields[2]) == group and fields[0] not in b"ZX"
        for name in os.listdir("/proc")
        if name.isdigit() and (fields := _fields(f"/proc/{name}/stat"))
    )


def wants_cpu(pid: int) -> bool:
    """Whether one of its threads is on a CPU or waits for one: however busy the machine is with others."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:  # it has gone
        return False
    return any((_fields(f"/proc/{pid}/task/{tid}/stat") or [b"Z"])[0] == b"R" for tid in threads)


def parent_of(pid: int) -> int | None:
    """Its parent's process id, or None where it does not run any more."""
    fields = _fields(f"/proc/{pid}/stat")
    return int(fields[1]) if fields else None


def _fields(path: str) -> list[bytes]:
    """Of a stat file, from the state on; none where it cannot be read."""
    return _read(path).rpartition(b")")[2].split()


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:  # it ended in between, or is not ours to read
        return b""
