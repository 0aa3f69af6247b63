"""The event loop inside a desk: coroutine functions run here, many at a time. Loaded when the first one arrives."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from . import wire
from .current import CoroutineCall, around
from .desk import Desk
from .output import running_call

if TYPE_CHECKING:
    from .manifest import Cargo

_NO_MEMORY = 1
"""Exit code where there is no memory even for the loop's own steps: an error in a callback would be logged and no more,
and the call that it was about never answered."""


class CoroutineLoop:
    """Serves the channel from an event loop for as long as coroutine calls come; kept for the desk's life.

    It serves from callbacks, not from a task: a call that cancels ``asyncio.all_tasks()`` would cancel the service.
    And a loop that a call has stopped, or that a callback of a call has left by ``SystemExit``, is run again.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[int, tuple[asyncio.Task[Any], CoroutineCall]] = {}
        self._stay: bool | None = None  # whether the plain loop takes over, as soon as it is known

    def serve(self, desk: Desk, first: wire.Frame) -> bool:
        """Run ``first`` and what follows; True: back to the plain loop, for a frame that is not for us."""
        self._stay = None
        self._loop.call_soon(self._take_all, desk, first)
        self._loop.add_reader(desk.channel, self._on_readable, desk)
        try:
            self._run_until(lambda: self._stay is not None)
        finally:
            self._loop.remove_reader(desk.channel)
        if self._stay:
            return True
        for task, _ in self._tasks.values():
            task.cancel()
        self._run_until(lambda: not self._tasks)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
        return False

    def _run_until(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            try:
                self._loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as exc:
                context = {"message": "a callback raised what would end its loop", "exception": exc}
                self._loop.call_exception_handler(context)

    def _on_readable(self, desk: Desk) -> None:
        if desk.receive():
            self._take_all(desk)
        else:
            self._leave(stay=False)

    def _take_all(self, desk: Desk, first: wire.Frame | None = None) -> None:
        try:
            frame = first or desk.reader.next_frame()
            while frame is not None:
                self._take(desk, frame)
                frame = desk.reader.next_frame() if self._stay is None else None
        except MemoryError:
            os._exit(_NO_MEMORY)

    def _leave(self, *, stay: bool) -> None:
        if self._stay is None:
            self._stay = stay
        self._loop.stop()

    def _take(self, desk: Desk, frame: wire.Frame) -> None:
        if frame.kind == wire.COROUTINE:
            self._start(desk, frame)
        elif frame.kind == wire.COROUTINE | wire.CARGO:
            desk.take_in(frame)
            self._start(desk, frame)
            desk.forget(frame)
        elif frame.kind == wire.CANCEL:
            if frame.number in self._tasks:
                task, call = self._tasks[frame.number]
                call.is_unwanted = True
                task.cancel()
        elif frame.kind == wire.PING:
            desk.answer(wire.PONG, frame.number, perf_counter(), b"")
        elif frame.kind in (wire.CALL, wire.AHEAD, wire.CALL | wire.CARGO):
            # Sent only when every coroutine of this worker has been answered: the plain loop takes over.
            desk.put_back = frame
            self._leave(stay=True)
        elif not desk.note(frame):
            self._leave(stay=False)

    def _start(self, desk: Desk, frame: wire.Frame) -> None:
        began = perf_counter()
        try:
            # Now, not in the task: the frame's payload is overwritten by the next frame.
            fn, args, kwargs = desk.unpack_call(frame)
            call = CoroutineCall()
            task = self._loop.create_task(_run(desk, frame.number, call, fn, args, kwargs))
        except BaseException as exc:
            kind, payload = desk.pack_failure(exc)
            desk.answer(kind, frame.number, began, payload)
            return
        self._tasks[frame.number] = task, call
        task.add_done_callback(partial(self._answer, desk, frame.number, began))

    def _answer(self, desk: Desk, number: int, began: float, task: asyncio.Task[Any]) -> None:
        # A done callback, not the end of the task: a task that is cancelled before its first step has no end.
        try:
            self._answer_for(task, desk, number, began)
            if desk.dock is not None:
                self._loop.call_soon(desk.report)  # when nobody holds the task any more
        except MemoryError:
            os._exit(_NO_MEMORY)

    def _answer_for(self, task: asyncio.Task[Any], desk: Desk, number: int, began: float) -> None:
        _, call = self._tasks.pop(number)
        payload: bytes | Cargo
        if task.cancelled():
            if call.is_unwanted:
                kind, payload = wire.STOPPED, b""
            else:
                kind, payload = desk.pack_failure(asyncio.CancelledError())
        else:
            exc = task.exception()
            result = task.result() if exc is None else None
            if type(result) is _Escape:
                exc = result.escaped
            if exc is None:
                kind, payload = desk.pack_result(result)
            else:
                kind, payload = desk.pack_failure(exc)
        desk.answer(kind, number, began, payload)
        if self._stay is False and not self._tasks:
            self._loop.stop()  # that was the last one


class _Escape:
    __slots__ = ("escaped",)

    def __init__(self, escaped: BaseException) -> None:
        self.escaped = escaped


async def _run(
    desk: Desk,
    number: int,
    call: CoroutineCall,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    running_call.set(number)
    try:
        around.set(call.probe)
        return await fn(*args, **kwargs)
    except (SystemExit, KeyboardInterrupt) as exc:
        return _Escape(exc)  # raised out of a task, these would end the loop under all the other calls
    except MemoryError:
        desk.spare = None  # else the loop may not get the objects that it ends this task with
        raise
