"""Who takes part. A new contestant is a subclass of ``Contestant`` in a file here, and a line in ``CONTESTANTS``."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from . import (
    aiomisc_pool,
    aiomultiprocess_pool,
    anyio_pools,
    floor_local,
    floor_process,
    floor_thread,
    joblib_pool,
    loky_pool,
    mpire_pool,
    ours,
    pebble_pool,
    stdlib,
    trio_parallel_pool,
)
from .contract import Contestant

CONTESTANTS: list[type[Contestant]] = [
    ours.SubmitToProcess,
    ours.ToProcess,
    stdlib.ProcessPool,
    anyio_pools.ToProcess,
    loky_pool.LokyPool,
    pebble_pool.PebblePool,
    joblib_pool.Joblib,
    mpire_pool.Mpire,
    aiomisc_pool.Aiomisc,
    aiomultiprocess_pool.Aiomultiprocess,
    trio_parallel_pool.TrioParallel,
    stdlib.SpawnedProcess,
    stdlib.ForkserverProcess,
    floor_process.PingPong,
    floor_process.Batches,
    floor_process.TaskBatches,
    floor_process.BareFork,
    floor_local.Copies,
    floor_local.Idle,
    ours.SubmitToThread,
    ours.ToThread,
    stdlib.ToThread,
    stdlib.ThreadPool,
    anyio_pools.ToThread,
    aiomisc_pool.AiomiscThreads,
    stdlib.Inline,
    floor_thread.OneThread,
    floor_thread.Queue,
    floor_thread.TaskQueue,
]


def everybody(added: Iterable[str] = ()) -> dict[str, type[Contestant]]:
    """All contestants by key: ours, and the ``CONTESTANTS`` of the modules in ``added``."""
    found = list(CONTESTANTS)
    for module in added:
        found += importlib.import_module(module).CONTESTANTS
    return {contestant.key: contestant for contestant in found}
