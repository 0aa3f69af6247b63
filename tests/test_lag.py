"""The lag watch notes how late the loop is, and stops when told."""

from __future__ import annotations

import asyncio
import time

from helpers import until

from hybridrt.watch.lag import LagWatch


async def test_a_blocked_loop_shows() -> None:
    watch = LagWatch(asyncio.get_running_loop(), 0.001)
    await until(lambda: watch.snapshot().samples > 2)
    time.sleep(0.05)
    await asyncio.sleep(0.002)
    assert watch.snapshot().worst > 0.04
    watch.close()
    count = watch.snapshot().samples
    await asyncio.sleep(0.005)
    assert watch.snapshot().samples == count


async def test_an_interval_of_zero_measures_nothing() -> None:
    watch = LagWatch(asyncio.get_running_loop(), 0)
    await asyncio.sleep(0.002)
    assert watch.snapshot().samples == 0
    watch.close()
