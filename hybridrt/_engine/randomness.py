"""Random numbers in a worker that was forked with their generator loaded.

The standard library's generators seed themselves anew after a fork; NumPy's global one does not, so all workers would
draw the same numbers.
"""

from __future__ import annotations

import sys
from typing import Any


def renew() -> None:
    """Seed NumPy's global generator anew, unless the user's code has seeded it on purpose."""
    numpy_random: Any = sys.modules.get("numpy.random")
    try:
        if numpy_random.get_bit_generator().seed_seq is not None:  # a seed of one's own leaves none
            numpy_random.seed()
    except Exception:
        pass  # an older NumPy, or something else under its name: it stays what it is
