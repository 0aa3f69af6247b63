"""Exception -> bytes, in the worker: what an exception is made of, taken apart so that it can travel.

``pack`` flattens the exception and all it is linked to (causes, contexts, members of groups) into a list of nodes
that refer to one another by index. A node is made of primitives only, so that its envelope always opens; what needs
the user's classes is a pickle of its own, within the node. There are four ways for a node to travel:

``BUILTIN``  a built-in type and plain arguments: needs nobody's code
``WHOLE``    its own pickle
``BARE``     type, arguments and attributes, put together again without ``__init__``: for the many exceptions whose
             ``__init__`` takes other arguments than ``args`` holds, which pickle well and explode when unpickled
``GROUP``    type, message and attributes of a group; its members are nodes

The worker tries each on the spot. What survives none of them, and what the parent then cannot unpickle, becomes a
``RemoteError`` made from the text that every node carries as well (``failure.unpack``).

Every worker has this loaded: the standard library only, and little of it.
"""

from __future__ import annotations

import builtins
import pickle
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

Dumps = Callable[[Any], bytes]
Loads = Callable[[bytes], Any]
Frame = tuple[str, str, int, str]  # file, function, line, module

BUILTIN, WHOLE, BARE, GROUP, TEXT = range(5)

# Bounds, so that a deep recursion, an endless chain or a huge text cannot make the failure the problem.
FIRST_FRAMES = LAST_FRAMES = 40
MOST_LINKS = 50  # from the exception itself
MOST_NODES = 500
MOST_NOTES = 100
MOST_TEXT = 10_000

_PICKLE_METHODS = frozenset({"__reduce__", "__reduce_ex__"})
_PLAIN = frozenset({str, int, float, complex, bool, bytes, type(None)})


class Node(NamedTuple):
    """One exception among those that travel together; -1 where there is no link."""

    form: int
    body: Any  # bytes; for BUILTIN (name, args)
    type_name: str
    text: str
    why: str  # why it travels as text
    frames: tuple[Frame, ...]
    notes: tuple[str, ...]
    cause: int
    context: int
    suppress: bool
    members: tuple[int, ...]
    exits: bool  # no Exception, so nothing that may fly through the parent's loop


class _Unfaithful(Exception):
    """What comes out of the pickle is not what went in."""


# Descriptors of the C types: what the user's class overrides cannot get in between.
_fields = vars(BaseException)
_cause = _fields["__cause__"].__get__
_context = _fields["__context__"].__get__
_suppress = _fields["__suppress_context__"].__get__
_traceback = _fields["__traceback__"].__get__
_args = _fields["args"].__get__
attributes_of = _fields["__dict__"].__get__
members_of = vars(BaseExceptionGroup)["exceptions"].__get__
_message = vars(BaseExceptionGroup)["message"].__get__


def pack(exc: BaseException, *, dumps: Dumps, loads: Loads, skip_file: str | tuple[str, ...] = ()) -> bytes:
    """``exc`` with its traceback, causes, contexts, notes and members as bytes for ``unpack``; never raises.

    ``dumps`` and ``loads`` are tried on it here, so that what the parent gets can be unpickled. Frames at the top of
    a traceback whose file begins with ``skip_file`` (a file, a folder, or several) are left out. Whatever the
    exception's own code raises meanwhile, an interrupt included, is swallowed.
    """
    try:
        return pickle.dumps([tuple(node) for node in _nodes(exc, dumps, loads, skip_file)], 5)
    except BaseException as error:
        try:
            why = f"describing it raised {type_name(error)}"
            node = _text_only(type_name(exc), text_of(exc), why, not issubclass(type(exc), Exception))
            return pickle.dumps([tuple(node)], 5)
        except BaseException:  # out of memory, most likely
            return _LOST


def _nodes(exc: BaseException, dumps: Dumps, loads: Loads, skip: str | tuple[str, ...]) -> list[Node]:
    """The node of ``exc`` first, then those it is linked to, the nearest first."""
    found, depth, place = [exc], [0], {id(exc): 0}
    nodes: list[Node] = []

    def index(linked: BaseException | None) -> int:
        if linked is None:
            return -1
        at = place.get(id(linked), -1)
        if at < 0 and depth[len(nodes)] < MOST_LINKS and len(found) < MOST_NODES:
            at = place[id(linked)] = len(found)
            found.append(linked)
            depth.append(depth[len(nodes)] + 1)
        return at

    for one in found:  # grows meanwhile
        cause, context = _cause(one), _context(one)
        members = members_of(one) if issubclass(type(one), BaseExceptionGroup) else ()
        kept = tuple(at for member in members if (at := index(member)) >= 0)
        links = index(cause), index(context)
        lost = len(members) - len(kept)
        node = _node(one, kept, bool(members), dumps, loads, skip)
        notes = node.notes
        if lost:
            notes += (f"[hybridrt: {lost} of this group's {len(members)} exceptions did not travel]",)
        if (cause is not None and links[0] < 0) or (context is not None and links[1] < 0):
            notes += ("[hybridrt: what led to this did not travel: the chain is too long]",)
        nodes.append(node._replace(cause=links[0], context=links[1], notes=notes))
    return nodes


def _node(
    exc: BaseException, members: tuple[int, ...], is_group: bool, dumps: Dumps, loads: Loads, skip: Any
) -> Node:
    """The node of one exception, its links still missing."""
    cls = type(exc)
    attributes = attributes_of(exc)
    notes = _notes(attributes.get("__notes__")) if attributes else ()
    form, body, why = TEXT, None, ""
    if is_group and not members:
        why = "its members lie too deep"
    else:
        form, body, why = _body(exc, is_group, dumps, loads)
    return Node(
        form=form,
        body=body,
        type_name=type_name(exc),
        text=_exact(_message(exc))[:MOST_TEXT] if is_group else text_of(exc),
        why=why,
        frames=tuple(_frames(_traceback(exc), skip)),
        notes=notes,
        cause=-1,
        context=-1,
        suppress=_suppress(exc),
        members=members,
        exits=not issubclass(cls, Exception),
    )


def _body(exc: BaseException, is_group: bool, dumps: Dumps, loads: Loads) -> tuple[int, Any, str]:
    """How the exception travels, its own bytes, and why not better."""
    cls = type(exc)
    try:
        if is_group:
            return GROUP, _group_body(exc, dumps, loads), ""
        standard = _has_standard_pickle(cls)
        # `object`'s, because BaseException's own way forgets what is in slots.
        state = object.__getstate__(exc)
        if standard and (plain := _plain(exc, cls, state)):
            return BUILTIN, plain, ""
        try:
            if standard and type(state) is tuple:
                raise _Unfaithful("what is in its slots gets lost")
            body = dumps(exc)
            _compare(exc, loads(body))
        except BaseException:
            if not standard:
                raise
            body = dumps((cls, exc.__reduce__()[1], state))
            _compare(exc, put_together(*loads(body)))
            return BARE, body, ""
        return WHOLE, body, ""
    except _Unfaithful as error:
        return TEXT, None, str(error)
    except BaseException as error:
        return TEXT, None, _why(exc, error, dumps)


def _group_body(exc: BaseException, dumps: Dumps, loads: Loads) -> bytes:
    cls = type(exc)
    attributes = {name: value for name, value in attributes_of(exc).items() if name != "__notes__"}
    body = dumps((cls, _message(exc), attributes))
    if loads(body)[0] is not cls:
        raise _Unfaithful("unpickling gives another type")
    return body


def _plain(exc: BaseException, cls: type, state: Any) -> tuple[str, tuple[Any, ...]] | None:
    """Name and arguments, where the exception is a built-in one made of nothing but plain values."""
    if cls.__module__ != "builtins" or getattr(builtins, cls.__name__, None) is not cls:
        return None
    if state is not None and state.keys() != {"__notes__"}:
        return None
    reduced: Any = exc.__reduce__()
    if len(reduced) > 2 and reduced[2].keys() != {"__notes__"}:
        return None  # such as the name that an ImportError or a NameError carries beside its arguments
    args = reduced[1]
    return (cls.__name__, args) if all(type(arg) in _PLAIN for arg in args) else None


def _has_standard_pickle(cls: type) -> bool:
    """Whether it is pickled as the built-in exceptions are: from type, arguments and attributes."""
    for base in cls.__mro__:
        if base.__module__ == "builtins":
            return True
        if not _PICKLE_METHODS.isdisjoint(vars(base)):
            return False
    return False


def _compare(exc: BaseException, clone: Any) -> None:
    """Raise unless the clone is as good as the original, as far as can be told without running through objects."""
    if type(clone) is not type(exc):
        raise _Unfaithful(f"unpickling gives {a_or_an(type(clone).__name__)} instead")
    if clone is exc:
        raise _Unfaithful("pickling gives a reference to one shared object")
    old, new = _args(exc), _args(clone)
    if len(old) != len(new):
        raise _Unfaithful("its arguments change when it is unpickled")
    for a, b in zip(old, new, strict=True):
        if type(a) is not type(b) or (type(a) in _PLAIN and a != b and a == a):
            raise _Unfaithful("its arguments change when it is unpickled")
    for method, probe in (("__str__", str), ("__repr__", repr), ("__bool__", bool), ("__eq__", exc.__eq__)):
        try:
            probe(clone)
        except BaseException as error:
            raise _Unfaithful(f"its {method} raises {type_name(error)}") from None


def put_together(cls: Any, args: tuple[Any, ...], state: Any) -> BaseException:
    """An exception from its type, arguments and attributes, without a line of the type's own code."""
    base = next(base for base in cls.__mro__ if base.__module__ == "builtins")
    exc: BaseException = base.__new__(cls, *args)
    try:
        base.__init__(exc, *args)
    except TypeError:  # not the arguments that this built-in type wants: its own fields stay empty
        pass
    attributes, slots = state if type(state) is tuple else (state, None)
    attributes_of(exc).update(attributes or {})
    for name, value in (slots or {}).items():
        object.__setattr__(exc, name, value)
    return exc


def _why(exc: BaseException, error: BaseException, dumps: Dumps) -> str:
    from .culprit import find_culprit

    culprit = find_culprit(exc, root="", dumps=dumps)
    if culprit is None:
        return f"unpickling it raises {type_name(error)}"
    return f"{culprit.path.lstrip('.') or 'it'} cannot be pickled ({culprit.explain()})"


def _frames(tb: TracebackType | None, skip: str | tuple[str, ...]) -> list[Frame]:
    frames: list[Frame] = []
    while tb is not None:
        code = tb.tb_frame.f_code
        if frames or not skip or not code.co_filename.startswith(skip):
            module = tb.tb_frame.f_globals.get("__name__")
            frames.append((_exact(code.co_filename), _exact(code.co_name), tb.tb_lineno, _exact(module)))
        tb = tb.tb_next
    lost = len(frames) - FIRST_FRAMES - LAST_FRAMES
    if lost > 1:
        frames[FIRST_FRAMES:-LAST_FRAMES] = [("<hybridrt>", f"[{lost} frames left out]", 1, "")]
    return frames


def _notes(notes: Any) -> tuple[str, ...]:
    if type(notes) not in (list, tuple):
        return ()
    return tuple(_exact(note)[:MOST_TEXT] for note in notes[:MOST_NOTES] if isinstance(note, str))


def _exact(text: Any) -> str:
    # A subclass of str would put the user's code into our envelope.
    return text if type(text) is str else str.__str__(text) if isinstance(text, str) else ""


def type_name(exc: BaseException) -> str:
    """Module and qualified name of the exception's type; the name alone for built-in ones. Never raises."""
    try:
        cls = type(exc)
        module, name = _exact(cls.__module__), _exact(cls.__qualname__)
        return name if module == "builtins" else f"{module}.{name}"
    except BaseException:  # a metaclass may do anything
        return "an exception whose type has no name"


def text_of(exc: BaseException) -> str:
    """``str(exc)``, cut where it is very long; never raises."""
    try:
        text = _exact(str(exc))
    except BaseException as error:
        return f"<its __str__ raises {type_name(error)}>"
    return (
        text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}… [{len(text) - MOST_TEXT} more characters]"
    )


def a_or_an(name: str) -> str:
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def _text_only(name: str, text: str, why: str, exits: bool) -> Node:
    return Node(TEXT, None, name, text, why, (), (), -1, -1, False, (), exits)


# Made beforehand, because there may be no memory left to make it with.
_LOST = pickle.dumps([tuple(_text_only("an exception", "", "the worker could not describe it", False))], 5)
