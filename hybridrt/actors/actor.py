"""An actor as its user has it: a context manager that builds it, and the handle whose methods are awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from operator import attrgetter
from threading import get_ident
from types import TracebackType
from typing import Any, Concatenate, Generic, NoReturn, ParamSpec, TypeVar, overload

from .._core.batch import Batch
from ..errors import RuntimeClosed, WorkerCrashed
from .collecting import Collector
from .methods import Method
from .plan import Plan
from .replica import Replica

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

_load = attrgetter("is_down", "in_flight")


class ActorContext(Generic[T]):
    """What ``actor(...)`` returns: ``async with`` it, and the instance is there until the block ends."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._actor: Actor[T] | None = None

    async def __aenter__(self) -> Actor[T]:
        """Build the instance, each replica in a worker of its own, and enter it where its class is a context manager.

        Raises what the constructor raises, NotSendable where it or its arguments cannot be sent, WorkerCrashed where
        its worker died, WorkerStartError where none can be started; nothing is left behind then.
        """
        if self._actor is not None:
            raise RuntimeError(
                f"this actor of {self._plan.methods.name} was entered already: make another one"
            )
        replicas = [Replica(self._plan) for _ in range(self._plan.options.replicas)]
        actor: Actor[T] = Actor(self._plan, replicas)
        self._actor = actor
        await self._plan.posts.reserve_posts(len(replicas))
        try:
            await _all_of(
                [replica.build(is_reserved=True) for replica in replicas], first_error_ends_all=True
            )
        except BaseException:
            await _all_of([replica.end(is_calm=False) for replica in replicas])
            raise
        return actor

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Wait for the calls in flight, leave the instance where its class is a context manager, end its worker.

        Where the block ends by an exception, calls in flight are not waited for but stopped, with RuntimeClosed; and
        the instance is left only if there were none. Raises what its ``__exit__`` raises.
        """
        if self._actor is not None:
            await self._actor._leave(is_calm=exc_type is None)


class Actor(Generic[T]):
    """An instance of a class that lives in a worker of its own; each public method is a coroutine function here.

    ``await actor.method(x)`` is for the eye and the keyboard; ``await actor.call(Model.method, x)`` is the same with
    the types of the method. Calls of one instance run one at a time, in their order; where the class has coroutine
    functions all of them run on the event loop of its worker, these side by side. Cancelling a call stops the method;
    one that does not stop takes its worker along, and with it the instance. ``dir(actor)`` lists the methods.
    """

    def __init__(self, plan: Plan, replicas: list[Replica]) -> None:
        self._plan = plan
        self._replicas = replicas
        self._only: Replica | None = replicas[0] if len(replicas) == 1 else None
        self._thread = get_ident()
        self._in_flight = 0
        self._emptied: asyncio.Future[None] | None = None
        self._is_left = False
        self._collectors: dict[Method, Collector] = {}
        self._bound: dict[object, Callable[..., Coroutine[Any, Any, Any]]] = {}

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """The method of this name. Raises AttributeError where there is none, TypeError for a generator."""
        plan = self.__dict__.get("_plan")
        if plan is None:
            raise AttributeError(name)
        bound = self._bind(plan.methods.of(name))
        self.__dict__[name] = bound  # the next time it is found without us
        return bound

    def __dir__(self) -> list[str]:
        return sorted({*self._plan.methods.names(), "call"})

    def __repr__(self) -> str:
        replicas = f", {len(self._replicas)} replicas" if self._only is None else ""
        return f"<hybridrt actor of {self._plan.methods.name}{replicas}{', left' if self._is_left else ''}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"an actor ({self._plan.methods.name}) stays with its runtime: pass what its methods return instead"
        )

    @overload
    def call(
        self,
        method: Callable[Concatenate[T, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def call(
        self, method: Callable[Concatenate[T, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...
    def call(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Call a method, given as it stands in the class: ``await actor.call(Model.predict, x)``, typed as it is.

        It is found by its name, so a subclass's own is called where there is one. Raises TypeError for what is no
        method of the class.
        """
        bound = self._bound.get(method)
        if bound is None:
            bound = self._bound[method] = self._bind(self._plan.methods.named_by(method))
        return bound(*args, **kwargs)

    def _bind(self, method: Method) -> Callable[..., Coroutine[Any, Any, Any]]:
        batch = method.batch
        send: Callable[[Method, tuple[Any, ...], dict[str, Any]], Coroutine[Any, Any, Any]] = self._send
        if batch is not None:
            collector = self._collector(method, batch)
            send = lambda _, args, kwargs: collector.call(*args, **kwargs)  # noqa: E731
        if self._plan.options.timeout is not None:
            send = partial(self._in_time, send)

        async def bound(*args: Any, **kwargs: Any) -> Any:
            if self._is_left or get_ident() != self._thread:
                self._refuse(method)
            self._in_flight += 1
            try:
                return await send(method, args, kwargs)
            finally:
                self._in_flight -= 1
                if self._emptied is not None:
                    self._tell_if_empty(self._emptied)

        bound.__name__ = method.name
        bound.__qualname__ = f"{self._plan.methods.cls.__qualname__}.{method.name}"
        bound.__doc__ = getattr(getattr(self._plan.methods.cls, method.name, None), "__doc__", None)
        return bound

    # One call

    async def _in_time(
        self, send: Callable[..., Coroutine[Any, Any, Any]], method: Method, args: Any, kwargs: Any
    ) -> Any:
        timeout = self._plan.options.timeout
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await send(method, args, kwargs)
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimeoutError(
                f"{method.function.name} did not end within {timeout:g} s (options(timeout=...))"
            ) from None

    def _tell_if_empty(self, emptied: asyncio.Future[None]) -> None:
        if not self._in_flight and not emptied.done():
            emptied.set_result(None)

    async def _send(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        while True:
            replica = self._only or min(self._replicas, key=_load)
            if replica.is_down:
                await self._wait_for_one(method)
                continue
            replica.in_flight += 1
            try:
                return await replica.start(method, args, kwargs)
            except WorkerCrashed as exc:
                # One that had not begun when its worker died may run elsewhere, or later.
                if exc.attempts or not replica.is_down or not self._may_go_on():
                    raise
            finally:
                replica.in_flight -= 1

    def _may_go_on(self) -> bool:
        return self._plan.options.restart is not None or any(not it.is_down for it in self._replicas)

    async def _wait_for_one(self, method: Method) -> None:
        """Every replica is down: until one that is being built again is there. Raises where none will be."""
        waits = [asyncio.ensure_future(it.wait_up()) for it in self._replicas if it.given_up is None]
        try:
            if waits:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        errors = [it.given_up for it in self._replicas if it.given_up is not None]
        if len(errors) == len(self._replicas):
            raise errors[0](method.function.name)

    def _collector(self, method: Method, batch: Batch) -> Collector:
        collector = self._collectors.get(method)
        if collector is None:
            collector = self._collectors[method] = Collector(
                self._plan.loop,
                method.function.name,
                batch,
                len(self._replicas),
                lambda items: self._send(method, (items,), {}),
            )
        return collector

    def _refuse(self, method: Method) -> NoReturn:
        name = method.function.name
        if self._is_left:
            raise RuntimeClosed(f"{name} was not started: its actor has been left")
        raise RuntimeError(
            f"{name} was called from another thread: an actor belongs to the loop of its runtime"
        )

    # The end

    async def _leave(self, *, is_calm: bool) -> None:
        self._is_left = True
        for collector in self._collectors.values():
            collector.hurry()
        try:
            if is_calm and self._in_flight:
                self._emptied = self._plan.loop.create_future()
                await self._emptied
        finally:
            is_idle = not self._in_flight
            await _all_of([replica.end(is_calm=is_idle) for replica in self._replicas])


async def _all_of(works: list[Coroutine[Any, Any, None]], *, first_error_ends_all: bool = False) -> None:
    """Run them side by side to their ends, and raise the first's error; a cancel reaches all of them."""
    if len(works) == 1:
        await works[0]
        return
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.sleep(
            0
        )  # so that each has begun: cancelled before its first step, none would end anything
        await asyncio.wait(
            tasks, return_when=asyncio.FIRST_EXCEPTION if first_error_ends_all else asyncio.ALL_COMPLETED
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (exc := task.exception()) is not None:
            raise exc
