"""The initializer of a lane's workers: sent first to each, which gets no call until it has run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from .._core.function import name_of
from .._engine import failure, parcel, wire
from .._engine.child import Child
from ..errors import InitializerFailed
from .unsendable import unsendable_call

_log = logging.getLogger("concurrent.futures")  # where the standard executors say it


class Setup:
    """What each worker runs first, and the workers that have not got through it yet.

    Raises NotSendable where the initializer or its arguments cannot be pickled.
    """

    def __init__(self, initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
        self._name = name_of(initializer)
        parcel.share_main()
        try:
            payload = parcel.dumps((initializer, initargs))
        except Exception as exc:
            raise unsendable_call(self._name, initializer, initargs, {}, exc) from exc
        self._frame = wire.pack(wire.SETUP, 0, 0, payload)
        self.under_way: set[Child] = set()
        self._has_failed = False

    def begin(self, child: Child, path: list[str] | None) -> None:
        """Send the initializer to this new worker, behind ``sys.path`` where that is news to it."""
        self.under_way.add(child)
        if path is not None:
            child.send(wire.pack(wire.PATH, 0, 0, parcel.dumps(path)))
        child.send(self._frame)

    def ended(self, child: Child) -> bool:
        """This worker is ready, has failed or has died. Whether it was still at it."""
        if child not in self.under_way:
            return False
        self.under_way.discard(child)
        return True

    def has_raised(self, frame: wire.Frame) -> Callable[[], InitializerFailed]:
        """The initializer raised; gives what makes the error for each call."""
        return self._failed(
            "raised an exception in a worker process",
            failure.unpack(bytes(frame.payload), loads=parcel.loads),
        )

    def has_killed(self, workers: int) -> Callable[[], InitializerFailed]:
        """So many workers in a row have died in it."""
        return self._failed(f"did not end: {workers} worker processes in a row died while it ran", None)

    def _failed(self, what: str, cause: Exception | None) -> Callable[[], InitializerFailed]:
        message = (
            f"the initializer {self._name} {what}, so this executor takes no more calls: "
            "mend the initializer, then make a new executor"
        )
        if not self._has_failed:
            self._has_failed = True
            _log.critical("Exception in initializer: %s", message, exc_info=cause)

        def error() -> InitializerFailed:
            made = InitializerFailed(message)
            made.__cause__ = cause
            return made

        return error
