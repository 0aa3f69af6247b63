"""Exceptions <-> bytes: packed in the worker, brought back to life in the parent; neither side ever raises.

The worker's half, ``pack``, is in ``anatomy``, where the form of the bytes is told. Here is the parent's, and the
rule about exceptions that no event loop may be given as themselves.
"""

from __future__ import annotations

import builtins
import pickle
from collections.abc import Iterator
from types import SimpleNamespace, TracebackType
from typing import Any

from .anatomy import (
    BARE,
    BUILTIN,
    GROUP,
    WHOLE,
    Frame,
    Loads,
    Node,
    a_or_an,
    attributes_of,
    members_of,
    pack,
    put_together,
    type_name,
)

__all__ = ["pack", "presentable", "unpack"]


def unpack(data: bytes, *, loads: Loads, where: str = "a worker process") -> Exception:
    """The exception that ``pack`` was given, fit to be raised here; never raises.

    It has the worker's frames in its traceback, and its notes, cause, context and members. One that cannot be had
    comes as ``RemoteError``; one that is no ``Exception`` as ``TaskExited`` (see ``presentable``). ``where`` is for
    their messages.
    """
    from ..errors import RemoteError

    try:
        nodes = [Node(*fields) for fields in pickle.loads(data)]
        exc = _revive(nodes, loads, where)[0]
        if nodes[0].exits and issubclass(type(exc), Exception):
            return _exited(f"raised {nodes[0].type_name}", exc, where)
        return presentable(exc, where=where)
    except BaseException as error:
        return RemoteError(
            f"the function failed in {where}, but what it raised cannot be told: its description does not open "
            f"({type_name(error)})",
            type_name="",
            traceback_text="",
        )


def _revive(nodes: list[Node], loads: Loads, where: str) -> list[BaseException]:
    made: dict[int, BaseException] = {}

    def make(at: int) -> BaseException:  # members before their group; at most MOST_LINKS deep
        if at not in made:
            members = [make(member) for member in nodes[at].members]
            made[at] = _revive_one(nodes[at], members, loads, where)
        return made[at]

    for at, node in enumerate(nodes):
        exc = make(at)
        _set(exc, "__cause__", make(node.cause) if node.cause >= 0 else None)
        _set(exc, "__context__", make(node.context) if node.context >= 0 else None)
        _set(exc, "__suppress_context__", node.suppress)
        if node.notes:
            _set(exc, "__notes__", [*node.notes, *_added(exc, node)])
        if node.frames:
            try:
                _set(exc, "__traceback__", _rebuild(node.frames))
            except Exception:  # no tblib, or one that has changed
                text = f"[hybridrt: in {where}]\n{_format(node)}"
                _set(exc, "__notes__", [*node.notes, text.rstrip()])
    return [made[at] for at in range(len(nodes))]


def _added(exc: BaseException, node: Node) -> list[str]:
    """Notes of ours, on a stand-in for a group."""
    return [] if type_name(exc) == node.type_name else list(getattr(exc, "__notes__", ()))


def _revive_one(node: Node, members: list[BaseException], loads: Loads, where: str) -> BaseException:
    why = node.why
    try:
        exc: Any = None
        if node.form == BUILTIN:
            exc = getattr(builtins, node.body[0])(*node.body[1])
        elif node.form == WHOLE:
            exc = loads(node.body)
        elif node.form == BARE:
            exc = put_together(*loads(node.body))
        elif node.form == GROUP:
            cls, message, attributes = loads(node.body)
            exc = BaseExceptionGroup.__new__(cls, message, members)
            attributes_of(exc).update(attributes)
        if isinstance(exc, BaseException) and (type_name(exc) == node.type_name or node.form == GROUP):
            str(exc)
            return exc
        why = why or "unpickling it gives something else here"
    except BaseException as error:
        missing = f" ({error.name})" if isinstance(error, ModuleNotFoundError) and error.name else ""
        why = f"this process cannot unpickle it: {type_name(error)}{missing}"
    if members:
        # Its members are what `except*` and the reader look for: a plain group keeps them.
        group = BaseExceptionGroup(node.text, members)
        group.add_note(
            f"[hybridrt: stands in for {node.type_name}, which could not travel from {where}: {why}]"
        )
        return group
    return _stand_in(node, why, where)


def _stand_in(node: Node, why: str, where: str) -> BaseException:
    from ..errors import RemoteError

    said = f"{node.type_name}: {node.text}" if node.text else node.type_name
    message = (
        f"{said} [this stands in for the exception itself, which could not travel from {where}: {why}; "
        "give its class a __reduce__ that rebuilds it, or raise one that can be pickled]"
    )
    return RemoteError(message, type_name=node.type_name, traceback_text=_format(node))


def _format(node: Node) -> str:
    from traceback import FrameSummary, StackSummary

    stack = StackSummary.from_list([FrameSummary(file, line, name) for file, name, line, _ in node.frames])
    head = "Traceback (most recent call last):\n" if node.frames else ""
    return f"{head}{''.join(stack.format())}{node.type_name}{': ' if node.text else ''}{node.text}\n"


def _rebuild(frames: tuple[Frame, ...]) -> TracebackType | None:
    from tblib import Traceback

    top = None
    for file, name, line, module in reversed(frames):
        frame = SimpleNamespace(
            f_globals={"__name__": module},
            f_locals={},
            f_code=SimpleNamespace(co_filename=file, co_name=name),
            f_lineno=line,
        )
        top = SimpleNamespace(tb_frame=frame, tb_lineno=line, tb_next=top)
    made: Any = Traceback(top).as_traceback()
    links = []
    while made is not None:
        links.append(made)
        made = made.tb_next
    # Again, without the instruction's place: tblib's frames hold its own stub of code, whose columns would put the
    # marks (^^^^) under the wrong part of the user's line.
    for link in reversed(links):
        made = TracebackType(made, link.tb_frame, -1, link.tb_lineno)
    return made  # type: ignore[no-any-return]


def _set(exc: BaseException, name: str, value: Any) -> None:
    try:
        object.__setattr__(
            exc, name, value
        )  # past a __setattr__ of the class, such as a frozen dataclass has
    except Exception:  # it made the name its own: then that part is missing
        pass


# --- what may fly through a loop ---


def presentable(exc: BaseException, *, where: str = "a worker process") -> Exception:
    """``exc`` as something that an event loop, or whoever waits for a future, can be given; never raises.

    An ``Exception`` stays itself. ``SystemExit``, ``KeyboardInterrupt``, ``GeneratorExit``, ``CancelledError``, any
    other bare ``BaseException`` and groups that hold one would stop the loop or the task that waits: they become the
    ``__cause__`` of a ``TaskExited``. ``StopIteration`` and ``StopAsyncIteration`` become the cause of a
    ``RuntimeError``, as they do in a generator (PEP 479). ``where`` the function ran is for the message.
    """
    if isinstance(exc, StopIteration | StopAsyncIteration):
        stopped = RuntimeError(f"the function raised {type_name(exc)} in {where}")
        stopped.__cause__ = exc
        return stopped
    if isinstance(exc, Exception):
        return exc
    return _exited(_what_happened(exc), exc, where)


def _exited(happened: str, exc: BaseException, where: str) -> Exception:
    from ..errors import TaskExited

    told = TaskExited(
        f"the function {happened} in {where}; that ends this call alone. "
        "Let it return, or raise an ordinary exception, to say how it ended"
    )
    told.__cause__ = exc
    return told


def _what_happened(exc: BaseException) -> str:
    if isinstance(exc, SystemExit):
        code = _exit_code(exc)
        shown = "" if code is None else code if type(code) is int else "..."  # a text may say anything
        return f"called sys.exit({shown})"
    if isinstance(exc, BaseExceptionGroup):
        inside = sorted({type_name(leaf) for leaf in _leaves(exc) if not issubclass(type(leaf), Exception)})
        return f"raised {a_or_an(type(exc).__name__)} that holds {', '.join(inside[:5]) or 'no Exception'}"
    if type_name(exc) == "asyncio.exceptions.CancelledError":
        return "raised asyncio.CancelledError, though nobody cancelled the call,"
    return f"raised {type_name(exc)}"


_exit_code = vars(SystemExit)["code"].__get__


def _leaves(group: BaseException) -> Iterator[BaseException]:
    todo = [group]
    while todo:
        exc = todo.pop()
        if issubclass(type(exc), BaseExceptionGroup):
            todo.extend(members_of(exc))
        else:
            yield exc
