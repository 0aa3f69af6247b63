"""The lanes of one runtime, and who closes them where nobody leaves it.

A runtime is left by its ``async with``. Where that never happens, the lanes are closed by whatever comes first:

- the end of ``asyncio.run`` (of any loop that shuts down its async generators): ``guard`` is one, and closes them;
- the garbage collector, which finds the runtime and so its ``guard``: the loop is asked to close it, and does;
- ``loop.close()``: the loop drops its callbacks, and the nursery notices (``_engine.nursery``);
- the end of the process: the kernel and the zygote see to it (``_engine.lifeline``, ``_engine.zygote``).

For the first two to be possible, nothing that the loop holds may hold the runtime itself.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import warnings
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any

from ._core.function import Function, FunctionBook
from ._core.gil import is_gil_off
from ._core.placement import CPU_THREAD, PROCESS, THREAD, TRIAL
from ._core.placement_profile import Profile
from ._core.settings import Settings
from ._core.stats import LaneStats
from ._core.terms import Terms
from ._engine import shares
from ._engine.shares import Sharing
from ._lanes import profile_file
from ._lanes.contract import DROPPED, LEFT, Lane, Post
from ._lanes.foreign import ForeignLane
from ._lanes.job import Job
from ._lanes.on_loop import LoopCalls
from ._lanes.places import Places
from ._lanes.placing import Placing, flattened, move
from ._lanes.thread_post import ThreadPost
from ._lanes.threads import ThreadLane
from ._lanes.turns import Turns
from .errors import HybridrtError, RuntimeClosed

if TYPE_CHECKING:
    from ._engine.share_book import ShareBook
    from ._lanes.posts import Posts


class OpenLanes:
    """The threads, and the processes as soon as somebody wants them; closed together. Belongs to the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        book: FunctionBook,
        foreign: Executor | None,
        on_closed: Callable[[], None],
        profile: Profile | None = None,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self._settings = settings
        self._book = book
        self._foreign = foreign
        self._on_closed = on_closed
        self.process_lane: Lane | None = None
        """What ``processes`` gives, once it is open."""
        self._posts: Posts | None = None  # those of our own process lane
        self.numbers: itertools.count[int] = itertools.count(1)
        """One for each job, whatever its lane."""
        self.threads: ThreadLane = ThreadLane(
            loop,
            limit=settings.threads,
            idle=settings.thread_idle,
            numbers=self.numbers,
            cpus=settings.processes,
            max_queue=settings.max_queue,
        )
        self.loop_calls: LoopCalls = LoopCalls(loop, self.numbers)
        self._cpu_threads: ThreadLane | None = None
        has_workers = foreign is None and sys.platform != "win32"
        self._turns = Turns(loop, self.numbers, self.start_measured)
        self.placing: Placing = Placing(get_ident(), self._busy_threads, self._turns, can_move=has_workers)
        self._profile = profile
        if profile is not None:
            book.recall = profile.recall
        self.why_closed: str = ""
        self._sharing = Sharing()
        self._places = Places(loop, settings.own_workers)
        self._thread_posts: set[ThreadPost] = set()
        self.grace: float = settings.interrupt_grace
        """Seconds that what is interrupted has to stop."""
        self.on_leave: set[Callable[[str], asyncio.Task[None] | None]] = set()
        """Called with the reason before the lanes are closed; each gives what it then still does."""

    @property
    def cpu_threads(self) -> ThreadLane:
        """Threads for calls that compute and spare the GIL; apart, so that those which wait keep their places."""
        if self._cpu_threads is None:
            settings = self._settings
            self._cpu_threads = ThreadLane(
                self.loop,
                limit=settings.cpu_threads or settings.processes + 1,
                idle=settings.thread_idle,
                numbers=self.numbers,
                name="cpu_threads",
                max_queue=settings.max_queue,
                cpus=settings.cpu_threads or settings.processes,
                nice=settings.nice if is_gil_off() else 0,  # one that yields while it has the GIL stops all
            )
        return self._cpu_threads

    def _busy_threads(self) -> int:
        busy = self.threads.busy + (self._cpu_threads.busy if self._cpu_threads is not None else 0)
        return busy + sum(
            post.threads.busy for post in tuple(self._thread_posts)
        )  # asked in threads on trial, too

    def cpu_thread_stats(self) -> LaneStats | None:
        """A snapshot of these threads; None where they were never needed."""
        return self._cpu_threads.stats() if self._cpu_threads is not None else None

    @property
    def processes(self) -> Lane:
        """The process lane, opened when it is first asked for. Raises RuntimeClosed, HybridrtError on Windows."""
        if self.process_lane is None:
            self.process_lane = self._open_processes()
        return self.process_lane

    def _open_processes(self) -> Lane:
        if self.why_closed:
            raise RuntimeClosed(f"no worker processes were started: {self.why_closed}")
        if self._foreign is not None:
            return ForeignLane(self.loop, self._foreign, self.numbers)
        if sys.platform == "win32":
            raise HybridrtError(
                "hybridrt's worker processes need fork and Unix sockets, which this system lacks: threads, the loop "
                "and files work here. For processes pass Runtime(processes=ProcessPoolExecutor()), or use Linux or WSL"
            )
        from ._lanes.processes import ProcessLane

        lane = ProcessLane(self.loop, self._book, self._settings, self.numbers, sharing=self._sharing)
        self.placing.crew = lane.crew
        self._posts = lane.posts
        return lane

    async def reserve_posts(self, count: int) -> None:
        """Wait until so many workers of one's own may be opened; each is then opened with ``is_reserved``.

        Whoever wants several takes all their places at once: two that waited for each other's would wait for ever.
        """
        await self._places.take(count)

    async def open_post(
        self,
        lane: str,
        *,
        coroutines: bool = False,
        on_death: Callable[[], None] | None = None,
        is_reserved: bool = False,
    ) -> Post:
        """A worker that is nobody else's, in the lane "process" or "thread"; waits where ``own_workers`` are there.

        ``coroutines``  a process that runs all its calls on an event loop of its own
        ``on_death``    called when the process has died, unless it was given up before
        ``is_reserved`` its place was taken by ``reserve_posts``, and is given back where this raises

        Raises RuntimeClosed, WorkerStartError where no process can be started, HybridrtError where the runtime has
        another executor in place of our processes, or this system has none.
        """
        if not is_reserved:
            self._check_post(lane, coroutines=coroutines)
            await self._places.take()
        try:
            self._check_post(lane, coroutines=coroutines)
            if lane == THREAD or self._posts is None:
                return self._open_thread()
            return await self._posts.open(coroutines=coroutines, on_death=on_death, on_free=self._places.give)
        except BaseException:
            self._places.give()
            raise

    def _check_post(self, lane: str, *, coroutines: bool) -> None:
        if self.why_closed:
            raise RuntimeClosed(f"no worker of its own was opened: {self.why_closed}")
        if lane not in (THREAD, PROCESS) or (coroutines and lane == THREAD):
            what = "with an event loop " if coroutines else ""
            raise ValueError(f"there are no workers of one's own {what}in lane {lane!r}")
        if lane == PROCESS and isinstance(self.processes, ForeignLane):
            executor = type(self._foreign).__name__
            raise HybridrtError(
                f"a worker process of one's own needs hybridrt's own processes, and this Runtime has {executor} in "
                "their place: use lane='thread', or a Runtime without processes=executor"
            )

    def _open_thread(self) -> ThreadPost:
        post = ThreadPost(
            self.loop,
            self.numbers,
            grace=self._settings.interrupt_grace,
            on_left=self._thread_left,
            without_handles=self.without_handles,
        )
        self._thread_posts.add(post)
        return post

    def _thread_left(self, post: ThreadPost) -> None:
        self._thread_posts.discard(post)
        self._places.give()

    def start_measured(
        self,
        function: Function,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        terms: Terms | None = None,
    ) -> Job[Any]:
        """Start a call whose place is for measurement to say."""
        placing = self.placing
        if function.by_size is not None:
            function = placing.sized(function, args)
        lane = placing.place(function, fn, args, kwargs)
        if lane == PROCESS:
            if type(fn) is partial:
                fn, args, kwargs = flattened(fn, args, kwargs)
            processes = self.process_lane or self.processes
            job = move(processes, self.threads, function, fn, args, kwargs, terms, here=fn)
            if job is not None:
                return job
            lane = THREAD
        elif lane == TRIAL and self._turns.must_wait(function):
            return self._turns.wait(function, fn, args, kwargs, terms)
        if shares.in_use:
            args, kwargs = self.without_handles(args, kwargs)
        if lane == TRIAL:
            trial = placing.on_trial(function, fn)
            self._turns.take(trial)
            return self.threads.submit(function, trial, args, kwargs, terms)
        if lane == CPU_THREAD:
            return self.cpu_threads.submit(function, fn, args, kwargs, terms)
        return self.threads.submit(function, fn, args, kwargs, terms)

    @property
    def _share_book(self) -> ShareBook:
        """What was shared, opened with the first object. Raises RuntimeClosed."""
        if self.why_closed:
            raise RuntimeClosed(f"nothing can be shared: {self.why_closed}")
        if self._sharing.book is None:
            from ._engine.share_book import ShareBook

            self._sharing.book = ShareBook()
        book: ShareBook = self._sharing.book
        return book

    def share(self, obj: Any) -> Any:
        """A handle for ``obj``. The memory of handles that are garbage comes free now, for its copy."""
        self._sharing.tell_forgotten()
        return self._share_book.share(obj)

    def without_handles(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with what was shared in place of its handles, for a call that stays in this process.

        Raises TypeError where a handle is another runtime's.
        """
        from ._engine.share_book import opened

        return opened(self._sharing.book, args, kwargs)

    def _open(self) -> list[Lane]:
        own = [post.threads for post in self._thread_posts]
        return [it for it in (self.threads, self._cpu_threads, self.process_lane, *own) if it is not None]

    async def close(self, grace: float, why: str = LEFT) -> None:
        """Wait up to ``grace`` seconds for what was accepted, stop the rest, leave nothing behind."""
        self._turns.close()
        self.why_closed = why
        self.loop_calls.close_submit(why)
        self._places.refuse(lambda: RuntimeClosed(f"no worker of its own was opened: {why}"))
        endings = [task for stop in tuple(self.on_leave) if (task := stop(why)) is not None]
        for lane in self._open():
            lane.close_submit(why)
        try:
            await _all_of([self.loop_calls.close(grace), *(lane.close(grace) for lane in self._open())])
            if endings:
                await asyncio.wait(endings, timeout=self._settings.interrupt_grace)
        finally:
            self._on_closed()
            self.placing.close()
            if self._profile is not None:
                profile_file.save(self._settings.placement, self._profile.text(self._book.known()))
            if self._sharing.book is not None:
                self._sharing.book.close(why)

    def forsake(self, why: str) -> None:
        """In a process forked from ours: let go of everything, and touch nothing that the two share."""
        self.why_closed = why
        for lane in self._open():
            lane.forsake(why)
        if self._sharing.book is not None:
            self._sharing.book.forsake(why)


async def guard(lanes: OpenLanes) -> AsyncGenerator[None, None]:
    """Close the lanes when the loop shuts down, or when nobody holds this generator any more; to be started at once."""
    try:
        yield
    finally:
        if not lanes.why_closed:
            await lanes.close(0.0, DROPPED)
            warnings.warn(
                "a hybridrt.Runtime was entered and never left; its work was stopped when nobody held it any more, or "
                "when its event loop ended. Use 'async with Runtime() as rt:', or keep it and await its __aexit__",
                ResourceWarning,
                stacklevel=1,
            )


async def _all_of(closings: list[Any]) -> None:
    """Run them side by side; a cancel reaches all of them, and all of them end."""
    tasks = [asyncio.ensure_future(closing) for closing in closings]
    try:
        await asyncio.sleep(
            0
        )  # so that each has begun: cancelled before its first step, none would close anything
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
