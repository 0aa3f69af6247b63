"""The labelled set: all functions with their lanes."""

from __future__ import annotations

from . import holders, releasers, small, texts, unsafe
from .case import Case

CATALOGUE: tuple[Case, ...] = (
    *holders.CASES,
    *texts.CASES,
    *releasers.RELEASERS,
    *releasers.WAITERS,
    *small.CASES,
    *unsafe.CASES,
)
BY_NAME = {case.name: case for case in CATALOGUE}

LEFT_OUT = {
    "os.walk, os.scandir over a tree": "half of it holds the GIL, half waits, and the page cache decides",
    "numpy.linalg.svd of a small matrix": "numpy keeps the GIL there; whether an array is plain data is a choice",
    "bytes of a large file read at once": "the kernel works without the GIL, and frees the memory with it",
    "ast.parse that returns the tree": "as dear to send as to make",
    "datetime.strptime, decimal in the current context": "pure but for a locale or a context that others may set",
    "a Random(seed) of its own": "pure, yet hard to tell from the shared generator",
    "a lambda that only computes": "not of a module, but can be sent by value",
    "from 100 to 300 us of pure Python": "either lane will do",
}
"""What is on the line, and why it has no label."""
