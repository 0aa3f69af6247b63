"""The runtime that is simply there: ``run`` makes it, ``to_thread`` and ``to_process`` use it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal, ParamSpec, TypeVar, TypeVarTuple, overload

from .runtime import Runtime, current_runtime

__all__ = ["current_runtime", "run", "to_process", "to_thread"]

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run(
    main: Callable[[*Ts], Awaitable[T]],
    *args: *Ts,
    loop: Literal["auto", "uvloop", "asyncio"] = "auto",
    debug: bool | None = None,
    **settings: Any,
) -> T:
    """Run ``main(*args)`` on a new event loop, with an ambient runtime around it, and return its result.

    ``loop``        "auto" takes uvloop where it can be had, else asyncio's own; the other two insist
    ``debug``       asyncio's debug mode; None leaves it to the environment
    ``settings``    those of ``Runtime``

    Ctrl-C cancels ``main`` and raises KeyboardInterrupt when it has ended, as ``asyncio.run`` does.
    """
    if asyncio.iscoroutine(main):
        main.close()
        raise TypeError("hybridrt.run takes the function, not a call of it: run(main), not run(main())")
    if not callable(main):
        raise TypeError(f"hybridrt.run takes an async function, not a {type(main).__qualname__}")
    if loop not in ("auto", "uvloop", "asyncio"):
        raise ValueError(f"hybridrt.run(loop={loop!r}): there are 'auto', 'uvloop' and 'asyncio'")
    runtime = Runtime(**settings)  # a nonsense setting shows before a loop is made

    async def inside() -> T:
        async with runtime:
            return await main(*args)

    with asyncio.Runner(debug=debug, loop_factory=_loop_factory(loop)) as runner:
        return runner.run(inside())


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name != "asyncio":
        try:
            import uvloop
        except ImportError:
            if name == "uvloop":
                raise ImportError("hybridrt.run(loop='uvloop') needs uvloop: pip install uvloop") from None
        else:
            factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
            return factory
    if sys.platform == "win32":
        return asyncio.SelectorEventLoop
    return None


async def to_thread(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """``current_runtime().to_thread(fn, *args, **kwargs)``."""
    return await current_runtime().to_thread(fn, *args, **kwargs)


@overload
async def to_process(fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
@overload
async def to_process(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
async def to_process(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """``current_runtime().to_process(fn, *args, **kwargs)``."""
    return await current_runtime().to_process(fn, *args, **kwargs)
