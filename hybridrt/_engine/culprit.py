"""Find out what inside an object cannot be pickled, and where it is: ``args[1]['config'].lock``.

The only judge is the pickler that refused. What it would look into is laid open step by step (containers, and what
``__reduce_ex__`` gives for an object), each part is tried on its own, and the search goes on in the first part that
is refused, down to one whose own parts all pass. Trying halves finds one bad item of a million in forty tries.

It runs where a call has failed already, at times on the event loop, so all is bounded: tries, depth and time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from time import monotonic
from typing import Any, Literal

from .hints import hint_for, type_name_of
from .parts import Part, parts_of

MOST_TRIES = 200
MOST_DEPTH = 40
MOST_SECONDS = 0.5  # checked between tries: the try that runs is not cut short


@dataclass(frozen=True, slots=True)
class Culprit:
    """The innermost object that cannot be pickled.

    ``path``       where it is, from the ``root`` given: ``args[1]['config'].lock``
    ``type_name``  its type: ``_thread.lock``
    ``reason``     what the pickler said, as far as no value of the user's is in it
    ``hint``       what to do about it, None where its type is nothing special
    """

    path: str
    type_name: str
    reason: str
    hint: str | None

    def explain(self) -> str:
        """Reason and hint in one line: ``cannot pickle '_thread.lock' object; it belongs to …``."""
        known = self.type_name.rpartition(".")[2] in self.reason or self.type_name in self.reason
        reason = self.reason if known else f"{self.type_name}: {self.reason}"
        return f"{reason}; {self.hint}" if self.hint else reason


def find_culprit(
    obj: object,
    *,
    root: str,
    dumps: Callable[[Any], bytes],
    clock: Callable[[], float] = monotonic,
) -> Culprit | None:
    """The culprit inside ``obj``, or None where ``dumps`` accepts it after all; never raises.

    ``root`` is what to call ``obj`` itself; where it is empty, a path begins with its first step. Keys of dicts are in
    the path only where they look like names or small numbers. ``dumps`` is called at most ``MOST_TRIES`` times, and no
    more once ``MOST_SECONDS`` by ``clock`` have gone: then the path ends at the last object that was refused. What the
    objects' own code raises, an interrupt included, ends the search there.
    """
    search = _Search(dumps, clock)
    try:
        error = search.refusal(obj)
        if error is None:
            return None
        part = Part(root, obj)
        path, found, error = search.descend(part, error) or ([part], obj, error)
        where = "".join(step.label for step in path)
        cls = type(found)
        return Culprit(
            where if root else where.removeprefix("."), type_name_of(cls), reason_of(error), hint_for(cls)
        )
    except BaseException:  # no memory, no stack, an interrupt
        return Culprit(root, type_name_of(type(obj)), "it cannot be pickled", None)


_Found = tuple[list[Part], object, BaseException]


class _Search:
    """One search, and what it may still spend."""

    def __init__(self, dumps: Callable[[Any], bytes], clock: Callable[[], float]) -> None:
        self.dumps = dumps
        self.clock = clock
        self.until = clock() + MOST_SECONDS
        self.tries = MOST_TRIES
        self.entered: dict[int, object] = {}  # by id; held, so that no other object gets the id

    @property
    def is_spent(self) -> bool:
        return self.tries <= 0 or self.clock() > self.until

    def refusal(self, obj: object) -> BaseException | None:
        """What the pickler raises for ``obj``, None where it raises nothing."""
        self.tries -= 1
        try:
            self.dumps(obj)
        except BaseException as error:
            if not isinstance(error, Exception):
                self.tries = 0  # perhaps meant for us: stop as soon as possible
            return error.with_traceback(_last(error))
        return None

    def descend(self, part: Part, error: BaseException, depth: int = 0) -> _Found | None:
        """The culprit in ``part``, refused with ``error``; None where that is for the sake of one entered before.

        An object that refers back to one that is being searched is refused with it: not guilty by itself.
        """
        obj = part.obj
        self.entered[id(obj)] = obj
        here: _Found = ([part], obj, error)
        # One that is well known is the culprit, rather than a lock deep within it.
        if depth >= MOST_DEPTH or _is_used_up(error) or hint_for(type(obj)):
            return here
        objects, label = parts_of(obj)
        fresh: Sequence[int] = range(len(objects))
        refers_back = not self.entered.keys().isdisjoint(map(id, objects))
        if refers_back:
            fresh = [at for at in fresh if id(objects[at]) not in self.entered]
        for indices in (_well_known(objects, fresh), fresh):
            start = 0
            while refused := self.first_refused(objects, indices, start):
                start, cause = refused
                at = indices[start]
                start += 1
                if id(objects[at]) in self.entered:  # below a neighbour, meanwhile
                    refers_back = True
                elif found := self.descend(Part(label(at), objects[at]), cause, depth + 1):
                    return [part, *found[0]], found[1], found[2]
                else:
                    refers_back = True
        return None if refers_back and depth else here

    def first_refused(
        self, objects: Sequence[object], indices: Sequence[int], start: int
    ) -> tuple[int, BaseException] | None:
        """Place in ``indices``, from ``start`` on, of the first object that is refused, and with what; by halving."""
        low, high = start, len(indices)
        if 0 < start < high and (error := self.try_one(objects[indices[start]])) is not None:
            return start, error  # where one refers back, its neighbour mostly does too
        if low >= high or not self.is_refused(objects, indices[low:high]):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            if self.is_refused(objects, indices[low:middle]):
                high = middle
            else:
                low = middle
        error = self.try_one(objects[indices[low]])
        # None where it is refused only together with others, or where there is nothing left to spend.
        return None if error is None else (low, error)

    def try_one(self, obj: object) -> BaseException | None:
        return None if self.is_spent else self.refusal(obj)

    def is_refused(self, objects: Sequence[object], indices: Sequence[int]) -> bool:
        return not self.is_spent and self.refusal([objects[at] for at in indices]) is not None


def _well_known(objects: Sequence[object], indices: Sequence[int]) -> Sequence[int]:
    # To try first: that keeps the path short, and out of circles.
    known = {cls for cls in set(map(type, objects)) if hint_for(cls)}
    return [at for at in indices if type(objects[at]) in known] if known else ()


def _is_used_up(error: BaseException) -> bool:
    """Whether stack or memory ran out; cloudpickle wraps the error that says so."""
    used_up = (RecursionError, MemoryError)
    return isinstance(error, used_up) or isinstance(error.__cause__, used_up)


def _last(error: BaseException) -> Any:
    """The last frame of the error's traceback alone: the others hold on to what was pickled."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    return tb


# What the picklers of the standard library and cloudpickle say, where it holds nothing but names.
_NAME = r"[\w.<>]+"
_HARMLESS = re.compile(
    rf"""( cannot\ (un)?pickle\ '{_NAME}'\ (object|instances?)
        | cannot\ pickle\ {_NAME}\ (objects?|instances?)
        | can't\ pickle\ {_NAME}\ (objects?|instances?)
        | cannot\ serialize\ '{_NAME}'\ object
        | Can't\ (pickle|get)\ local\ object\ '{_NAME}'
        | a\ class\ that\ defines\ __slots__\ without\ defining\ __getstate__\ cannot\ be\ pickled.{{0,30}}
        | no\ default\ __reduce__\ due\ to\ non-trivial\ __cinit__
        | __reduce(_ex)?__\ must\ return\ a\ string\ or\ tuple(,\ not\ {_NAME})?
        | Cannot\ pickle\ files\ .{{0,60}}
        | (Pickling\ an?\ )?{_NAME}\ objects?\ (should\ only|are\ not|cannot|can\ not|can't)\ [\w\ ]{{0,60}}
        )""",
    re.VERBOSE,
)
_LOCAL = re.compile(rf"(Can't pickle local object )<function ({_NAME}) at 0x")
"""As 3.14 has it: with the function's address, which is of no use to anybody."""
_NOT_FOUND = re.compile(
    rf"(attribute lookup {_NAME} on {_NAME} failed|it's not (found as|the same object as) {_NAME}"
    rf"|import of module '{_NAME}' failed|No module named '?{_NAME}'?)"
)


def reason_of(error: BaseException, act: Literal["pickle", "unpickle"] = "pickle") -> str:
    """The error in a few words without the user's values: its text where that holds names only, else its type."""
    if isinstance(error, MemoryError):
        return f"there is not enough memory to {act} it"
    if _is_used_up(error):
        return f"it is nested too deeply to be {act}d"
    try:
        first = str(error).partition("\n")[0].strip()
        if _HARMLESS.fullmatch(first) or (first and _is_constant(first, error)):
            return first[:200]
        if found := _LOCAL.match(first):
            return f"{found[1]}'{found[2]}'"
        if found := _NOT_FOUND.search(first):
            return f"it cannot be found by its name ({found.group()})"
    except BaseException:
        pass  # the text is the user's code too; the type will do
    return f"{act[:-1]}ing it raises {type_name_of(type(error))}"


def _is_constant(text: str, error: BaseException) -> bool:
    """Whether the text stands so in the code that raised it: then there is no value in it."""
    tb = error.__traceback__
    return tb is not None and any(
        type(c) is str and c == text for c in islice(tb.tb_frame.f_code.co_consts, 1000)
    )
