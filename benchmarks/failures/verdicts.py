"""Facts into the words of the table's cells; nothing is run here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Facts = Mapping[str, Any]

_GOOD = [x * x for x in range(1, 8)]


def segfault(probes: Mapping[str, Facts]) -> str:
    """The other tasks / the pool after."""
    facts = probes["segfault"]
    unresolved = "" if facts.get("bad") else ", but the crashed task never resolves"
    return f"{_others(facts)} / {_after(facts)}{unresolved}"


def two_arguments(probes: Mapping[str, Facts]) -> str:
    """Whether the exception arrives as itself."""
    facts = probes["two-arguments"]
    bad = facts.get("bad") or {}
    match bad.get("error"), bad.get("message"):
        case "TwoArguments", "this and that":
            verdict = "right exception"
        case None, _:
            verdict = "never resolves"
        case str(error), _:
            verdict = f"wrong type (`{error}`)"
        case _:
            verdict = "no exception"
    return verdict + _harm(facts)


def unpicklable(probes: Mapping[str, Facts]) -> str:
    """Whether the error says that it is the pickling."""
    facts = probes["unpicklable"]
    bad = facts.get("bad") or {}
    if "error" not in bad:
        verdict = "no error" if bad else "never resolves"
    elif "pickle" in bad["message"].lower():
        verdict = "clear error"
    else:
        verdict = f"an error that does not say it (`{bad['error']}`)"
    return verdict + _harm(facts)


def cancel(probes: Mapping[str, Facts]) -> str:
    """Which code stops."""
    python = _stops(probes["cancel-python"])
    with_gil, without = _stops(probes["cancel-c"]), _stops(probes["cancel-c-without-gil"])
    if not python:
        return "no"
    if with_gil and without:
        return "yes, C code too"
    if not with_gil and not without:
        return "Python code only"
    return "Python code, and C code " + ("that holds the GIL" if with_gil else "that lets the GIL go")


def parent_killed(probes: Mapping[str, Facts]) -> str:
    """Idle workers / busy workers / programs that tasks started."""
    grandchild = probes["killed-grandchild"]
    words = [_leaves(probes["killed-idle"]), _leaves(probes["killed-busy"])]
    if not grandchild.get("pids") or "left" not in grandchild:
        words.append("–")
    else:
        words.append("stay" if str(grandchild["pids"][0]) in grandchild["left"] else "leave")
    return " / ".join(words)


def no_guard(probes: Mapping[str, Facts]) -> str:
    """Whether the script does its work, and its top level runs once."""
    facts = probes["no-guard"]
    if facts.get("exitcode") is None:
        return "hangs"
    if facts["exitcode"] != 0 or "9" not in facts["lines"]:
        return "fails"
    again = facts["lines"].count("top level") > 1
    return "works, but its top level runs again in workers" if again else "works"


COLUMNS: dict[str, Callable[[Mapping[str, Facts]], str]] = {
    "a task segfaults: the other tasks / the pool after": segfault,
    "exception whose `__init__` needs two arguments": two_arguments,
    "result that cannot be pickled": unpicklable,
    "cancelling the await: does the CPU stop": cancel,
    "parent SIGKILLed: idle workers / busy workers / programs that tasks started": parent_killed,
    "script without the `__main__` guard": no_guard,
}

MUST = (
    "fine / usable",
    "right exception",
    "clear error",
    "yes, C code too",
    "leave / leave / leave",
    "works",
)
"""What hybridrt promises, column by column."""


def row(probes: Mapping[str, Facts]) -> tuple[str, ...]:
    """The cells of one pool."""
    return tuple(verdict(probes) for verdict in COLUMNS.values())


def _others(facts: Facts) -> str:
    good = facts.get("good") or [{}] * len(_GOOD)
    hang = sum(not fact for fact in good)
    right = sum(fact.get("value") == value for fact, value in zip(good, _GOOD, strict=True))
    fail = len(_GOOD) - hang - right
    if right == len(_GOOD):
        return "fine"
    words = []
    for count, word in ((fail, "fail"), (hang, "hang")):
        if count:
            words.append(f"all {word}" if count == len(_GOOD) else f"{count} of {len(_GOOD)} {word}")
    return ", ".join(words)


def _after(facts: Facts) -> str:
    after = facts.get("after") or [{}, {}]
    if [fact.get("value") for fact in after] == [100, 121]:
        return "usable"
    return "dead" if all(after) else "hangs"


def _harm(facts: Facts) -> str:
    """What else went wrong, where anything did."""
    others, after = _others(facts), _after(facts)
    words = [] if others == "fine" else [f"the others: {others}"]
    if after != "usable":
        words.append(f"the pool {'is dead' if after == 'dead' else 'hangs'}")
    return "".join(f", {word}" for word in words)


def _stops(facts: Facts) -> bool:
    return bool(facts.get("stopped"))


def _leaves(facts: Facts) -> str:
    if "left" not in facts:
        return "–"
    return "stay" if facts["left"] else "leave"
