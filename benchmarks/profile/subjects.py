"""Which calls are looked at, and how figures of two runs become figures of one call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ..contestants import floor_process, floor_thread, ours
from ..contestants.contract import Contestant
from ..traced import Order

_BUSY = 0.05
"""A process that does less than this for each call, of whatever is counted, has no part in it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A column of the tables."""

    title: str
    contestant: type[Contestant]
    how: Literal["one", "many"]

    def calls(self, base: int) -> int:
        """How many are counted; many at once are quick, and what a few of them cost is not what many do."""
        return base if self.how == "one" else 10 * base

    def order(self, loop: str, workers: int, calls: int) -> Order:
        """So many calls after those that warm up."""
        return Order(self.contestant.__module__, self.contestant.__name__, loop, workers, self.how, calls)


SUBJECTS = (
    Subject("process, one at a time", ours.ToProcess, "one"),
    Subject("process, at once", ours.SubmitToProcess, "many"),
    Subject("thread, one at a time", ours.ToThread, "one"),
    Subject("thread, at once", ours.SubmitToThread, "many"),
    Subject("floor: process, one", floor_process.PingPong, "one"),
    Subject("floor: process, at once", floor_process.Batches, "many"),
    Subject("floor: thread, one", floor_thread.OneThread, "one"),
    Subject("floor: thread, at once", floor_thread.Queue, "many"),
)


@dataclass(frozen=True, slots=True)
class PerCall:
    """What was counted, by name, for one call."""

    caller: Counter[str]
    """In the process that makes the calls, all its threads together."""
    workers: Counter[str]
    """In all others that have a part in it."""


def per_call(
    none: Mapping[int, Counter[str]], all_of_them: Mapping[int, Counter[str]], calls: int
) -> PerCall:
    """The difference of two runs by process id; both in the order in which processes began."""
    columns: list[Counter[str]] = []
    before = list(none.values())
    for at, after in enumerate(all_of_them.values()):
        base = before[at] if at < len(before) else Counter[str]()
        columns.append(Counter({key: after[key] - base[key] for key in after.keys() | base.keys()}))
    workers: Counter[str] = Counter()
    for column in columns[1:]:
        if column.total() >= _BUSY * calls:
            workers.update(column)
    return PerCall(_divided(columns[0], calls), _divided(workers, calls))


def _divided(counts: Counter[str], calls: int) -> Counter[str]:
    # Fractions, which a Counter adds and sorts as well as the whole numbers that its types speak of.
    return Counter({key: count / calls for key, count in counts.items()})


def without_calls(order: Order) -> Order:
    """The same with nothing to count."""
    return replace(order, calls=0)
