"""The drop-in for ``concurrent.futures.ProcessPoolExecutor``: the process lane for code without an event loop.

Theory of operation. A daemon thread, started by the first call, runs an event loop with a process lane in it; calls
come in through the lane's executor, from any thread. That thread does not know the ``ProcessPoolExecutor`` in front, so
one that is dropped can be collected; its thread finishes the work and leaves. When the interpreter exits, a hook ends
every such thread, and waits: all that was submitted is run first, as the standard executors do.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Executor, Future
from threading import Event, Lock, Thread, current_thread
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload
from weakref import WeakSet

from ._core.function import COROUTINE, FunctionBook, kind_of, name_of
from ._core.settings import Settings
from .errors import HybridrtError

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

P = ParamSpec("P")
T = TypeVar("T")

_FORKED = "this executor belongs to the process that this one was forked from; make a new one here"
_BREATH_SECONDS = 0.5
_AS_LONG_AS_IT_TAKES = 1e9
"""Seconds; a number that every event loop can count to."""


class ProcessPoolExecutor(Executor):
    """Runs calls in worker processes; the same signature and promises as the standard library's, and more.

    ``max_workers``           most worker processes at once; None: one for each CPU that is really ours
    ``mp_context``            accepted and not used: whatever it names, workers come from a clean process that shares
                              no memory with this one and never loads the script's ``__main__``, so no guard is needed
    ``initializer``           called with ``*initargs`` once in each new worker, before its first call
    ``max_tasks_per_child``   calls after which a worker is replaced by a fresh one; None: never
    ``settings``              those of ``Settings`` that concern worker processes: ``preload``, ``nice``,
                              ``interrupt_grace`` ...

    More than the standard one promises: a worker's death fails the one call that it was running, with
    ``WorkerCrashed``, and the executor goes on; ``cancel()`` of a running call stops it and returns True; functions
    need not be importable; a coroutine function runs on an event loop in a worker, many side by side.

    Work that was accepted is done, whether ``shutdown`` waits for it or not, when the executor is dropped, and when the
    interpreter exits. Raises TypeError or ValueError for arguments that make no sense.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        **settings: Any,
    ) -> None:
        self._engine: _Engine | None = None
        self._is_shut = False
        if sys.platform == "win32":
            raise HybridrtError(
                "hybridrt's worker processes need fork and Unix sockets, which this system lacks: "
                "use concurrent.futures.ProcessPoolExecutor here, or Linux or WSL"
            )
        _check_count("max_workers", max_workers, "must be greater than 0")
        _check_count("max_tasks_per_child", max_tasks_per_child, "must be >= 1")
        _check_initializer(initializer)
        for name, ours in (("processes", "max_workers"), ("max_tasks_per_worker", "max_tasks_per_child")):
            if name in settings:
                raise TypeError(f"ProcessPoolExecutor has no setting {name!r}: it is called {ours!r} here")
        self._settings = Settings.load(
            {"processes": max_workers, "max_tasks_per_worker": max_tasks_per_child, **settings}
        )
        self._initializer = initializer
        self._initargs = tuple(initargs)
        self._starting = Lock()
        _in_use.add(self)

    @overload
    def submit(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]: ...
    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start ``fn(*args, **kwargs)`` in a worker. What cannot be pickled shows in the future, as ``NotSendable``.

        Raises RuntimeError after ``shutdown``, and InitializerFailed once the initializer has failed.
        """
        engine = self._engine or self._start()
        return engine.executor.submit(fn, *args, **kwargs)

    @overload
    def map(
        self,
        fn: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]: ...
    @overload
    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]: ...
    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """The results of ``fn`` over the iterables, in order.

        ``timeout``       seconds from this call until the last result has to be there; then TimeoutError
        ``chunksize``     calls that travel to a worker together; one that fails takes no earlier result along, one that
                          crashes takes its chunk
        ``buffersize``    most calls (or chunks) in flight: the input is then read as results are taken, and may be
                          endless. None: all of it is read and submitted now

        When a call fails, the time is up or the iterator is closed, the calls that are left are cancelled, and stopped
        where they run. Raises TypeError or ValueError for a size that makes no sense.
        """
        engine = self._engine or self._start()
        results = engine.executor.map(
            fn, *iterables, timeout=timeout, chunksize=chunksize, buffersize=buffersize
        )
        return results if buffersize is None else _kept_open(self, results)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; what was accepted is still run, but with ``cancel_futures`` that which no worker has yet.

        With ``wait`` this returns when all is done and the workers have gone. In a callback of one of this executor's
        futures it never waits: the callback runs in the very thread to wait for.
        """
        with self._starting:
            self._is_shut = True
        if self._engine is not None:
            self._engine.end(cancel_futures=cancel_futures)
            if wait:
                self._engine.join()

    def _start(self) -> _Engine:
        with self._starting:
            if self._engine is None:
                if self._is_shut:
                    raise _after_shutdown()
                self._engine = _Engine(self._settings, self._initializer, self._initargs)
            return self._engine

    def _forsake(self) -> None:
        """In a process forked from ours, where nobody holds this lock; one that had not begun is as good as new."""
        self._starting = Lock()

    def __del__(self) -> None:
        """Dropped without ``shutdown``. The garbage collector may call this in the middle of anything: no lock."""
        if self._engine is not None:
            self._engine.end()


class _Engine:
    """The thread, its event loop and the process lane in it."""

    def __init__(
        self, settings: Settings, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
    ) -> None:
        from ._lanes.processes import ProcessLane
        from ._lanes.setup import Setup

        if _exit.has_begun:
            raise _after_exit()
        setup = None if initializer is None else Setup(initializer, initargs)
        self._is_forsaken = False
        self._loop = _new_event_loop()
        self._lane = ProcessLane(self._loop, FunctionBook(), settings, setup=setup)
        self.executor = self._lane.executor
        self._ending = self._loop.create_future()
        self._life: asyncio.Task[None] | None = None
        self._has_left = Event()
        self._thread = Thread(target=self._run, name="hybridrt-executor", daemon=True)
        _exit.engines.add(self)
        try:
            self._thread.start()
        except BaseException:
            _exit.engines.discard(self)
            self._loop.close()
            raise

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._live())
        except asyncio.CancelledError:
            pass  # it was stopped
        finally:
            try:
                self.executor.abandon("the thread of this executor has ended")
                self._loop.close()
            finally:
                _exit.engines.discard(self)
                self._has_left.set()

    async def _live(self) -> None:
        self._life = asyncio.current_task()
        await self._ending
        self._lane.close_submit("this executor was shut down")
        await self._lane.close(_AS_LONG_AS_IT_TAKES)
        await asyncio.sleep(0)  # the last outcomes are on their way to their futures

    def end(self, reason: Callable[[], Exception] | None = None, *, cancel_futures: bool = False) -> None:
        """Refuse calls from now on, finish what was accepted, then leave. Takes no lock and does not wait."""
        if self._is_forsaken:
            return  # the parent's thread would be woken
        self.executor.refuse(reason or _after_shutdown)
        if cancel_futures:
            self.executor.shutdown(wait=False, cancel_futures=True)
        try:
            self._loop.call_soon_threadsafe(self._end)
        except RuntimeError:
            pass  # it has ended

    def _end(self) -> None:
        if not self._ending.done():
            self._ending.set_result(None)

    def stop(self) -> None:
        """Stop the work that was to be finished."""
        try:
            self._loop.call_soon_threadsafe(self._stop)
        except RuntimeError:
            pass  # it has ended

    def _stop(self) -> None:
        if self._life is not None:
            self._life.cancel()

    def join(self) -> None:
        """Until the thread has left; in that thread itself, at once."""
        if self._is_forsaken or current_thread() is self._thread:
            return
        # In pieces: a signal that comes just before a wait begins does not end it. And not in Thread.join, which takes
        # a thread for ended (3.11, 3.12) when Ctrl-C ends the wait for it.
        while not self._has_left.wait(_BREATH_SECONDS):
            pass
        self._thread.join()

    def forsake(self) -> None:
        """In a process forked from ours: let go of everything, and touch nothing that the two share."""
        self._is_forsaken = True
        self._lane.forsake(_FORKED)


class _Exit:
    """What the interpreter's exit has to wait for."""

    def __init__(self) -> None:
        self.has_begun = False
        self.engines: set[_Engine] = set()

    def begin(self) -> None:
        """Run all that was submitted, and let the threads leave: a daemon thread would be frozen in mid-work."""
        self.has_begun = True
        engines = list(self.engines)
        for engine in engines:
            engine.end(_after_exit)
        try:
            for engine in engines:
                engine.join()
        except BaseException:  # Ctrl-C, where the wait is too long for somebody
            for engine in engines:
                engine.stop()
            for engine in engines:
                engine.join()
            raise


_exit = _Exit()
atexit.register(_exit.begin)
_in_use: WeakSet[ProcessPoolExecutor] = WeakSet()


def _forsake_all() -> None:
    for executor in tuple(_in_use):
        executor._forsake()
    for engine in tuple(_exit.engines):
        engine.forsake()  # those whose executor was dropped, too
    _exit.engines.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forsake_all)


def _kept_open(executor: ProcessPoolExecutor, results: Iterator[T]) -> Iterator[T]:
    """The same results; the executor is not collected while calls are still to be submitted."""
    yield from results
    del executor


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _check_count(name: str, value: object, least: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer")
    if value <= 0:
        raise ValueError(f"{name} {least}")


def _check_initializer(initializer: object) -> None:
    if initializer is None:
        return
    if not callable(initializer):
        raise TypeError("initializer must be a callable")
    if kind_of(initializer) == COROUTINE:
        raise TypeError(
            f"initializer {name_of(initializer)} is a coroutine function, and no event loop runs in a new worker: "
            "pass a plain function"
        )


def _after_shutdown() -> RuntimeError:
    return RuntimeError("cannot schedule new futures after shutdown")


def _after_exit() -> RuntimeError:
    return RuntimeError("cannot schedule new futures after interpreter shutdown")
