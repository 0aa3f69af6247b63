"""A progress bar, drawn by tqdm where it is installed."""

from __future__ import annotations

import threading
from typing import Any

from ..errors import HybridrtError


class Bar:
    """One bar on stderr: how many of how many, the rate, the time that is left, and how many have failed."""

    def __init__(self, label: str, total: int | None) -> None:
        """``total`` is None where nobody knows. Raises HybridrtError where tqdm is not installed."""
        self._class = _bar_class()
        self._label = label
        self._total = total
        self._bar: Any = None
        self._failed = 0

    def begin(self) -> None:
        """Draw it."""
        self._bar = self._class(
            desc=self._label, total=self._total, unit="", unit_scale=True, dynamic_ncols=True
        )

    def add(self, ended: int, failed: int) -> None:
        """So many more have ended, and of these so many have failed."""
        if failed:
            self._failed += failed
            self._bar.set_postfix(failed=self._failed, refresh=False)
        self._bar.update(ended)

    def close(self) -> None:
        """Leave the bar as it is; a second time is harmless."""
        if self._bar is not None:
            self._bar.close()


def _bar_class() -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        raise HybridrtError(
            "map(progress=...) draws its bar with tqdm, which is not installed: pip install 'hybridrt[progress]'"
        ) from None

    class Quiet(tqdm):  # type: ignore[misc]  # Any, to mypy
        """Without the thread that watches for bars that stand still, and without a semaphore of the system."""

        monitor_interval = 0

    if not hasattr(tqdm, "_lock"):
        Quiet.set_lock(threading.RLock())
    return Quiet
