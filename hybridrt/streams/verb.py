"""``map`` as a verb, typed: for one to five iterables, sync and async alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, overload

from .sources import AnyIterable

if TYPE_CHECKING:
    from .mapped import MapResults
    from .starting import Means

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
Co: TypeAlias = Coroutine[Any, Any, T]
Items: TypeAlias = Iterable[A] | AsyncIterable[A]


class MapVerb(ABC):
    """``map``, on whatever starts calls."""

    __slots__ = ()

    @abstractmethod
    def _means(self, fn: Callable[..., Any]) -> Means:
        """What there is for a map of ``fn``. Raises what a call of it here and now would raise."""

    @overload
    def map(
        self, fn: Callable[[A], Co[T]],
        a: Items[A], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: Literal[False] = False,
        progress: bool | str = False,
    ) -> MapResults[T]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A], T],
        a: Items[A], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: Literal[False] = False,
        progress: bool | str = False,
    ) -> MapResults[T]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A], Co[T]],
        a: Items[A], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: bool, progress: bool | str = False,
    ) -> MapResults[T | Exception]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A], T],
        a: Items[A], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: bool, progress: bool | str = False,
    ) -> MapResults[T | Exception]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A, B], Co[T]],
        a: Items[A], b: Items[B], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: Literal[False] = False,
        progress: bool | str = False,
    ) -> MapResults[T]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A, B], T],
        a: Items[A], b: Items[B], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: Literal[False] = False,
        progress: bool | str = False,
    ) -> MapResults[T]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A, B], Co[T]],
        a: Items[A], b: Items[B], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: bool, progress: bool | str = False,
    ) -> MapResults[T | Exception]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A, B], T],
        a: Items[A], b: Items[B], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: bool, progress: bool | str = False,
    ) -> MapResults[T | Exception]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A, B, C], Co[T]],
        a: Items[A], b: Items[B], c: Items[C], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: Literal[False] = False,
        progress: bool | str = False,
    ) -> MapResults[T]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A, B, C], T],
        a: Items[A], b: Items[B], c: Items[C], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: Literal[False] = False,
        progress: bool | str = False,
    ) -> MapResults[T]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A, B, C], Co[T]],
        a: Items[A], b: Items[B], c: Items[C], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: bool, progress: bool | str = False,
    ) -> MapResults[T | Exception]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A, B, C], T],
        a: Items[A], b: Items[B], c: Items[C], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: bool, progress: bool | str = False,
    ) -> MapResults[T | Exception]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A, B, C, D], Co[T]],
        a: Items[A], b: Items[B], c: Items[C], d: Items[D], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: Literal[False] = False,
        progress: bool | str = False,
    ) -> MapResults[T]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A, B, C, D], T],
        a: Items[A], b: Items[B], c: Items[C], d: Items[D], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: Literal[False] = False,
        progress: bool | str = False,
    ) -> MapResults[T]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A, B, C, D], Co[T]],
        a: Items[A], b: Items[B], c: Items[C], d: Items[D], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: bool, progress: bool | str = False,
    ) -> MapResults[T | Exception]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A, B, C, D], T],
        a: Items[A], b: Items[B], c: Items[C], d: Items[D], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: bool, progress: bool | str = False,
    ) -> MapResults[T | Exception]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A, B, C, D, E], Co[T]],
        a: Items[A], b: Items[B], c: Items[C], d: Items[D], e: Items[E], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: Literal[False] = False,
        progress: bool | str = False,
    ) -> MapResults[T]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A, B, C, D, E], T],
        a: Items[A], b: Items[B], c: Items[C], d: Items[D], e: Items[E], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: Literal[False] = False,
        progress: bool | str = False,
    ) -> MapResults[T]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A, B, C, D, E], Co[T]],
        a: Items[A], b: Items[B], c: Items[C], d: Items[D], e: Items[E], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: bool, progress: bool | str = False,
    ) -> MapResults[T | Exception]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[A, B, C, D, E], T],
        a: Items[A], b: Items[B], c: Items[C], d: Items[D], e: Items[E], /,
        *, limit: int | None = None, ordered: bool = True, return_exceptions: bool, progress: bool | str = False,
    ) -> MapResults[T | Exception]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[..., Co[T]],
        a: Items[Any], b: Items[Any], c: Items[Any], d: Items[Any], e: Items[Any], f: Items[Any], /,
        *more: Items[Any], limit: int | None = None, ordered: bool = True, return_exceptions: Literal[False] = False,

        progress: bool | str = False,
    ) -> MapResults[T]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[..., T],
        a: Items[Any], b: Items[Any], c: Items[Any], d: Items[Any], e: Items[Any], f: Items[Any], /,
        *more: Items[Any], limit: int | None = None, ordered: bool = True, return_exceptions: Literal[False] = False,

        progress: bool | str = False,
    ) -> MapResults[T]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[..., Co[T]],
        a: Items[Any], b: Items[Any], c: Items[Any], d: Items[Any], e: Items[Any], f: Items[Any], /,
        *more: Items[Any], limit: int | None = None, ordered: bool = True, return_exceptions: bool,
        progress: bool | str = False,
    ) -> MapResults[T | Exception]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[..., T],
        a: Items[Any], b: Items[Any], c: Items[Any], d: Items[Any], e: Items[Any], f: Items[Any], /,
        *more: Items[Any], limit: int | None = None, ordered: bool = True, return_exceptions: bool,
        progress: bool | str = False,
    ) -> MapResults[T | Exception]: ...  # fmt: skip
    def map(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: AnyIterable,
        limit: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        progress: bool | str = False,
    ) -> MapResults[Any]:
        """The results of ``fn`` for each item of the iterables, sync or async: an async iterator.

        Several iterables are zipped: ``fn`` gets one item of each, until one of them ends. The input is read only as
        far as there is room, so it may be endless, and is closed in the end (async iterators and generators). A sync
        one is read on the loop: one that blocks belongs in ``stream``. Where ``fn`` is quick its items travel in
        batches, of a few milliseconds, whose size is measured; where it is slow they go one by one.

        ``limit``                most items in flight, which is to say read and not yet yielded; None: 4 batches a
                                 worker (a batch has at most 8192 items and about 64 kB), and 64 items, or two a
                                 worker, where they go one by one
        ``ordered``              results come in the order of the input, or as they are there
        ``return_exceptions``    exceptions are yielded in place of results; else the first one is raised, in its place
                                 behind the results before it, and all the rest is stopped. What is no ``Exception``
                                 (``SystemExit``, ``CancelledError``) comes as ``TaskExited``, as from every call
        ``progress``             whether to draw a progress bar on stderr, or the text that stands before it

        ``options(timeout=)`` and ``options(retries=)`` are for each item. Where a worker dies, the item that it ran
        fails with WorkerCrashed; items of its batch that had ended are lost with it and fail too, or are run again
        where ``retries`` allows it; the others are run elsewhere, and this map sends no more batches.

        Raises TypeError, ValueError, RuntimeClosed or HybridrtError (no tqdm) at the call for what cannot be; while it
        is iterated, what an item or the input has raised.
        """
        from .mapped import open_map

        return open_map(
            self._means(fn),
            fn,
            iterables,
            limit=limit,
            ordered=ordered,
            return_exceptions=return_exceptions,
            progress=progress,
        )
