"""The one task of wool: apart, because only this module needs wool to be installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

_wool: Any = importlib.import_module("wool")


@_wool.routine  # type: ignore[untyped-decorator]
async def run(fn: Callable[..., Any], *args: Any) -> Any:
    """``fn``, in one of wool's workers."""
    return fn(*args)
