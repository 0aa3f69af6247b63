"""An exception crosses from worker to parent as itself or as a stand-in that says so, never as a second failure."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import pickle
import subprocess
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridrt._engine import anatomy, failure, parcel
from hybridrt.errors import HybridrtError, RemoteError, TaskExited

HERE = __file__
ROOT = Path(__file__).resolve().parent.parent


def caught(fn: Callable[..., object], *args: Any) -> BaseException:
    try:
        fn(*args)
    except BaseException as exc:
        return exc
    raise AssertionError("it did not raise")


def throw(exc: BaseException) -> NoReturn:
    raise exc


def packed(exc: BaseException, **more: Any) -> bytes:
    return failure.pack(exc, **({"dumps": parcel.dumps, "loads": parcel.loads} | more))


def cross(exc: BaseException, loads: Callable[[bytes], Any] = parcel.loads, **more: Any) -> Exception:
    """There and back; what arrives can be raised, shown and pickled on."""
    back = failure.unpack(packed(exc, **more), loads=loads)
    assert isinstance(back, Exception)
    "".join(traceback.format_exception(back))
    str(back), repr(back)
    return back


def shown(exc: BaseException) -> str:
    return "".join(traceback.format_exception(exc))


def stand_in(exc: BaseException, **more: Any) -> RemoteError:
    back = cross(exc, **more)
    assert type(back) is RemoteError
    assert "this stands in for the exception itself" in str(back)
    return back


# --- as itself ---


class TwoArguments(Exception):
    def __init__(self, code: int, name: str) -> None:
        super().__init__(f"{name} failed with {code}")
        self.code = code
        self.name = name


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__("failed")
        self.code = code


class ChangesItsArguments(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(f"[{text}]")


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int
    name: str = "n"


class Slots(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


class OwnReduce(Exception):
    def __init__(self, code: int, name: str) -> None:
        super().__init__(f"{name}: {code}")
        self.code = code

    def __reduce__(self) -> Any:
        return OwnReduce, (self.code, "again")


class OsErrorOfTwo(OSError):
    def __init__(self, code: int, path: str) -> None:
        super().__init__(code, "no such luck", path)
        self.path = path


class Mixin:
    def helps(self) -> str:
        return "yes"


class Mixed(Mixin, KeyError):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(a + b)


class CannotBeSet(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError("read only")


THEMSELVES: list[BaseException] = [
    ValueError("bad"),
    ValueError(),
    ValueError("a", 1, None, b"x", float("nan")),
    KeyError("k"),
    OSError(2, "No such file", "/tmp/x"),
    FileNotFoundError(2, "No such file", "/tmp/x", None, "/tmp/y"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    SyntaxError("bad", ("f.py", 1, 2, "x =", 1, 3)),
    ImportError("no", name="x", path="/y"),
    ModuleNotFoundError("No module named 'x'", name="x"),
    caught(lambda: undefined_name),  # type: ignore[name-defined]  # noqa: F821
    caught(lambda: (3).nothing),  # type: ignore[attr-defined]
    ZeroDivisionError("division by zero"),
    json.JSONDecodeError("bad", "{", 1),
    subprocess.CalledProcessError(3, ["ls"], b"out", b"err"),
    TimeoutError("late"),
    asyncio.QueueFull(),
    asyncio.IncompleteReadError(b"ab", 5),
    TwoArguments(3, "disk"),
    KeywordOnly(code=3),
    ChangesItsArguments("x"),
    Frozen(1, name="b"),
    Frozen(code=1),
    Slots(7),
    OwnReduce(3, "again"),
    OsErrorOfTwo(2, "/tmp/z"),
    Mixed(1, 2),
    CannotBeSet("x"),
    ValueError({"deep": [1, (2,)]}),
    HybridrtError("ours"),
]


@pytest.mark.parametrize("exc", THEMSELVES, ids=lambda exc: type(exc).__name__)
def test_it_arrives_as_itself(exc: BaseException) -> None:
    back = cross(caught(throw, exc))
    assert type(back) is type(exc)
    assert str(back) == str(exc)
    assert repr(back) == repr(exc)
    assert repr(back.args) == repr(exc.args)
    assert vars(back).keys() == vars(exc).keys()
    assert "in throw" in shown(back)


def test_what_it_carries_comes_along() -> None:
    first, second = TwoArguments(3, "disk"), OsErrorOfTwo(2, "/tmp/z")
    back = cross(first)
    assert isinstance(back, TwoArguments)
    assert (back.code, back.name) == (3, "disk")
    other = cross(second)
    assert isinstance(other, OsErrorOfTwo)
    assert (other.errno, other.filename, other.path) == (2, "/tmp/z", "/tmp/z")
    missing = cross(ImportError("no", name="x", path="/y"))
    assert isinstance(missing, ImportError)
    assert (missing.name, missing.path) == ("x", "/y")


def test_it_is_the_same_again_after_a_second_crossing() -> None:
    back = cross(cross(caught(throw, TwoArguments(1, "a"))))
    assert (type(back), str(back)) == (TwoArguments, "a failed with 1")
    assert "in throw" in shown(back)
    again = cross(cross(caught(throw, LocksWithin())))
    assert type(again) is RemoteError
    assert again.type_name.endswith("LocksWithin")


def test_a_local_class_arrives_by_value() -> None:
    class Local(Exception):
        pass

    back = cross(Local("here"))
    assert type(back) is Local
    assert str(back) == "here"


@given(st.lists(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()))
def test_plain_arguments_arrive_exactly(args: list[Any]) -> None:
    for cls in (ValueError, TwoArguments):
        exc = cls.__new__(cls, *args)
        back = cross(exc)
        assert type(back) is cls
        assert repr(back.args) == repr(tuple(args))


# --- its traceback, chain and notes ---


def inner_step(mapping: dict[str, int]) -> int:
    return mapping["here"] + mapping["missing"]


def outer_step() -> int:
    return inner_step({"here": 1})


def test_the_traceback_shows_the_workers_functions_files_and_lines() -> None:
    exc = caught(outer_step)
    back = cross(exc)
    text = shown(back)
    line = inner_step.__code__.co_firstlineno + 1
    assert f'File "{HERE}", line {line}, in inner_step' in text
    assert 'return mapping["here"] + mapping["missing"]' in text
    assert text.index("in outer_step") < text.index("in inner_step")
    assert text.endswith("KeyError: 'missing'\n")
    assert [(f.name, f.lineno) for f in traceback.extract_tb(back.__traceback__)] == [
        (f.name, f.lineno) for f in traceback.extract_tb(exc.__traceback__)
    ]


def test_no_mark_stands_under_the_wrong_part_of_a_line() -> None:
    # tblib's frames hold code of its own, whose columns are not the user's.
    assert "^" not in shown(cross(caught(outer_step)))


def test_it_can_be_raised_and_gathers_the_parents_frames() -> None:
    back = cross(caught(outer_step))
    text = shown(caught(throw, back))
    assert text.index("in throw") < text.index("in outer_step") < text.index("in inner_step")


def test_the_engines_own_frames_are_left_out_at_the_top() -> None:
    exc = caught(outer_step)
    assert "in caught" in shown(cross(exc))
    for skip in (HERE, str(Path(HERE).parent), ("/nowhere", HERE)):
        assert cross(exc, skip_file=skip).__traceback__ is None
    space: dict[str, Any] = {"outer_step": outer_step}
    exec(compile("def task():\n    outer_step()", "user.py", "exec"), space)  # noqa: S102
    names = [f.name for f in traceback.extract_tb(cross(caught(space["task"]), skip_file=HERE).__traceback__)]
    assert names == ["task", "outer_step", "inner_step"]


def fall(depth: int) -> int:
    return fall(depth + 1)


def test_thousands_of_frames_keep_the_first_and_the_last() -> None:
    exc = caught(fall, 0)
    assert isinstance(exc, RecursionError)
    data = packed(exc)
    assert len(data) < 5_000
    frames = traceback.extract_tb(failure.unpack(data, loads=parcel.loads).__traceback__)
    assert len(frames) == anatomy.FIRST_FRAMES + anatomy.LAST_FRAMES + 1
    assert frames[0].name == "caught"
    assert frames[-1].name == "fall"
    assert "frames left out" in frames[anatomy.FIRST_FRAMES].name


def chained() -> None:
    try:
        outer_step()
    except KeyError as error:
        error.add_note("looked up in a hurry")
        try:
            raise TwoArguments(1, "disk") from error
        except TwoArguments as two:
            two.add_note("first note")
            two.add_note("second note")
            raise RuntimeError("at last")  # noqa: B904  (a context, not a cause)


def test_causes_contexts_and_notes_come_along_with_their_tracebacks() -> None:
    exc = caught(chained)
    back = cross(exc)
    assert back.__cause__ is None
    assert not back.__suppress_context__
    two = back.__context__
    assert isinstance(two, TwoArguments)
    assert two.__notes__ == ["first note", "second note"]
    assert isinstance(two.__cause__, KeyError)
    assert two.__cause__ is two.__context__
    assert two.__suppress_context__
    text = shown(back)
    assert "looked up in a hurry" in text
    assert "The above exception was the direct cause of the following exception" in text
    assert "During handling of the above exception, another exception occurred" in text
    assert text.count("in inner_step") == 1


def test_raise_from_none_stays_so() -> None:
    def hides() -> None:
        try:
            outer_step()
        except KeyError:
            raise ValueError("plain") from None

    back = cross(caught(hides))
    assert back.__suppress_context__
    assert isinstance(back.__context__, KeyError)
    assert "KeyError" not in shown(back)


def test_a_circle_of_causes_arrives_as_one() -> None:
    a, b = ValueError("a"), KeyError("b")
    a.__cause__, b.__cause__ = b, a
    back = cross(a)
    assert isinstance(back.__cause__, KeyError)
    assert back.__cause__.__cause__ is back


def test_an_endless_chain_is_cut_and_says_so() -> None:
    exc: BaseException = ValueError("first")
    for number in range(5_000):
        later = ValueError(number)
        later.__context__ = exc
        exc = later
    back: BaseException | None = cross(exc)
    length = 0
    while back is not None:
        last, back, length = back, back.__context__, length + 1
    assert length == anatomy.MOST_LINKS + 1
    assert "the chain is too long" in last.__notes__[-1]


def test_strange_notes_do_no_harm() -> None:
    class Text(str):
        __slots__ = ()

    for notes in ([3, "kept", Text("kept too")], "text", 3, None, ["x" * 100_000] * 500):
        exc = ValueError("bad")
        exc.__notes__ = notes  # type: ignore[assignment]
        back = cross(exc)
        assert type(back) is ValueError
    exc.__notes__ = [Text("subclass")]
    data = packed(exc)
    assert b"Text" not in data


# --- groups ---


class OwnGroup(ExceptionGroup[Exception]):
    def __new__(cls, errors: list[Exception], code: int) -> Self:
        self = super().__new__(cls, f"code {code}", errors)
        self.code = code
        return self

    code: int

    def derive(self, excs: Any) -> OwnGroup:
        return OwnGroup(excs, self.code)


def grouped() -> None:
    errors = [caught(outer_step), caught(throw, TwoArguments(1, "disk")), caught(throw, LocksWithin())]
    errors[0].add_note("on a member")
    inside = ExceptionGroup("inside", errors[1:])  # type: ignore[type-var]
    raise ExceptionGroup("outside", [errors[0], inside])  # type: ignore[list-item]


def test_each_member_of_a_group_comes_along_with_its_traceback() -> None:
    back = cross(caught(grouped))
    assert type(back) is ExceptionGroup
    assert back.message == "outside"
    key, inside = back.exceptions
    assert isinstance(key, KeyError)
    assert isinstance(inside, ExceptionGroup)
    assert [type(member) for member in inside.exceptions] == [TwoArguments, RemoteError]
    text = shown(back)
    assert "in inner_step" in text
    assert "on a member" in text
    assert "in grouped" in text
    assert back.subgroup(TwoArguments) is not None


def test_a_group_of_ones_own_class_comes_along() -> None:
    back = cross(caught(throw, OwnGroup([ValueError("a"), KeyError("b")], 7)))
    assert type(back) is OwnGroup
    assert (back.code, back.message, len(back.exceptions)) == (7, "code 7", 2)
    split = back.split(KeyError)
    assert isinstance(split[0], OwnGroup)


def test_a_group_that_cannot_travel_keeps_its_members() -> None:
    group = OwnGroup([ValueError("a"), KeyError("b")], 7)
    group.guard = Lock()  # type: ignore[attr-defined]
    back = cross(group)
    assert type(back) is ExceptionGroup
    assert [type(member) for member in back.exceptions] == [ValueError, KeyError]
    assert "stands in for" in back.__notes__[-1]
    assert "OwnGroup" in back.__notes__[-1]


def test_a_huge_group_keeps_what_there_is_room_for_and_says_so() -> None:
    back = cross(ExceptionGroup("many", [ValueError(number) for number in range(3_000)]))
    assert isinstance(back, ExceptionGroup)
    kept = len(back.exceptions)
    assert kept == anatomy.MOST_NODES - 1
    assert f"{3_000 - kept} of this group's 3000 exceptions did not travel" in back.__notes__[-1]


def test_groups_in_groups_without_end_are_cut() -> None:
    exc: Exception = ValueError("core")
    for _ in range(300):
        exc = ExceptionGroup("layer", [exc])
    back: BaseException = cross(exc)
    depth = 0
    while isinstance(back, BaseExceptionGroup):
        (back,) = back.exceptions
        depth += 1
    assert depth == anatomy.MOST_LINKS
    assert isinstance(back, RemoteError)


def test_a_member_shared_by_two_groups_is_one_object_again() -> None:
    shared = ValueError("shared")
    back = cross(ExceptionGroup("a", [shared, ExceptionGroup("b", [shared])]))
    assert isinstance(back, ExceptionGroup)
    first, second = back.exceptions
    assert isinstance(second, ExceptionGroup)
    assert second.exceptions[0] is first


# --- stand-ins ---


class LocksWithin(Exception):
    def __init__(self) -> None:
        super().__init__("it broke")
        self.connection = {"guard": Lock()}


class Explodes(Exception):
    """Explodes in the method whose name it is given, once armed."""

    in_method = ""


def exploding(method: str, result: Any = ...) -> BaseException:
    def explode(self: object, *args: object, **kwargs: object) -> Any:
        if result is ...:
            raise RuntimeError("boom")
        return result

    cls = type(f"Explodes{method.strip('_').title()}", (Explodes,), {"__module__": __name__, method: explode})
    setattr(sys.modules[__name__], cls.__name__, cls)
    exc = cls.__new__(cls, "a", 1)
    exc.tag = "t"
    return exc


REASONS: list[tuple[str, Any, str]] = [
    ("__str__", ..., "its __str__ raises RuntimeError"),
    ("__str__", 3, "its __str__ raises TypeError"),
    ("__repr__", ..., "its __repr__ raises RuntimeError"),
    ("__bool__", ..., "its __bool__ raises RuntimeError"),  # `traceback` asks for it
    ("__eq__", ..., "its __eq__ raises RuntimeError"),
    ("__reduce__", ..., "cannot be pickled"),
    ("__reduce__", None, "cannot be pickled"),
    ("__reduce__", 3, "cannot be pickled"),
    ("__reduce__", "NoSuchName", "cannot be pickled"),
    ("__reduce__", "HERE", "cannot be pickled"),
    ("__reduce__", (int, ()), "unpickling gives an int instead"),
    ("__reduce__", (ValueError, ("a", 1)), "unpickling gives a ValueError instead"),
    ("__reduce__", (throw, (SystemExit(3),)), "unpickling it raises SystemExit"),
    ("__reduce__", (throw, (KeyboardInterrupt(),)), "unpickling it raises KeyboardInterrupt"),
    ("__reduce_ex__", ..., "cannot be pickled"),
]


@pytest.mark.parametrize(("method", "result", "why"), REASONS)
def test_what_does_not_survive_the_round_trip_is_stood_in_for(method: str, result: Any, why: str) -> None:
    exc = caught(throw, exploding(method, result))
    exc.add_note("a note")
    exc.__cause__ = caught(outer_step)
    back = stand_in(exc)
    assert why in str(back)
    assert back.type_name == f"{__name__}.{type(exc).__name__}"
    assert back.__notes__[0] == "a note"
    assert isinstance(back.__cause__, KeyError)
    assert "in throw" in back.traceback_text
    assert "in throw" in shown(back)
    assert "a __reduce__ that rebuilds it" in str(back)


@pytest.mark.parametrize("method", ["__init__", "__new__", "__setattr__", "__hash__"])
def test_what_explodes_elsewhere_arrives_or_is_stood_in_for(method: str) -> None:
    cls = type(
        "Late", (Explodes,), {"__module__": __name__, method: lambda *a, **k: throw(RuntimeError("boom"))}
    )
    setattr(sys.modules[__name__], "Late", cls)  # noqa: B010  (so that it is found by name)
    exc = Exception.__new__(cls, "a", 1)
    assert type(cross(exc)) in (cls, RemoteError)


class Getattribute(Exception):
    def __getattribute__(self, name: str) -> object:
        raise SystemExit(name)


class PropertiesLie(Exception):
    @property
    def __traceback__(self) -> Any:
        raise RuntimeError("boom")

    @property
    def __cause__(self) -> Any:
        raise RuntimeError("boom")

    @property
    def __class__(self) -> Any:
        raise RuntimeError("boom")

    @property
    def args(self) -> Any:
        raise RuntimeError("boom")


@pytest.mark.parametrize("cls", [Getattribute, PropertiesLie])
def test_lies_about_itself_are_not_listened_to(cls: type[Exception]) -> None:
    data = packed(cls("x"))
    assert isinstance(failure.unpack(data, loads=parcel.loads), Exception)


def test_a_singleton_is_not_touched() -> None:
    exc = exploding("__reduce__", "SINGLETON")
    setattr(sys.modules[__name__], "SINGLETON", exc)  # noqa: B010  (so that it is found by name)
    assert "one shared object" in str(stand_in(exc))
    assert exc.__traceback__ is None


def test_the_reason_names_the_way_to_the_culprit() -> None:
    back = stand_in(LocksWithin())
    assert "it broke" in str(back)
    assert "['guard'] cannot be pickled (cannot pickle '_thread.lock' object" in str(back)
    assert "args[1] cannot be pickled" in str(stand_in(ValueError("a", Lock())))


def test_a_huge_text_is_cut() -> None:
    back = stand_in(ValueError("x" * 1_000_000, Lock()))
    assert len(str(back)) < 2 * anatomy.MOST_TEXT
    assert "more characters]" in str(back)


def test_a_text_of_ones_own_class_does_not_reach_the_envelope() -> None:
    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            return self

    class Says(Exception):
        def __str__(self) -> str:
            return Text("said")

    Says.__qualname__ = Text("Says")
    node = pickle.loads(packed(Says(Lock())))[0]
    assert {type(field) for field in node if isinstance(field, str)} == {str}
    assert "said" in str(stand_in(Says(Lock())))


# --- when the parent differs from the worker ---


@pytest.fixture
def only_in_the_worker() -> Iterator[types.ModuleType]:
    module = types.ModuleType("only_in_the_worker")
    source = (
        "class Odd(Exception):\n    pass\n"
        "class OddGroup(ExceptionGroup):\n    pass\n"
        "def task():\n    raise Odd('very odd')\n"
    )
    exec(compile(source, "only_in_the_worker.py", "exec"), vars(module))  # noqa: S102
    sys.modules[module.__name__] = module
    yield module
    sys.modules.pop(module.__name__, None)


def test_a_module_that_the_parent_does_not_know(only_in_the_worker: types.ModuleType) -> None:
    exc = caught(only_in_the_worker.task)
    exc.__context__ = KeyError("before")
    exc.add_note("a note")
    data = packed(exc)
    group = packed(only_in_the_worker.OddGroup("both", [exc, ValueError("known")]))
    del sys.modules["only_in_the_worker"]
    back = failure.unpack(data, loads=parcel.loads)
    assert type(back) is RemoteError
    assert str(back).startswith("only_in_the_worker.Odd: very odd [this stands in for")
    assert "this process cannot unpickle it: ModuleNotFoundError (only_in_the_worker)" in str(back)
    assert back.type_name == "only_in_the_worker.Odd"
    assert 'File "only_in_the_worker.py", line 6, in task' in back.traceback_text
    assert back.traceback_text.endswith("only_in_the_worker.Odd: very odd\n")
    assert "in task" in shown(back)
    assert back.__notes__ == ["a note"]
    assert isinstance(back.__context__, KeyError)
    together = failure.unpack(group, loads=parcel.loads)
    assert isinstance(together, ExceptionGroup)
    assert [type(member) for member in together.exceptions] == [RemoteError, ValueError]


def test_a_class_that_is_another_one_in_the_parent(only_in_the_worker: types.ModuleType) -> None:
    data = packed(only_in_the_worker.Odd("x"))
    only_in_the_worker.Odd = lambda *args: ValueError("other")  # type: ignore[attr-defined]
    back = failure.unpack(data, loads=parcel.loads)
    assert type(back) is RemoteError
    assert "unpickling it gives something else here" in str(back)


@pytest.mark.parametrize(
    "error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, MemoryError]
)
def test_whatever_unpickling_raises_in_the_parent(error: type[BaseException]) -> None:
    data = packed(caught(throw, TwoArguments(1, "disk")))
    back = failure.unpack(data, loads=lambda data: throw(error()))
    assert type(back) is RemoteError
    assert error.__name__ in str(back)


@given(
    st.binary()
    | st.builds(pickle.dumps, st.lists(st.lists(st.integers() | st.none() | st.text())) | st.none())
)
def test_a_damaged_description_is_told(data: bytes) -> None:
    back = failure.unpack(data, loads=parcel.loads)
    assert type(back) is RemoteError
    assert "its description does not open" in str(back)


@given(st.data())
def test_a_cut_or_changed_description_never_raises(data: st.DataObject) -> None:
    whole = bytearray(packed(caught(chained)))
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.sampled_from(b"\x00.)NK(tu"))
    assert isinstance(
        failure.unpack(bytes(whole[: data.draw(st.integers(0, len(whole)))]), loads=parcel.loads), Exception
    )


def test_without_tblib_the_traceback_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed(caught(outer_step))
    monkeypatch.setitem(sys.modules, "tblib", None)
    back = failure.unpack(data, loads=parcel.loads)
    assert type(back) is KeyError
    assert back.__traceback__ is None
    assert "in inner_step" in back.__notes__[-1]
    assert 'mapping["missing"]' in shown(back)


# --- when describing it fails ---


@pytest.mark.parametrize("error", [MemoryError, RecursionError, SystemExit, KeyboardInterrupt])
def test_a_failure_while_packing_still_names_the_type(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anatomy, "_frames", lambda tb, skip: throw(error()))
    back = stand_in(ValueError("bad"))
    assert str(back).startswith("ValueError: bad")
    assert error.__name__ in str(back)


def test_when_even_that_fails_there_are_bytes_made_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anatomy, "_nodes", lambda *args: throw(MemoryError()))
    monkeypatch.setattr(anatomy, "type_name", lambda exc: throw(MemoryError()))
    data = packed(ValueError("bad"))
    monkeypatch.undo()
    assert "the worker could not describe it" in str(failure.unpack(data, loads=parcel.loads))


# --- what no event loop may be given ---


EXITS: list[tuple[BaseException, str]] = [
    (SystemExit(3), "the function called sys.exit(3) in a worker process; "),
    (SystemExit(), "the function called sys.exit() in a worker process; "),
    (SystemExit("hunter2"), "the function called sys.exit(...) in a worker process; "),
    (KeyboardInterrupt(), "the function raised KeyboardInterrupt in a worker process; "),
    (GeneratorExit(), "the function raised GeneratorExit in a worker process; "),
    (
        asyncio.CancelledError(),
        "the function raised asyncio.CancelledError, though nobody cancelled the call,",
    ),
    (BaseException("x"), "the function raised BaseException in a worker process; "),
    (
        BaseExceptionGroup(
            "g", [ValueError(), BaseExceptionGroup("h", [SystemExit(1), KeyboardInterrupt()])]
        ),
        "the function raised a BaseExceptionGroup that holds KeyboardInterrupt, SystemExit in a worker process",
    ),
]


@pytest.mark.parametrize(("exc", "message"), EXITS, ids=[type(exc).__name__ for exc, _ in EXITS])
def test_what_is_meant_for_the_interpreter_arrives_as_task_exited(exc: BaseException, message: str) -> None:
    for told in (cross(caught(throw, exc)), failure.presentable(exc)):
        assert type(told) is TaskExited
        assert str(told).startswith(message)
        assert "hunter2" not in str(told)
        assert type(told.__cause__) is type(exc)
        assert "in throw" in shown(told)
    assert "in a thread;" in str(failure.presentable(SystemExit(), where="a thread"))


def test_one_that_cannot_travel_is_task_exited_from_a_stand_in() -> None:
    class Stop(BaseException):
        def __reduce__(self) -> Any:
            raise TypeError("no")

    told = cross(caught(throw, Stop("now")))
    assert type(told) is TaskExited
    assert "Stop" in str(told)
    assert type(told.__cause__) is RemoteError
    assert "in throw" in shown(told)


def test_a_group_whose_exit_cannot_travel_is_task_exited_too() -> None:
    told = cross(BaseExceptionGroup("g", [SystemExit(Lock()), ValueError("a")]))
    assert type(told) is TaskExited
    assert isinstance(told.__cause__, ExceptionGroup)


@pytest.mark.parametrize("exc", [StopIteration(5), StopAsyncIteration()], ids=lambda exc: type(exc).__name__)
def test_the_end_of_an_iterator_becomes_a_runtime_error(exc: Exception) -> None:
    for told in (cross(caught(throw, exc)), failure.presentable(exc)):
        assert type(told) is RuntimeError
        assert str(told) == f"the function raised {type(exc).__name__} in a worker process"
        assert type(told.__cause__) is type(exc)
        assert told.__cause__.args == exc.args


def test_an_ordinary_exception_is_presentable_as_it_is() -> None:
    for exc in (ValueError("x"), ExceptionGroup("g", [StopIteration()]), TaskExited("x")):
        assert failure.presentable(exc) is exc


def test_exits_further_down_the_chain_stay_what_they_are() -> None:
    exc = ValueError("bad")
    exc.__context__ = GeneratorExit()
    assert type(cross(exc).__context__) is GeneratorExit


async def test_what_arrives_can_be_set_on_a_future_and_does_not_end_its_task() -> None:
    for exc, _ in [*EXITS, (StopIteration(1), "")]:
        future = asyncio.get_running_loop().create_future()
        future.set_exception(cross(exc))
        with pytest.raises((TaskExited, RuntimeError)):
            await future


# --- what it costs a worker ---


def test_the_workers_half_loads_next_to_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "from hybridrt._engine import failure, parcel\n"
        "data = failure.pack(ValueError('x'), dumps=parcel.dumps, loads=parcel.loads)\n"
        "print(*(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {
        "asyncio",
        "cloudpickle",
        "tblib",
        "traceback",
        "dataclasses",
        "inspect",
        "multiprocessing",
    }


def test_an_exception_is_not_changed_by_packing() -> None:
    exc = caught(chained)
    before = shown(exc), vars(exc).copy(), exc.args
    packed(exc)
    assert (shown(exc), vars(exc), exc.args) == before
