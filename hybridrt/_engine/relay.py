"""What a worker's code logs and warns goes to the parent's logging and warnings. Installed in the zygote.

Logging is not loaded for this: where nobody imports it, it costs nothing. ``Logger.callHandlers`` is replaced, and no
handler added, because handlers are the user's: ``basicConfig`` and ``dictConfig`` in an imported module would find ours
there, or throw it out. The worker's own handlers do their work as well, but for those that have a twin in the parent
(the same logger, the same class, the same file): the twin gets the record there, and two would double every line.
"""

from __future__ import annotations

import pickle
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from .output import RECORD, WARNING, class_named, outlet, running_call

if TYPE_CHECKING:
    import logging
    from importlib.machinery import ModuleSpec

_STDIO = ("<stdout>", "<stderr>")
_PLAIN = (str, int, float, bool, type(None))
_NOT_OURS_TO_TELL = (
    "message",
    "asctime",
    "relativeCreated",
)  # the parent's handlers and clock make them anew

_Levels: TypeAlias = tuple[int, int, dict[str, int], bool]
"""What logging.disable was given, the root's level, those set on other loggers; whether the root has handlers."""
_NO_LEVELS: _Levels = (0, 30, {}, False)

_levels = _NO_LEVELS
_twins: frozenset[tuple[str, str, str, str]] = frozenset()
_filters: tuple[Any, ...] | None = None
_own_filters: list[Any] = []
_has_unknown_filters = False


def install() -> None:
    """In the zygote, for it and all its workers."""
    _own_filters[:] = warnings.filters
    warnings.showwarning = _show_warning
    if "logging" in sys.modules:
        _attach(sys.modules["logging"])
    else:
        sys.meta_path.insert(0, _Doorman())


def set_audience(audience: tuple[Any, ...]) -> None:
    """From now on make what the parent would show: the levels and filters that ``audience.look`` found there."""
    global _levels, _twins, _filters
    before = _levels
    _levels, twins, filters = audience
    _twins = frozenset(twins)
    if "logging" in sys.modules and before != _levels:
        _set_levels(sys.modules["logging"], before)
    if filters != _filters:
        _filters = filters
        _set_filters()


# Warnings


def look_again() -> None:
    """Modules were imported: filters for their categories may have become known."""
    if _has_unknown_filters:
        _set_filters()


def _set_filters() -> None:
    global _has_unknown_filters
    _has_unknown_filters = False
    wanted: list[Any] = []
    for action, message, category_module, category_name, module, line in _filters or ():
        category = class_named(category_module, category_name)
        if category is None:
            _has_unknown_filters = True
            continue
        item = (action, message, category, module, line)
        if action == "error" and item not in _own_filters:
            # Errors of -W are raised in the task; one that the program set later is for its own code to meet.
            item = ("always", message, category, module, line)
        wanted.append(item)
    here: Any = warnings.filters
    if wanted != here:
        warnings.resetwarnings()  # has the registries of the modules emptied as well
        here[:] = wanted


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if file is not None:
        file.write(warnings.formatwarning(message, category, filename, lineno, line))
        return
    try:
        text = str(message)
    except Exception as exc:
        text = f"a warning whose text cannot be had: {type(exc).__name__}"
    told = (text, category.__module__, category.__qualname__, filename, lineno, _module_at(filename))
    outlet.send(WARNING, pickle.dumps(told))


def _module_at(filename: str) -> str | None:
    """Name of the module that is blamed: its frame is on the stack, or it is not known."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == filename:
            name = frame.f_globals.get("__name__")
            return name if isinstance(name, str) else None
        frame = frame.f_back  # type: ignore[assignment]
    return None


# Logging


class _Doorman:
    """On ``sys.meta_path``: attaches us to logging when somebody imports it, and goes."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "logging":
            return None
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
        for finder in sys.meta_path:
            spec: Any = finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = _Loader(spec.loader)
                return spec  # type: ignore[no-any-return]
        return None


class _Loader:
    """Loads logging as its own loader does, then attaches us."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _attach(module)


def _attach(logging: Any) -> None:
    logging.Logger.callHandlers = _call_handlers
    _set_levels(logging, _NO_LEVELS)


def _set_levels(logging: Any, before: _Levels) -> None:
    disabled, root, levels, has_handlers = _levels
    logging.disable(disabled)
    logging.getLogger().setLevel(root)
    for name in before[2].keys() - levels.keys():
        logging.getLogger(name).setLevel(logging.NOTSET)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    if has_handlers and not logging.getLogger().handlers:
        # Or else logging.warning() and basicConfig(), which do nothing there, would add a handler here.
        logging.getLogger().addHandler(logging.NullHandler())


def _call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
    """In place of ``Logger.callHandlers``."""
    import logging

    mine: list[logging.Handler] = []
    at: logging.Logger | None = logger
    while at is not None:
        mine += [
            handler
            for handler in at.handlers
            if record.levelno >= handler.level and not _has_twin(at, handler)
        ]
        at = at.parent if at.propagate else None
    try:
        outlet.send(RECORD, _pack(record, any(_is_on_stdio(handler) for handler in mine)))
    except Exception:
        logging.Handler().handleError(record)  # as every handler does: a bad log call never fails
    for handler in mine:
        handler.handle(record)


def _has_twin(logger: logging.Logger, handler: logging.Handler) -> bool:
    return bool(_twins) and handler_key(logger, handler) in _twins


def handler_key(logger: logging.Logger, handler: logging.Handler) -> tuple[str, str, str, str] | None:
    """By what twins are known; None for a handler that writes to a stream of its own, which can have none."""
    import logging

    file = ""
    if isinstance(handler, logging.FileHandler):
        file = handler.baseFilename
    elif isinstance(handler, logging.StreamHandler) and not _is_on_stdio(handler):
        return None
    kind = type(handler)
    return logger.name, kind.__module__, kind.__qualname__, file


def _is_on_stdio(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None)
    return stream is sys.stdout or stream is sys.stderr or getattr(stream, "name", "") in _STDIO


def _pack(record: logging.LogRecord, is_printed: bool) -> bytes:
    """The record as bytes that can always be unpickled; what is not plain is pickled apart, with its repr beside it."""
    fields = dict(record.__dict__)
    fields["msg"] = record.getMessage()
    fields["args"] = None
    if record.exc_info and not record.exc_text:
        import logging

        fields["exc_text"] = logging.Formatter().formatException(record.exc_info)
    fields["exc_info"] = None
    for name in _NOT_OURS_TO_TELL:
        fields.pop(name, None)
    plain: dict[str, Any] = {}
    others: dict[str, tuple[bytes, str]] = {}
    for name, value in fields.items():
        if type(value) in _PLAIN:
            plain[name] = value
        else:
            others[name] = _pickled(value), _shown(value)
    return pickle.dumps((running_call.get() or outlet.call, is_printed, plain, others))


def _pickled(value: object) -> bytes:
    try:
        return pickle.dumps(value)
    except Exception:
        return b""


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__qualname__}>"
