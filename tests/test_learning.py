"""A module is learned when workers needed it and a probe found it clean; a bad one is refused for good."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hybridrt._core.learning import (
    DEAR_SECONDS,
    INSISTENT,
    MOST_IN_A_TRIAL,
    MOST_MODULES,
    MOST_REFUSED,
    QUICK_SECONDS,
    Learning,
)

DEAR = DEAR_SECONDS * 2
CHEAP = DEAR_SECONDS / 2


def learned(*names: str) -> Learning:
    learning = Learning()
    learning.needed(names, DEAR)
    assert learning.next_trial() == names
    learning.found_clean(0.1)
    assert learning.next_import(is_idle=True) == names
    learning.imported()
    return learning


def test_a_dear_import_is_tried_at_once_in_the_order_in_which_it_was_told() -> None:
    learning = Learning()
    learning.needed(["c", "a", "b"], DEAR)
    assert learning.next_trial() == ("c", "a", "b")


def test_a_cheap_one_is_tried_when_a_second_worker_needed_it() -> None:
    learning = Learning()
    learning.needed(["a"], CHEAP)
    assert learning.next_trial() == ()
    learning.needed(["b", "a"], CHEAP)
    assert learning.next_trial() == ("a",)


def test_what_is_clean_is_imported_and_then_later_workers_have_it() -> None:
    learning = learned("a", "b")
    assert learning.learned() == ("a", "b")
    learning.needed(["a"], DEAR)  # by a worker that is older
    assert learning.next_trial() == ()


def test_one_batch_at_a_time() -> None:
    learning = Learning()
    learning.needed(["a"], DEAR)
    assert learning.next_trial() == ("a",)
    learning.needed(["b"], DEAR)
    assert learning.next_trial() == ()
    learning.found_clean(1.0)
    assert learning.next_trial() == ()
    assert learning.next_import(is_idle=True) == ("a",)
    assert learning.next_import(is_idle=True) == ()
    assert learning.next_trial() == ()
    learning.imported()
    assert learning.next_trial() == ("b",)


def test_a_long_import_waits_for_a_moment_without_calls() -> None:
    learning = Learning()
    learning.needed(["a"], DEAR)
    learning.next_trial()
    learning.found_clean(QUICK_SECONDS * 2)
    assert learning.next_import(is_idle=False) == ()
    assert learning.next_import(is_idle=True) == ("a",)


def test_a_long_import_does_not_wait_for_ever_where_each_worker_needs_it() -> None:
    learning = Learning()
    learning.needed(["a"], DEAR)
    learning.next_trial()
    learning.found_clean(QUICK_SECONDS * 2)
    for _ in range(INSISTENT - 1):
        assert learning.next_import(is_idle=False) == ()
        learning.needed(["a"], DEAR)
    assert learning.next_import(is_idle=False) == ("a",)


def test_a_quick_import_does_not_wait() -> None:
    learning = Learning()
    learning.needed(["a"], DEAR)
    learning.next_trial()
    learning.found_clean(QUICK_SECONDS)
    assert learning.next_import(is_idle=False) == ("a",)


def test_a_bad_module_is_refused_with_all_that_is_in_it_and_the_others_are_tried_again() -> None:
    learning = Learning()
    learning.needed(["a", "bad", "b", "bad.inner", "badly"], DEAR)
    learning.next_trial()
    learning.found_unclean(1, "it crashes")
    assert learning.refused == {"bad": "it crashes"}
    assert learning.next_trial() == ("a", "b", "badly")
    learning.needed(["bad", "bad.other"], DEAR)
    learning.found_clean(0.0)
    learning.next_import(is_idle=True)
    learning.imported()
    assert learning.next_trial() == ()


def test_a_verdict_on_nothing_of_the_batch_refuses_nothing() -> None:
    learning = Learning()
    learning.needed(["a"], DEAR)
    learning.next_trial()
    learning.found_unclean(7, "nonsense")
    assert learning.refused == {}


def test_what_was_not_tried_or_not_imported_is_due_again() -> None:
    learning = Learning()
    learning.needed(["a"], DEAR)
    assert learning.next_trial() == ("a",)
    learning.not_tried()
    assert learning.next_trial() == ("a",)
    learning.found_clean(0.0)
    assert learning.next_import(is_idle=True) == ("a",)
    learning.not_imported()
    assert learning.next_trial() == ("a",)


def test_a_new_zygote_is_taught_again_after_another_probe() -> None:
    learning = learned("a", "b")
    learning.zygote_lost()
    assert learning.learned() == ()
    assert learning.next_trial() == ("a", "b")


def test_what_a_zygote_dies_of_is_refused() -> None:
    learning = learned("a")
    learning.needed(["b"], DEAR)
    learning.next_trial()
    learning.found_clean(0.0)
    assert learning.next_import(is_idle=True) == ("b",)
    learning.zygote_lost()
    assert list(learning.refused) == ["b"]
    assert learning.next_trial() == ("a",)


def test_a_zygote_lost_during_a_trial_refuses_nothing() -> None:
    learning = Learning()
    learning.needed(["a"], DEAR)
    learning.next_trial()
    learning.zygote_lost()
    assert learning.refused == {}
    assert learning.next_trial() == ("a",)


def test_it_shows_the_outermost_installed_packages() -> None:
    assert learned("json", "_lib", "lib", "lib.inner", "other.inner", "hybridrt.x").learned() == (
        "lib",
        "other.inner",
    )


def test_there_is_a_limit_to_everything() -> None:
    learning = Learning()
    learning.needed([f"m{i}" for i in range(MOST_MODULES + 5)], DEAR)
    tried: list[str] = []
    while batch := learning.next_trial():
        assert len(batch) <= MOST_IN_A_TRIAL
        tried += batch
        learning.found_clean(0.0)
        learning.next_import(is_idle=True)
        learning.imported()
    assert len(tried) == len(set(tried)) == MOST_MODULES


def test_it_gives_up_where_nothing_is_clean() -> None:
    learning = Learning()
    learning.needed([f"m{i}" for i in range(MOST_REFUSED + 5)], DEAR)
    trials = 0
    while learning.next_trial():
        trials += 1
        learning.found_unclean(0, "bad")
    assert trials == len(learning.refused) == MOST_REFUSED


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("needed"), st.lists(st.sampled_from(["a", "a.b", "a.c", "d", "e"])), st.booleans()),
        st.tuples(st.sampled_from(["clean", "lost", "imported", "not tried", "not imported"])),
        st.tuples(st.just("unclean"), st.integers(0, 3)),
    )
)


@given(STEPS)
def test_no_refused_module_is_ever_tried_or_imported_again(steps: list[tuple[object, ...]]) -> None:
    learning = Learning()
    refused: set[str] = set()
    for step in steps:
        match step:
            case ("needed", list(names), bool(is_dear)):
                learning.needed(names, DEAR if is_dear else CHEAP)
            case ("clean",):
                learning.found_clean(0.0)
            case ("unclean", int(index)):
                learning.found_unclean(index, "bad")
            case ("lost",):
                learning.zygote_lost()
            case ("imported",):
                learning.imported()
            case ("not tried",):
                learning.not_tried()
            case _:
                learning.not_imported()
        refused |= set(learning.refused)
        given_out = {*learning.next_import(is_idle=True), *learning.next_trial(), *learning.learned()}
        assert not {name for name in given_out if refused & {name, name.partition(".")[0]}}
        assert refused == set(learning.refused)
