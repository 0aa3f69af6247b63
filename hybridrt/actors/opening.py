"""From what the user has asked for to the context manager of an actor."""

from __future__ import annotations

import asyncio
from typing import Any

from .._core.function import name_of
from .actor import ActorContext
from .methods import Methods
from .plan import ActorOptions, Plan, Posts


def actor_of(
    cls: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: ActorOptions,
    *,
    loop: asyncio.AbstractEventLoop,
    posts: Posts,
    most: int,
) -> ActorContext[Any]:
    """An actor that is not built yet; at most ``most`` workers of one's own are to be had.

    Raises TypeError or ValueError for what makes no sense.
    """
    if not isinstance(cls, type):
        what = name_of(cls) if callable(cls) else f"a value of type {type(cls).__name__}"
        raise TypeError(f"an actor is made of a class, then the arguments of its constructor, not of {what}")
    if options.replicas > most:
        raise ValueError(
            f"options(replicas={options.replicas}) are more than the workers of their own that this Runtime may have "
            f"(own_workers={most})"
        )
    methods = Methods(cls, lane=options.lane)
    return ActorContext(
        Plan(loop=loop, posts=posts, methods=methods, args=args, kwargs=kwargs, options=options)
    )
