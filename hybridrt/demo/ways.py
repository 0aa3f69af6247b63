"""The job, and the four ways to do it. They differ in one thing: where the two calls of each file run.

``hybridrt_way`` is how one writes it with hybridrt, whole. Each other way is set up as well as one can without it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any, NamedTuple, TypeAlias

import hybridrt

from .analysis import Facts, analyse
from .tree import Call, Tree, read, reason

Results: TypeAlias = dict[str, Facts | str]
"""Of each file by name: its facts, or why there are none."""


class Job(NamedTuple):
    """One pass over the tree.

    ``window``     most files in hand at once, which bounds the memory
    ``on_result``  called after each file
    """

    tree: Tree
    processes: int
    window: int
    on_result: Callable[[], None]

    async def do(self, in_thread: Call, in_process: Call) -> Results:
        """Walk, read and analyse every file; the same code for every way."""
        results: Results = {}
        window = asyncio.Semaphore(self.window)

        async def handle(name: str) -> None:
            try:
                data = await in_thread(read, self.tree.path(name))
            except OSError as exc:
                results[name] = reason(exc)
            else:
                results[name] = await in_process(analyse, name, data)
            window.release()
            self.on_result()

        async with asyncio.TaskGroup() as tasks:
            async for name, problem in self.tree.walk(in_thread):
                if problem:
                    results[name] = problem
                    continue
                await window.acquire()
                tasks.create_task(handle(name))
        return results


async def hybridrt_way(job: Job) -> Results:
    """Read in threads, analyse in worker processes."""
    async with hybridrt.Runtime(processes=job.processes) as rt:
        return await job.do(rt.to_thread, rt.to_process)


async def process_pool_way(job: Job) -> Results:
    """Read in asyncio's threads, analyse in the standard library's process pool.

    Forkserver, because fork is not safe beside threads. The first start and the end of the pool, which block, are
    kept off the loop. Ctrl-C is the loop's to answer: in the workers it would end in a traceback each.
    """
    pool = ProcessPoolExecutor(
        job.processes, get_context("forkserver"), signal.signal, (signal.SIGINT, signal.SIG_IGN)
    )
    try:
        await asyncio.to_thread(lambda: pool.submit(os.getpid).result())
        in_pool = partial(asyncio.get_running_loop().run_in_executor, pool)
        return await job.do(asyncio.to_thread, in_pool)
    finally:
        await asyncio.to_thread(pool.shutdown)


async def threads_way(job: Job) -> Results:
    """Read and analyse in asyncio's threads."""
    return await job.do(asyncio.to_thread, asyncio.to_thread)


async def inline_way(job: Job) -> Results:
    """Everything on the loop: one file at a time, and the loop gets its turn before each step."""
    return await job._replace(window=1).do(here, here)


async def here(fn: Callable[..., Any], /, *args: Any) -> Any:
    """Call it now, on the loop."""
    await asyncio.sleep(0)
    return fn(*args)


WAYS: dict[str, Callable[[Job], Awaitable[Results]]] = {
    "hybridrt": hybridrt_way,
    "process pool": process_pool_way,
    "threads": threads_way,
    "inline": inline_way,
}
