"""The input: which files there are, and how one is read. Blocking functions, and a walk that calls them elsewhere."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

Call: TypeAlias = Callable[..., Awaitable[Any]]
"""``await call(fn, *args)`` runs a function somewhere: ``Runtime.to_thread``, ``asyncio.to_thread``, …"""

MOST_READ = 4_000_000  # bytes of one file: what lies beyond is left out, so that memory stays bounded
_NOT_THE_LIBRARYS = {"site-packages", "dist-packages", "__pycache__"}


class Entry(NamedTuple):
    """A file, by its path relative to the tree, or something that is none and why."""

    name: str
    problem: str = ""


class Listing(NamedTuple):
    """What one folder holds, sorted."""

    entries: list[Entry]
    folders: list[str]


@dataclass(frozen=True)
class Tree:
    """The first ``limit`` files below ``root``, always in the same order.

    ``only_sources``   take Python's own sources alone: what pip installed beside them is not the standard library
    """

    root: str
    limit: int
    only_sources: bool = False

    @classmethod
    def standard_library(cls, limit: int) -> Tree:
        """The sources of the library that this Python runs on."""
        return cls(sysconfig.get_path("stdlib"), limit, only_sources=True)

    def path(self, name: str) -> str:
        """Where the file of that name is."""
        return os.path.join(self.root, name)

    async def walk(self, call: Call) -> AsyncIterator[Entry]:
        """Every entry, folder by folder, each listed by ``call``. Raises OSError where the root cannot be listed."""
        left = self.limit
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                listing: Listing = await call(self.list_folder, folder)
            except OSError as exc:
                if not folder:
                    raise
                listing = Listing([Entry(folder, reason(exc))], [])
            for entry in listing.entries[:left]:
                yield entry
            left -= len(listing.entries)
            if left <= 0:
                return
            folders.extend(reversed(listing.folders))

    def list_folder(self, folder: str) -> Listing:
        """What is in this folder. Links to folders are not followed: they may lead in a circle, or out of the tree."""
        entries: list[Entry] = []
        folders: list[str] = []
        with os.scandir(self.path(folder)) as found:
            for item in sorted(found, key=lambda item: item.name):
                name = os.path.join(folder, item.name)
                if item.is_dir(follow_symlinks=False):
                    if not (self.only_sources and item.name in _NOT_THE_LIBRARYS):
                        folders.append(name)
                elif not self.only_sources or item.name.endswith(".py"):
                    entries.append(Entry(name, _problem(item)))
        return Listing(entries, folders)


def _problem(item: os.DirEntry[str]) -> str:
    try:
        if item.is_file():
            return ""
        if item.is_dir():
            return "a link to a folder, not followed"
        return "a link that leads nowhere" if item.is_symlink() else "not a regular file"
    except OSError as exc:
        return reason(exc)


def read(path: str) -> bytes:
    """The first ``MOST_READ`` bytes of a file. Raises OSError."""
    # Without waiting: /proc and /sys have regular files that give nothing until something happens.
    with open(path, "rb", opener=_open_nonblocking) as file:
        size = os.fstat(file.fileno()).st_size
        return file.read(MOST_READ if size > MOST_READ else -1) or b""


def _open_nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def reason(error: OSError) -> str:
    """Why, in the system's words and without the path, so that equal reasons can be counted."""
    return error.strerror or type(error).__name__
