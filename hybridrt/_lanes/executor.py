"""A lane as a standard ``concurrent.futures.Executor``, usable from any thread.

Theory of operation. A call from another thread goes into a deque, and one wake-up is on its way to the loop however
many follow it; the loop's thread hands them to the lane and the outcomes back. No lock is taken but those inside the
futures: whoever shuts the door says so first and then looks into the deque, and whoever puts something in looks at the
door afterwards, so a call is either taken in or refused, never forgotten.

A future stays pending, for the standard library, until it is done: ``running()`` asks the lane instead. So a cancel is
possible up to the very end, and stops the work.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, InvalidStateError
from concurrent.futures import wait as wait_for_futures
from contextvars import Context, copy_context
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar

from .._core.function import COROUTINE, Function, FunctionBook
from .._engine.chunk import run_chunk
from ..errors import RuntimeClosed
from .job import Job
from .mapping import map_calls, map_chunks

P = ParamSpec("P")
T = TypeVar("T")

_Call: TypeAlias = tuple[Context, Function | None, Callable[..., Any], tuple[Any, ...], dict[str, Any]]


_MOST_AT_ONCE = 500


class _Submit(Protocol):
    def __call__(
        self, function: Function, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], /
    ) -> Job[Any]: ...


class LaneFuture(Future[T]):
    """A ``concurrent.futures.Future`` that the loop's thread fulfils, so that thread must never block on it."""

    def __init__(self, executor: LaneExecutor) -> None:
        super().__init__()
        self._executor = executor
        self._call: _Call | None = None  # what is to be started, until it is
        self._job: Job[Any] | None = None

    def running(self) -> bool:
        """Whether a worker has the call. One written ahead to a worker that turns out busy is pending once more."""
        job = self._job
        if job is None or self.done():
            return super().running()
        return getattr(job, "seat", None) is not None

    def result(self, timeout: float | None = None) -> T:
        """The result; raises RuntimeError where waiting for it here could never end."""
        try:
            if not self.done():
                self._executor.refuse_to_wait_here()
            return super().result(timeout)
        finally:
            del (
                self
            )  # else an exception would keep this future alive through its traceback, and the future it

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception or None; raises RuntimeError where waiting for it here could never end."""
        if not self.done():
            self._executor.refuse_to_wait_here()
        return super().exception(timeout)


def is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the caller is in the thread of ``loop``, inside one of its callbacks or tasks."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


class LaneExecutor(Executor):
    """Hands calls to the lane in the loop's thread and their outcomes back.

    It lives as long as the lane. ``shutdown`` closes this executor, not the lane behind it. Cancelling a future
    stops the work, running or not.
    """

    def __init__(
        self,
        name: str,
        loop: asyncio.AbstractEventLoop,
        book: FunctionBook,
        submit: _Submit,
    ) -> None:
        self._name = name
        self._loop = loop
        self._book = book
        self._submit = submit
        self._open: set[LaneFuture[Any]] = set()
        self._inbox: deque[LaneFuture[Any]] = deque()
        self._wake_is_due = False
        self._refusal: Callable[[], Exception] | None = None
        self._forsaken = ""  # why, in a process forked from ours

    # Calls

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a call. In another thread than the loop's, what cannot be started shows in the future."""
        return self._begin(None, fn, args, kwargs)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """The results of ``fn`` over the iterables, in order, as ``concurrent.futures.Executor.map`` has it.

        ``timeout``       seconds from this call until the last result has to be there; then TimeoutError
        ``chunksize``     calls that travel to a worker together; what crashes it takes its chunk along, no more
        ``buffersize``    most calls (or chunks) in flight: the input is read as results are taken, and may be endless

        Calls whose results can no longer be asked for are cancelled, and stopped where they run. Coroutine functions
        always travel one by one, since many run side by side in a worker.
        """
        function = Function(fn)
        if chunksize > 1 and function.kind != COROUTINE:
            return map_chunks(
                lambda batch: self._begin(function, run_chunk, (fn, batch), {}),
                iterables,
                name=function.name,
                timeout=timeout,
                chunksize=chunksize,
                buffersize=buffersize,
            )
        return map_calls(
            lambda args: self.submit(fn, *args),
            iterables,
            timeout=timeout,
            chunksize=chunksize,
            buffersize=buffersize,
        )

    def _begin(
        self,
        function: Function | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> LaneFuture[Any]:
        if self._refusal is not None:
            raise self._refusal()
        future: LaneFuture[Any] = LaneFuture(self)
        if is_running_here(self._loop):
            self._start(future, function, fn, args, kwargs)
            self._keep(future)
            return future
        future._call = copy_context(), function, fn, args, kwargs  # registered variables travel
        self._keep(future)
        self._inbox.append(future)
        if self._refusal is not None and self._withdraw(future):
            raise self._refusal()
        if not self._wake_is_due:
            self._wake_is_due = True
            try:
                self._loop.call_soon_threadsafe(self._take_in)
            except RuntimeError:
                self._withdraw(future)
                raise RuntimeClosed(f"{self._name} cannot take a call: its event loop is closed") from None
        return future

    def _keep(self, future: LaneFuture[Any]) -> None:
        self._open.add(future)
        future.add_done_callback(self._on_done)

    def _withdraw(self, future: LaneFuture[Any]) -> bool:
        """Whether ``future`` could be taken out again before anybody saw it."""
        try:
            self._inbox.remove(future)
        except ValueError:
            return False
        self._open.discard(future)
        return True

    def _take_in(self) -> None:
        """In the loop's thread: start what other threads have handed in, some at a time: the loop has other work."""
        self._wake_is_due = False  # first: whoever finds it set must find this still to come
        self._take(_MOST_AT_ONCE)
        if self._inbox and not self._wake_is_due:
            self._wake_is_due = True
            self._loop.call_soon(self._take_in)

    def _take(self, most: int) -> None:
        for _ in range(most):
            try:
                future = self._inbox.popleft()
            except IndexError:
                break
            call, future._call = future._call, None
            if call is None or future.cancelled():
                continue
            try:
                context, function, fn, args, kwargs = call
                context.run(self._start, future, function, fn, args, kwargs)
            except BaseException as exc:
                _settle_with(future, exc, None)

    def _start(
        self,
        future: LaneFuture[Any],
        function: Function | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        job = self._submit(function or self._book.look_up(fn), fn, args, kwargs)
        job.add_done_callback(partial(_settle, future))
        future._job = job
        if future.cancelled():  # before its canceller could see the job
            job.cancel()

    def _on_done(self, future: Any) -> None:
        self._open.discard(future)
        if not future.cancelled():
            return
        future.set_running_or_notify_cancel()  # those who wait for it are told; nobody else calls this
        job = future._job
        if job is None:
            return
        if is_running_here(self._loop):
            job.cancel()
        else:
            self._call_in_loop(job.cancel)

    def _call_in_loop(self, callback: Callable[[], object]) -> None:
        if self._forsaken:
            return  # the parent's loop would be woken
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            pass  # the loop is closed: its work has been stopped

    # Doors

    def refuse(self, reason: Callable[[], Exception]) -> None:
        """From now on ``submit`` raises ``reason()``; the first reason stays. Takes no lock."""
        if self._refusal is None:
            self._refusal = reason

    def close(self, why: str) -> None:
        """In the loop's thread: refuse, and start what was handed in before."""
        self.refuse(partial(RuntimeClosed, f"no more calls are taken: {why}"))
        while self._inbox:
            self._take(_MOST_AT_ONCE)

    def abandon(self, why: str) -> None:
        """The loop will not run again: whoever still waits is told so."""
        self.close(why)
        for future in list(self._open):
            _settle_with(future, RuntimeClosed(f"the call was not finished: {why}"), None)

    def forsake(self, why: str) -> None:
        """In a process forked from ours, where neither the loop's thread nor the workers are."""
        self._forsaken = why
        self._refusal = partial(RuntimeClosed, f"no more calls are taken: {why}")

    def refuse_to_wait_here(self) -> None:
        """Raises RuntimeError where a wait for one of these futures could never end."""
        if self._forsaken:
            raise RuntimeClosed(f"the result of this call will never come: {self._forsaken}")
        if is_running_here(self._loop):
            raise RuntimeError(
                "waiting here would stop the event loop that has to deliver this result: "
                "use 'await asyncio.wrap_future(future)' where you can await, or wait in another thread"
            )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls here; the lane goes on. In the loop's own thread this never waits.

        ``cancel_futures`` cancels the calls that no worker has yet; those for which there are workers are given to them
        first.
        """
        self.refuse(partial(RuntimeError, f"cannot schedule new futures after shutdown of {self._name}"))
        still_open = list(self._open)
        if cancel_futures:
            # One turn later than what was handed in, which the lane gives out at the end of a turn.
            self._call_in_loop(lambda: self._loop.call_soon(self._cancel_waiting))
        if wait and not self._forsaken and not is_running_here(self._loop):
            wait_for_futures(still_open)

    def _cancel_waiting(self) -> None:
        # In the loop's thread, where no worker is given a call between the question and the cancel.
        for future in list(self._open):
            if not future.running():
                future.cancel()


def _settle(future: LaneFuture[Any], job: Job[Any]) -> None:
    if job.cancelled():
        future.cancel()
    elif (exc := job.exception()) is not None:
        _settle_with(future, exc, None)
    else:
        _settle_with(future, None, job.result())


def _settle_with(future: LaneFuture[Any], exc: BaseException | None, result: Any) -> None:
    try:
        if exc is not None:
            future.set_exception(exc)
        else:
            future.set_result(result)
    except InvalidStateError:
        pass  # it was cancelled in this very moment
