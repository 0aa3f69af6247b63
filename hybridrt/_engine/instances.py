"""Objects that live where they were made, in a worker or a thread of their own, and the calls of their methods.

What crosses to a worker is small: the class and its arguments once; for each method a key and a name, once; then the
arguments of each call. A method is unpickled to the bound method itself, so nothing stands between it and its caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_here: dict[int, Any] = {}


def forget(key: int) -> None:
    """Let go of the object with this key, if it is here."""
    _here.pop(key, None)


class Builder:
    """Called with its arguments, it makes the object, and enters it where its class is a context manager."""

    __slots__ = ("cls", "key", "on_loop")

    def __init__(self, key: int, cls: type, *, on_loop: bool) -> None:
        self.key: int = key
        self.cls: type = cls
        self.on_loop: bool = on_loop

    def __reduce__(self) -> tuple[Any, ...]:
        return _builder, (self.key, self.cls, self.on_loop)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if self.on_loop:
            return self._build_on_loop(args, kwargs)
        instance = self.cls(*args, **kwargs)
        if is_entered(self.cls):
            self.cls.__enter__(instance)  # type: ignore[attr-defined]
        _here[self.key] = instance
        return None

    async def _build_on_loop(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        cls: Any = self.cls
        instance = cls(*args, **kwargs)
        if is_entered_on_loop(cls):
            await cls.__aenter__(instance)
        elif is_entered(cls):
            cls.__enter__(instance)
        _here[self.key] = instance


def _builder(key: int, cls: type, on_loop: bool) -> Builder:
    return Builder(key, cls, on_loop=on_loop)


def is_entered(cls: type) -> bool:
    """Whether its instances are context managers."""
    return hasattr(cls, "__enter__") and hasattr(cls, "__exit__")


def is_entered_on_loop(cls: type) -> bool:
    """Whether its instances are asynchronous context managers."""
    return hasattr(cls, "__aenter__") and hasattr(cls, "__aexit__")


class Ender:
    """Called, it leaves the object, where its class is a context manager, and lets go of it."""

    __slots__ = ("key", "on_loop")

    def __init__(self, key: int, on_loop: bool) -> None:
        self.key: int = key
        self.on_loop: bool = on_loop

    def __reduce__(self) -> tuple[Any, ...]:
        return Ender, (self.key, self.on_loop)

    def __call__(self) -> Any:
        instance = _here.pop(self.key)
        if self.on_loop:
            return _end_on_loop(instance)
        if is_entered(type(instance)):
            instance.__exit__(None, None, None)
        return None


async def _end_on_loop(instance: Any) -> None:
    if is_entered_on_loop(type(instance)):
        await instance.__aexit__(None, None, None)
    elif is_entered(type(instance)):
        instance.__exit__(None, None, None)


class FarMethod:
    """A method of an object in a worker; there it is unpickled to what ``method_of`` gives."""

    __slots__ = ("__weakref__", "arguments")

    def __init__(self, key: int, name: str, *, takes_many: bool, wants_coroutine: bool) -> None:
        self.arguments: tuple[int, str, bool, bool] = (key, name, takes_many, wants_coroutine)

    def __reduce__(self) -> tuple[Any, ...]:
        return method_of, self.arguments

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return method_of(*self.arguments)(*args, **kwargs)


def method_of(key: int, name: str, takes_many: bool, wants_coroutine: bool) -> Callable[..., Any]:
    """The method of the object with this key; where a batched one ``takes_many``, that which takes the items.

    ``wants_coroutine``: it is a plain one, and is to be awaited all the same.
    """
    instance = _here[key]
    method: Any = getattr(instance, name)
    if takes_many:
        method = method.__wrapped__.__get__(instance)
    called: Callable[..., Any] = _awaited(method) if wants_coroutine else method
    return called


def _awaited(method: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    return call
