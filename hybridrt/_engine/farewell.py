"""The end of a worker takes apart what the worker has made, and leaves alone what it had from the zygote.

At its end the interpreter clears every module. In a forked process that writes to all that is shared with the zygote,
so the kernel copies it first, page by page, only to throw it away: 30 ms and 32 MB where pandas was preloaded. So the
modules that were there before the fork are taken off the list of modules, as the very last of the atexit hooks. What
calls have imported or made ends as ever.
"""

from __future__ import annotations

import atexit
import gc
import io
import sys
from types import ModuleType

_inherited: dict[str, ModuleType] = {}
_remembered = 0
_LAST_OF_ALL = ("__main__", "builtins", "sys")  # the interpreter has its own way with them


def install() -> None:
    """In the zygote, for it and all its workers; before any other hook is registered."""
    atexit.register(_leave_alone)


def remember() -> None:
    """In the zygote, after imports and before ``gc.freeze``: it makes immortal what refers to itself, as this does."""
    global _remembered
    if len(sys.modules) == _remembered:
        return  # each fork comes by here
    _remembered = len(sys.modules)
    _inherited.update((name, module) for name, module in sys.modules.items() if name not in _LAST_OF_ALL)


def _leave_alone() -> None:
    for name, module in _inherited.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
    # What a call has hung into one of them is not taken apart either, but what it has written there must not be lost.
    for thing in gc.get_objects():
        if isinstance(thing, io.BufferedWriter | io.BufferedRandom | io.TextIOWrapper) and not thing.closed:
            try:
                thing.flush()
            except Exception:
                pass  # as the interpreter's end has it
