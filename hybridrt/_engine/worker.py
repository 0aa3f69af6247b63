"""A worker's whole life: read a call, run it, answer, until the channel closes.

Theory of operation. One socket, one owner, no helper threads and no locks: the main thread reads frames, runs the
user's code and writes the answer before it looks at the next call: to the socket, or into memory that outlives this
process where another quick call is at hand. So whatever kills this process can hurt one call only: all earlier answers
are out of its reach, and a later call that was written ahead is still claimable by the parent.

Claims. The parent writes quick calls ahead and puts a token for each into a pipe whose read end both sides hold.
Whoever reads a token owns that call: the worker just before it starts it, the parent when it takes calls back. The
kernel arbitrates, so a call is never run twice and never lost. The first call sent to an idle worker needs no token.

Interrupts. The parent writes a call's number into the black box and sends a signal. The handler throws
``Interrupted`` only while that very call is running; it disarms itself first, so it throws once. It does not throw
into an import, which would leave half a module behind for all calls to come, nor into logging's own lines, which take
locks: the parent asks again until the grace is over. In the same way it asks for what has ended of a batch that takes
long.

Only the standard library is imported here, and asyncio not before a coroutine function arrives.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from socket import socket
from time import perf_counter
from types import FrameType

from .._core.interrupt import Interrupted
from . import current, wire
from .blackbox import STARTED, UNWANTED, BlackBox
from .conditions import ArenaTerms, Conditions
from .desk import Desk
from .memory import MemoryCap, OwnMemory
from .output import outlet

INTERRUPT = signal.SIGUSR1 if sys.platform == "darwin" else signal.SIGRTMIN + 6
"""A real-time signal, so that SIGUSR1 and SIGUSR2 stay the user's; macOS has none of these."""


class Worker:
    """The state of this process as a worker; ``serve`` is its life."""

    def __init__(self, desk: Desk, tokens: int, box: BlackBox) -> None:
        self._desk = desk
        self._tokens = tokens
        self._token_in_hand = -1
        self._box = box
        self._running = 0  # number of the call that may be interrupted now; minus that, once it was
        self._is_telling = False  # of a batch, in the handler of an interrupt: another one has to wait
        self._is_late = False
        self._coroutines: Callable[[Desk, wire.Frame], bool] | None = None

    def serve(self) -> None:
        """Until QUIT or the end of the channel. The parent's end of file means that nobody wants answers."""
        signal.signal(INTERRUPT, self._on_interrupt)
        current.around.set(self._is_unwanted)
        outlet.on_late = lambda: self._on_interrupt(INTERRUPT, sys._getframe())
        desk = self._desk
        next_frame = desk.reader.next_frame
        while True:
            frame = desk.put_back or next_frame()
            desk.put_back = None
            if frame is None:
                if desk.holds_answers:
                    desk.tell_held()
                if not desk.receive():
                    os._exit(0)
            elif frame.kind == wire.CALL:
                self._run(frame)
            elif frame.kind == wire.AHEAD:
                if self._claim(frame.number):
                    self._run(frame)
            elif frame.kind & ~wire.CARGO == wire.COROUTINE:
                if not self._serve_coroutines(frame):
                    return
            elif frame.kind == wire.CALL | wire.CARGO:
                self._run_with_cargo(frame)
            elif not desk.note(frame):
                self._end(frame)
                return

    def _end(self, frame: wire.Frame) -> None:
        if self._coroutines is not None:
            self._coroutines(self._desk, frame)  # it closes its loop

    def _run(self, frame: wire.Frame) -> None:
        desk = self._desk
        words = self._box.words
        number = frame.number
        began = perf_counter()
        # Two nested tries: an interrupt may land while an exception of the user's code is already being handled.
        try:
            try:
                words[STARTED] = number
                outlet.call = number
                self._running = number
                if words[UNWANTED] == number:
                    raise Interrupted("this call was cancelled")  # its signal came before it was running
                fn, args, kwargs = desk.unpack_call(frame)
                kind, payload = desk.pack_result(fn(*args, **kwargs))
                self._running = 0
                if frame.kind >= wire.CARGO:
                    fn = args = kwargs = None  # type: ignore[assignment]  # shared memory is free with the answer
            except Interrupted:
                kind, payload = wire.STOPPED, b""
            except BaseException as exc:
                self._running = 0
                desk.spare = None  # first: the next step may need a new object
                kind, payload = desk.pack_failure(exc)
        except Interrupted:
            kind, payload = wire.STOPPED, b""
        self._running = 0
        desk.answer(kind, number, began, payload)

    def _run_with_cargo(self, frame: wire.Frame) -> None:
        """Such a call is never written ahead."""
        self._desk.take_in(frame)
        try:
            self._run(frame)
        finally:
            self._desk.forget(frame)

    def _claim(self, number: int) -> bool:
        """Whether a call written ahead is ours to run: its token was still in the pipe, or is in our hand."""
        wanted = number & 0xFFFFFFFF
        if self._token_in_hand < 0:
            try:
                token = os.read(self._tokens, wire.TOKEN.size)
            except BlockingIOError:
                return False
            if not token:
                return False
            self._token_in_hand = wire.TOKEN.unpack(token)[0]
        if self._token_in_hand != wanted:
            return False  # this one was taken back; the token is for a call behind it
        self._token_in_hand = -1
        return True

    def _on_interrupt(self, signum: int, at: FrameType | None) -> None:
        if self._is_telling:
            self._is_late = True
        elif outlet.is_sending:
            outlet.is_late = True
        elif self._running and self._running == self._box.unwanted and not _is_delicate(at):
            self._running = -self._running
            raise Interrupted("this call was cancelled")
        elif (
            self._running > 0
            and self._running == self._box.cut
            and self._desk.cut_short is not None
            and not _is_delicate(at)
        ):
            self._is_telling = True
            try:
                self._desk.cut_short()
            finally:
                self._is_telling = False
            if self._is_late:
                self._is_late = False
                self._on_interrupt(signum, at)

    def _is_unwanted(self) -> bool:
        running = self._running
        return running < 0 or (running > 0 and running == self._box.unwanted)

    def _serve_coroutines(self, frame: wire.Frame) -> bool:
        self._box.started = frame.number
        if self._coroutines is None:
            from .coroutines import CoroutineLoop

            self._coroutines = CoroutineLoop().serve
        return self._coroutines(self._desk, frame)


_WHOLE_OR_NOT = ("logging", "hybridrt._engine.arenas", "hybridrt._engine.berth", "hybridrt._engine.producer")
"""Modules none of whose functions is interrupted. Logging's locks are taken at a fork, too, where an exception is only
printed; two others keep books of memory that is shared, and the last has a lock that a thread of its own waits for."""


def _is_delicate(at: FrameType | None) -> bool:
    """Whether an exception here would break more than the call: an import, or logging with its lock just taken."""
    if at is not None and at.f_globals.get("__name__") in _WHOLE_OR_NOT:
        return True
    while at is not None:
        if at.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        at = at.f_back
    return False


def main(channel: socket, tokens: int, box: BlackBox, conditions: Conditions, hatch: int = -1) -> None:
    """Be a worker until the parent has had enough; called in a process fresh from the zygote."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # one Ctrl-C is the parent's to answer
    box.record_crashes()
    if not box.report(os.getpid()):
        os._exit(0)
    cap = conditions.take_on()
    desk = _desk(channel, box, cap, hatch, conditions.arenas)
    desk.words = box.words
    if conditions.tells_memory:
        own = OwnMemory()

        def tell_memory() -> None:
            box.memory = own.read()

        desk.before_answer = tell_memory
    if "numpy.random" in sys.modules:
        from .randomness import renew

        renew()
    if conditions.tells_needs:
        desk.modules_known = len(sys.modules)
    with channel:
        Worker(desk, tokens, box).serve()


def _desk(channel: socket, box: BlackBox, cap: MemoryCap | None, hatch: int, arenas: ArenaTerms) -> Desk:
    if cap is None:
        return Desk(channel, box.ring, hatch, arenas)
    from .capped import CappedDesk

    return CappedDesk(channel, box.ring, cap, hatch, arenas)
