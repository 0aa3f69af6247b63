"""The thread lane as a standard ``concurrent.futures.Executor``, usable from any thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for_futures
from typing import Any, ParamSpec, Protocol, TypeVar

from ..errors import RuntimeClosed
from .executor import is_running_here
from .mapping import map_calls

P = ParamSpec("P")
T = TypeVar("T")


class _Submit(Protocol):
    def __call__(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], /
    ) -> Future[Any]: ...


class ThreadFuture(Future[Any]):
    """The future of a call that came through the executor face. One that runs cannot be cancelled, but is told."""

    is_unwanted = False

    def cancel(self) -> bool:
        """Keep the call from starting; False where it has. Then ``hybridrt.cancelled()`` is true in it from now on."""
        self.is_unwanted = True
        return super().cancel()


class ThreadExecutor(Executor):
    """Hands calls to the threads. It lives as long as the lane; ``shutdown`` closes this face of it only.

    Its futures are the standard ones: a call that runs in a thread cannot be cancelled.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, submit: _Submit) -> None:
        self._loop = loop
        self._submit = submit
        self._open: set[Future[Any]] = set()
        self._is_shut = False
        self._forsaken = ""  # why, in a process forked from ours

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call for the next free thread; the caller's context travels."""
        if self._forsaken:
            raise RuntimeClosed(f"no more calls are taken: {self._forsaken}")
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown of runtime.threads")
        future = self._submit(fn, args, kwargs)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future

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
        ``chunksize``     of no effect: nothing travels
        ``buffersize``    most calls in flight: the input is read as results are taken, and may be endless

        Calls whose results can no longer be asked for are cancelled, unless they run already.
        """
        return map_calls(
            lambda args: self.submit(fn, *args),
            iterables,
            timeout=timeout,
            chunksize=chunksize,
            buffersize=buffersize,
        )

    def forsake(self, why: str) -> None:
        """In a process forked from ours, where the threads are not."""
        self._forsaken = why

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls here; the runtime goes on. In the loop's own thread this never waits.

        ``cancel_futures`` cancels the calls that no thread has yet.
        """
        self._is_shut = True
        still_open = list(self._open)
        if cancel_futures:
            for future in still_open:
                Future.cancel(future)  # what runs is to go on, and not to be told otherwise
        if wait and not self._forsaken and not is_running_here(self._loop):
            wait_for_futures(still_open)
