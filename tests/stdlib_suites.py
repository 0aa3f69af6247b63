"""Run as a program: the standard library's own executor tests, from this interpreter's ``test`` package, against ours.

Usage: ``python stdlib_suites.py MODULE FILE [TEST...]`` writes a JSON object into FILE, name of a test -> outcome,
without running those TESTs. Nothing of theirs is copied: their mixins are told to make our executors, through the
adapters below, which also answer the few questions that their tests ask of a standard executor's inside (which
processes are there, which thread manages them).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import json
import multiprocessing
import os
import sys
import threading
import unittest
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

import hybridrt
from hybridrt._core.function import FunctionBook
from hybridrt._lanes.executor import LaneExecutor, LaneFuture

PACKAGE = "test.test_concurrent_futures"


class _Process:
    """A worker, as their tests look at one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def join(self) -> None:
        while os.path.exists(f"/proc/{self.pid}"):
            os.sched_yield()


class PoolUnderTest(hybridrt.ProcessPoolExecutor):
    """Our executor, with those inner parts of the standard one that it has as well."""

    @property
    def _max_workers(self) -> int:
        return self._settings.processes

    @property
    def _processes(self) -> dict[int, _Process]:
        if self._engine is None:
            return {}
        seats = self._engine._lane._seats
        staying = [child for child, seat in list(seats.items()) if not seat.is_leaving]
        while not all(
            child.pid for child in staying
        ):  # a worker can answer sooner than its zygote says its pid
            os.sched_yield()
        return {child.pid: _Process(child.pid) for child in staying}

    @property
    def _executor_manager_thread(self) -> threading.Thread | None:
        return self._engine and self._engine._thread

    @property
    def _broken(self) -> bool:
        return self._engine is not None and self._engine._lane._broken is not None

    @property
    def _call_queue(self) -> _NoQueue:
        return _NoQueue()


PoolUnderTest.__name__ = "ProcessPoolExecutor"  # scripts of theirs import it by its name


class _NoQueue:
    def join_thread(self) -> None:
        """There is no queue, and so no thread that feeds it."""


class ThreadsUnderTest(Executor):
    """``rt.threads`` of a runtime whose event loop runs in a thread."""

    def __init__(self, max_workers: int | None = None) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._ready: Future[Executor] = Future()
        self._thread = threading.Thread(target=asyncio.run, args=[self._live(max_workers)], daemon=True)
        self._thread.start()
        self._executor = self._ready.result()
        self.submit = self._executor.submit  # type: ignore[method-assign]
        self.map = self._executor.map  # type: ignore[method-assign]

    async def _live(self, max_workers: int | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        async with hybridrt.Runtime(threads=max_workers, shutdown_grace=1000) as rt:
            self._ready.set_result(rt.threads)
            await self._end.wait()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait, cancel_futures=cancel_futures)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end.set)
        if wait:
            self._thread.join()


def a_lane_future() -> LaneFuture[Any]:
    """What ``submit`` gives, with nothing behind it."""
    return LaneFuture(_face)


_face = LaneExecutor("tests", asyncio.new_event_loop(), FunctionBook(), None)  # type: ignore[arg-type]


def mixins(util: Any) -> tuple[type, type]:
    class HybridrtMixin(util.ExecutorMixin):  # type: ignore[misc,name-defined]
        executor_type = PoolUnderTest

        def get_context(self) -> Any:
            return multiprocessing.get_context("forkserver")  # which ours behaves like, whatever is named

    class HybridrtThreadsMixin(util.ExecutorMixin):  # type: ignore[misc,name-defined]
        executor_type = ThreadsUnderTest

    return HybridrtMixin, HybridrtThreadsMixin


def in_scripts(assert_python_ok: Callable[..., Any]) -> Callable[..., Any]:
    """Their scripts import an executor by its name from ``concurrent.futures``: ours is to be found there."""

    def ours(*args: str, **environment: str) -> Any:
        *options, script = args
        script = script.replace("from concurrent.futures import", "from hybridrt import")
        path = os.pathsep.join(path for path in sys.path if path)
        return assert_python_ok(*options, script, __isolated=False, PYTHONPATH=path, **environment)

    return ours


def load(name: str) -> unittest.TestSuite:
    """The suite of this module of theirs, made of our mixins."""
    util = importlib.import_module(f"{PACKAGE}.util")
    made: list[str] = []
    ours = mixins(util)

    def create(
        remote_globals: dict[str, Any],
        mixin: type,
        bases: tuple[type, ...] = (util.BaseTestCase,),
        executor_mixins: tuple[type, ...] = (util.ThreadPoolMixin,),
    ) -> None:
        wanted = ours if util.ThreadPoolMixin in executor_mixins else ours[:1]
        for executor_mixin in wanted:
            title = executor_mixin.__name__.removesuffix("Mixin") + mixin.__name__
            made.append(title)
            remote_globals[title] = type(
                title, (mixin, executor_mixin, *bases), {"__module__": remote_globals["__name__"]}
            )

    util.create_executor_tests = create
    util.Future = a_lane_future
    module = importlib.import_module(f"{PACKAGE}.{name}")
    if name == "test_shutdown":
        module.assert_python_ok = in_scripts(module.assert_python_ok)
        create(vars(module), module.ExecutorShutdownTest, executor_mixins=(util.ThreadPoolMixin,))
        made.remove("HybridrtExecutorShutdownTest")  # HybridrtProcessPoolShutdownTest is the same and more
    if name == "test_wait":
        # Theirs takes a second and a half for longer than a call of ``mul``, whose worker must import all this first.
        os.environ["HYBRIDRT_PRELOAD"] = f"{PACKAGE}.{name}"
        create(vars(module), module.WaitTests, executor_mixins=(util.ThreadPoolMixin,))
    if name == "test_thread_pool":
        title = "HybridrtThreadsExecutorTest"
        setattr(
            module, title, type(title, (module.ThreadPoolExecutorTest,), {"executor_type": ThreadsUnderTest})
        )
        made.append(title)
    if name == "test_future":
        module.Future = a_lane_future
        made.append("FutureTests")
    # Where they name the standard class outright; a class of its own, since theirs ask "is it the standard one?".
    concurrent.futures.ProcessPoolExecutor = type("ProcessPoolExecutor", (PoolUnderTest,), {})  # type: ignore[misc]
    loader = unittest.TestLoader()
    return unittest.TestSuite(
        loader.loadTestsFromTestCase(getattr(module, title)) for title in dict.fromkeys(made)
    )


class Outcomes(unittest.TestResult):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self.found[_name(test)] = "passed"

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        self.found[_name(test)] = f"skipped: {reason}"

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        self._failed(test, err)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        self._failed(test, err)

    def addSubTest(self, test: unittest.TestCase, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self._failed(test, err)

    def _failed(self, test: unittest.TestCase, err: Any) -> None:
        self.found[_name(test)] = f"failed: {self._exc_info_to_string(err, test)}"  # type: ignore[attr-defined]


def _name(test: unittest.TestCase) -> str:
    return ".".join(test.id().split(".")[-2:])


def each(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from each(test)
        else:
            yield test


def main(module: str, into: str, not_to_run: list[str]) -> None:
    support = importlib.import_module("test.support")
    support.verbose = 0
    support.use_resources = []  # none of those that take long by the clock
    result = Outcomes()
    tests = {_name(test): test for test in each(load(module))}
    result.found = {name: "not run" for name in not_to_run if name in tests}
    unittest.TestSuite(test for name, test in tests.items() if name not in not_to_run).run(result)
    with open(into, "w") as file:
        json.dump(result.found, file)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
