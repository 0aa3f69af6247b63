"""A lane as a standard ``concurrent.futures.Executor``, usable from any thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for_futures
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

from .._core.function import Function, FunctionBook
from ..errors import RuntimeClosed
from .job import Job

P = ParamSpec("P")
T = TypeVar("T")


class _Submit(Protocol):
    def __call__(
        self, function: Function, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], /
    ) -> Job[Any]: ...


class LaneFuture(Future[T]):
    """A ``concurrent.futures.Future`` that the loop's thread fulfils, so that thread must never block on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._home = loop

    def result(self, timeout: float | None = None) -> T:
        """The result; raises RuntimeError where waiting for it here could never end."""
        self._refuse_deadlock()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception or None; raises RuntimeError where waiting for it here could never end."""
        self._refuse_deadlock()
        return super().exception(timeout)

    def _refuse_deadlock(self) -> None:
        if not self.done() and is_running_here(self._home):
            raise RuntimeError(
                "waiting here would stop the event loop that has to deliver this result: "
                "use 'await asyncio.wrap_future(future)', or the runtime's own awaitable verbs"
            )


def is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the caller is in the thread of ``loop``, inside one of its callbacks or tasks."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


class LaneExecutor(Executor):
    """Hands calls to the lane in the loop's thread and their outcomes back.

    It lives as long as the runtime. ``shutdown`` closes this executor, not the lane behind it. Cancelling a future
    stops the work, running or not.
    """

    def __init__(
        self, name: str, loop: asyncio.AbstractEventLoop, book: FunctionBook, submit: _Submit
    ) -> None:
        self._name = name
        self._loop = loop
        self._book = book
        self._submit = submit
        self._open: set[Future[Any]] = set()
        self._is_shut = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a call. In another thread than the loop's, what cannot be started shows in the future."""
        if self._is_shut:
            raise RuntimeError(f"cannot schedule new futures after shutdown of runtime.{self._name}")
        future: LaneFuture[T] = LaneFuture(self._loop)
        if is_running_here(self._loop):
            self._start(future, fn, args, kwargs)
        else:
            try:
                self._loop.call_soon_threadsafe(self._start_for_other_thread, future, fn, args, kwargs)
            except RuntimeError:
                raise RuntimeClosed(
                    f"runtime.{self._name} cannot take a call: its event loop is closed"
                ) from None
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future

    def _start(
        self, future: Future[Any], fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        job = self._submit(self._book.look_up(fn), fn, args, kwargs)
        job.add_done_callback(partial(self._settle, future))
        future.add_done_callback(partial(self._pass_on_cancel, job))

    def _start_for_other_thread(
        self, future: Future[Any], fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if future.cancelled():
            future.set_running_or_notify_cancel()
            return
        try:
            self._start(future, fn, args, kwargs)
        except BaseException as exc:
            if future.set_running_or_notify_cancel():
                future.set_exception(exc)

    def _settle(self, future: Future[Any], job: Job[Any]) -> None:
        if job.cancelled():
            future.cancel()  # _pass_on_cancel tells the waiters
            return
        exc = job.exception()
        # It turns running only now, so that a cancel stops the work up to its very end.
        if future.cancelled() or not future.set_running_or_notify_cancel():
            return
        if exc is not None:
            future.set_exception(exc)
        else:
            future.set_result(job.result())

    def _pass_on_cancel(self, job: Job[Any], future: Future[Any]) -> None:
        if not future.cancelled():
            return
        future.set_running_or_notify_cancel()
        if is_running_here(self._loop):
            job.cancel()
        else:
            try:
                self._loop.call_soon_threadsafe(job.cancel)
            except RuntimeError:
                pass  # the loop is closed: its runtime has stopped the work

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls here; the runtime goes on. In the loop's own thread this never waits."""
        self._is_shut = True
        still_open = list(self._open)
        if cancel_futures:
            for future in still_open:
                future.cancel()
        if wait and not is_running_here(self._loop):
            wait_for_futures(still_open)
