"""Whether threads compute side by side here, or take turns at the global interpreter lock."""

from __future__ import annotations

import sys
from collections.abc import Callable

_is_gil_enabled: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)


def is_gil_off() -> bool:
    """Whether there is no such lock now. Only a free-threaded Python (3.13 and later) can say yes.

    Ask when it matters: importing an extension module that does not declare itself safe turns the lock on again, for
    good. Costs a tenth of a microsecond.
    """
    return not _is_gil_enabled()
