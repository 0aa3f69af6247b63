"""The event loops that there are: each async test runs on each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

try:
    import uvloop
except ImportError:  # Windows, PyPy
    uvloop = None

LOOPS: dict[str, Callable[[], Any]] = {"asyncio": asyncio.new_event_loop}
if uvloop is not None:
    LOOPS["uvloop"] = uvloop.new_event_loop
