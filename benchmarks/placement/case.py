"""One function of the labelled set: how it is called, where it belongs, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["holder", "releaser", "waiter", "quick", "unsafe"]
HOLDER: Kind = "holder"
RELEASER: Kind = "releaser"
WAITER: Kind = "waiter"
QUICK: Kind = "quick"
UNSAFE: Kind = "unsafe"

LANE_OF: dict[Kind, Literal["thread", "process"]] = {
    HOLDER: "process",
    RELEASER: "thread",
    WAITER: "thread",
    QUICK: "thread",
    UNSAFE: "thread",
}


@dataclass(frozen=True, slots=True)
class Case:
    """``args()`` makes the arguments of one call: what a call uses up or changes is made anew for the next."""

    name: str
    fn: Callable[..., Any]
    args: Callable[[], tuple[Any, ...]]
    kind: Kind
    why: str

    @property
    def lane(self) -> Literal["thread", "process"]:
        """The label."""
        return LANE_OF[self.kind]


class Cases(list[Case]):
    """A list that is filled by decorating functions, or by naming those of a library."""

    def __init__(self, kind: Kind) -> None:
        self.kind: Kind = kind

    def add(self, name: str, fn: Callable[..., Any], args: Callable[[], tuple[Any, ...]], why: str) -> None:
        """One more of this kind."""
        self.append(Case(name, fn, args, self.kind, why))
