"""How much memory is ours, and how much of it may be shared memory."""

from __future__ import annotations

import os

from .cgroups import Read, folders, read_text

_LEAST_FOR_A_WORKER = 1 << 26


def memory_budget(read: Read = read_text) -> int:
    """Bytes that this machine has, or that our control groups allow where that is less."""
    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for folder, is_v2 in folders(read, "memory"):
        text = read(f"{folder}/{'memory.max' if is_v2 else 'memory.limit_in_bytes'}")
        if text is not None and text.strip().isdigit():
            most = min(most, int(text))
    return most


def arena_parts(limit: int, processes: int, shared_by: int, read: Read = read_text) -> tuple[int, int]:
    """Bytes of shared memory for arguments, and for the results of each worker.

    ``limit`` is for all of them together; 0 means half of what is ours. Arguments get half of it, and the workers the
    rest, each at least 64 MiB where that is within the limit.
    """
    total = limit or memory_budget(read) // 2 // max(shared_by, 1)
    each = total // 2 // max(processes, 1)
    return total - total // 2, max(each, min(_LEAST_FOR_A_WORKER, total // 2))
