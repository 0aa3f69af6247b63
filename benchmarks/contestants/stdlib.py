"""What comes with Python."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from ..work import Kept, answer_one, keep
from .contract import STALLS, Contestant


class _RunInExecutor(Contestant):
    executor: Executor

    async def open(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.executor = self.make_executor()

    def make_executor(self) -> Executor:
        raise NotImplementedError

    async def close(self) -> None:
        self.executor.shutdown(cancel_futures=True)

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return self.loop.run_in_executor(self.executor, fn, *args)


class ProcessPool(_RunInExecutor):
    """With a forkserver, the default since 3.14: plain fork is not safe in a process that has threads."""

    key = "stdlib-process"
    label = "run_in_executor(ProcessPoolExecutor)"
    short = "ProcessPoolExecutor"
    lane = "process"
    takes = (
        *("one", "many", "syscalls-one", "syscalls-many", "import", "cold", "fresh", "crash"),
        *("memory", "memory-numpy", "array", "shared", *STALLS, "waiting", "web"),
    )
    importing = "import asyncio, concurrent.futures"
    using = "import asyncio; from concurrent.futures import ProcessPoolExecutor"
    most_waiting = 30_000

    def make_executor(self) -> Executor:
        context = multiprocessing.get_context("forkserver")
        if self.preload:
            context.set_forkserver_preload(list(self.preload))
        return ProcessPoolExecutor(self.workers, mp_context=context)

    async def share(self, value: Any) -> Any:
        """By the initializer of an executor made for it: each worker gets it once."""
        self.sharing = ProcessPoolExecutor(
            self.workers, multiprocessing.get_context("forkserver"), initializer=keep, initargs=(value,)
        )
        self.whole, self.executor = self.executor, self.sharing
        return Kept()

    async def unshare(self, handle: Any) -> None:
        self.executor = self.whole
        self.sharing.shutdown()

    async def recover(self) -> None:
        """It is broken as a whole."""
        self.executor.shutdown(wait=False)
        self.executor = self.make_executor()


class ThreadPool(_RunInExecutor):
    """A pool of one's own."""

    key = "stdlib-thread"
    label = "run_in_executor(ThreadPoolExecutor)"
    short = "ThreadPoolExecutor"
    lane = "thread"
    takes = ("one", "many", "cold", "waiting", "web")
    most_waiting = 30_000

    def make_executor(self) -> Executor:
        return ThreadPoolExecutor(self.workers)


class ToThread(Contestant):
    """The loop's default executor, made with as many threads as all others get."""

    key = "asyncio-thread"
    label = "asyncio.to_thread"
    short = "asyncio.to_thread"
    lane = "thread"

    async def open(self) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(self.workers))

    async def close(self) -> None:
        await asyncio.get_running_loop().shutdown_default_executor()

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return asyncio.to_thread(fn, *args)


class Inline(Contestant):
    """No pool at all."""

    key = "inline"
    label = "on the loop itself"
    short = "inline"
    lane = "thread"
    takes = ("web",)

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(0)
        return fn(*args)


class SpawnedProcess(Contestant):
    """A process for each call, which it receives and answers through a pipe."""

    key = "spawned-process"
    label = "multiprocessing.Process (spawn)"
    short = "spawned Process"
    lane = "process"
    takes = ("fresh",)
    call_starts_worker = True
    method = "spawn"

    async def open(self) -> None:
        self.processes: list[multiprocessing.process.BaseProcess] = []

    async def close(self) -> None:
        for process in self.processes:
            process.join()

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        context = multiprocessing.get_context(self.method)
        here, there = context.Pipe()
        process = context.Process(target=answer_one, args=(there,))  # type: ignore[attr-defined] # not on its base class
        process.start()
        self.processes.append(process)
        there.close()
        with here:
            here.send((fn, args))
            return here.recv()


class ForkserverProcess(SpawnedProcess):
    """The same from a forkserver that runs already."""

    key = "forkserver-process"
    label = "multiprocessing.Process (forkserver)"
    short = "forkserver Process"
    method = "forkserver"
