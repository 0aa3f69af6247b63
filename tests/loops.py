"""The event loops that there are: each async test runs on each, or on the one that ``HYBRIDRT_TEST_LOOP`` names."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

try:
    import uvloop
except ImportError:  # Windows, PyPy
    uvloop = None

ALL_LOOPS: dict[str, Callable[[], Any]] = {"asyncio": asyncio.new_event_loop}
if uvloop is not None:
    ALL_LOOPS["uvloop"] = uvloop.new_event_loop
only = os.environ.get("HYBRIDRT_TEST_LOOP", "")
LOOPS = {only: ALL_LOOPS[only]} if only else ALL_LOOPS
