"""One instance of an actor in its worker: built, called, built again where the policy says so, and ended.

While it is being built again, calls wait; those that had not begun when its worker died wait with them, in their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import count
from time import monotonic
from typing import Any

from .._core.function import COROUTINE
from .._engine.instances import Builder, Ender, FarMethod, forget, method_of
from .._lanes.contract import Post
from .._lanes.job import Job
from ..errors import RuntimeClosed, WorkerCrashed
from .methods import Method
from .plan import Plan
from .restart import Attempts

_keys = count(1)


class Replica:
    """Belongs to the loop's thread."""

    __slots__ = (
        "_attempts", "_ends", "_far", "_key", "_plan", "_post", "_rebuilding", "_rebuilt", "given_up", "in_flight",
    )  # fmt: skip

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._key = 0
        self._post: Post | None = None
        self._far: dict[Method, Callable[..., Any]] = {}
        self._attempts = Attempts(plan.options.restart) if plan.options.restart is not None else None
        self._rebuilding: asyncio.Task[None] | None = None
        self._rebuilt: asyncio.Future[None] | None = None
        self._ends = False
        self.in_flight: int = 0
        """Calls that it has and has not answered."""
        self.given_up: Callable[[str], Exception] | None = None
        """Where it is not built again: makes the error for a call of this name."""

    @property
    def is_down(self) -> bool:
        """Whether it cannot take a call now."""
        return self._rebuilt is not None or self.given_up is not None or self._has_died()

    def _has_died(self) -> bool:
        return self._post is not None and self._post.gone is not None

    async def build(self, *, is_reserved: bool = False) -> None:
        """Open a worker and make the instance in it; nothing is left behind where that fails or is cancelled.

        ``is_reserved``: there is a place for its worker. Raises what the constructor raises, and what opening a worker
        does.
        """
        plan = self._plan
        methods = plan.methods
        key = next(_keys)
        post = await plan.posts.open_post(
            plan.options.lane,
            coroutines=methods.on_loop,
            on_death=partial(self._died, key),
            is_reserved=is_reserved,
        )
        try:
            builder = Builder(key, methods.cls, on_loop=methods.on_loop)
            await post.submit(methods.step(""), builder, plan.args, plan.kwargs)
            if post.gone is not None:
                raise post.gone(methods.name)
        except BaseException:
            self._post = None
            try:
                await post.leave(is_clean=False)
            finally:
                forget(key)
            raise
        self._key, self._post = key, post
        self._far = {}

    def start(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job[Any]:
        """Start a call. Raises what is the caller's fault; WorkerCrashed where its worker has died."""
        post = self._post
        if post is None:
            raise RuntimeError(f"{method.function.name} was called before its instance was built")
        far = self._far.get(method)
        if far is None:
            far = self._far[method] = self._far_method(method)
        return post.submit(method.function, far, args, kwargs)

    def _far_method(self, method: Method) -> Callable[..., Any]:
        wants_coroutine = self._plan.methods.on_loop and not method.is_coroutine
        takes_many = method.batch is not None
        if self._plan.options.lane == "thread":
            return method_of(self._key, method.name, takes_many, wants_coroutine)
        return FarMethod(self._key, method.name, takes_many=takes_many, wants_coroutine=wants_coroutine)

    # Death

    def _died(self, key: int) -> None:
        """The worker of the instance with this key has died, and was not given up."""
        if key == self._key:  # else it was being built, and whoever builds it hears of it
            self._notice()

    def _notice(self) -> None:
        """See to it that a death has its consequences; a second time is harmless."""
        post = self._post
        if (
            post is None
            or post.gone is None
            or self._ends
            or self._rebuilt is not None
            or self.given_up is not None
        ):
            return
        if self._attempts is None:
            self.given_up = post.gone
            return
        self._rebuilt = self._plan.loop.create_future()
        self._rebuilding = self._plan.loop.create_task(self._rebuild(self._attempts))

    async def _rebuild(self, attempts: Attempts) -> None:
        error: Exception | None = None
        try:
            while (delay := attempts.next_delay(monotonic())) is not None:
                await asyncio.sleep(delay)
                try:
                    await self.build()
                except RuntimeClosed as exc:
                    self.given_up = partial(_closed, str(exc))
                    return
                except Exception as exc:
                    error = exc
                else:
                    return
            self.given_up = self._not_again(error)
        except asyncio.CancelledError:
            self.given_up = self._not_again(error)
            raise
        finally:
            self._rebuilding = None
            rebuilt, self._rebuilt = self._rebuilt, None
            if rebuilt is not None and not rebuilt.done():
                rebuilt.set_result(None)

    def _not_again(self, cause: Exception | None) -> Callable[[str], Exception]:
        policy = self._plan.options.restart
        how_often = f" {policy.most} times within {policy.within:g} s" if policy is not None else ""

        def error(name: str) -> Exception:
            exc = WorkerCrashed(
                f"{name} was not started: the worker of its actor died, and the instance was built again{how_often} "
                "(options(restart=...)), so it is not built once more: look at what kills it, or open another actor",
                function=name,
                attempts=0,
            )
            exc.__cause__ = cause
            return exc

        return error

    async def wait_up(self) -> None:
        """Until it is built again, or is given up."""
        self._notice()
        if self._rebuilt is not None:
            await asyncio.shield(self._rebuilt)

    # The end

    async def end(self, *, is_calm: bool) -> None:
        """Leave the instance where its class is a context manager, if ``is_calm``, and give the worker up.

        Raises what its ``__exit__`` raises. Nothing is left behind where it is cancelled.
        """
        self._ends = True
        if self._rebuilding is not None:
            self._rebuilding.cancel()
            await asyncio.wait([self._rebuilding])
        post, methods = self._post, self._plan.methods
        if post is None:
            return
        self._far = {}
        try:
            if is_calm and not self._has_died() and (methods.has_end or post.lane == "thread"):
                step = methods.step(".__exit__")
                if methods.on_loop:
                    step.kind = COROUTINE
                await post.submit(step, Ender(self._key, methods.on_loop), (), {})
        finally:
            try:
                await post.leave(is_clean=False)
            finally:
                forget(self._key)


def _closed(why: str, name: str) -> Exception:
    return RuntimeClosed(f"{name} was not started: {why}")
