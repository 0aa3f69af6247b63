"""The ways to run a call, typed; ``Runtime`` offers them plainly, ``Runtime.options(...)`` with options."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterable, Callable, Coroutine, Hashable, Iterable
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeAlias, TypeVar, overload

from ._core.placement import LANES, PROCESS, THREAD
from ._core.terms import NO_TERMS, Terms
from ._lanes.job import Job, ProcessJob, WaitingJob
from .actors.plan import ActorOptions, require_replicas
from .actors.restart import Restart, policy_of
from .streams.starting import Means
from .streams.verb import MapVerb

if TYPE_CHECKING:
    from .actors.actor import ActorContext
    from .streams.stream import Stream

P = ParamSpec("P")
T = TypeVar("T")

LaneName: TypeAlias = Literal["loop", "thread", "process"]
RestartName: TypeAlias = Literal["never", "on-crash"]


class Verbs(MapVerb):
    """``to_thread``, ``to_process``, ``run`` and ``submit``, all of which start a job and, but for the last, await it.

    Each takes the function and its arguments as they are (``fn, /, *args, **kwargs``): options are never mixed into
    them. Cancelling the await, or the job, stops the work.
    """

    __slots__ = ()

    @abstractmethod
    def _start(
        self,
        lane: str | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        terms: Terms | None = None,
    ) -> Job[Any]:
        """Start the call in this lane, or where it belongs, on these terms."""

    @abstractmethod
    def _stream(
        self,
        lane: str | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None = None,
    ) -> Stream[Any]:
        """A stream of what the call yields, in this lane, or where it belongs."""

    async def to_thread(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fn`` in a thread; the caller's context variables travel.

        When the await is cancelled it ends at once; a call that waits never starts, one that runs goes on to its end
        and keeps its place in the limit, for a thread cannot be killed: long work asks ``hybridrt.cancelled()`` now
        and then, and returns when it is true. Raises what ``fn`` raises.
        """
        result: T = await self._start(THREAD, fn, args, kwargs)
        return result

    @overload
    async def to_process(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    async def to_process(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def to_process(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run ``fn`` in a worker process; a coroutine function runs on an event loop there, many at once.

        Function and arguments are pickled: by reference where they can be imported, by value where they belong to
        ``__main__``, a notebook or another function. Of the caller's context variables, the registered ones travel
        (``register_contextvar``). What is large is pickled and unpickled beside the loop, in threads: do not change a
        large argument before the call has ended. When the await is cancelled, the code is interrupted (its ``finally``
        blocks run), and killed if it goes on for ``interrupt_grace`` seconds. Raises what ``fn`` raises, NotSendable
        where something cannot be pickled, WorkerCrashed where the worker died.
        """
        return await self._start(PROCESS, fn, args, kwargs)

    @overload
    async def run(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    async def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run ``fn`` where it belongs: as declared (``@io_bound``, ``@cpu_bound``), a coroutine function on the loop,
        anything else in a thread or a process, by what was measured of it. ``Runtime.explain(fn)`` says where and why.
        """
        return await self._start(None, fn, args, kwargs)

    @overload
    def submit(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[T]: ...
    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Job[T]: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job[Any]:
        """Start ``fn`` now, where ``run`` would, and return its job: a future of the result."""
        return self._kept(self._start(None, fn, args, kwargs))

    def _kept(self, job: Job[T]) -> Job[T]:
        """This job is handed out; a scope sees to its outcome."""
        return job

    def actor(self, cls: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> ActorContext[T]:
        """``async with rt.actor(Model, "weights.bin") as model:`` an instance in a worker process of its own.

        ``cls`` is called there, with these arguments; ``await model.predict(x)`` then calls a method, and
        ``await model.call(Model.predict, x)`` does with its types (``Actor`` says how). A class that is a context
        manager is entered after it was made and left at the end. The end of the block waits for the calls in flight and
        ends the worker.

        ``options(lane="thread")`` makes it live in a thread of its own, ``options(replicas=n)`` makes so many
        instances, each call to the one that has the fewest, ``options(restart="on-crash")`` builds it again where its
        worker dies, ``options(timeout=...)`` limits each call. Raises TypeError for what is no class.
        """
        return self._actor(cls, args, kwargs, ActorOptions())

    @abstractmethod
    def _actor(
        self, cls: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], options: ActorOptions
    ) -> ActorContext[T]:
        """An actor with these options."""

    @overload
    def stream(
        self, fn: Callable[P, AsyncIterable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Stream[T]: ...
    @overload
    def stream(self, fn: Callable[P, Iterable[T]], /, *args: P.args, **kwargs: P.kwargs) -> Stream[T]: ...
    def stream(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Stream[Any]:
        """What the generator function ``fn``, sync or async, yields in a worker of its own, as an async iterator.

        The worker is a process; a thread where ``fn`` is declared ``@io_bound`` or ``@thread_only``, or with
        ``options(lane="thread")``, and then it is no async generator function. It starts when the first item is wanted
        and works ahead from then on: by no more than three batches, each of which ends after 2 ms, 2,048 items or
        40 kB, or with one item that is large (an array, bytes), which travels without being copied. Items that come
        slowly come one by one. ``options(timeout=...)`` is for the whole stream, from its first item being wanted to
        its end.

        Raises TypeError where ``fn`` is no generator function, NotSendable where the call cannot be pickled. ``Stream``
        says how it ends.
        """
        return self._stream(None, fn, args, kwargs)


class BoundOptions(Verbs):
    """The verbs with options; made by ``Runtime.options``, reusable, and as cheap as the plain ones."""

    __slots__ = ("_lane", "_plain", "_replicas", "_restart", "_retries", "_terms", "_timeout")

    def __init__(
        self,
        plain: Verbs,
        *,
        lane: LaneName | None,
        timeout: float | None,
        retries: int,
        terms: Terms | None = None,
        replicas: int = 1,
        restart: Restart | RestartName = "never",
    ) -> None:
        if lane not in (None, *LANES):
            raise ValueError(f"options(lane={lane!r}): there is no such lane; there are {', '.join(LANES)}")
        if timeout is not None and not _is_time(timeout):
            raise ValueError(f"options(timeout={timeout!r}) must be a number of seconds, 0 or more")
        if type(retries) is not int or retries < 0:
            raise ValueError(f"options(retries={retries!r}) must be a whole number, 0 or more")
        require_replicas(replicas)
        self._replicas = replicas
        self._restart = policy_of(restart)
        self._plain = plain
        self._lane = lane
        self._timeout = timeout
        self._retries = retries
        self._terms = terms

    def _start(
        self,
        lane: str | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        terms: Terms | None = None,
    ) -> Job[Any]:
        if lane is not None and self._lane not in (None, lane):
            raise ValueError(
                f"options(lane={self._lane!r}).to_{lane}(...) contradicts itself: use run or submit"
            )
        if self._replicas > 1 or self._restart is not None:
            raise ValueError("options(replicas=..., restart=...) are for actors: a call has no instance")
        job = self._plain._start(lane or self._lane, fn, args, kwargs, self._terms)
        if self._retries and isinstance(job, ProcessJob | WaitingJob):
            job.retries = self._retries  # in time: no death is heard of before the loop turns
        if self._timeout is not None:
            handle = job.get_loop().call_later(self._timeout, _expire, job, self._timeout)
            job.add_done_callback(lambda _: handle.cancel())
        return job

    def _kept(self, job: Job[T]) -> Job[T]:
        return self._plain._kept(job)

    def _refuse_terms(self, what: str) -> None:
        if self._terms is not None:
            raise ValueError(
                f"options(priority=, deadline=, key=, max_queue=) are for calls: {what} has a worker of its own, for "
                "which nobody else waits"
            )

    def actor(self, cls: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> ActorContext[T]:
        """As ``Runtime.actor``, with these options."""
        if self._retries:
            raise ValueError(
                "options(retries=...) is not for actors: a method may have changed its instance before the worker died"
            )
        self._refuse_terms("an actor")
        lane: Any = self._lane or PROCESS
        options = ActorOptions(
            lane=lane, replicas=self._replicas, restart=self._restart, timeout=self._timeout
        )
        return self._actor(cls, args, kwargs, options)

    def _actor(
        self, cls: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], options: ActorOptions
    ) -> ActorContext[T]:
        return self._plain._actor(cls, args, kwargs, options)

    def _stream(
        self,
        lane: str | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None = None,
    ) -> Stream[Any]:
        if self._retries:
            raise ValueError(
                "options(retries=...).stream(...): a stream cannot be run again, for items of it are used"
            )
        self._refuse_terms("a stream")
        return self._plain._stream(lane or self._lane, fn, args, kwargs, self._timeout)

    def _means(self, fn: Callable[..., Any]) -> Means:
        plain = self._plain._means(fn)
        has_time = self._timeout is not None or (self._terms is not None and self._terms.deadline is not None)
        return plain._replace(
            lane=self._lane or plain.lane,
            start=self._start,
            start_batch=None if has_time else plain.start_batch,  # its time is each item's own
            retries=self._retries,
            terms=self._terms,
        )


class PlainVerbs(Verbs):
    """The verbs without options, which may be given some."""

    __slots__ = ()

    def options(
        self,
        *,
        lane: LaneName | None = None,
        timeout: float | None = None,
        retries: int = 0,
        priority: float = 0.0,
        deadline: float | None = None,
        key: Hashable = None,
        weight: float = 1.0,
        key_limit: int | None = None,
        max_queue: int | None = None,
        replicas: int = 1,
        restart: Restart | RestartName = "never",
    ) -> BoundOptions:
        """The same verbs with options; make it once, use it often.

        ``lane``       "loop", "thread" or "process": where ``run`` and ``submit`` put the call, whatever else is known
        ``timeout``    seconds from the call to its end, waiting included; then TimeoutError, and the work is stopped
        ``retries``    how often a call is run again where the death of its worker process lost it; for calls that may
                       be run twice. What the function raises is its answer, and never retried
        ``priority``   higher is sooner (0); one more is worth one second of waiting, so nothing waits for ever
        ``deadline``   seconds from the call to its end; one that cannot make it any more is not started, what runs then
                       is stopped, and either fails with DeadlineExceeded
        ``key``        whose call it is (a tenant, a route): keys get fair shares of what is handed out, by the time
                       that their calls take; all calls without a key are one. Priority counts within a key
        ``weight``     how big its key's share is (1.0)
        ``key_limit``  most calls of its key that run at once in a lane. Weight and limit are those that were said last
        ``max_queue``  where so many calls wait in its lane already, raise QueueFull at once (None: the setting of the
                       same name; 0: let any number wait)
        ``replicas``   of an actor: so many instances, each in a worker of its own; a call goes to the least busy one
        ``restart``    of an actor: whether its instance is built again where its worker dies: "never", "on-crash", or a
                       ``Restart``, which says how often and how soon

        Raises ValueError or TypeError for what makes no sense. On somebody else's executor (``processes=executor``)
        only ``deadline`` is of use, and calls there refuse the others with TypeError.
        """
        return BoundOptions(
            self,
            lane=lane,
            timeout=timeout,
            retries=retries,
            terms=_terms_of(priority, deadline, key, weight, key_limit, max_queue),
            replicas=replicas,
            restart=restart,
        )


def _terms_of(
    priority: float,
    deadline: float | None,
    key: Hashable,
    weight: float,
    key_limit: int | None,
    max_queue: int | None,
) -> Terms | None:
    """The terms that these options make; None where they are all as if not given."""
    if key_limit is not None and key_limit == 0:
        raise ValueError(f"options(key_limit={key_limit!r}) must be a whole number, 1 or more")
    terms = Terms(priority, key, weight, key_limit or 0, deadline, max_queue)
    return None if terms == NO_TERMS else terms


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and value >= 0  # NaN is not


def _expire(job: Job[Any], timeout: float) -> None:
    if not job.done():
        job.set_exception(
            TimeoutError(f"{job.function.name} did not end within {timeout:g} s (options(timeout=...))")
        )
        job.stop_work(job)
