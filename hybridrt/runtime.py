"""The Runtime: the one awaitable scheduler in front of the loop, the threads and the processes."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from contextvars import ContextVar, Token
from importlib import import_module
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload
from weakref import WeakKeyDictionary, WeakSet, ref

from ._core.explanation import Explanation, explain
from ._core.function import COROUTINE, FunctionBook
from ._core.gil import is_gil_off
from ._core.placement import CPU_THREAD, LANES, LOOP, PROCESS, THREAD_ONLY, place, place_measured
from ._core.settings import Settings
from ._core.stats import Stats
from ._core.terms import Terms
from ._engine import shares
from ._lanes import profile_file
from ._lanes.contract import FORKED, LEFT
from ._lanes.executor import is_running_here
from ._lanes.job import Job
from .actors.plan import ActorOptions
from .errors import RuntimeClosed
from .files import AnyFile, BinaryFile, BinaryMode, TextFile, TextMode
from .lifetime import OpenLanes, guard
from .streams.batch_start import BatchStart
from .streams.starting import MOST_ALONE, Means
from .verbs import PlainVerbs
from .watch.blocked import BlockedWatch
from .watch.lag import LagWatch

if TYPE_CHECKING:
    from .actors.actor import ActorContext
    from .scopes import Scope
    from .streams.stream import Stream

if sys.platform != "win32":
    # Loaded now, not on first use: that takes 20 ms, which the loop would feel.
    import_module("hybridrt._lanes.processes")

P = ParamSpec("P")
T = TypeVar("T")

_entered: ContextVar[ref[Runtime] | None] = ContextVar("hybridrt_runtime", default=None)
_open_on_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, list[ref[Runtime]]] = WeakKeyDictionary()
_entered_ones: WeakSet[Runtime] = WeakSet()


class Runtime(PlainVerbs):
    """Threads, worker processes and the event loop behind one ``await``; an async context manager.

    It belongs to the event loop that is running when it is entered. Entering is cheap: threads and processes start
    when they are first needed. Leaving waits up to ``shutdown_grace`` seconds for the calls that were accepted, then
    stops them; nothing outlives it but calls that run in threads, which nothing can stop (it warns and names them).

    ``threads``      most threads at once (40)
    ``processes``    most worker processes at once (one for each CPU that is ours), or any executor to use instead
    ``settings``     the other options; ``Settings`` has them all, with their defaults and environment variables

    Raises TypeError or ValueError for settings that do not exist or make no sense.
    """

    def __init__(
        self, *, threads: int | None = None, processes: int | Executor | None = None, **settings: Any
    ) -> None:
        self._foreign = processes if isinstance(processes, Executor) else None
        if isinstance(processes, Executor):
            processes = None
        self.settings: Settings = Settings.load({"threads": threads, "processes": processes, **settings})
        self._has_cpu_threads: bool = self.settings.cpu_threads > 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._book = FunctionBook()
        self._lanes: OpenLanes | None = None
        self._guard: AsyncGenerator[None, None] | None = None
        self._lag: LagWatch | None = None
        self._blocked: BlockedWatch | None = None
        self._is_closed = False
        self._thread = 0
        self._token: Token[ref[Runtime] | None] | None = None

    # Life

    async def __aenter__(self) -> Self:
        """Take the running loop; nothing is started yet.

        Raises ValueError or OSError where ``placement`` names a file that is none of ours, or cannot be read.
        """
        if self._loop is not None:
            raise RuntimeClosed("a Runtime can be entered once: make another one")
        loop = asyncio.get_running_loop()
        settings = self.settings
        profile = profile_file.load(settings.placement) if settings.placement else None
        self._loop = loop
        self._thread = get_ident()
        self._lag = lag = LagWatch(loop, settings.loop_lag)
        self._blocked = watch = BlockedWatch(loop, lag, settings.loop_blocked_after, settings.on_loop_blocked)
        self._lanes = OpenLanes(loop, settings, self._book, self._foreign, watch.close, profile)
        self._guard = guard(self._lanes)
        await anext(self._guard)
        _entered_ones.add(self)
        # Weakly, both: a runtime that is only looked up here is nobody's, and its guard closes it.
        _open_on_loop.setdefault(loop, []).append(ref(self))
        self._token = _entered.set(ref(self))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Wait for what was accepted, stop what does not end in time, leave nothing behind.

        A second time is harmless. Raises RuntimeClosed where it was never entered, RuntimeError in another loop,
        LoopBlocked where the loop was blocked and ``on_loop_blocked="raise"``.
        """
        lanes, loop, watcher = self._lanes, self._loop, self._guard
        if lanes is None or loop is None or watcher is None:
            raise RuntimeClosed("this Runtime is left without having been entered")
        if self._is_closed:
            return  # left already, or in a process forked from its own
        if not is_running_here(loop) and not loop.is_closed():
            raise RuntimeError(
                "this Runtime belongs to another event loop or thread: leave it in the loop in which it was entered"
            )
        self._is_closed = True
        if self._token is not None:
            try:
                _entered.reset(self._token)
            except ValueError:
                pass  # left in another context than it was entered in, as some servers' lifespans are
        _open_on_loop[loop].remove(ref(self))
        try:
            await lanes.close(self.settings.shutdown_grace)
        finally:
            await watcher.aclose()
        if self._blocked is not None:
            self._blocked.judge(exc)

    async def warm_up(self) -> None:
        """Start all worker processes now, and wait until they are there. Raises WorkerStartError where they cannot."""
        self._check_here()
        await self._open_lanes().processes.warm_up()

    # Calls

    def _start(
        self,
        lane: str | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        terms: Terms | None = None,
    ) -> Job[Any]:
        if get_ident() != self._thread or self._is_closed:  # cheaper than asking for the running loop
            self._check_here()
        function = self._book.look_up(fn)
        if lane is None:
            if not function.is_measured:
                lane = place(function, threads_compute=self._has_cpu_threads and is_gil_off())
            elif function.knowledge.crashes:
                lane = place_measured(function.knowledge)
            else:
                return (self._lanes or self._open_lanes()).start_measured(function, fn, args, kwargs, terms)
        if shares.in_use and (lane != PROCESS or self._foreign is not None):
            args, kwargs = self._open_lanes().without_handles(args, kwargs)
        if lane == PROCESS:
            if function.declared == THREAD_ONLY:
                raise TypeError(
                    f"{function.name} is declared @thread_only, so it cannot be sent to a process: use run or to_thread"
                )
            lanes = self._lanes or self._open_lanes()
            return (lanes.process_lane or lanes.processes).submit(function, fn, args, kwargs, terms)
        if lane == CPU_THREAD:
            return self._open_lanes().cpu_threads.submit(function, fn, args, kwargs, terms)
        if lane == LOOP:
            return self._open_lanes().loop_calls.submit(function, fn, args, kwargs, terms)
        if function.kind == COROUTINE:
            raise TypeError(
                f"{function.name} is a coroutine function, which needs an event loop and not a thread: "
                "await it here, or run it in a worker with to_process"
            )
        return (self._lanes or self._open_lanes()).threads.submit(function, fn, args, kwargs, terms)

    def _stream(
        self,
        lane: str | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None = None,
    ) -> Stream[Any]:
        self._check_here()
        from .streams.stream import open_stream

        return open_stream(
            self._open_lanes(), self._book.look_up(fn), (fn, args, kwargs), lane=lane, timeout=timeout
        )

    def _means(self, fn: Callable[..., Any]) -> Means:
        self._check_here()
        function = self._book.look_up(fn)
        lanes = self._open_lanes()
        lane: str | None = None
        if not function.is_measured:
            lane = place(function, threads_compute=self._has_cpu_threads and is_gil_off())
        starter = BatchStart(lanes, is_ours=self._foreign is None)
        return Means(
            loop=asyncio.get_running_loop(),
            lane=lane if lane in LANES else None,
            function=function,
            processes=self.settings.processes if self._foreign is None else MOST_ALONE,
            threads=self.settings.threads,
            start=self._start,
            start_batch=starter if function.places is None else None,  # a batch would be one of its calls
        )

    def share(self, obj: T) -> T:
        """A handle that stands for ``obj`` in the arguments of this runtime's calls, so that it is sent only once.

        ``obj`` is pickled when a call first needs it, and each worker opens it once, however many calls get it: arrays
        as read-only views of the same memory, everything else as one object for all the calls of that worker, which
        must not change it. The handle may be anywhere in the arguments. In threads and on the loop an argument that is
        a handle arrives as ``obj`` itself.

        To type checkers it is what it stands for, so that calls check; but it is for passing on, and has nothing of the
        object's. ``obj`` must not change once it was shared. When the handle is garbage, or the runtime is left, the
        copy is forgotten, in the workers too. A handle in a call of another runtime, or of one that has been left, is
        refused (NotSendable, or TypeError where the call stays in this process).
        """
        self._check_here()
        handle: Any = self._open_lanes().share(obj)
        return handle  # type: ignore[no-any-return]

    def _actor(
        self, cls: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], options: ActorOptions
    ) -> ActorContext[T]:
        self._check_here()
        from .actors.opening import actor_of

        lanes = self._open_lanes()
        most = self.settings.own_workers
        return actor_of(cls, args, kwargs, options, loop=lanes.loop, posts=lanes, most=most)

    def scope(self) -> Scope:
        """``async with rt.scope() as scope:`` the same verbs; what is started with them ends before the block does.

        The first job that fails cancels the others; failures are raised as an ``ExceptionGroup``.
        """
        from .scopes import Scope  # with anyio's task groups, which take 20 ms to import

        return Scope(self)

    @overload
    def open(self, file: Any, mode: TextMode = "r", *args: Any, **kwargs: Any) -> TextFile: ...
    @overload
    def open(self, file: Any, mode: BinaryMode, *args: Any, **kwargs: Any) -> BinaryFile: ...
    @overload
    def open(self, file: Any, mode: str, *args: Any, **kwargs: Any) -> AnyFile: ...
    def open(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        """``aiofiles.open`` on this runtime's threads: ``async with rt.open(path) as f: await f.read()``."""
        self._check_here()
        import aiofiles

        opener: Any = aiofiles.open  # its own overloads have no form for arguments that are passed on
        return opener(file, mode, *args, loop=self._loop, executor=self.threads, **kwargs)

    # The lanes from outside

    @property
    def threads(self) -> Executor:
        """The threads as a standard executor, for ``loop.run_in_executor`` and libraries that take one."""
        return self._open_lanes().threads.executor

    @property
    def processes(self) -> Executor:
        """The worker processes as a standard executor, for ``loop.run_in_executor`` and libraries that take one."""
        return self._open_lanes().processes.executor

    def stats(self) -> Stats:
        """A frozen snapshot of lanes, workers, run times and loop lag."""
        lag = self._lag
        if lag is None:
            raise RuntimeClosed(
                "stats() of a Runtime that was never entered: use 'async with Runtime() as rt:'"
            )
        lanes = self._open_lanes()
        return Stats(
            threads=lanes.threads.stats(),
            processes=lanes.processes.stats(),
            workers=lanes.processes.workers(),
            loop_lag=lag.snapshot(self._blocked.count if self._blocked else 0),
            health=lanes.processes.health(),
            cpu_threads=lanes.cpu_thread_stats(),
        )

    def explain(self, fn: Callable[..., Any]) -> Explanation:
        """Where ``run`` puts ``fn``, why, and what has been measured of it so far."""
        if self._lanes is not None:
            self._lanes.placing.take_in()
        return explain(self._book.look_up(fn), threads_compute=self._has_cpu_threads and is_gil_off())

    # Refusals

    def is_open_on(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it takes calls from this loop: entered on it, and not left."""
        return self._loop is loop and not self._is_closed

    def _check_here(self) -> None:
        if self._loop is None:
            raise RuntimeClosed("this Runtime was not entered yet: use 'async with Runtime() as rt:'")
        if self._is_closed:
            why = self._lanes.why_closed if self._lanes else LEFT
            raise RuntimeClosed(f"calls belong inside the 'async with' block of a Runtime, but {why}")
        if not is_running_here(self._loop):
            raise RuntimeError(
                "this Runtime belongs to another event loop or thread: call it from the loop in which it was entered, "
                "or hand the work over with loop.call_soon_threadsafe or runtime.threads.submit"
            )

    def _open_lanes(self) -> OpenLanes:
        if self._lanes is None:
            raise RuntimeClosed("this Runtime was not entered yet: use 'async with Runtime() as rt:'")
        return self._lanes

    @staticmethod
    def forsake_all() -> None:
        """In a process forked from ours, where it is called by itself: each open runtime refuses calls and says why."""
        for runtime in tuple(_entered_ones):
            runtime._is_closed = True
            if runtime._lanes is not None:
                runtime._lanes.forsake(FORKED)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Runtime.forsake_all)


def current_runtime() -> Runtime:
    """The runtime of this task: the one entered around it, else the one that is open on the running loop.

    Raises RuntimeClosed where there is none.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeClosed("current_runtime() was called where no event loop is running") from None
    entered = _entered.get()
    for weak in (entered, *reversed(_open_on_loop.get(loop, ()))):
        runtime = weak() if weak is not None else None
        if runtime is not None and runtime.is_open_on(loop):
            return runtime
    raise RuntimeClosed(
        "there is no current runtime: start the program with hybridrt.run(main), "
        "or call this inside 'async with hybridrt.Runtime():'"
    )
