"""What is fetched and carried for the loop: one large call to pack, or one large answer to unpack, in any thread."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

from .._engine import failure, wire
from .._engine.cargo import Cargo, Hold
from .._engine.child import Child
from .answers import failure_of
from .job import LargeJob, ProcessJob
from .unsendable import unsendable_call, unsendable_result

MARKS = wire.CARGO | wire.LARGE
"""On an answer's kind: it may be heavy."""

_PROTOCOL = 5


class Errand(ABC):
    """One thing to be done by a porter for ``job``."""

    __slots__ = ("error", "is_begun", "is_unwanted", "job")

    def __init__(self, job: ProcessJob[Any]) -> None:
        self.job = job
        self.error: BaseException | None = None
        self.is_begun = False
        self.is_unwanted = False

    @abstractmethod
    def carry(self, hold: Hold) -> None:
        """Do it, in a porter's thread. Raises only where there is no memory even for saying so."""

    @abstractmethod
    def drop(self) -> None:
        """In the loop's thread: nobody wants it any more. A second time is harmless."""


class Packing(Errand):
    """A call that is to be packed; then it is ``cargo``, or there is an ``error``."""

    __slots__ = ("_call", "_context", "cargo", "large")

    def __init__(self, job: LargeJob[Any], call: tuple[Any, ...]) -> None:
        super().__init__(job)
        self.large = job  # the same, as what it is
        self._call: tuple[Any, ...] | None = call
        self._context: Context = copy_context()  # what a __reduce__ sees is the caller's
        self.cargo: Cargo | None = None

    def carry(self, hold: Hold) -> None:
        call, self._call = self._call, None
        fn = self.job.fn
        if call is None or fn is None or self.is_unwanted:
            return
        try:
            self.cargo = self._context.run(hold.load_up, call)
        except BaseException as exc:  # a sys.exit() in a __reduce__, too, is this call's error alone
            if not self.is_unwanted:
                self.error = self._context.run(self._why_not, fn, call, exc)
        if self.is_unwanted:
            self.drop()

    def _why_not(self, fn: Callable[..., Any], call: tuple[Any, ...], exc: BaseException) -> Exception:
        args, kwargs = call[:2] if self.job.definition is not None else call[1:3]
        error = unsendable_call(self.job.function.name, fn, args, kwargs, exc, dumps=_try_to_pickle)
        error.__cause__ = exc
        return error

    def drop(self) -> None:
        self.is_unwanted = True
        self._call = None
        cargo, self.cargo = self.cargo, None
        if cargo is not None:
            cargo.release()


class _Nowhere:
    @staticmethod
    def write(data: Any) -> None:
        """A file of Python's, so that threads can be switched at each piece."""


def _try_to_pickle(obj: object) -> bytes:
    import cloudpickle

    cloudpickle.Pickler(_Nowhere, _PROTOCOL).dump(obj)
    return b""


class Unpacking(Errand):
    """An answer that is to be unpacked; then ``result``, or ``error`` where that is set."""

    __slots__ = ("_flag", "_kind", "_payload", "child", "micros", "result")

    def __init__(self, job: ProcessJob[Any], child: Child, frame: wire.Frame) -> None:
        """``frame`` has its marks yet. Its payload is copied here, unless it owns its memory."""
        super().__init__(job)
        self.child = child
        self._kind = frame.kind & ~MARKS
        self._flag = frame.kind & wire.CARGO
        self._payload: bytes | memoryview = frame.payload if frame.kind & wire.LARGE else bytes(frame.payload)
        self.micros = frame.extra
        self.result: Any = None

    def is_heavy(self, hold: Hold) -> bool:
        """Whether it is to be done off the loop."""
        return hold.is_heavy(self._payload, self._flag)

    def carry(self, hold: Hold) -> None:
        payload, self._payload = self._payload, b""
        if self.is_unwanted and not self._flag:
            return  # cargo has to be opened all the same, so that its memory is free again
        name = self.job.function.name
        try:
            if self._kind == wire.RESULT:
                self.result = hold.unload(self.child, payload, self._flag)
            else:
                self.error = failure_of(name, self._kind, payload)
        except BaseException as exc:
            self.error = unsendable_result(name, "result", failure.presentable(exc))
        if self.is_unwanted or self.job.done():
            self.result = None  # here, not on the loop: letting go of a million objects takes its time

    def drop(self) -> None:
        self.is_unwanted = True


def still_at(errand: Errand) -> str:
    """The warning for an errand that a thread is at, and cannot be stopped at."""
    act = "pickled" if isinstance(errand, Packing) else "unpickled"
    return (
        f"hybridrt: a call of {errand.job.function.name}, or its result, is still being {act} in a thread after its "
        "runtime was left, and a thread cannot be stopped: look at its __reduce__ and __setstate__ methods"
    )
