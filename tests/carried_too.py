"""A variable of the same name as one in carried.py, and one that nobody registers here, as in a library."""

from __future__ import annotations

from contextvars import ContextVar

import hybridrt

request_id = hybridrt.register_contextvar(ContextVar("request_id", default="none, too"))
of_a_library = ContextVar("of_a_library", default="none")


def read_library() -> str:
    return of_a_library.get()
