"""Posts of the process lane: workers that are somebody's own, from the wish for one to its being given up.

A post is a resident of the crew (``_core.residents``). Its worker is an idle one of the pool, or a fresh one; its calls
are made, sent, answered and stopped as all others are. Where it dies, all that was bound to it fails, for what lived in
it is gone. Given up clean, it becomes one of the pool again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Literal, TypeAlias

from .._core import residents
from .._core.crew import Crew, Seat
from .._core.function import COROUTINE, GENERATOR, Function
from .._engine.child import Child
from .._engine.staff import FAREWELL_SECONDS
from ..errors import WorkerStartError
from .contract import LEFT
from .counters import Counters
from .job import Job, LargeJob, ProcessJob
from .obituary import Death, given_up, left_behind, refused_call
from .sending import send_calls, send_large, send_now
from .unsendable import generator_call
from .workforce import Workforce

_Seat: TypeAlias = Seat[ProcessJob[Any]]

_ATTEMPTS = 3
"""A worker that dies before it is there is replaced so many times."""


async def in_turn(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """A plain call on a worker's event loop: one after the other, as they come."""
    return fn(*args, **kwargs)


def _nothing() -> None:
    pass


def _left(name: str) -> Exception:
    return refused_call(name, LEFT)


class ProcessPost:
    """One worker process that is nobody else's. Belongs to the loop's thread."""

    lane: Literal["process"] = "process"

    __slots__ = ("_posts", "gone", "is_left", "news", "on_death", "on_free", "seat")

    def __init__(self, posts: Posts, seat: _Seat) -> None:
        self._posts = posts
        self.seat: _Seat = seat
        self.on_death: Callable[[], None] = _nothing
        """Called when it has died and was not given up."""
        self.on_free: Callable[[], None] = _nothing
        """Called when the worker is of the pool again, or has gone."""
        self.gone: Callable[[str], Exception] | None = None
        """Makes the error for a call of this name, once the worker has died."""
        self.is_left: bool = False
        self.news: asyncio.Future[None] | None = None
        """Done as soon as the worker has nothing to do, or has died; while somebody waits for that."""

    @property
    def pid(self) -> int:
        """The worker's process id; 0 once it has gone."""
        child: Child = self.seat.worker
        return child.pid

    def submit(
        self, function: Function, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Job[Any]:
        """Start a call in this worker, or queue it there. Raises as the lane's ``submit`` does.

        Calls run one at a time in their order. At a post for coroutines all run on the worker's event loop: coroutine
        functions side by side, the others one after the other. Raises WorkerCrashed where the worker has died,
        RuntimeClosed where the post was given up or the runtime left, TypeError for a coroutine function at a post
        that is not for them.
        """
        if self.gone is not None:
            raise self.gone(function.name)
        if self.is_left:
            raise refused_call(function.name, "the worker of its own that it was for has been given up")
        if self.seat.serves_coroutines:
            if function.kind == GENERATOR:
                raise generator_call(function.name)
            if function.kind != COROUTINE:
                fn, args = in_turn, (fn, *args)
        elif function.kind == COROUTINE:
            raise TypeError(
                f"{function.name} is a coroutine function, and the worker that it is for runs one plain call at a time"
            )
        return self._posts.submit(function, fn, args, kwargs, home=self.seat)

    def has_gone(self) -> bool:
        """Whether the worker has died."""
        return self.gone is not None

    async def leave(self, *, is_clean: bool) -> None:
        """Give the worker up: one that is clean becomes one of the pool again, another one is dismissed.

        What waits for it or runs in it fails with RuntimeClosed, and is stopped. Takes a few seconds at most; cancelled
        meanwhile, the worker is dismissed all the same. A second time is harmless.
        """
        if not self.is_left:
            self.is_left = True
            await self._posts.give_up(self, is_clean=is_clean)


class Posts:
    """The posts of one process lane. Belongs to the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        crew: Crew[ProcessJob[Any]],
        workforce: Workforce,
        counters: Counters,
        *,
        grace: float,
        pump_soon: Callable[[], None],
        stop: Callable[[ProcessJob[Any]], None],
        submit: Callable[..., Job[Any]],
    ) -> None:
        """``grace``: seconds after which a stopped call's worker is killed. ``submit``: the lane's."""
        self._loop = loop
        self._crew = crew
        self._workforce = workforce
        self._counters = counters
        self._grace = grace
        self._pump_soon = pump_soon
        self._stop = stop
        self.submit: Callable[..., Job[Any]] = submit
        self._posts: dict[_Seat, ProcessPost] = {}
        self._is_forsaken = False
        self._is_closing = False

    async def open(
        self,
        *,
        coroutines: bool = False,
        on_death: Callable[[], None] | None = None,
        on_free: Callable[[], None] = lambda: None,
    ) -> ProcessPost:
        """A worker of one's own, as soon as it is there. Raises WorkerStartError where none can be started.

        ``on_free`` is called once, when it is of the pool again or has gone, but not where this raises.
        """
        seat = residents.take_idle(self._crew, serves_coroutines=coroutines)
        for _ in range(_ATTEMPTS):
            if seat is None:
                seat = self._workforce.hire_resident(serves_coroutines=coroutines)
            post = self._posts[seat] = ProcessPost(self, seat)
            if await self._is_there(post):
                post.on_death = on_death or _nothing
                post.on_free = on_free
                return post
            seat = None
        raise WorkerStartError("a worker process of its own cannot be started: it dies before it is there")

    async def _is_there(self, post: ProcessPost) -> bool:
        try:
            return await self._workforce.arrival(post.seat.worker)
        except BaseException:
            if not post.has_gone():
                self._give_back(post)  # it has had no call
            raise

    # Calls

    def enqueue(self, job: ProcessJob[Any], seat: _Seat) -> None:
        """This new call is bound to ``seat``: sent now if its turn has come."""
        job.home = seat
        job.is_coroutine = seat.serves_coroutines
        if not job.is_packed or not residents.start_now(seat, job, monotonic()):
            self._crew.add(job)
            self._pump_soon()
            return
        self._workforce.check_audience()
        if job.is_coroutine:
            send_calls(seat, [job], self._workforce.path_news)
        else:
            send_now(seat, job, self._workforce.path_news)

    def pump(self) -> None:
        """Send out what can be sent."""
        path_news = self._workforce.path_news
        for seat, batch in residents.give_out(self._crew.residents, monotonic()):
            small: list[ProcessJob[Any]] = []
            for job in batch:
                if type(job) is not LargeJob:
                    small.append(job)
                    continue
                if small:
                    send_calls(seat, small, path_news)
                    small = []
                send_large(seat, job, path_news)
            if small:
                send_calls(seat, small, path_news)

    def has_answered(self, seat: _Seat) -> None:
        """This resident has answered something."""
        if not seat.under_way:
            self._tell(self._posts.get(seat))

    # The end

    def lost(self, seat: _Seat, death: Death) -> None:
        """This resident has died, and what was bound to it fails."""
        child: Child = seat.worker
        post = self._posts.pop(seat)
        post.gone = _left if self._is_closing else left_behind(child, death)
        waiting = list((seat.own or {}).values())
        if seat.own:
            seat.own.clear()
        for job in waiting:
            if job.done():
                continue
            self._counters.failed += 1
            job.set_exception(post.gone(job.function.name))
            job.let_go()
        self._tell(post)
        post.on_free()
        if not post.is_left and not self._is_closing:
            self._loop.call_soon(post.on_death)

    def _tell(self, post: ProcessPost | None) -> None:
        if post is not None and post.news is not None and not post.news.done():
            post.news.set_result(None)

    async def give_up(self, post: ProcessPost, *, is_clean: bool) -> None:
        """See ``ProcessPost.leave``."""
        if post.has_gone() or self._is_forsaken:
            return
        seat = post.seat
        try:
            self._abandon(seat)
            if is_clean and seat.under_way:
                await self._news_of(post, 2 * self._grace)
            if is_clean and not seat.under_way and not seat.is_leaving and not post.has_gone():
                self._give_back(post)
            elif not post.has_gone():
                self._workforce.dismiss(seat.worker)
                while not post.has_gone() and await self._news_of(post, FAREWELL_SECONDS + 0.5):
                    pass
        finally:
            if not post.has_gone() and seat.own is not None and not seat.is_leaving:
                self._workforce.dismiss(seat.worker)

    def abandon_all(self) -> None:
        """The lane is left: fail and stop whatever is bound to a resident and not done. A second time is harmless."""
        self._is_closing = True
        for seat in self._crew.residents:
            self._abandon(seat)

    def _abandon(self, seat: _Seat) -> None:
        for job in [*(seat.own or {}).values(), *seat.under_way.values()]:
            if not job.done():
                job.set_exception(given_up(job))
                self._stop(job)

    async def _news_of(self, post: ProcessPost, patience: float) -> bool:
        """Wait until the worker has nothing to do, or has gone; False where neither came in time."""
        news = post.news = self._loop.create_future()
        await asyncio.wait([news], timeout=patience)
        return news.done()

    def _give_back(self, post: ProcessPost) -> None:
        del self._posts[post.seat]
        residents.give_back(self._crew, post.seat, monotonic())
        if len(self._crew.seats) > 2 * self._crew.size:
            self._workforce.dismiss(post.seat.worker)
        post.on_free()
        self._pump_soon()

    def forsake(self) -> None:
        """In a process forked from ours: the workers are not ours."""
        self._is_forsaken = True
