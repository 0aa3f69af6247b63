"""A registered variable has one address, and can be pickled as it; any other is refused, as ever."""

from __future__ import annotations

import copy
import pickle
import sys
from contextvars import ContextVar, copy_context
from types import ModuleType
from typing import Any

import carried
import carried_too
import cloudpickle
import pytest

import hybridrt
from hybridrt._engine import variables


def address_of(var: ContextVar[Any]) -> variables.Address:
    return next(traveller.address for traveller in variables.travellers if traveller.var is var)


def test_registering_gives_the_variable_back_and_may_be_repeated() -> None:
    before = len(variables.travellers)
    var = ContextVar("var", default=1)
    assert hybridrt.register_contextvar(var) is var
    assert hybridrt.register_contextvar(var) is var
    assert len(variables.travellers) == before + 1


@pytest.mark.parametrize("wrong", ["request_id", None, ContextVar])
def test_anything_but_a_variable_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"register_contextvar takes a contextvars.ContextVar, not a "):
        hybridrt.register_contextvar(wrong)


def test_the_address_is_where_the_variable_lives() -> None:
    assert address_of(carried.request_id) == ("carried", "request_id")
    assert address_of(carried_too.request_id) == ("carried_too", "request_id")
    assert address_of(carried.Session.user) == ("carried", "Session.user")
    assert address_of(carried.holder.tenant) == ("carried", "holder.tenant")


def test_a_variable_of_no_module_has_a_token() -> None:
    one = hybridrt.register_contextvar(ContextVar("same", default=1))
    two = hybridrt.register_contextvar(ContextVar("same"))
    assert isinstance(address_of(one), str) and isinstance(address_of(two), str)
    assert address_of(one) != address_of(two)
    assert pickle.loads(pickle.dumps((one, two))) == (one, two)


class Touchy(ModuleType):
    """A module that loads itself when it is touched, as lazy ones do."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked of a lazy module")


def test_the_search_touches_nothing_lazy_and_takes_no_module_that_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    var = ContextVar("var")
    for name, value in {
        "a_lazy_one": Touchy("a_lazy_one"),
        "made_by_hand": ModuleType("made_by_hand"),
        "no_module": object(),
        "barred": None,
    }.items():
        monkeypatch.setitem(sys.modules, name, value)
    sys.modules["made_by_hand"].__dict__["var"] = var
    hybridrt.register_contextvar(var)
    assert isinstance(address_of(var), str)


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_a_registered_variable_pickles_as_its_address(dumps: Any) -> None:
    data = dumps(carried.request_id)
    assert b"carried" in data and b"request_id" in data
    assert pickle.loads(data) is carried.request_id
    assert copy.deepcopy([carried.request_id])[0] is carried.request_id


def test_an_unregistered_variable_is_refused_in_the_words_of_this_python() -> None:
    with pytest.raises(TypeError) as ours:
        pickle.dumps(carried.local_only)
    with pytest.raises(TypeError) as theirs:
        carried.local_only.__reduce_ex__(5)
    assert str(ours.value) == str(theirs.value) == "cannot pickle '_contextvars.ContextVar' object"


def test_a_token_makes_one_variable_whatever_brings_it() -> None:
    made = variables.make("0123456789abcdef", "name", "default")
    assert made.name == "name" and made.get() == "default"
    assert variables.make("0123456789abcdef", "name", "default") is made
    assert variables.resolve("0123456789abcdef") is made
    assert variables.resolve("fedcba9876543210") is None
    assert pickle.loads(pickle.dumps(made)) is made  # so that it can travel on, and back
    assert address_of(made) == "0123456789abcdef"
    with pytest.raises(LookupError):
        variables.make("1111111111111111", "no default").get()


def test_what_a_variable_pickles_with() -> None:
    default = object()
    assert variables.pickled_with(carried.request_id) == ()
    assert variables.pickled_with(carried.local_only) is None
    with_default = hybridrt.register_contextvar(ContextVar("x", default=default))
    assert variables.pickled_with(with_default) == (default,)

    def inside() -> object:
        with_default.set(1)
        return variables.pickled_with(with_default)

    assert copy_context().run(inside) == (default,)


def test_an_address_that_fails_is_tried_again_once_its_module_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = ("not_there_yet", "var")
    assert variables.resolve(address) is None
    assert variables.resolve(address) is None
    module = ModuleType("not_there_yet")
    module.var = "no variable"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "not_there_yet", module)
    assert variables.resolve(address) is None
    module.var = var = ContextVar("var")  # type: ignore[attr-defined]
    assert variables.resolve(address) is var
