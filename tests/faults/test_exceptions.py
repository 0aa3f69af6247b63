"""Whatever a function raises arrives: as itself, or as a stand-in that says so; no worker and no other call is hurt."""

from __future__ import annotations

import asyncio
import concurrent.futures
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest
import raising
from raising import throw, throw_in_coroutine
from scene import Scene, ids, says, shown

from hybridrt import Interrupted, RemoteError, RuntimeClosed, TaskExited, WorkerCrashed

pytestmark = pytest.mark.asyncio(loop_scope="module")


# What is called, with which arguments; what arrives; what its message says.
THEMSELVES: list[Any] = [
    (throw, (ValueError, "plain"), ValueError, "^plain$"),
    (throw, (raising.TwoArguments, "this", "that"), raising.TwoArguments, "^this and that$"),
    (throw, (raising.SetstateExplodes, "kept"), raising.SetstateExplodes, "^kept$"),
    (throw, (raising.HashExplodes, "kept"), raising.HashExplodes, "^kept$"),
    (throw, (TimeoutError, "the function's own"), TimeoutError, "^the function's own$"),
    (throw, (OSError, 28, "No space left"), OSError, "No space left"),
    (throw, (UserWarning, "as an error"), UserWarning, "^as an error$"),
    (throw, (ValueError, "\udcff lone surrogate \x00"), ValueError, "\udcff lone surrogate \x00"),
    (throw, (ValueError, b"\xff", None, float("nan"), -1), ValueError, "nan, -1"),
    (throw, (asyncio.QueueFull,), asyncio.QueueFull, "^$"),
    (throw, (asyncio.InvalidStateError, "a"), asyncio.InvalidStateError, "^a$"),
    (raising.raise_del_explodes, (), raising.DelExplodes, r"^\d+$"),
    (raising.raise_huge, (), ValueError, "^x{10000}"),
    (raising.recurse, (), RecursionError, "maximum recursion depth exceeded"),
    (raising.use_too_much_memory, (), MemoryError, ""),
    (raising.raise_with_notes, (), ValueError, "^noted$"),
    (raising.raise_with_bad_notes, (), ValueError, "^noted$"),
    (raising.raise_a_ring, (), ValueError, "^one$"),
    (raising.raise_a_long_chain, (), ValueError, "^2999$"),
    (raising.raise_with_causes, (), KeyError, "third"),
    (raising.raise_future_cancelled, (), concurrent.futures.CancelledError, "^a future of mine$"),
    (raising.raise_worker_crashed, (), WorkerCrashed, "^not yours$"),
    (raising.raise_broken_pool, (), BrokenProcessPool, "^not yours$"),
    (raising.raise_runtime_closed, (), RuntimeClosed, "^not yours$"),
    (raising.raise_no_exception, (), TypeError, "must derive from BaseException"),
    (throw_in_coroutine, (raising.TwoArguments, "this", "that"), raising.TwoArguments, "^this and that$"),
    (throw_in_coroutine, (TimeoutError, "its own"), TimeoutError, "^its own$"),
    (raising.raise_no_exception, (1, 2), TypeError, "takes 0 positional arguments but 2 were given"),
]


@pytest.mark.shares_a_runtime
@pytest.mark.parametrize(("fn", "args", "error", "message"), THEMSELVES, ids=ids(THEMSELVES))
async def test_it_arrives_as_itself(
    scene: Scene, fn: Any, args: Any, error: type[Exception], message: str
) -> None:
    exc = await scene.outcome(fn, *args)
    says(exc, error, message)
    assert len(shown(exc)) < 20_000_000


FRAMES: list[Any] = [
    (throw, (ValueError, "plain"), ["in throw"]),
    (throw, (raising.TwoArguments, "this", "that"), ["in throw"]),
    (throw_in_coroutine, (ValueError, "plain"), ["in throw_in_coroutine"]),
    (raising.recurse, (), ["in recurse", "frames left out"]),
    (throw, (raising.ReduceRaises, "x"), ["in throw"]),
    (raising.next_of_nothing, (), ["in next_of_nothing", "StopIteration"]),
    (raising.exit_interpreter, (3,), ["in exit_interpreter", "SystemExit: 3"]),
    (
        raising.raise_with_causes,
        (),
        ["in raise_with_causes", "ReduceRaises: first", "this and cause|second and cause"],
    ),
    (raising.raise_nested_groups, (), ["in raise_nested_groups", "inner", "a and b", "KeyError: 'd'"]),
    (raising.raise_with_notes, (), ["the first note\nthe second note"]),
]


@pytest.mark.parametrize(("fn", "args", "texts"), FRAMES, ids=ids(FRAMES))
async def test_the_traceback_shows_the_worker_s_frames(
    scene: Scene, fn: Any, args: Any, texts: list[str]
) -> None:
    exc = await scene.outcome(fn, *args)
    text = shown(exc) + getattr(exc, "traceback_text", "")
    for wanted in texts:
        assert any(one in text for one in wanted.split("|")), f"{wanted!r} is not in:\n{text}"
    assert "raising.py" in text
    assert "hybridrt/_engine" not in text, "our own frames in the worker say nothing to the user"


STAND_INS: list[Any] = [
    (throw, (raising.KeywordsOnly,), {"code": 4}, "code 4", ""),
    (throw, (raising.ReduceRaises, "x"), {}, "ReduceRaises: x", "cannot be pickled"),
    (
        throw,
        (raising.ReduceGivesNone, "x"),
        {},
        "ReduceGivesNone: x",
        "__reduce__ must return a string or tuple",
    ),
    (throw, (raising.ReduceGivesGarbage, "x"), {}, "ReduceGivesGarbage: x", "cannot be pickled"),
    (throw, (raising.ReduceExits, "x"), {}, "ReduceExits: x", "SystemExit"),
    (throw, (raising.ReduceGivesAnother, "x"), {}, "ReduceGivesAnother: x", "gives an int instead"),
    (
        throw,
        (raising.OnlyAtHome, "raises"),
        {},
        "OnlyAtHome: raises",
        "this process cannot unpickle it: RuntimeError",
    ),
    (throw, (raising.OnlyAtHome, "exits"), {}, "OnlyAtHome: exits", "cannot unpickle it: SystemExit"),
    (
        throw,
        (raising.OnlyAtHome, "interrupts"),
        {},
        "OnlyAtHome: interrupts",
        "unpickle it: KeyboardInterrupt",
    ),
    (
        throw,
        (raising.OnlyAtHome, "recurses"),
        {},
        "OnlyAtHome: recurses",
        "cannot unpickle it: RecursionError",
    ),
    (raising.raise_with_a_lock, (), {}, "ValueError: guarded", r"guard\['deep'\]\[0\] .*_thread.lock"),
    (raising.raise_with_a_lock_as_argument, (), {}, "ValueError: .*guarded", r"args\[1\] .*_thread.lock"),
    (raising.raise_unknown_class, (), {}, "only_in_the_worker.Unknown: who am I", "only_in_the_worker"),
    (
        throw,
        (raising.StrExplodes, "x"),
        {},
        "its __str__ raises RuntimeError",
        "its __str__ raises RuntimeError",
    ),
    (throw, (raising.StrExits, "x"), {}, "its __str__ raises SystemExit", "its __str__ raises SystemExit"),
    (throw, (raising.StrIsNoText, "x"), {}, "its __str__ raises TypeError", "its __str__ raises TypeError"),
    (throw, (raising.ReprExplodes, "x"), {}, "ReprExplodes: x", "its __repr__ raises RuntimeError"),
    (throw, (raising.EqExplodes, "x"), {}, "EqExplodes: x", "its __eq__ raises RuntimeError"),
    (throw, (raising.BoolExplodes, "x"), {}, "BoolExplodes: x", "its __bool__ raises RuntimeError"),
    (throw, (raising.GetattributeExplodes, "x"), {}, "GetattributeExplodes: x", ""),
    (
        raising.raise_huge_unpicklable,
        (),
        {},
        "ReduceRaises: x+… .9990000 more characters",
        "cannot be pickled",
    ),
]


@pytest.mark.parametrize(("fn", "args", "kwargs", "message", "why"), STAND_INS, ids=ids(STAND_INS))
async def test_a_stand_in_says_what_it_stands_for_and_why(
    scene: Scene, fn: Any, args: Any, kwargs: Any, message: str, why: str
) -> None:
    exc = await scene.outcome(fn, *args, **kwargs)
    if message == "code 4":  # one that a better way to travel has made whole
        says(exc, raising.KeywordsOnly, "^code 4$")
        assert exc.code == 4
        return
    says(
        exc,
        RemoteError,
        message,
        f"this stands in for the exception itself.*{why}",
        "give its class a __reduce__",
    )
    assert exc.type_name and exc.type_name.rpartition(".")[2] in str(exc)
    assert "in throw" in exc.traceback_text or "in raise_" in exc.traceback_text
    assert len(str(exc)) < 50_000


ODD: list[Any] = [
    (throw, (raising.LiesAboutItsClass, "x"), "x"),
    (throw, (raising.WeirdMeta, "x"), "x"),
    (raising.raise_local_class, (), "from inside"),
]


@pytest.mark.parametrize(("fn", "args", "message"), ODD, ids=ids(ODD))
async def test_an_odd_class_is_told_by_its_name(scene: Scene, fn: Any, args: Any, message: str) -> None:
    exc = await scene.outcome(fn, *args)
    name = args[0].__name__ if args else "LocalError"
    assert name in type(exc).__name__ or name in str(exc)
    assert message in str(exc)


# Message, and the type of the cause, which is what the function raised.
EXITS: list[Any] = [
    (raising.exit_interpreter, (3,), r"called sys\.exit\(3\)", SystemExit),
    (raising.exit_interpreter, (None,), r"called sys\.exit\(\)", SystemExit),
    (raising.exit_interpreter, ("secret",), r"called sys\.exit\(\.\.\.\)", SystemExit),
    (throw, (KeyboardInterrupt,), "raised KeyboardInterrupt", KeyboardInterrupt),
    (throw, (GeneratorExit,), "raised GeneratorExit", GeneratorExit),
    (
        raising.raise_asyncio_cancelled,
        (),
        "raised asyncio.CancelledError, though nobody",
        asyncio.CancelledError,
    ),
    (throw, (raising.Bare, "x"), "raised raising.Bare", raising.Bare),
    (throw, (raising.BareTwo, 1, 2), "raised raising.BareTwo", raising.BareTwo),
    (
        raising.raise_a_group_that_exits,
        (),
        "raised a BaseExceptionGroup that holds SystemExit",
        BaseExceptionGroup,
    ),
    (throw_in_coroutine, (SystemExit, 3), r"called sys\.exit\(3\)", SystemExit),
    (throw_in_coroutine, (KeyboardInterrupt,), "raised KeyboardInterrupt", KeyboardInterrupt),
    (throw_in_coroutine, (GeneratorExit,), "raised GeneratorExit", GeneratorExit),
    (throw_in_coroutine, (raising.Bare,), "raised raising.Bare", raising.Bare),
    (
        raising.call_in_coroutine,
        (raising.raise_asyncio_cancelled,),
        "raised asyncio.CancelledError",
        asyncio.CancelledError,
    ),
]


@pytest.mark.parametrize(("fn", "args", "message", "cause"), EXITS, ids=ids(EXITS))
async def test_what_would_end_a_loop_ends_one_call(
    scene: Scene, fn: Any, args: Any, message: str, cause: type[BaseException]
) -> None:
    exc = await scene.outcome(fn, *args)
    says(
        exc, TaskExited, message, "that ends this call alone", "Let it return, or raise an ordinary exception"
    )
    assert type(exc.__cause__) is cause
    assert "secret" not in str(exc)


@pytest.mark.parametrize("fn", [raising.raise_interrupted, raising.call_in_coroutine])
async def test_an_interrupt_that_the_function_raises_itself_is_no_cancel(scene: Scene, fn: Any) -> None:
    args = (raising.raise_interrupted,) if fn is raising.call_in_coroutine else ()
    exc = await scene.outcome(fn, *args)
    says(exc, TaskExited, "raised (hybridrt.)?Interrupted")
    assert exc.__cause__ is None or type(exc.__cause__) is Interrupted


STOPS: list[Any] = [
    (raising.next_of_nothing, (), StopIteration),
    (throw, (StopIteration, 5), StopIteration),
    (throw, (StopAsyncIteration,), StopAsyncIteration),
]


@pytest.mark.parametrize(("fn", "args", "cause"), STOPS, ids=ids(STOPS))
async def test_the_end_of_an_iterator_is_a_runtime_error(
    scene: Scene, fn: Any, args: Any, cause: Any
) -> None:
    exc = await scene.outcome(fn, *args)
    says(exc, RuntimeError, f"the function raised {cause.__name__} in a worker process")
    assert type(exc.__cause__) is cause


async def test_a_group_keeps_its_shape_with_stand_ins_inside(scene: Scene) -> None:
    group = await scene.outcome(raising.raise_nested_groups)
    says(group, ExceptionGroup, "^outer")
    inner, last = group.exceptions
    says(inner, ExceptionGroup, "^inner")
    says(last, ValueError, "^e$")
    says(inner.exceptions[0], raising.TwoArguments, "^a and b$")
    says(inner.exceptions[1], RemoteError, "ReduceRaises: c")
    says(inner.exceptions[2], KeyError, "d")
    assert group.subgroup(KeyError) is not None


async def test_causes_come_along_with_stand_ins_among_them(scene: Scene) -> None:
    exc = await scene.outcome(raising.raise_with_causes)
    says(exc.__context__, raising.TwoArguments, "^second and cause$")
    assert exc.__context__.two == "cause"
    says(exc.__context__.__cause__, RemoteError, "ReduceRaises: first")


async def test_many_failures_at_once_are_each_their_own(scene: Scene) -> None:
    jobs = [
        scene.submit(throw, raising.TwoArguments if i % 2 else raising.ReduceRaises, *[str(i)] * (1 + i % 2))
        for i in range(100)
    ]
    for i, exc in enumerate(await asyncio.gather(*jobs, return_exceptions=True)):
        if i % 2:
            says(exc, raising.TwoArguments, f"^{i} and {i}$")
        else:
            says(exc, RemoteError, f"ReduceRaises: {i} ")
    await scene.is_sound()
