"""Which modules a call brought into its worker, so that the zygote may have them for the workers to come."""

from __future__ import annotations

import os
import sys
from itertools import islice
from types import ModuleType

MOST_NAMES = 2048
"""Names of one report: they have to fit into one message to the zygote."""
MOST_NAME = 60

_STDLIB = os.path.dirname(os.__file__) + os.sep
_LIBRARIES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_OWN = os.path.dirname(os.path.dirname(__file__)) + os.sep


def learnable(known: int) -> list[str]:
    """Names of the modules that came after the first ``known`` ones and that another process can import as well.

    Those at the top come first, in the order in which their imports ended, so that each is after those that it needs;
    then what is in packages. Only installed packages and the standard library: the code of the user's own project may
    change while the program runs, and often does things at import that are meant for one process.
    """
    # From the end: to touch a module that is shared with the zygote is to have its page copied.
    new = tuple(islice(reversed(sys.modules.items()), max(0, len(sys.modules) - known)))
    found = [name for name, module in reversed(new) if len(name) <= MOST_NAME and _is_learnable(name, module)]
    found.sort(key=lambda name: name.count("."))
    return found[:MOST_NAMES]


def _is_learnable(name: str, module: ModuleType) -> bool:
    spec = getattr(module, "__spec__", None)
    origin = getattr(spec, "origin", None)
    if getattr(spec, "name", None) != name or type(origin) is not str:
        return False
    return origin in ("built-in", "frozen") or _is_installed(origin)


def is_of_a_project(module: ModuleType) -> bool:
    """Whether its code lies in a file outside of all that was installed."""
    origin = getattr(getattr(module, "__spec__", None), "origin", None) or getattr(module, "__file__", None)
    return type(origin) is str and os.sep in origin and not _is_installed(origin)


def is_of_the_standard_library(file: str) -> bool:
    """Whether this is one of Python's own files."""
    return file.startswith("<frozen ") or (file.startswith(_STDLIB) and not _is_in_a_library(file))


def _is_installed(origin: str) -> bool:
    return origin.startswith((_STDLIB, _OWN)) or _is_in_a_library(origin)


def _is_in_a_library(file: str) -> bool:
    return any(folder in file for folder in _LIBRARIES)
