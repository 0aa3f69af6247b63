"""Inside a call: whether anybody still wants it.

Who runs calls says so here once, not at each call: a thread of the thread lane and a worker's main thread leave a
probe that looks at the call that runs there now. A coroutine call shares its thread with others, so its probe goes
where its tasks, and the threads that they start, find it: into its context. The innermost call answers.

Every worker loads this: it imports next to nothing.
"""

from __future__ import annotations

from _thread import _local  # threading.local, without the rest of threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeAlias

Probe: TypeAlias = Callable[[], bool]

around: ContextVar[Probe | None] = ContextVar("hybridrt_call", default=None)
"""The probe of the call that this context belongs to."""


class _Here(_local):
    probe: Probe | None = None


here = _Here()
"""``here.probe`` is that of the call which has this thread for itself; it is asked before ``around``."""


class CoroutineCall:
    """One coroutine call in a worker, as its own tasks and threads see it; it may be asked after its end as well."""

    __slots__ = ("is_unwanted",)

    def __init__(self) -> None:
        self.is_unwanted = False

    def probe(self) -> bool:
        """Whether it was cancelled."""
        return self.is_unwanted


def cancelled() -> bool:
    """Whether the call that this code belongs to was cancelled, ran out of time, or lost its runtime.

    In a thread it is the one way to stop: nothing can be thrown into a thread, so long work asks now and then and
    returns. In a worker process, code is interrupted by itself; what runs on the way out (``finally``, or code that
    caught ``Interrupted`` or ``CancelledError``) can ask why. Once true, it stays true for the rest of the call.

    False on the event loop of a runtime, in threads that are not the runtime's, in processes of somebody else's
    executor, and wherever else no call runs. Costs a fraction of a microsecond; never raises.
    """
    probe = here.probe or around.get()
    return probe is not None and probe()
