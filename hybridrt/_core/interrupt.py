"""The exception that stops running code; apart from ``errors`` because every worker loads it."""

from __future__ import annotations


class Interrupted(BaseException):
    """Thrown into the code that a worker is running when its call is cancelled.

    A ``BaseException``, as ``KeyboardInterrupt`` and ``CancelledError`` are, so that ``except Exception`` does not
    swallow it: ``finally`` blocks and context managers run. Code that swallows it is killed after the grace.
    """


Interrupted.__module__ = "hybridrt"
