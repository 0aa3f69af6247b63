"""One function and many items in one call: what ``map`` sends to a worker or a thread in place of a call an item.

Each item has an outcome of its own. The call has seconds, and what it has not begun by then goes back as it came.
Before each item a word of memory that outlives the worker says which one begins: whoever hears of the worker's death
knows who was running and who was not. Where an item takes long after all, the worker is asked, by a signal, to tell of
those before it, and to give back those behind it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial
from io import BytesIO
from time import perf_counter
from typing import Any, NamedTuple

from .._core.interrupt import Interrupted
from . import wire
from .blackbox import BATCH, BEGUN, ENDED, STARTED
from .desk import Desk
from .packing import PLAIN, PROTOCOL
from .parcel import dumps

_LOOK_SECONDS = 1e-4
"""How long items run between two looks at the clock, where they are short."""
_MOST_UNSEEN = 1024

_OPENS_ANYWHERE = PLAIN | {str, bytes}
_NAMES_A_CLASS = b"\x93"
"""In each pickle that refers to a class or function, of which opening may fail; and in others, by chance."""


class Answer(NamedTuple):
    """What became of the first ``ended`` items; the others have not begun."""

    seconds: float
    ended: int
    results: Any
    """The results, None where there is a failure: a list as it is, a list as bytes, or a tuple of the bytes of each."""
    failures: dict[int, Any]
    """By position: kind and payload of an answer, or the exception where nothing was sent."""


class BatchCall:
    """``fn`` over the items of a batch.

    ``is_spread``    each item is a tuple of arguments
    ``goes_on``      after a failure, too; else the first one ends it
    """

    __slots__ = ("__weakref__", "fn", "goes_on", "is_apart", "is_spread")

    def __init__(
        self, fn: Callable[..., Any], is_spread: bool, goes_on: bool, is_apart: bool = False
    ) -> None:
        self.fn: Callable[..., Any] = fn
        self.is_spread: bool = is_spread
        self.goes_on: bool = goes_on
        self.is_apart: bool = is_apart
        """Whether each item gets a context of its own, as each call has that comes with context variables."""

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchCall, (self.fn, self.is_spread, self.goes_on, self.is_apart)

    def __call__(self, items: Sequence[Any], seconds: float) -> Answer:
        """In a worker."""
        desk = Desk.here
        words = desk.words
        words[BEGUN] = 0
        words[BATCH] = words[STARTED]

        def failure_of(exc: BaseException) -> tuple[int, bytes]:
            desk.spare = None  # first: the next step may need a new object
            return desk.pack_failure(exc)

        # A failure lifts the limit of a worker's memory until its answer: no other item is to run meanwhile.
        run = _Run(items, words, failure_of, goes_on=self.goes_on and desk.spare is None)
        desk.cut_short = partial(_cut_short, run, desk)
        try:
            took = _run_items(self, self.is_apart, run, seconds)
        finally:
            desk.cut_short = None
        words[BEGUN] = run.ended | ENDED
        results, failures = run.not_told()
        ended = len(results)
        if len(items) == 1:
            return Answer(took, ended, results, failures)
        try:
            return Answer(took, ended, _packed(desk, results, failures), failures)
        except Interrupted:
            raise
        except BaseException as exc:  # they have been run, and must not seem not to have begun
            failure = desk.pack_failure(exc)
            return Answer(
                took, ended, dumps([None] * ended), {at: failures.get(at, failure) for at in range(ended)}
            )

    def in_thread(self, items: Sequence[Any], seconds: float) -> Answer:
        """In a thread."""
        run = _Run(items, [0] * (BEGUN + 1), _as_it_is, goes_on=self.goes_on)
        took = _run_items(self, True, run, seconds)
        return Answer(took, run.ended, run.results, run.failures)


def _as_it_is(exc: BaseException) -> BaseException:
    return exc


class _Run:
    """How far a batch is."""

    __slots__ = ("failures", "goes_on", "items", "piece", "results", "told", "told_of", "until", "words")

    def __init__(
        self, items: Sequence[Any], words: Any, told_of: Callable[[BaseException], Any], *, goes_on: bool
    ) -> None:
        self.items = items
        self.goes_on = goes_on
        self.words = words
        self.told_of = told_of
        self.until = len(items)
        self.piece: list[Any] = []  # the items that are run without a look at the clock
        self.results: list[Any] = []  # of those that have ended and were not told of
        self.failures: dict[int, Any] = {}  # by position among all
        self.told = 0

    @property
    def ended(self) -> int:
        return self.told + len(self.results)

    def not_told(self) -> tuple[list[Any], dict[int, Any]]:
        return self.results, {at - self.told: self.failures[at] for at in self.failures if at >= self.told}


def _run_items(call: BatchCall, is_apart: bool, run: _Run, seconds: float) -> float:
    fn = _in_a_context_of_its_own(call.fn) if is_apart else call.fn
    is_spread = call.is_spread
    items, words, add = run.items, run.words, run.results.append
    begun = 0
    step = 1
    began = looked = perf_counter()
    while begun < run.until:
        piece = run.piece = list(items[begun : begun + step])
        try:
            # An interrupt may land where a call returns and where the loop goes round: there the word is always right.
            if is_spread:
                for args in piece:
                    begun += 1
                    words[BEGUN] = begun
                    add(fn(*args))
            else:
                for item in piece:
                    begun += 1
                    words[BEGUN] = begun
                    add(fn(item))
        except Interrupted:
            raise
        except BaseException as exc:
            run.failures[begun - 1] = run.told_of(exc)
            add(None)
            if not run.goes_on:
                looked = perf_counter()
                break
        now = perf_counter()
        if now - looked < _LOOK_SECONDS / 2:
            step = min(step * 2, _MOST_UNSEEN)
        elif now - looked > _LOOK_SECONDS:
            step = max(1, step // 2)
        looked = now
        if now - began > seconds:
            break
    return looked - began


def _cut_short(run: _Run, desk: Desk) -> None:
    """In the middle of an item, which takes long: send what has ended, and give back what has not begun."""
    begun = run.words[BEGUN]
    results: bytes | None = None
    if run.results:
        results = _plainly(run.results)
    handed = len(run.results) if results is not None else 0
    if not handed and begun >= run.until:
        return
    failures = {at - run.told: run.failures[at] for at in run.failures if run.told <= at < run.told + handed}
    try:
        desk.send_part(run.words[BATCH], dumps((handed, begun - run.told, results, failures)))
    except MemoryError:
        return  # nothing was told yet
    run.until = begun
    run.piece.clear()
    run.told += handed
    del run.results[:handed]


class _Plainly(pickle.Pickler):
    """Refuses whatever would run code: it is in the middle of other code."""

    def reducer_override(self, obj: Any) -> Any:
        raise NotImplementedError


def _plainly(results: list[Any]) -> bytes | None:
    file = BytesIO()
    try:
        _Plainly(file, PROTOCOL).dump(results)
    except Exception:
        return None
    return file.getvalue()


def _in_a_context_of_its_own(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: copy_context().run(fn, *args)


def _packed(desk: Desk, results: list[Any], failures: dict[int, Any]) -> bytes | tuple[bytes, ...]:
    """All in one where nothing can go wrong on the way; else one by one, for what goes wrong is to hurt one only."""
    if _OPENS_ANYWHERE.issuperset(map(type, results)):
        return dumps(results)
    try:
        data = dumps(results)
        if _NAMES_A_CLASS not in data:
            return data
    except MemoryError:
        raise
    except Exception:
        pass  # which one it is comes out now
    parts = []
    for at, result in enumerate(results):
        kind, payload = desk.pack_part(result)
        if kind != wire.RESULT:
            failures[at] = kind, payload
            payload = dumps(None)
        parts.append(payload)
    return tuple(parts)
