"""Who takes part: how each pool is made and called as its users would, with two workers.

What its documentation offers for cancelling is used. Where a pool leaves the start method to its user, this is
forkserver: plain fork is not safe in a process that has threads, and no longer the default since Python 3.14.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any, ClassVar

from . import tasks

WORKERS = 2


class Pool(ABC):
    """One row of the table. It is opened and called inside an event loop, and never closed: its process is killed."""

    key: ClassVar[str]
    """Its name on the command line."""
    label: ClassVar[str]
    """Its name in the table."""
    package: ClassVar[str | None] = None
    """What is to be installed, where it does not come with Python."""
    module: ClassVar[str | None] = None
    """What is imported then."""
    backend: ClassVar[str] = "asyncio"
    script: ClassVar[str]
    """A script without the ``__main__`` guard that prints "top level", then the square of 3."""

    async def open(self) -> None:  # noqa: B027  # loky's is simply there
        """Make the pool."""

    @abstractmethod
    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Run ``fn`` in a worker."""

    @classmethod
    def library(cls) -> Any:
        """The imported package; Any, because not all are typed, nor installed everywhere."""
        assert cls.module is not None  # noqa: S101  # a slip in this file
        return importlib.import_module(cls.module)


class Hybridrt(Pool):
    """Ours."""

    key = "hybridrt"
    label = "hybridrt"
    package = module = "hybridrt"
    script = """
import hybridrt

print("top level", flush=True)

def square(x):
    return x * x

async def main():
    print(await hybridrt.to_process(square, 3))

hybridrt.run(main, processes=2)
"""

    async def open(self) -> None:
        self.runtime = self.library().Runtime(processes=WORKERS)
        await self.runtime.__aenter__()

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await self.runtime.to_process(fn, *args)


class _OfExecutor(Pool):
    executor: Executor

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.wrap_future(self.executor.submit(fn, *args))


class Stdlib(_OfExecutor):
    """``run_in_executor`` or ``wrap_future``: the same to all that is probed here."""

    key = "stdlib"
    label = "stdlib ProcessPoolExecutor"
    script = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

print("top level", flush=True)

def square(x):
    return x * x

with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("forkserver")) as pool:
    print(pool.submit(square, 3).result())
"""

    async def open(self) -> None:
        self.executor = ProcessPoolExecutor(WORKERS, multiprocessing.get_context("forkserver"))


class _OfCallbacks(Pool):
    """Pools that call back from a thread of their own, and have no way to cancel a task."""

    pool: Any

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()

        def tell(settle: Callable[[Any], None], outcome: Any) -> None:
            if not done.done():
                settle(outcome)

        self.pool.apply_async(
            fn,
            args,
            callback=lambda value: loop.call_soon_threadsafe(tell, done.set_result, value),
            error_callback=lambda error: loop.call_soon_threadsafe(tell, done.set_exception, error),
        )
        return await done


class MultiprocessingPool(_OfCallbacks):
    """The older one."""

    key = "multiprocessing"
    label = "multiprocessing.Pool"
    script = """
import multiprocessing

print("top level", flush=True)

def square(x):
    return x * x

with multiprocessing.get_context("forkserver").Pool(2) as pool:
    print(pool.apply(square, (3,)))
"""

    async def open(self) -> None:
        self.pool = multiprocessing.get_context("forkserver").Pool(WORKERS)


class Loky(Pool):
    """Asked for its executor at each call, as its documentation has it: a broken one is replaced then."""

    key = "loky"
    label = "loky"
    package = module = "loky"
    script = """
from loky import get_reusable_executor

print("top level", flush=True)

def square(x):
    return x * x

print(get_reusable_executor(max_workers=2).submit(square, 3).result())
"""

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        executor = self.library().get_reusable_executor(max_workers=WORKERS)
        return await asyncio.wrap_future(executor.submit(fn, *args))


class Pebble(Pool):
    """Its futures' ``cancel`` ends the worker."""

    key = "pebble"
    label = "pebble ProcessPool"
    package = module = "pebble"
    script = """
import multiprocessing
from pebble import ProcessPool

print("top level", flush=True)

def square(x):
    return x * x

with ProcessPool(2, context=multiprocessing.get_context("forkserver")) as pool:
    print(pool.schedule(square, args=[3]).result())
"""

    async def open(self) -> None:
        context = multiprocessing.get_context("forkserver")
        self.pool = self.library().ProcessPool(WORKERS, context=context)

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.wrap_future(self.pool.schedule(fn, args=args))


class Mpire(_OfCallbacks):
    """By ``apply_async``."""

    key = "mpire"
    label = "mpire WorkerPool"
    package = module = "mpire"
    script = """
from mpire import WorkerPool

print("top level", flush=True)

def square(x):
    return x * x

with WorkerPool(n_jobs=2, start_method="forkserver") as pool:
    print(pool.apply(square, (3,)))
"""

    async def open(self) -> None:
        self.pool = self.library().WorkerPool(n_jobs=WORKERS, start_method="forkserver")


class Deadpool(_OfExecutor):
    """forkserver is its default."""

    key = "deadpool"
    label = "deadpool"
    package = "deadpool-executor"
    module = "deadpool"
    script = """
from deadpool import Deadpool

print("top level", flush=True)

def square(x):
    return x * x

with Deadpool(max_workers=2) as pool:
    print(pool.submit(square, 3).result())
"""

    async def open(self) -> None:
        self.executor = self.library().Deadpool(max_workers=WORKERS)


class AnyioToProcess(Pool):
    """With ``cancellable=True``."""

    key = "anyio"
    label = "anyio.to_process"
    package = "anyio"
    module = "anyio.to_process"
    script = """
import anyio
from anyio import to_process

print("top level", flush=True)

def square(x):
    return x * x

async def main():
    print(await to_process.run_sync(square, 3))

anyio.run(main)
"""

    async def open(self) -> None:
        import anyio

        self.limiter = anyio.CapacityLimiter(WORKERS)

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await self.library().run_sync(fn, *args, cancellable=True, limiter=self.limiter)


class TrioParallel(Pool):
    """On trio, with ``kill_on_cancel=True``."""

    key = "trio-parallel"
    label = "trio-parallel"
    package = "trio-parallel"
    module = "trio_parallel"
    backend = "trio"
    script = """
import trio, trio_parallel

print("top level", flush=True)

def square(x):
    return x * x

async def main():
    print(await trio_parallel.run_sync(square, 3))

trio.run(main)
"""

    async def open(self) -> None:
        self.limiter: Any = importlib.import_module("trio").CapacityLimiter(WORKERS)

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await self.library().run_sync(fn, *args, kill_on_cancel=True, limiter=self.limiter)


class Aiomisc(Pool):
    """Its workers raise an exception in the task's code when its await is cancelled."""

    key = "aiomisc"
    label = "aiomisc WorkerPool"
    package = module = "aiomisc"
    script = """
import asyncio
from aiomisc import WorkerPool

print("top level", flush=True)

def square(x):
    return x * x

async def main():
    async with WorkerPool(2) as pool:
        print(await pool.create_task(square, 3))

asyncio.run(main())
"""

    async def open(self) -> None:
        self.pool = self.library().WorkerPool(WORKERS)
        await self.pool.start()

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await self.pool.create_task(fn, *args)


class Aiomultiprocess(Pool):
    """It takes coroutine functions only; one task at a time in each worker, or its others would wait unseen."""

    key = "aiomultiprocess"
    label = "aiomultiprocess"
    package = module = "aiomultiprocess"
    script = """
import asyncio
from aiomultiprocess import Pool

print("top level", flush=True)

async def square(x):
    return x * x

async def main():
    async with Pool(2) as pool:
        print(await pool.apply(square, (3,)))

asyncio.run(main())
"""

    async def open(self) -> None:
        self.pool = self.library().Pool(WORKERS, childconcurrency=1)

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await self.pool.apply(tasks.as_coroutine, (fn, *args))


class Osiiso(Pool):
    """Its handles are not awaitable; they call back, and can be cancelled."""

    key = "osiiso"
    label = "osiiso ProcessQueue"
    package = module = "osiiso"
    script = """
import multiprocessing
from osiiso import ProcessQueue

print("top level", flush=True)

def square(x):
    return x * x

with ProcessQueue(workers=2, context=multiprocessing.get_context("forkserver")) as queue:
    handle = queue.submit(square, 3)
    handle.wait()
    print(handle.value())
"""

    async def open(self) -> None:
        context = multiprocessing.get_context("forkserver")
        self.queue = self.library().ProcessQueue(workers=WORKERS, context=context).start()

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        handle = self.queue.submit(fn, *args)
        handle.add_done_callback(lambda _: loop.call_soon_threadsafe(done.set))
        try:
            await done.wait()
        except asyncio.CancelledError:
            handle.cancel()
            raise
        return handle.value()


class Wool(Pool):
    """It takes coroutine functions of its own making only; a blocking one blocks its worker's others."""

    key = "wool"
    label = "wool"
    package = module = "wool"
    script = """
import asyncio, wool

print("top level", flush=True)

@wool.routine
async def square(x):
    return x * x

async def main():
    async with wool.WorkerPool(spawn=2):
        print(await square(3))

asyncio.run(main())
"""

    async def open(self) -> None:
        self.pool = self.library().WorkerPool(spawn=WORKERS)
        await self.pool.__aenter__()
        self.routine: Any = importlib.import_module("benchmarks.failures.wool_task").run

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await self.routine(fn, *args)


POOLS: dict[str, type[Pool]] = {
    pool.key: pool
    for pool in (
        Stdlib,
        MultiprocessingPool,
        Loky,
        Pebble,
        Mpire,
        Deadpool,
        AnyioToProcess,
        TrioParallel,
        Aiomisc,
        Aiomultiprocess,
        Osiiso,
        Wool,
        Hybridrt,
    )
}
