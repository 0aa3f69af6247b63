"""What a stream draws from: a generator that runs at a post, in a worker process or in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from .._core.function import Function, Timing
from .._engine.batch import Batch
from .._lanes.contract import Post

Call: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Tap(Protocol):
    """One generator, from its opening to its end. All methods belong to the loop's thread."""

    coroutines: bool
    """Whether the post that it needs runs coroutines."""

    is_over: bool
    """Whether nothing more will come, however long one waits."""

    def begin(self, post: Post, wake: Callable[[], None]) -> None:
        """Open the generator at ``post``; ``wake`` is called when ``take`` may have something. Raises as ``submit``."""
        ...

    def take(self) -> Batch | None:
        """What is there, in order; None where nothing is, now. Raises what the generator has raised, once."""
        ...

    def stop(self) -> None:
        """Nothing more is wanted: see to it that the generator stops."""
        ...

    async def end(self, patience: float) -> bool:
        """After ``stop``: until the generator is closed; whether the post is clean.

        It has ``patience`` seconds. Raises what the generator raises when it is closed.
        """
        ...


class _AtOnce(Timing):
    """Never measured, and so short that the next call is always written ahead."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.expected = 0.0

    def record(self, seconds: float) -> None:
        pass


_AT_ONCE = _AtOnce()


def facts_of(step: Callable[..., Any], function: Function) -> Function:
    """Of calls of ``step``, which are parts of a call of ``function`` and go by its name."""
    facts = Function(step)
    facts.name = function.name
    facts.in_process = _AT_ONCE
    return facts
