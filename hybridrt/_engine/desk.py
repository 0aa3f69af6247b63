"""A worker's side of the channel: reading calls, knowing functions, writing answers. Both serving loops work at it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pickle import dumps
from socket import socket
from sys import modules
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

from . import anatomy, parcel, relay, shares, wire
from .conditions import ANY_TERMS, ArenaTerms
from .context import within
from .output import outlet
from .packing import PLAIN, PROTOCOL, Outgrown, Ready, pack_any
from .ring import Ring

if TYPE_CHECKING:
    from .dock import Dock
    from .manifest import Cargo

_LARGE = 1 << 16
_HELD_SECONDS = 0.0002
_HELD_BYTES = 1 << 10
_MOST_MICROS = 0xFFFFFFFF
_ENGINE = os.path.dirname(__file__)  # not pathlib, which every zygote would load


class Desk:
    """The channel, and the functions that came through it."""

    here: ClassVar[Desk]
    """In a worker, its desk: for what runs as a call and has answers of its own to pack."""

    def __init__(self, channel: socket, ring: Ring, hatch: int = -1, arenas: ArenaTerms = ANY_TERMS) -> None:
        Desk.here = self
        self.dock: Dock | None = None  # as soon as something large comes or leaves
        self._hatch = hatch
        self._arenas = arenas
        self.channel = channel
        self.holds_answers = False  # some are in the ring, and the parent has not been told
        self._ring = ring
        self._held_since = 0.0
        self.reader = wire.FrameReader()
        self.put_back: wire.Frame | None = (
            None  # read by one of the two serving loops, and meant for the other
        )
        # Memory to let go of where there is none left, so that this can be told; only a desk under a limit has some.
        self.spare: bytearray | None = None
        self.before_answer: Callable[[], None] | None = None
        self.words: Any = [0] * 16
        """Those of the black box, where there is one."""
        self.cut_short: Callable[[], None] | None = None
        """While the items of a batch run: tell what has ended, begin no more, give back the rest."""
        self._functions: dict[int, Any] = {}
        self._is_worker = True
        self.modules_known = sys.maxsize
        """Count of the modules that were loaded when we last told of new ones; maxsize where nobody wants to know."""
        shares.opener = self._open_share
        os.register_at_fork(after_in_child=self._step_down)  # cheaper than asking for our pid at each answer

    def _step_down(self) -> None:
        self._is_worker = False

    def receive(self) -> bool:
        """Read what is there, waiting for it; False at the end of the channel."""
        if self.dock is not None:
            self.report()
        try:
            return self.reader.receive(self.channel.recv_into) > 0
        except OSError:
            return False

    def note(self, frame: wire.Frame) -> bool:
        """Take in a frame that is not a call; False for QUIT."""
        if frame.kind == wire.DEFINE:
            # Opened by the call that needs it: importing its module may take long, be cancelled, or crash.
            self._functions[frame.extra] = _Unopened(bytes(frame.payload))
        elif frame.kind == wire.FORGET:
            self._functions.pop(frame.extra, None)
        elif frame.kind == wire.PATH:
            sys.path[:] = parcel.loads(frame.payload)
        elif frame.kind == wire.AUDIENCE:
            relay.set_audience(parcel.loads(frame.payload))
        elif frame.kind == wire.AUTHKEY:
            from multiprocessing.process import current_process

            current_process().authkey = bytes(frame.payload)
        elif frame.kind == wire.SETUP:
            return self._set_up(frame)
        elif frame.kind == wire.SHARE:
            self._open_dock().shelve(frame)
        elif frame.kind in (wire.RELEASED, wire.TRIM, wire.UNSHARE) and self.dock is not None:
            self.dock.note(frame)
            self.report()
        return frame.kind != wire.QUIT

    def _set_up(self, frame: wire.Frame) -> bool:
        """Run the initializer, and say how it went; False where it failed: then no call is taken."""
        from . import main_globals

        began = perf_counter()
        try:
            main_globals.share()
            initializer, initargs = parcel.loads(frame.payload)
            initializer(*initargs)
            main_globals.settle()
        except BaseException as exc:
            self.answer(wire.NOT_READY, 0, began, self.pack_failure(exc)[1])
            return False
        self.answer(wire.READY, 0, began, b"")
        return True

    def unpack_call(self, frame: wire.Frame) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """Function and arguments of a call; raises what unpickling them raises."""
        if frame.extra:
            fn = self._functions[frame.extra]
            if type(fn) is _Unopened:
                fn = self._functions[frame.extra] = parcel.loads(fn.data)
                relay.look_again()
            call = parcel.loads(frame.payload) if frame.kind < wire.CARGO else self._cargo_of(frame)
        else:
            fn, *call = parcel.loads(frame.payload) if frame.kind < wire.CARGO else self._cargo_of(frame)
        if len(call) > 2:
            args, kwargs, luggage = call
            is_coroutine = frame.kind & ~wire.CARGO == wire.COROUTINE
            return within(luggage, fn, is_coroutine=is_coroutine), args, kwargs
        args, kwargs = call
        return fn, args, kwargs

    def take_in(self, frame: wire.Frame) -> None:
        """A call with cargo has arrived; ``unpack_call`` opens it. To be called at once, ``report`` in the end."""
        self._open_dock().take_in(frame)

    def forget(self, frame: wire.Frame) -> None:
        """The call was answered, opened or not."""
        self._open_dock().forget(frame.number)

    def _cargo_of(self, frame: wire.Frame) -> Any:
        return self._open_dock().arguments(frame.number)

    def _open_dock(self) -> Dock:
        if self.dock is None:
            from .dock import Dock

            self.dock = Dock(self._hatch, self._arenas)
        return self.dock

    def _open_share(self, number: int) -> Any:
        return self._open_dock().open_share(number)

    def report(self) -> None:
        """Say which blocks of shared memory are not viewed here any more."""
        if self.dock is not None and self._is_worker and (frame := self.dock.report()):
            try:
                self.channel.sendall(frame)
            except OSError:
                pass  # the parent has gone; the next answer, or the end of the channel, ends this

    def answer(self, kind: int, number: int, began: float, payload: bytes | Cargo) -> None:
        """Write one answer, whole: now, or with others if the next call is at hand and quick, as those ahead are.

        The parent looks into the ring by itself when a call takes longer than expected.
        """
        outlet.call = 0
        if outlet.is_used:
            kind |= outlet.finish()
        if not self._is_worker:
            os._exit(
                0
            )  # the user's function forked and its child came back: the answer is not the child's to give
        if self.before_answer is not None:
            self.before_answer()
        now = perf_counter()
        micros = int((now - began) * 1e6)
        if micros > _MOST_MICROS:
            micros = _MOST_MICROS
        if self.dock is not None:
            self.report()  # first: the next call's arguments may go where this one's were
        if not isinstance(payload, bytes):
            self._send_cargo(kind, number, micros, payload)
        elif len(payload) >= _LARGE:
            self._send(wire.pack_header(len(payload), number, micros, kind))
            self._send(payload)
        else:
            frame = wire.pack_header(len(payload), number, micros, kind) + payload
            reader = self.reader
            if reader.end and len(payload) <= _HELD_BYTES and reader.next_kind() == wire.AHEAD:
                if not self.holds_answers:
                    self._held_since = now
                if now - self._held_since < _HELD_SECONDS and self._ring.put(frame):
                    self.holds_answers = True
                    return
            self._send(frame)
        if len(modules) > self.modules_known:
            self._tell_needs(micros)

    def tell_next_at_once(self) -> None:
        """The next answer is not to be held, whatever call is at hand."""
        self.holds_answers = True
        self._held_since = -1.0

    def send_part(self, number: int, payload: bytes) -> None:
        """Send this ahead of the answer to the call of that number. Any thread, while that call does not answer."""
        try:
            self.channel.sendall(wire.pack(wire.PART, number, 0, payload))
        except OSError:
            pass  # the parent has gone; the answer, or the end of the channel, ends this

    def tell_held(self) -> None:
        """Tell the parent of the answers that are held; before this process waits."""
        self._send(wire.pack(wire.HELD, 0, 0))

    def _send(self, data: bytes) -> None:
        self.holds_answers = False  # whatever comes tells the parent to look
        try:
            self.channel.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)  # the parent has gone

    def _tell_needs(self, micros: int) -> None:
        """After the answer, for which somebody waits."""
        try:
            from .needs import learnable

            names = learnable(self.modules_known)
            payload = parcel.dumps(names) if names else b""
        except Exception:  # no descriptor or memory is left, or a call has made a mess of the modules
            self.modules_known = sys.maxsize
            return
        self.modules_known = len(modules)
        if payload:
            self._send(wire.pack(wire.NEEDED, 0, micros, payload))

    def _send_cargo(self, kind: int, number: int, micros: int, cargo: Cargo) -> None:
        pieces = cargo.payload if isinstance(cargo.payload, list) else [cargo.payload]
        header = wire.pack_header(sum(map(len, pieces)), number, micros, kind)
        self._open_dock().hand_over(cargo)
        self._send(header + pieces[0])
        for piece in pieces[1:]:
            self._send(piece)

    def pack_result(self, result: object) -> tuple[int, bytes | Cargo]:
        """The answer's kind and payload for a result, or for its failure to be pickled."""
        if type(result) in PLAIN:  # as pack_any, which is three Python frames away
            return wire.RESULT, dumps(result, PROTOCOL)
        if type(result) is Ready:
            return wire.RESULT, result.data
        return self._pack(result, self._pack_or_load_up)

    def pack_part(self, result: object) -> tuple[int, bytes]:
        """The same for a result that travels inside of another."""
        return self._pack(result, _in_band)

    def _pack_or_load_up(self, result: object) -> tuple[int, bytes | Cargo]:
        try:
            return wire.RESULT, pack_any(result)
        except Outgrown:
            return wire.RESULT | wire.CARGO, self._open_dock().load_up(result)

    def _pack(self, result: object, pack: Callable[[object], tuple[int, Any]]) -> tuple[int, Any]:
        try:
            return pack(result)
        except MemoryError as exc:
            return self.pack_failure(exc)
        except Exception as exc:
            return wire.UNSENDABLE, self.pack_refusal(result, exc)

    def pack_refusal(self, result: object, exc: Exception, root: str = "result") -> bytes:
        """What in ``result`` cannot be pickled, and why, as the payload of an answer; ``root`` is its name there."""
        from .culprit import find_culprit, reason_of

        culprit = find_culprit(result, root=root, dumps=parcel.dumps_by_value)
        if culprit is None:
            where, reason = root, reason_of(exc)
        else:
            where, reason = culprit.path, f"{culprit.path}: {culprit.explain()}"
        return parcel.dumps((where, reason))

    def pack_failure(self, exc: BaseException) -> tuple[int, bytes]:
        """The answer's kind and payload for an exception of the user's code, without the engine's frames on top."""
        return wire.FAILED, anatomy.pack(exc, dumps=parcel.dumps, loads=parcel.loads, skip_file=_ENGINE)


def _in_band(result: object) -> tuple[int, bytes]:
    return wire.RESULT, parcel.dumps(result)


class _Unopened:
    """A function that nobody has called yet. It stays one where it cannot be unpickled: that is each caller's error."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data
