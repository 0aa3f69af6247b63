"""A generator in a worker, or wherever calls run one at a time: opened, asked for items, and closed, by calls.

Theory of operation. Each *pull* is an ordinary call that lets the generator go on until a batch is there, and returns
it; between two pulls the generator stands at its ``yield``. So the generator runs in the worker's main thread, where an
interrupt finds it, and who asks for nothing has nothing made.

A generator may take its time while the pull has items in hand already. Then the *shipper*, a thread that looks every
millisecond, sends them ahead as a PART of the answer. It runs only while pulls come that have items to wait for: a
generator that is slow by nature gets pulls of one item each, and none of this.

No function here is interrupted (``worker``): an interrupt waits until the generator's own code runs.
"""

from __future__ import annotations

import atexit
import signal
import sys
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable, Generator
from contextvars import copy_context
from pickle import dumps
from time import perf_counter, sleep
from typing import Any

from .._core.interrupt import Interrupted
from . import parcel, wire
from .batch import BATCH_SECONDS, MOST_BYTES, OVER, Packer, next_most, ready
from .desk import Desk
from .output import outlet
from .packing import PLAIN, PROTOCOL

_LOOK_SECONDS = BATCH_SECONDS / 2
_LOOKS_IN_VAIN = 20
_NOTHING: Any = object()

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

open_producers: dict[int, Producer] = {}


def begin(number: int, packed: bytes, call: Call | None) -> Any:
    """Open the generator of this call (``packed``, where it is None) under ``number``, and pull for the first time."""
    fn, args, kwargs = call or parcel.loads(packed)
    if not open_producers:
        atexit.unregister(_end_all)
        atexit.register(_end_all)
    producer = open_producers[number] = Producer(number, fn(*args, **kwargs))
    return producer.take()


def go_on(number: int) -> Any:
    """Pull: a ``Batch``, or one large item as it is."""
    producer = open_producers.get(number)
    return ready([], False, OVER) if producer is None else producer.take()


def end(number: int) -> None:
    """Close the generator, where it is open still; raises what it raises."""
    producer = open_producers.pop(number, None)
    if producer is not None:
        producer.close()


def _end_all() -> None:
    """The worker leaves, with a generator that nobody has closed."""
    while open_producers:
        _, producer = open_producers.popitem()
        try:
            producer.close()
        except BaseException as exc:
            sys.excepthook(type(exc), exc, exc.__traceback__)


class Producer:
    """One open generator."""

    def __init__(self, number: int, generator: Generator[Any, Any, Any]) -> None:
        self._number = number
        self._generator = generator
        self._context = copy_context()  # as it is for the first pull; all others are in the same
        self._packer = Packer()
        self._most = 1
        self._large: Any = _NOTHING  # taken from the generator, and too large to go with others
        self._shipper = Shipper()

    def take(self) -> Any:
        """The next batch, or large item."""
        if self._large is not _NOTHING:
            return self._take_large()
        try:
            end = self._context.run(self._fill)
        finally:
            items, has_packed = self._shipper.stop()
        if end is not None and end[0] in (OVER[0], wire.FAILED):
            open_producers.pop(self._number, None)
            self._shipper.dismiss()
        elif self._large is not _NOTHING and not items:
            return self._take_large()
        Desk.here.tell_next_at_once()
        return ready(items, has_packed, end)

    def _take_large(self) -> Any:
        large, self._large = self._large, _NOTHING
        Desk.here.tell_next_at_once()
        return large

    def _fill(self) -> tuple[int, bytes] | None:  # noqa: C901 (each call in it would cost every item a frame)
        """Let the generator fill the shipper's hands; how it ended, if it did."""
        most = self._most
        shipper = self._shipper
        put = shipper.items.append
        pack = self._packer.pack
        count = size = 0
        first = 0.0
        began = now = perf_counter()
        try:
            for item in self._generator:
                kind = type(item)
                if kind is str or kind is bytes:
                    if len(item) > MOST_BYTES:
                        self._large = item
                        break
                    size += len(item)
                elif kind not in PLAIN:
                    try:
                        data = pack(item)
                    except (Interrupted, MemoryError):
                        raise
                    except Exception as exc:
                        return wire.UNSENDABLE, Desk.here.pack_refusal(item, exc, root="item")
                    if data is None:
                        self._large = item
                        break
                    size += len(data)
                    item = (data,)
                    shipper.has_packed = True
                put(item)
                count += 1
                if count >= most or size > MOST_BYTES:
                    now = perf_counter()
                    break
                now = perf_counter()
                if count == 1:
                    first = now
                    shipper.start()
                elif now - first > BATCH_SECONDS:
                    break
            else:
                return OVER
        except Interrupted:
            raise
        except BaseException as exc:
            return Desk.here.pack_failure(exc)
        if count:
            self._most = next_most(most, count, now - began)
        return None

    def close(self) -> None:
        """GeneratorExit at its ``yield``, where it has not ended yet; raises what it raises."""
        self._large = _NOTHING
        self._shipper.dismiss()
        self._context.run(self._generator.close)


class Shipper:
    """The items in hand of the pull that runs, and the thread that sends them ahead where they wait for too long."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        """Another list for each pull."""
        self.has_packed: bool = False
        self._lock = allocate_lock()
        self._bell = allocate_lock()  # taken, but while the thread is rung for
        self._pull = 0
        self._call = 0  # the number of the call that the pull is; 0 where there is nothing to send
        self._is_awake = False
        self._has_thread = self._is_dismissed = False

    def start(self) -> None:
        """There is an item, and the pull goes on."""
        with self._lock:
            self._call = outlet.call
            is_awake, self._is_awake = self._is_awake, True
        if is_awake:
            return
        if self._has_thread:
            self._bell.release()
            return
        self._bell.acquire()
        try:
            start_new_thread(self._ship, ())
        except RuntimeError:  # none to be had: items may have to wait for the next
            self._bell.release()
            self._is_awake = False
        else:
            self._has_thread = True

    def stop(self) -> tuple[list[Any], bool]:
        """The pull has ended: what is in hand still, and whether some of it is packed."""
        with self._lock:
            self._pull += 1
            self._call = 0
            items, self.items = self.items, []
            has_packed, self.has_packed = self.has_packed, False
        return items, has_packed

    def dismiss(self) -> None:
        """No more pulls will come."""
        with self._lock:
            self._is_dismissed = True
            is_awake, self._is_awake = self._is_awake, True
        if self._has_thread and not is_awake:
            self._bell.release()

    def _ship(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the main thread
        seen = looks = 0
        while not self._is_dismissed:
            sleep(_LOOK_SECONDS)
            with self._lock:
                if self._pull != seen:
                    seen, looks = self._pull, 0
                    continue
                looks += 1
                if self._call and self.items:
                    self._send()
                if looks < _LOOKS_IN_VAIN or self._is_dismissed:
                    continue
                self._is_awake = False
            self._bell.acquire()
            looks = 0

    def _send(self) -> None:
        """Send what is in hand, ahead of the answer."""
        count = len(self.items)
        payload = dumps((self.items[:count], self.has_packed), PROTOCOL)
        Desk.here.send_part(self._call, payload)
        del self.items[:count]
