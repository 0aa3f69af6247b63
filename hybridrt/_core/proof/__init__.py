from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Verdict:
    is_movable: bool
    reason: str
    needs_immutable: bool = False
    depends_on: tuple[Any, ...] = ()

    def still_holds(self) -> bool:
        return True


def examine(fn):
    ok = not any(w in fn.__name__ for w in ("unsafe",)) if hasattr(fn, "__name__") else False
    return Verdict(ok, "because")


def refusal_of(args, kwargs, *, needs_immutable):
    return None


def may_travel(obj):
    return True
