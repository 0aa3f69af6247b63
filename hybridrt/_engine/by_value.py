"""Pickling by value, piece by piece and with buffers out of band: what cloudpickle's own ``dumps`` does not offer."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable
from functools import cache
from typing import Any

import cloudpickle

from . import main_globals

_PROTOCOL = 5


def dump(
    file: Any,
    buffer_callback: Callable[[Any], object],
    obj: object,
    reduce_view: Callable[[memoryview], Any],
    *,
    main_is_shared: bool,
) -> None:
    """Pickle ``obj`` to ``file``; ``reduce_view`` says how a memoryview travels."""
    pickler = _class(main_is_shared, reduce_view)(file, _PROTOCOL, buffer_callback)
    if main_is_shared:
        main_globals.prepare(pickler)
    pickler.dump(obj)


@cache
def _class(main_is_shared: bool, reduce_view: Callable[[memoryview], Any]) -> Any:
    base: Any = main_globals.pickler_class() if main_is_shared else cloudpickle.Pickler
    table = ChainMap({memoryview: reduce_view}, *base.dispatch_table.maps)
    return type("Pickler", (base,), {"dispatch_table": table})
