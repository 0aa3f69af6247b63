"""What this process's logging and warnings would show, as plain data for workers, and whether it has changed.

A worker that knows it makes the records and warnings that would be shown here, and spends nothing on others. It is
only an economy: whether something is shown is decided here, when it arrives.
"""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Callable
from typing import Any

from .relay import handler_key

_MOST_BYTES = 1 << 16  # of a message to the zygote


def look() -> tuple[Any, ...]:
    """Levels, handlers and filters, as ``relay.set_audience`` takes them."""
    root = logging.getLogger()
    levels = {}
    keys = [handler_key(root, handler) for handler in root.handlers]
    for name, logger in tuple(root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger):
            if logger.level:
                levels[name] = logger.level
            keys += [handler_key(logger, handler) for handler in logger.handlers]
    filters = []
    for action, message, category, module, line in warnings.filters:
        if isinstance(category, type):
            filters.append((action, message, category.__module__, category.__qualname__, module, line))
    audience = (
        (root.manager.disable, root.level, levels, bool(root.handlers)),
        tuple(key for key in keys if key is not None),
        tuple(filters),
    )
    if len(pickle.dumps(audience)) > _MOST_BYTES:
        # More than anybody sets by hand. Then workers send all that any logger would show, and it is sorted out here.
        least = min(root.level, *levels.values())
        return (root.manager.disable, least, {}, bool(root.handlers)), audience[1][:100], ()
    return audience


class Audience:
    """Calls ``on_change(what look() finds)`` from ``check`` where it has changed; the first time, always."""

    def __init__(self, on_change: Callable[[tuple[Any, ...]], None]) -> None:
        self._on_change = on_change
        self._told: tuple[Any, ...] | None = None
        # Logging empties the cache of every logger, ours too, whenever a level changes: a note in it is gone then. That
        # is private, and the one way to see a change without looking at every logger before every call.
        self._notes: dict[Any, Any] = getattr(logging.getLogger("hybridrt"), "_cache", {})
        self._note = object()
        self._root_handlers = logging.getLogger().handlers
        self._handlers = -1
        self._filters: Any = None
        self._first_filter: Any = None
        self._filter_count = -1

    def check(self) -> None:
        """Cheap where nothing has changed."""
        filters = warnings.filters
        if (
            self._note in self._notes
            and filters is self._filters
            and len(filters) == self._filter_count
            and (not filters or filters[0] is self._first_filter)
            and len(self._root_handlers) == self._handlers
        ):
            return
        self._notes[self._note] = True
        self._filters = filters
        self._filter_count = len(filters)
        self._first_filter = filters[0] if filters else None
        self._handlers = len(self._root_handlers)
        audience = look()
        if audience != self._told:
            self._told = audience
            try:
                self._on_change(audience)
            except OSError:
                self._told = None  # the zygote is busy: told again with the next change
                self._notes.pop(self._note, None)
