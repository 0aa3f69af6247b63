"""The stack of a thread whose loop does not turn: which of its frames are a callback's, and whom they blame.

A frame is never kept: it holds its function's locals, which would then be freed late, and in the wrong thread. What
stays of it are ``Spot``s: code, line and instruction.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import os
import traceback
from dataclasses import dataclass
from types import CodeType, FrameType

OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
DEBUGGERS = (f"{os.sep}bdb.py", f"{os.sep}pdb.py", "pydevd", "debugpy", "pudb")
AWAITS = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR

_kinds: dict[str, bool] = {}


@dataclass(frozen=True, slots=True)
class Base:
    """Where the loop ends and its callbacks begin: so many frames, the last of which runs this code."""

    depth: int
    code: CodeType


@dataclass(frozen=True, slots=True)
class Spot:
    """Where one frame is. ``frame_id`` tells it from another call of the same function, mostly: ids are used again."""

    code: CodeType
    lineno: int
    lasti: int
    module: str
    frame_id: int

    @property
    def name(self) -> str:
        """The function, as one would write it elsewhere."""
        qualname = self.code.co_qualname
        return qualname if self.module in ("", "__main__") else f"{self.module}.{qualname}"


@dataclass(frozen=True, slots=True)
class Culprit:
    """Whom a stack blames: a line of the user's, what it called, and the function to hand over (None: not seen)."""

    function: str
    filename: str
    lineno: int
    called: str | None
    remedy: str
    stack: str


def base_of(caller: FrameType | None) -> Base | None:
    """The base, where ``caller`` is the frame that called a callback: the innermost of the loop's own."""
    if caller is None:
        return None
    code, depth = caller.f_code, 0
    at: FrameType | None = caller
    while at is not None:
        depth += 1
        at = at.f_back
    return Base(depth, code)


def base_around(frame: FrameType | None) -> Base | None:
    """The base, where ``frame`` belongs to a task: what called the outermost coroutine."""
    outermost = None
    while frame is not None:
        if frame.f_code.co_flags & AWAITS:
            outermost = frame
        frame = frame.f_back
    return base_of(outermost.f_back) if outermost is not None else None


def spots_inside(frame: FrameType | None, base: Base) -> list[Spot]:
    """The callback that runs in this stack, innermost frame first; empty where the loop itself runs or waits."""
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    inside = len(frames) - base.depth
    if inside <= 0 or frames[inside].f_code is not base.code:
        return []
    return [
        Spot(f.f_code, f.f_lineno or 0, f.f_lasti, str(f.f_globals.get("__name__", "")), id(f))
        for f in frames[:inside]
    ]


def is_debugged(spots: list[Spot]) -> bool:
    """Whether a debugger has stopped it there."""
    return any(word in spot.code.co_filename for spot in spots for word in DEBUGGERS)


def those_that_stay(before: list[Spot], now: list[Spot]) -> tuple[int, bool]:
    """How many of the outermost frames are the same at two looks, and whether the last of them has not moved."""
    count, is_still = 0, False
    for old, new in zip(reversed(before), reversed(now), strict=False):
        if old.frame_id != new.frame_id or old.code is not new.code:
            break
        count += 1
        is_still = old.lasti == new.lasti
        if not is_still:
            break
    return count, is_still


def is_users(code: CodeType) -> bool:
    """Whether this is neither the standard library's, nor an installed package's, nor ours."""
    name = code.co_filename
    known = _kinds.get(name)
    if known is None:
        plumbing = name.startswith((OURS, STDLIB, "<frozen ")) or any(part in name for part in INSTALLED)
        known = _kinds[name] = not plumbing
    return known


def index_to_blame(spots: list[Spot]) -> int:
    """The innermost frame of the user's code, else of anybody's but ours, else the innermost."""
    for is_fit in (is_users, lambda code: not code.co_filename.startswith(OURS)):
        for index, spot in enumerate(spots):
            if is_fit(spot.code):
                return index
    return 0


def blame(spots: list[Spot], *, is_still: bool) -> Culprit:
    """Whom these frames, innermost first, blame. ``is_still``: the innermost one stayed at one instruction."""
    index = index_to_blame(spots)
    spot = spots[index]
    called = _name_called(spots[index - 1]) if index else call_at(spot) if is_still else None
    return Culprit(
        function=spot.name,
        filename=spot.code.co_filename,
        lineno=spot.lineno,
        called=called,
        remedy=_remedy(spots, index, called),
        stack=_as_text(spots),
    )


def _name_called(spot: Spot) -> str:
    return "import" if spot.code.co_filename.startswith("<frozen importlib") else spot.name


def _remedy(spots: list[Spot], index: int, called: str | None) -> str:
    if called == "import":
        return "import it before the event loop runs"
    if called == "time.sleep":
        return "use `await asyncio.sleep(...)`"
    name = _to_hand_over(spots, index, called)
    if name is None:
        return "move this work into a function of its own, and `await rt.run(that, ...)`"
    return f"use `await rt.run({name}, ...)`"


def _to_hand_over(spots: list[Spot], index: int, called: str | None) -> str | None:
    """What the innermost coroutine called, for there one can await; in a plain callback, all of it."""
    outer = next((at for at in range(index, len(spots)) if spots[at].code.co_flags & AWAITS), len(spots))
    if outer == index:
        return called
    at = max((at for at in range(index, outer) if is_users(spots[at].code)), default=index)
    name = spots[at].code.co_qualname.rpartition("<locals>.")[2]
    return None if name.startswith("<") else name


def call_at(spot: Spot) -> str | None:
    """The name of what is being called at this instruction, as the source spells it; never its arguments."""
    positions = list(spot.code.co_positions())
    if not 0 <= spot.lasti // 2 < len(positions):
        return None
    line, end_line, column, end_column = positions[spot.lasti // 2]
    if line is None or end_line is None or column is None or end_column is None:
        return None
    text = [linecache.getline(spot.code.co_filename, at).encode() for at in range(line, end_line + 1)]
    if not all(text):
        return None
    text[-1] = text[-1][:end_column]
    text[0] = text[0][column:]
    try:
        node = ast.parse(b"(" + b"".join(text) + b")", mode="eval").body
    except (SyntaxError, ValueError):
        return None
    if isinstance(node, ast.Await):
        node = node.value
    if not isinstance(node, ast.Call):
        return None
    name = ast.unparse(node.func)
    return name if all(part.isidentifier() for part in name.split(".")) else None


def _as_text(spots: list[Spot]) -> str:
    return "".join(
        traceback.format_list(
            [
                traceback.FrameSummary(s.code.co_filename, s.lineno, s.code.co_qualname)
                for s in reversed(spots)
            ]
        )
    )
