"""``map``: what is asked for is checked at the call; the results come as somebody takes them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator, Sized
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from .._core.function import COROUTINE, GENERATOR, Function, name_of
from .._core.placement import PROCESS, THREAD, THREAD_ONLY
from .bar import Bar
from .flow import Flow
from .sources import AnyIterable
from .starting import Means

T = TypeVar("T")


class MapResults(Generic[T]):
    """The results of one ``map``: an async iterator, and an async context manager that stops it in the end.

    Nothing is read or started before the first result is asked for. It serves one consumer at a time. An ``async for``
    that is left early (``break``, an error, a cancel) stops the calls in flight and closes the input: at the loop's
    next turn where nobody holds this object any more, at once at the end of ``async with``, and with ``aclose``.
    """

    __slots__ = ("_flow", "_results")

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._results: AsyncGenerator[T, None] = flow.results()

    def __aiter__(self) -> AsyncIterator[T]:
        """The results."""
        return self._results  # itself: a Python frame less for each result

    async def __anext__(self) -> T:
        """The next result. Raises StopAsyncIteration, what an item has raised, and what the input has raised."""
        return await self._results.__anext__()

    async def aclose(self) -> None:
        """Stop what is in flight and close the input; a second time is harmless."""
        await self._results.aclose()
        await self._flow.close()

    async def __aenter__(self) -> Self:
        """Nothing is done yet."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """As ``aclose``."""
        await self.aclose()


def open_map(
    means: Means,
    fn: Callable[..., Any],
    iterables: tuple[AnyIterable, ...],
    *,
    limit: int | None,
    ordered: bool,
    return_exceptions: bool,
    progress: bool | str,
) -> MapResults[Any]:
    """The results of ``fn`` over these; raises at once what is wrong with what is asked for."""
    name = means.function.name
    if limit is not None:
        if type(limit) is not int:
            raise TypeError(f"map(limit=...) must be a whole number or None, not {name_of(type(limit))}")
        if limit < 1:
            raise ValueError(f"map(limit={limit}) makes no sense: it must be at least 1, or None")
    if not isinstance(progress, bool | str):
        raise TypeError(
            f"map(progress=...) must be True, False or a text to stand before the bar, not {name_of(type(progress))}"
        )
    if not iterables:
        raise TypeError(f"map({name}) has nothing to go over: pass at least one iterable behind the function")
    _check_function(means.function, means.lane)
    iterators = [_iterator(it, at) for at, it in enumerate(iterables)]
    bar = None
    if progress:
        label = progress if isinstance(progress, str) else name.rpartition(".")[2]
        bar = Bar(label, _length(iterables))
    flow = Flow(means, fn, iterators, limit=limit, is_ordered=ordered, goes_on=return_exceptions, bar=bar)
    if means.keep is not None:
        means.keep(flow)
    return MapResults(flow)


def _check_function(function: Function, lane: str | None) -> None:
    name = function.name
    if function.kind == GENERATOR:
        raise TypeError(
            f"{name} is a generator function, of which map would give generators: to take what one yields use "
            "stream, or map a function that returns a finished result"
        )
    if function.kind == COROUTINE and lane == THREAD:
        raise TypeError(
            f"{name} is a coroutine function, which needs an event loop and not a thread: map it without a lane, or "
            'with options(lane="process")'
        )
    if function.declared == THREAD_ONLY and lane == PROCESS:
        raise TypeError(
            f"{name} is declared @thread_only, so it cannot be sent to a process: map it without a lane"
        )


def _iterator(iterable: AnyIterable, at: int) -> Iterator[Any] | AsyncIterator[Any]:
    if isinstance(iterable, AsyncIterable):
        return aiter(iterable)
    try:
        return iter(iterable)
    except TypeError:
        what = name_of(type(iterable))
        raise TypeError(
            f"map's iterable number {at + 1} is a value of type {what}, which is no iterable, sync or async"
        ) from None


def _length(iterables: tuple[AnyIterable, ...]) -> int | None:
    """Of the shortest, where that is known: only what has a length might be it."""
    lengths = [len(it) for it in iterables if isinstance(it, Sized)]
    return min(lengths, default=None) if len(lengths) == len(iterables) else None
