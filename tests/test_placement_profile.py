"""What was learned can be written down and believed again, for the very same functions and on the same Python only."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import pytest

from hybridrt._core.function import Function, FunctionBook
from hybridrt._core.knowledge import HOLDS, Knowledge
from hybridrt._core.placement_profile import Profile
from hybridrt._core.proof.verdict import Verdict
from hybridrt._core.sight import Sight

HOLDER = Sight(
    wall=0.05, cpu=0.05, waited=0.0, denied=0.05, seen=0.05, shipping=0.001, verdict=Verdict(True, "it may")
)


def computes(n: int) -> int:
    return sum({1, 2, n}) if n in {"a", "b", "c"} else n


def learned() -> Function:
    function = Function(computes)
    function.knowledge.learn(HOLDER)
    function.knowledge.learn(HOLDER)
    return function


def changed(text: str, **changes: Any) -> str:
    whole = json.loads(text)
    for entry in whole["functions"].values():
        for key, value in changes.items():
            if value is ...:
                del entry[key]
            else:
                entry[key] = value
    return json.dumps(whole)


TEXT = Profile().text([(computes, learned())])


def test_it_is_known_again_and_one_sight_confirms_it() -> None:
    recalled = Profile.parse(TEXT).recall(computes, Function(computes).name)
    assert recalled is not None
    known, by_size = recalled
    assert (known.kind, known.work, known.shipping, by_size) == (HOLDS, 0.05, 0.001, {})
    assert (
        known.was_away and not known.is_settled
    )  # whether it may go is examined anew: a file proves nothing
    known.learn(HOLDER)
    assert known.is_away


def test_what_is_known_by_size_comes_back_by_size() -> None:
    function = learned()
    part = function.part()
    part.knowledge.learn(HOLDER)
    part.knowledge.learn(HOLDER)
    function.by_size = {3: part, 5: function.part()}
    recalled = Profile.parse(Profile().text([(computes, function)])).recall(computes, function.name)
    assert recalled is not None
    assert list(recalled[1]) == [3]  # nothing was known of the other
    again = Function(computes)
    again.remember(recalled)
    assert again.by_size is not None and again.by_size[3].knowledge.kind == HOLDS
    assert again.by_size[3].whole is again
    again.remember(None)
    assert again.by_size is not None


def test_a_function_book_starts_from_it() -> None:
    book = FunctionBook()
    book.recall = Profile.parse(TEXT).recall
    assert book.look_up(computes).knowledge.was_away
    assert not book.look_up(len).knowledge.was_away


def test_other_code_of_the_same_name_is_another_function() -> None:
    def replaced(old: Callable[..., Any], **changes: Any) -> Callable[..., Any]:
        code: CodeType = old.__code__.replace(**changes)
        return FunctionType(code, {}, old.__name__)

    profile = Profile.parse(TEXT)
    name = Function(computes).name
    assert profile.recall(replaced(computes), name) is not None
    assert profile.recall(replaced(computes, co_filename="moved.py", co_firstlineno=99), name) is not None
    assert profile.recall(replaced(computes, co_consts=(None, 2, 3)), name) is None
    assert profile.recall(len, name) is None
    assert profile.recall(computes, "other.name") is None


def test_what_was_not_met_this_time_is_kept() -> None:
    profile = Profile.parse(TEXT)
    assert json.loads(profile.text([]))["functions"] == json.loads(TEXT)["functions"]
    assert json.loads(profile.text([(len, Function(len))]))["functions"] == json.loads(TEXT)["functions"]
    both = json.loads(profile.text([(len, _settled(len))]))["functions"]
    assert len(both) == 2


def _settled(fn: Callable[..., Any]) -> Function:
    function = Function(fn, Knowledge())
    function.knowledge.learn(HOLDER)
    function.knowledge.learn(HOLDER)
    return function


def test_what_another_python_has_measured_is_left_out() -> None:
    whole = json.loads(TEXT)
    whole["python"] = "2.7"
    assert Profile.parse(json.dumps(whole)).recall(computes, Function(computes).name) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is not JSON"),
        ("[]", "it is not what hybridrt writes"),
        ("{}", "it is not what hybridrt writes"),
        ('{"hybridrt_placement": 2}', "it is not what hybridrt writes"),
        ('{"hybridrt_placement": 1}', "it has no functions"),
        ('{"hybridrt_placement": 1, "functions": {"f": 3}}', "what it has of f is no object"),
        (changed(TEXT, work="much"), "work of .*computes .* is no number"),
        (changed(TEXT, work=-1), "work of .* is no number"),
        (changed(TEXT, work=True), "work of .* is no number"),
        (changed(TEXT, waited=...), "waited of .* is no number"),
        (changed(TEXT, sights=1.5), "sights of .* is no whole number"),
        (changed(TEXT, shipping="far"), "shipping of .* is neither a number nor null"),
        (changed(TEXT, shipping=...), "shipping of .* is neither a number nor null"),
        (changed(TEXT, away=1), "away of .* is neither true nor false"),
        (changed(TEXT, by_size=[]), "by_size of .* is no object with classes"),
        (changed(TEXT, by_size={"small": {}}), "by_size of .* is no object with classes"),
        (changed(TEXT, by_size={"1": {}}), "work of .* is no number"),
    ],
    ids=range(17),
)
def test_what_it_did_not_write_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Profile.parse(text)
