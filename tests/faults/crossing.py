"""Arguments and results that are hard to carry; functions that make them, run in workers by test_crossing.py."""

from __future__ import annotations

import contextvars
import io
import os
import socket
import sys
import threading
import weakref
from typing import Any


def identity(value: Any) -> Any:
    return value


def make(what: str) -> Any:
    """A result that belongs to its process."""
    return MAKERS[what]()


def _generator() -> Any:
    yield 1


async def _coroutine() -> None: ...


def _closed_coroutine() -> Any:
    coroutine = _coroutine()
    coroutine.close()
    return coroutine


def _deep_list(depth: int = 200_000) -> Any:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    return nested


MAKERS: dict[str, Any] = {
    "lock": threading.Lock,
    "nested": lambda: {"rows": [1, {"guard": threading.RLock()}]},
    "attribute": lambda: Holder(threading.Lock()),
    "generator": _generator,
    "coroutine": _closed_coroutine,
    "socket": lambda: socket.socket(),
    "file": lambda: open(os.devnull, "w"),  # noqa: SIM115
    "module": lambda: sys,
    "frame": lambda: sys._getframe(),
    "context": contextvars.copy_context,
    "thread": lambda: threading.Thread(),
    "weak": lambda: weakref.ref(threading.main_thread()),
    "deep": _deep_list,
}


class Holder:
    def __init__(self, value: Any) -> None:
        self.value = value


def fail_elsewhere(home: int, how: str) -> Any:
    if os.getpid() == home:
        return OnlyAtHome(how)
    raise FAILURES[how]


FAILURES: dict[str, BaseException] = {
    "raises": RuntimeError("not here"),
    "exits": SystemExit(3),
    "interrupts": KeyboardInterrupt(),
    "stops": StopIteration(),
    "memory": MemoryError(),
}


class OnlyAtHome:
    """It can be unpickled in the process that pickled it alone."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return fail_elsewhere, (os.getpid(), self.how)


def only_at_home(how: str) -> Any:
    return {"deep": [OnlyAtHome(how)]}


class FailsWhenSent:
    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        raise FAILURES[self.how]


def fails_when_sent(how: str) -> Any:
    return {"deep": [FailsWhenSent(how)]}


class ReduceGives:
    def __init__(self, what: Any) -> None:
        self.what = what

    def __reduce__(self) -> Any:
        return self.what


def reduce_gives(what: Any) -> Any:
    return [ReduceGives(what)]


class Endless:
    def __reduce__(self) -> Any:
        return Endless, (), {"next": Endless()}


def endless() -> Any:
    return Endless()


class StateExplodes:
    def __init__(self) -> None:
        self.value = 1

    def __setstate__(self, state: Any) -> None:
        raise ValueError("no state")


def state_explodes() -> Any:
    return StateExplodes()


class Liar:
    __class__ = property(lambda self: int)  # type: ignore[assignment]


def liar() -> Any:
    return Liar()


class Hostile:
    """Whatever is asked of it explodes, but it can be pickled."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("__reduce_ex__", "__reduce__", "__getstate__", "__class__", "__dict__", "__setstate__"):
            return object.__getattribute__(self, name)
        raise RuntimeError("no attribute")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __iter__(self) -> Any:
        raise RuntimeError("no items")

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __await__(self) -> Any:
        raise RuntimeError("no waiting")


def hostile() -> Any:
    return Hostile()


class NeedsTwo(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(one + two)


def return_exception() -> Any:
    return ValueError("returned, not raised")


def return_exit() -> Any:
    return SystemExit(3)


def return_broken_exception() -> Any:
    return NeedsTwo(1, 2)


def return_lambda() -> Any:
    return [lambda x: x + 1]


def return_local_class() -> Any:
    class Local:
        value = 5

    return Local()


def return_huge(size: int) -> bytes:
    return b"r" * size


def return_text_io() -> Any:
    return io.StringIO("text").getvalue()


def unknown_to_the_parent() -> Any:
    import types

    module = types.ModuleType("made_in_the_worker")
    exec("class Thing: pass\nThing.__module__ = 'made_in_the_worker'", vars(module))  # noqa: S102
    sys.modules["made_in_the_worker"] = module
    return module.Thing()
