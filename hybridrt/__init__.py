"""hybridrt: one ``await`` puts each piece of work where it belongs: the event loop, a thread or a process.

The names are opened lazily (PEP 562), because every worker process imports this package too and must
never pay for asyncio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME_OF = {
    "Runtime": "hybridrt.runtime",
    "ProcessPoolExecutor": "hybridrt.executor",
    "Job": "hybridrt._lanes.job",
    "Actor": "hybridrt.actors.actor",
    "Restart": "hybridrt.actors.restart",
    "batched": "hybridrt.actors.batched",
    "Stream": "hybridrt.streams.stream",
    "MapResults": "hybridrt.streams.mapped",
    "Settings": "hybridrt._core.settings",
    "Explanation": "hybridrt._core.explanation",
    "Health": "hybridrt._core.health",
    "LaneStats": "hybridrt._core.stats",
    "LoopLag": "hybridrt._core.stats",
    "Stats": "hybridrt._core.stats",
    "WorkerStats": "hybridrt._core.stats",
    "cpu_bound": "hybridrt._core.placement",
    "io_bound": "hybridrt._core.placement",
    "limit": "hybridrt._core.placement",
    "thread_only": "hybridrt._core.placement",
    "cancelled": "hybridrt._engine.current",
    "register_contextvar": "hybridrt._engine.variables",
    "current_runtime": "hybridrt.ambient",
    "run": "hybridrt.ambient",
    "to_process": "hybridrt.ambient",
    "to_thread": "hybridrt.ambient",
    "Blockage": "hybridrt.errors",
    "DeadlineExceeded": "hybridrt.errors",
    "HybridrtError": "hybridrt.errors",
    "InitializerFailed": "hybridrt.errors",
    "Interrupted": "hybridrt.errors",
    "LoopBlocked": "hybridrt.errors",
    "LoopBlockedWarning": "hybridrt.errors",
    "NotSendable": "hybridrt.errors",
    "QueueFull": "hybridrt.errors",
    "RemoteError": "hybridrt.errors",
    "RuntimeClosed": "hybridrt.errors",
    "TaskExited": "hybridrt.errors",
    "WorkerCrashed": "hybridrt.errors",
    "WorkerStartError": "hybridrt.errors",
}

__all__ = [  # noqa: RUF022  (grouped as _HOME_OF is: what one types first comes first)
    "Runtime",
    "ProcessPoolExecutor",
    "Job",
    "Actor",
    "Restart",
    "batched",
    "Stream",
    "MapResults",
    "Settings",
    "Explanation",
    "Health",
    "LaneStats",
    "LoopLag",
    "Stats",
    "WorkerStats",
    "cpu_bound",
    "io_bound",
    "limit",
    "thread_only",
    "cancelled",
    "register_contextvar",
    "current_runtime",
    "run",
    "to_process",
    "to_thread",
    "Blockage",
    "DeadlineExceeded",
    "HybridrtError",
    "InitializerFailed",
    "Interrupted",
    "LoopBlocked",
    "LoopBlockedWarning",
    "NotSendable",
    "QueueFull",
    "RemoteError",
    "RuntimeClosed",
    "TaskExited",
    "WorkerCrashed",
    "WorkerStartError",
]

if TYPE_CHECKING:
    from ._core.explanation import Explanation
    from ._core.health import Health
    from ._core.placement import cpu_bound, io_bound, limit, thread_only
    from ._core.settings import Settings
    from ._core.stats import LaneStats, LoopLag, Stats, WorkerStats
    from ._engine.current import cancelled
    from ._engine.variables import register_contextvar
    from ._lanes.job import Job
    from .actors.actor import Actor
    from .actors.batched import batched
    from .actors.restart import Restart
    from .ambient import current_runtime, run, to_process, to_thread
    from .errors import (
        Blockage,
        DeadlineExceeded,
        HybridrtError,
        InitializerFailed,
        Interrupted,
        LoopBlocked,
        LoopBlockedWarning,
        NotSendable,
        QueueFull,
        RemoteError,
        RuntimeClosed,
        TaskExited,
        WorkerCrashed,
        WorkerStartError,
    )
    from .executor import ProcessPoolExecutor
    from .runtime import Runtime
    from .streams.mapped import MapResults
    from .streams.stream import Stream


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'hybridrt' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
