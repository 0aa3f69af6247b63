"""Functions that raise what is hard to carry to another process; all are run in workers by test_exceptions.py."""

from __future__ import annotations

import os
import sys
import threading
import types
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NoReturn


def throw(cls: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise cls(*args, **kwargs)


# Constructors and pickling


class TwoArguments(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")
        self.two = two


class KeywordsOnly(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class ReduceRaises(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("no")


class ReduceGivesNone(Exception):
    def __reduce__(self) -> Any:
        return None


class ReduceGivesGarbage(Exception):
    def __reduce__(self) -> Any:
        return 42, "garbage"


class ReduceExits(Exception):
    def __reduce__(self) -> Any:
        sys.exit(5)


class ReduceGivesAnother(Exception):
    def __reduce__(self) -> Any:
        return int, (3,)


class SetstateExplodes(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.extra = 1

    def __setstate__(self, state: Any) -> None:
        raise RuntimeError("no state")


def rebuild_at_home_only(home: int, how: str) -> Exception:
    if os.getpid() == home:
        return OnlyAtHome(how)
    if how == "exits":
        sys.exit(6)
    if how == "recurses":
        return rebuild_at_home_only(home, how)
    raise KeyboardInterrupt if how == "interrupts" else RuntimeError("not here")


class OnlyAtHome(Exception):
    """It survives a round trip in the worker, and explodes in the parent."""

    def __reduce__(self) -> Any:
        return rebuild_at_home_only, (os.getpid(), self.args[0])


def raise_with_a_lock() -> None:
    exc = ValueError("guarded")
    exc.guard = {"deep": [threading.Lock()]}  # type: ignore[attr-defined]
    raise exc


def raise_with_a_lock_as_argument() -> None:
    raise ValueError("guarded", threading.Lock())


def raise_local_class() -> None:
    class LocalError(Exception):
        pass

    raise LocalError("from inside")


def raise_unknown_class() -> None:
    module = types.ModuleType("only_in_the_worker")
    exec("class Unknown(Exception): pass\nUnknown.__module__ = 'only_in_the_worker'", vars(module))  # noqa: S102
    sys.modules["only_in_the_worker"] = module
    raise module.Unknown("who am I")


# Methods that explode


class StrExplodes(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class StrExits(Exception):
    def __str__(self) -> str:
        sys.exit(7)


class StrIsNoText(Exception):
    def __str__(self) -> Any:
        return 5


class ReprExplodes(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class EqExplodes(Exception):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = Exception.__hash__


class BoolExplodes(Exception):
    def __bool__(self) -> bool:
        raise RuntimeError("no truth")


class HashExplodes(Exception):
    def __hash__(self) -> int:
        raise RuntimeError("no hash")


class GetattributeExplodes(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no attribute")


class LiesAboutItsClass(Exception):
    __class__ = property(lambda self: int)  # type: ignore[assignment]


class DelExplodes(Exception):
    def __init__(self, home: int) -> None:
        super().__init__(home)

    def __del__(self) -> None:
        if os.getpid() == self.args[0]:
            raise RuntimeError("no end")


def raise_del_explodes() -> None:
    raise DelExplodes(os.getpid())


class Meta(type):
    def __instancecheck__(cls, instance: object) -> bool:
        raise RuntimeError("no instance")


class WeirdMeta(Exception, metaclass=Meta):
    pass


# Chains, groups, notes, size


def raise_with_causes() -> None:
    try:
        try:
            raise ReduceRaises("first")
        except Exception as exc:
            raise TwoArguments("second", "cause") from exc
    except Exception:
        raise KeyError("third")  # noqa: B904


def raise_a_ring() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    raise one


def raise_a_long_chain() -> None:
    exc: Exception = ValueError("0")
    for i in range(1, 3000):
        later = ValueError(f"{i}")
        later.__cause__ = exc
        exc = later
    raise exc


def raise_nested_groups() -> None:
    inner = ExceptionGroup("inner", [TwoArguments("a", "b"), ReduceRaises("c"), KeyError("d")])
    raise ExceptionGroup("outer", [inner, ValueError("e")])


def raise_a_group_that_exits() -> None:
    raise BaseExceptionGroup("mixed", [ValueError("a"), SystemExit(3)])


def raise_with_notes() -> None:
    exc = ValueError("noted")
    exc.add_note("the first note")
    exc.add_note("the second note")
    raise exc


def raise_with_bad_notes() -> None:
    exc = ValueError("noted")
    exc.__notes__ = 5  # type: ignore[assignment]
    raise exc


def raise_huge() -> None:
    raise ValueError("x" * 10_000_000)


def raise_huge_unpicklable() -> None:
    raise ReduceRaises("x" * 10_000_000)


def recurse(n: int = 0) -> int:
    return recurse(n + 1) + 1


def use_too_much_memory() -> int:
    return len(bytearray(1 << 62))


# What is meant for the interpreter, for a loop, or for us


class Bare(BaseException):
    pass


class BareTwo(BaseException):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(one + two)


def raise_asyncio_cancelled() -> None:
    from asyncio import CancelledError

    raise CancelledError("by myself")


def raise_future_cancelled() -> None:
    raise FutureCancelled("a future of mine")


def raise_interrupted() -> None:
    from hybridrt import Interrupted

    raise Interrupted("by hand")


def raise_worker_crashed() -> None:
    from hybridrt import WorkerCrashed

    raise WorkerCrashed("not yours", pid=5, function="other", exitcode=-9)


def raise_broken_pool() -> None:
    raise BrokenProcessPool("not yours")


def raise_runtime_closed() -> None:
    from hybridrt import RuntimeClosed

    raise RuntimeClosed("not yours")


def raise_no_exception() -> None:
    raise 5  # type: ignore[misc]  # noqa: B016


def exit_interpreter(code: Any) -> None:
    sys.exit(code)


def next_of_nothing() -> Any:
    return next(iter(()))


async def throw_in_coroutine(cls: Any, *args: Any) -> None:
    raise cls(*args)


async def call_in_coroutine(fn: Any) -> None:
    fn()
