"""What to do about well-known things that cannot cross to another process, by the name of their type."""

from __future__ import annotations

_HERE = "it belongs to the process that made it"
_OPEN_THERE = f"{_HERE}: open it inside the function, or send what it takes to open it"
_LOCK = f"{_HERE}, and a copy would guard nothing: keep it here, or leave it out in the object's __getstate__"
_LOOP = f"{_HERE} and its event loop: await it here and send the result"
_LOOP_ONLY = "it belongs to this process's event loop: keep it here"
_RUNNING = "it is a running piece of code: send what it yields (a list, say), or call its function over there"
_THREAD = f"{_HERE}: start it inside the function"
_VIEW = "it is a view of somebody else's memory: send bytes(view), or the object that it shows"
_ITEMS = "it is a view of a dict: send list(view)"
_SURROUNDS = "it is part of running code: send the text that is needed of it"
_POOL = f"{_HERE}, with its threads or processes: make it inside the function"
_WEAK = "it is a weak reference: send the object itself"
_OURS = "it lives in the process of the runtime: send plain data, and use hybridrt from here"

# Names as ``module.qualname``; each counts for its subclasses too.
_HINTS = {
    "_thread.lock": _LOCK,
    "_thread.RLock": _LOCK,
    "_thread._local": "it holds a value for each thread of this process: send the value",
    "_thread._localdummy": "it holds a value for each thread of this process: send the value",
    "threading.Condition": _LOCK,
    "threading.Event": _LOCK,
    "threading.Semaphore": _LOCK,
    "threading.Barrier": _LOCK,
    "threading.Thread": _THREAD,
    "_thread._ThreadHandle": _THREAD,
    "queue.Queue": f"{_HERE}: return the items instead",
    "_queue.SimpleQueue": f"{_HERE}: return the items instead",
    "_socket.socket": _OPEN_THERE,
    "socket.socket": _OPEN_THERE,
    "_ssl._SSLContext": _OPEN_THERE,
    "_ssl._SSLSocket": _OPEN_THERE,
    "select.epoll": _OPEN_THERE,
    "select.poll": _OPEN_THERE,
    "selectors.BaseSelector": _OPEN_THERE,
    "_io._IOBase": f"{_HERE}: send the path and open it inside the function, or send what was read",
    "tempfile._TemporaryFileWrapper": f"{_HERE}: send its name and open that inside the function",
    "mmap.mmap": _OPEN_THERE,
    "generator": _RUNNING,
    "coroutine": "it is a coroutine, a call that has begun: send the coroutine function and its arguments",
    "async_generator": _RUNNING,
    "_asyncio.Task": _LOOP,
    "_asyncio.Future": _LOOP,
    "asyncio.futures.Future": _LOOP,
    "asyncio.events.AbstractEventLoop": _LOOP_ONLY,
    "uvloop.loop.Loop": _LOOP_ONLY,
    "asyncio.mixins._LoopBoundMixin": _LOOP_ONLY,
    "asyncio.streams.StreamReader": _LOOP_ONLY,
    "asyncio.streams.StreamWriter": _LOOP_ONLY,
    "asyncio.transports.BaseTransport": _LOOP_ONLY,
    "asyncio.taskgroups.TaskGroup": _LOOP_ONLY,
    "concurrent.futures._base.Future": "wait for it here and send its result",
    "concurrent.futures._base.Executor": _POOL,
    "multiprocessing.pool.Pool": _POOL,
    "multiprocessing.process.BaseProcess": _POOL,
    "subprocess.Popen": _POOL,
    "sqlite3.Connection": _OPEN_THERE,
    "sqlite3.Cursor": _OPEN_THERE,
    "psycopg.BaseConnection": _OPEN_THERE,
    "psycopg2.extensions.connection": _OPEN_THERE,
    "asyncpg.connection.Connection": _OPEN_THERE,
    "redis.client.Redis": _OPEN_THERE,
    "sqlalchemy.engine.base.Engine": _OPEN_THERE,
    "sqlalchemy.engine.base.Connection": _OPEN_THERE,
    "sqlalchemy.orm.session.Session": _OPEN_THERE,
    "module": "send its name and import it inside the function",
    "memoryview": _VIEW,
    "dict_keys": _ITEMS,
    "dict_values": _ITEMS,
    "dict_items": _ITEMS,
    "mappingproxy": "it is a view of a dict: send dict(proxy)",
    "frame": _SURROUNDS,
    "traceback": _SURROUNDS,
    "code": "send the function, or the source",
    "re.Match": "send match.group() or match.groups()",
    "weakref.ReferenceType": _WEAK,
    "weakref.ProxyType": _WEAK,
    "_contextvars.Context": "send the values that are needed of it",
    "_contextvars.ContextVar": "send its value (var.get()), or let it travel: hybridrt.register_contextvar(var)",
    "_contextvars.Token": "send its value: var.get()",
    "lxml.etree._Element": "send it as text (lxml.etree.tostring) and parse it inside the function",
}


def type_name_of(cls: type) -> str:
    """``module.qualname`` of a type, or the name alone for a built-in one; whatever its metaclass does."""
    try:
        module = vars(type)["__module__"].__get__(cls)
        name = vars(type)["__qualname__"].__get__(cls)
    except Exception:
        return "?"
    if type(module) is not str or module == "builtins":
        return str.__str__(name)
    return f"{module}.{name}"


def hint_for(cls: type) -> str | None:
    """What to do about an object of this type, in a few words; None where nothing special is known."""
    for base in vars(type)["__mro__"].__get__(cls):
        name = type_name_of(base)
        if hint := _HINTS.get(name):
            return hint
        if name.startswith("hybridrt.") and not issubclass(base, BaseException):
            return _OURS
    return None
