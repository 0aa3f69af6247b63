"""What is to happen: every call of a run, drawn from the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from . import tasks

# Function, weight, most seconds. Quick ones mostly: a run is to have many calls, and ends of many kinds.
KINDS: tuple[tuple[str, float, float], ...] = (
    ("quick", 60, 0.0),
    ("spin", 8, 0.004),
    ("sleep", 4, 0.006),
    ("fail", 5, 0.0),
    ("big_result", 2, 0.0),
    ("big_argument", 2, 0.0),
    ("stubborn", 1, 0.004),
    ("tidy", 3, 0.004),
    ("forking", 1, 0.0),
    ("starting_a_program", 1, 0.004),
    ("coroutine", 8, 0.01),
    ("slow_to_stop", 3, 0.01),
    ("blocking_coroutine", 2, 0.003),
)
PLAIN = ("await", "job", "executor")
CANCELS = ("job.cancel", "task.cancel", "task group")
LIMITS = ("asyncio.timeout", "anyio.fail_after", "options(timeout=)")
_FATES = (*PLAIN, *CANCELS, *LIMITS)
_FATE_WEIGHTS = (30, 20, 8, 9, 7, 5, 7, 7, 7)


@dataclass(frozen=True, slots=True)
class Storm:
    """One run."""

    seed: int
    loop: str
    tasks: int
    kills: int
    retries: int
    cancels: int
    seconds: float
    """What has not ended by then hangs."""

    def as_fields(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(slots=True)
class Call:
    """One call, and what became of it."""

    number: int
    function: str
    seconds: float
    fate: str
    patience: float
    """Seconds until the fate strikes."""
    made: bool = False
    outcome: str = ""
    pid: int = 0
    """Of the worker that died under it."""
    told_at: int = 0
    """When the caller knew the outcome: monotonic nanoseconds."""

    @property
    def is_coroutine(self) -> bool:
        """Whether it shares its worker with others, and dies with them."""
        return self.function in ("coroutine", "slow_to_stop", "blocking_coroutine")

    def __str__(self) -> str:
        return f"call {self.number} ({self.function}, by {self.fate})"


def draw(storm: Storm, dice: random.Random) -> Iterator[Call]:
    """All calls of the run."""
    weights = [weight for _, weight, _ in KINDS]
    for number in range(1, storm.tasks + 1):
        ((function, _, most),) = dice.choices(KINDS, weights)
        (fate,) = dice.choices(_FATES, _FATE_WEIGHTS)
        patience = dice.choice((0.0, dice.random() * 0.002, dice.random() * 0.02))
        yield Call(number, function, dice.random() * most, fate, patience)


def arguments(call: Call, ledger: str) -> tuple[Any, ...]:
    """What its function is called with."""
    fixed = (ledger, call.number, call.seconds)
    return (*fixed, tasks.pattern(call.number, 1 << 19)) if call.function == "big_argument" else fixed
