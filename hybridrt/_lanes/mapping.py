"""``Executor.map`` for every executor of ours: ordered, bounded where asked, and cancelling what nobody waits for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from time import monotonic
from typing import Any, TypeVar

from .._engine import failure, parcel, wire
from .unsendable import unsendable_result

T = TypeVar("T")
Item = TypeVar("Item")

_Chunk = list[tuple[int, bytes]]


def map_calls(
    start: Callable[[tuple[Any, ...]], Future[T]],
    iterables: tuple[Iterable[Any], ...],
    *,
    timeout: float | None,
    chunksize: int,
    buffersize: int | None,
) -> Iterator[T]:
    """The results of ``start`` for each item of the zipped iterables, in order; each item is a call.

    Raises TypeError or ValueError for a ``chunksize`` or ``buffersize`` that makes no sense. Without ``buffersize`` all
    is started before this returns.
    """
    _check(chunksize, buffersize)
    window = _Window(start, zip(*iterables, strict=False), buffersize, timeout)
    return _results(window)


def map_chunks(
    start: Callable[[list[tuple[Any, ...]]], Future[_Chunk]],
    iterables: tuple[Iterable[Any], ...],
    *,
    name: str,
    timeout: float | None,
    chunksize: int,
    buffersize: int | None,
) -> Iterator[Any]:
    """The same, where ``chunksize`` items are one call of ``run_chunk``. ``name`` of the function is for messages."""
    _check(chunksize, buffersize)
    batches = _batched(zip(*iterables, strict=False), chunksize)
    window = _Window(start, batches, buffersize, timeout)
    return _opened(_results(window), name)


def _check(chunksize: int, buffersize: int | None) -> None:
    if chunksize < 1:
        raise ValueError("chunksize must be >= 1.")
    if buffersize is None:
        return
    if isinstance(buffersize, bool) or not isinstance(buffersize, int):
        raise TypeError("buffersize must be an integer or None")
    if buffersize < 1:
        raise ValueError("buffersize must be None or > 0")


class _Window:
    """The calls in flight, oldest first, and the input that is still to be read."""

    def __init__(
        self,
        start: Callable[[Item], Future[Any]],
        source: Iterator[Item],
        size: int | None,
        timeout: float | None,
    ) -> None:
        self._deadline = None if timeout is None else monotonic() + timeout
        self._start: Callable[[Any], Future[Any]] = start
        self._source: Iterator[Any] | None = source
        self._error: BaseException | None = None
        self._futures: deque[Future[Any]] = deque()
        try:
            for item in islice(source, size):
                self._futures.append(start(item))
        except BaseException:
            self.cancel()
            raise
        if size is None:
            self._source = None

    def __bool__(self) -> bool:
        return bool(self._futures) or self._error is not None

    def next_result(self) -> Any:
        """The oldest call's result; then one more item of the input is started."""
        error = self._error
        if error is not None and not self._futures:
            self._error = None
            raise error
        future = self._futures.popleft()
        try:
            result = future.result(self._time_left())
        except BaseException:
            future.cancel()
            raise
        self._start_next()
        return result

    def _time_left(self) -> float | None:
        return None if self._deadline is None else self._deadline - monotonic()

    def _start_next(self) -> None:
        """Where the input fails, or its call cannot be started, that is told behind the results that come before."""
        if self._source is None:
            return
        try:
            for item in islice(self._source, 1):
                self._futures.append(self._start(item))
                return
        except Exception as exc:
            self._error = exc
        self._source = None

    def cancel(self) -> None:
        """Nobody will ask for the rest."""
        for future in self._futures:
            future.cancel()


def _results(window: _Window) -> Generator[Any, None, None]:
    try:
        while window:
            yield window.next_result()  # kept in no variable: who takes it decides how long it lives
    finally:
        window.cancel()


def _batched(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while batch := list(islice(items, size)):
        yield batch


def _opened(chunks: Generator[_Chunk, None, None], name: str) -> Iterator[Any]:
    try:
        for chunk in chunks:
            chunk.reverse()
            while chunk:
                yield _open(name, *chunk.pop())
    finally:
        chunks.close()


def _open(name: str, kind: int, payload: bytes) -> Any:
    """One item's result, or its exception, raised."""
    if kind == wire.RESULT:
        try:
            return parcel.loads(payload)
        except BaseException as exc:
            raise unsendable_result(name, "result", failure.presentable(exc)) from exc
    if kind == wire.FAILED:
        raise failure.unpack(payload, loads=parcel.loads)
    where, reason = parcel.loads(payload)
    raise unsendable_result(name, where, reason)
