"""The input of a map, read no further than there is room: sync iterables at once, async ones by a task of their own."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from itertools import islice
from time import perf_counter
from types import GeneratorType
from typing import Any, TypeAlias

_AT_ONCE_SECONDS = 0.002
_MOST_UNSEEN = 1024

AnyIterable: TypeAlias = Iterable[Any] | AsyncIterable[Any]


class Source:
    """Sync iterables, zipped where they are several (then items are tuples)."""

    def __init__(self, iterators: list[Iterator[Any]]) -> None:
        self._iterators = iterators
        self._items: Iterator[Any] = iterators[0] if len(iterators) == 1 else zip(*iterators, strict=False)
        self._step = 16
        self.is_over: bool = False
        self.error: BaseException | None = None
        """What reading it raised, in the end."""

    def read(self, count: int) -> list[Any]:
        """Up to ``count`` items; fewer at the end, and where reading them takes long: the loop waits."""
        items: list[Any] = []
        began = perf_counter()
        while (missing := count - len(items)) > 0 and not self.is_over:
            before = len(items)
            step = min(missing, self._step)
            try:
                items.extend(islice(self._items, step))  # what comes before an error stays in the list
            except BaseException as exc:
                self.is_over = True
                self.error = exc
                if not isinstance(exc, Exception):
                    raise
                break
            self.is_over = len(items) - before < step
            if perf_counter() - began > _AT_ONCE_SECONDS:
                self._step = max(1, step // 2)
                break
            self._step = min(self._step * 2, _MOST_UNSEEN)
        return items

    def close(self) -> None:
        """Run the ``finally`` of generators; what else there is belongs to whoever gave it."""
        self.is_over = True
        for iterator in self._iterators:
            if isinstance(iterator, GeneratorType):
                iterator.close()


async def rows(iterators: list[Iterator[Any] | AsyncIterator[Any]]) -> AsyncIterator[tuple[Any, ...]]:
    """Sync and async iterators zipped: a tuple of one item of each, until one of them ends."""
    nexts = [_next_of(iterator) for iterator in iterators]
    while True:
        row = []
        for is_async, take in nexts:
            try:
                item = take()
                row.append(await item if is_async else item)
            except (StopIteration, StopAsyncIteration):
                return
        yield tuple(row)


def _next_of(iterator: Iterator[Any] | AsyncIterator[Any]) -> tuple[bool, Callable[[], Any]]:
    if isinstance(iterator, AsyncIterator):
        return True, iterator.__anext__
    return False, iterator.__next__


async def close_all(iterators: list[Iterator[Any] | AsyncIterator[Any]]) -> None:
    """Close what is async and can be closed, and sync generators; all of them, then raise what the first raised."""
    errors = []
    for iterator in iterators:
        try:
            if isinstance(iterator, GeneratorType):
                iterator.close()
            elif isinstance(iterator, AsyncIterator) and (aclose := getattr(iterator, "aclose", None)):
                await aclose()
        except Exception as exc:
            errors.append(exc)
    if errors:
        raise errors[0]
