"""What a proof came to, and what it rests on."""

from __future__ import annotations

import types
import weakref
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from .plain import refusal_of
from .values import NEEDS_NOTHING

ABSENT: Any = object()
"""In place of what is not there."""

# A function by weak reference, with what of it can be exchanged; a closure's variables hold what they held.
FunctionSeen = tuple["weakref.ref[FunctionType]", types.CodeType, Any, tuple[Any, ...]]


Dependency = tuple[dict[str, Any], str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a function means the same in a worker process, and what that rests on."""

    is_movable: bool
    """Proven, for arguments that ``refusal_of`` has nothing against."""
    reason: str
    """For people, after "it stays in a thread: " or, where it is movable, after "it may be moved: "."""
    needs_immutable: int = NEEDS_NOTHING
    """What ``refusal_of`` has to ask for: 1 (True) where all of the arguments must be deeply immutable, 2 where only
    their parts must be: a list of numbers will do then. 0 where they are neither changed nor given back."""
    depends_on: tuple[Dependency, ...] = ()
    """(namespace, name, object) for each global and module attribute that was read."""
    functions: tuple[FunctionSeen, ...] = ()

    def still_holds(self) -> bool:
        """Whether all that the proof has read is still the same."""
        for namespace, name, item in self.depends_on:
            if namespace.get(name, ABSENT) is not item:
                return False
        for ref, code, defaults, cells in self.functions:
            fn = ref()
            if fn is None or fn.__code__ is not code or fn.__defaults__ is not defaults:
                return False
            if cells:
                for cell, content in zip(fn.__closure__ or (), cells, strict=True):
                    if (content() if type(content) is weakref.ref else content) is not cell.cell_contents:
                        return False
        return True

    def refusal_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """Why a call with these arguments stays in a thread all the same; None where it may be moved."""
        return refusal_of(args, kwargs, needs_immutable=self.needs_immutable)
