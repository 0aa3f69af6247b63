"""A worker's whole life: read a call, run it, answer, until the channel closes.

Theory of operation. One socket, one owner, no helper threads and no locks: the main thread reads frames, runs the
user's code and writes the answer at once, before it looks at the next call. So whatever kills this process can
hurt one call only: all earlier answers have left, and a later call that was written ahead is still claimable by
the parent.

Claims. The parent writes quick calls ahead and puts a token for each into a pipe whose read end both sides hold.
Whoever reads a token owns that call: the worker just before it starts it, the parent when it takes calls back. The
kernel arbitrates, so a call is never run twice and never lost. The first call sent to an idle worker needs no token.

Interrupts. The parent writes a call's number into the black box and sends a signal. The handler throws
``Interrupted`` only while that very call is running; it disarms itself first, so it throws once.

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
from typing import Any

from .._core.interrupt import Interrupted
from . import failure, parcel, wire
from .blackbox import BlackBox

INTERRUPT = signal.SIGUSR1 if sys.platform == "darwin" else signal.SIGRTMIN + 6
"""A real-time signal, so that SIGUSR1 and SIGUSR2 stay the user's; macOS has none of these."""

_LARGE = 1 << 16


class Worker:
    """The state of this process as a worker; ``serve`` is its life."""

    def __init__(self, channel: socket, tokens: int, box: BlackBox) -> None:
        self.channel = channel
        self.reader = wire.FrameReader()
        self.put_back: wire.Frame | None = None  # a frame read by the other of the two serving loops
        self._tokens = tokens
        self._token_in_hand = -1
        self._box = box
        self._functions: dict[int, Any] = {}
        self._running = 0  # number of the call that may be interrupted now
        self._pid = os.getpid()
        self._coroutines: Callable[[Worker, wire.Frame], bool] | None = None

    def serve(self) -> None:
        """Until QUIT or the end of the channel. The parent's end of file means that nobody wants answers."""
        signal.signal(INTERRUPT, self._on_interrupt)
        while True:
            frame = self.put_back or self.reader.next_frame()
            self.put_back = None
            if frame is None:
                if not self.receive():
                    os._exit(0)
            elif frame.kind == wire.CALL:
                self._run(frame)
            elif frame.kind == wire.AHEAD:
                if self._claim(frame.number):
                    self._run(frame)
            elif frame.kind == wire.COROUTINE:
                if not self._serve_coroutines(frame):
                    return
            elif not self.note(frame):
                return

    def receive(self) -> bool:
        """Read what is there, waiting for it; False at the end of the channel."""
        try:
            count = self.channel.recv_into(self.reader.room())
        except OSError:
            return False
        self.reader.filled(count)
        return count > 0

    def note(self, frame: wire.Frame) -> bool:
        """Take in a frame that is not a call; False for QUIT."""
        if frame.kind == wire.DEFINE:
            # A function that cannot be loaded here is each caller's error, so it is kept as the answer to give.
            try:
                self._functions[frame.extra] = parcel.loads(frame.payload)
            except BaseException as exc:
                self._functions[frame.extra] = _Unloadable(exc)
        elif frame.kind == wire.FORGET:
            self._functions.pop(frame.extra, None)
        elif frame.kind == wire.PATH:
            sys.path[:] = parcel.loads(frame.payload)
        return frame.kind != wire.QUIT

    def unpack_call(self, frame: wire.Frame) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """Function and arguments of a call; raises what unpickling them raises."""
        if not frame.extra:
            fn, args, kwargs = parcel.loads(frame.payload)
            return fn, args, kwargs
        fn = self._functions[frame.extra]
        if type(fn) is _Unloadable:
            raise fn.reason
        args, kwargs = parcel.loads(frame.payload)
        return fn, args, kwargs

    def answer(self, kind: int, number: int, began: float, payload: bytes) -> None:
        """Write one answer, whole, now."""
        if os.getpid() != self._pid:
            os._exit(
                0
            )  # the user's function forked and its child came back: the answer is not the child's to give
        micros = min(int((perf_counter() - began) * 1e6), 0xFFFFFFFF)
        try:
            if len(payload) < _LARGE:
                self.channel.sendall(wire.pack(kind, number, micros, payload))
            else:
                self.channel.sendall(wire.pack_header(kind, number, micros, len(payload)))
                self.channel.sendall(payload)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)  # the parent has gone

    def pack_result(self, result: object) -> tuple[int, bytes]:
        """The answer's kind and payload for a result, or for its failure to be pickled."""
        try:
            return wire.RESULT, parcel.dumps(result)
        except Exception as exc:
            from .culprit import find_culprit

            culprit = find_culprit(result, root="result", dumps=parcel.dumps_by_value)
            if culprit is None:
                where, reason = "result", f"{type(exc).__name__}: {exc}"
            else:
                where, reason = culprit.path, culprit.explain()
            return wire.UNSENDABLE, parcel.dumps((where, reason))

    def _run(self, frame: wire.Frame) -> None:
        number = frame.number
        began = perf_counter()
        # Two nested tries: an interrupt may land while an exception of the user's code is already being handled.
        try:
            try:
                self._running = number
                if self._box.unwanted == number:
                    raise Interrupted("this call was cancelled")  # its signal came before it was running
                fn, args, kwargs = self.unpack_call(frame)
                kind, payload = self.pack_result(fn(*args, **kwargs))
                self._running = 0
            except Interrupted:
                kind, payload = wire.STOPPED, b""
            except BaseException as exc:
                self._running = 0
                kind, payload = wire.FAILED, pack_failure(exc)
        except Interrupted:
            kind, payload = wire.STOPPED, b""
        self._running = 0
        self.answer(kind, number, began, payload)

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
        if self._running and self._running == self._box.unwanted:
            self._running = 0
            raise Interrupted("this call was cancelled")

    def _serve_coroutines(self, frame: wire.Frame) -> bool:
        if self._coroutines is None:
            from .coroutines import CoroutineLoop

            self._coroutines = CoroutineLoop().serve
        return self._coroutines(self, frame)


class _Unloadable:
    __slots__ = ("reason",)

    def __init__(self, reason: BaseException) -> None:
        self.reason = reason


def pack_failure(exc: BaseException) -> bytes:
    """An exception of the user's code as bytes, without the frames of this package on top of its traceback."""
    return failure.pack(exc, dumps=parcel.dumps, loads=parcel.loads, skip_file=__file__)


def main(channel: socket, tokens: int, box: BlackBox) -> None:
    """Be a worker until the parent has had enough; called in a process fresh from the zygote."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # one Ctrl-C is the parent's to answer
    box.record_crashes()
    Worker(channel, tokens, box).serve()
