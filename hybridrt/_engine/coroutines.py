"""The event loop inside a desk: coroutine functions run here, many at a time. Loaded when the first one arrives."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from . import wire
from .current import CoroutineCall, around
from .desk import Desk

_NO_MEMORY = 1
"""Exit code where there is no memory even for the loop's own steps: an error in a callback would be logged and no more,
and the call that it was about never answered."""


class CoroutineLoop:
    """Serves the channel from an event loop for as long as coroutine calls come; kept for the desk's life."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[int, tuple[asyncio.Task[Any], CoroutineCall]] = {}

    def serve(self, desk: Desk, first: wire.Frame) -> bool:
        """Run ``first`` and what follows; True: back to the plain loop, for a frame that is not for us."""
        stay = self._loop.run_until_complete(self._serve(desk, first))
        if not stay:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
        return stay

    async def _serve(self, desk: Desk, first: wire.Frame) -> bool:
        done: asyncio.Future[bool] = self._loop.create_future()

        def take_all() -> None:
            while not done.done() and (frame := desk.reader.next_frame()) is not None:
                self._take(desk, frame, done)

        def on_readable() -> None:
            try:
                if desk.receive():
                    take_all()
                elif not done.done():
                    done.set_result(False)
            except MemoryError:
                os._exit(_NO_MEMORY)

        self._take(desk, first, done)
        take_all()
        self._loop.add_reader(desk.channel, on_readable)
        try:
            stay = await done
        finally:
            self._loop.remove_reader(desk.channel)
        if not stay and self._tasks:
            for task, _ in self._tasks.values():
                task.cancel()
            await asyncio.wait([task for task, _ in self._tasks.values()])
        return stay

    def _take(self, desk: Desk, frame: wire.Frame, done: asyncio.Future[bool]) -> None:
        if frame.kind == wire.COROUTINE:
            self._start(desk, frame)
        elif frame.kind == wire.CANCEL:
            if frame.number in self._tasks:
                task, call = self._tasks[frame.number]
                call.is_unwanted = True
                task.cancel()
        elif frame.kind == wire.PING:
            desk.answer(wire.PONG, frame.number, perf_counter(), b"")
        elif frame.kind in (wire.CALL, wire.AHEAD):
            # Sent only when every coroutine of this worker has been answered: the plain loop takes over.
            desk.put_back = frame
            done.set_result(True)
        elif not desk.note(frame):
            done.set_result(False)

    def _start(self, desk: Desk, frame: wire.Frame) -> None:
        began = perf_counter()
        try:
            # Now, not in the task: the frame's payload is overwritten by the next frame.
            fn, args, kwargs = desk.unpack_call(frame)
            call = CoroutineCall()
            task = self._loop.create_task(_run(desk, call, fn, args, kwargs))
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
        except MemoryError:
            os._exit(_NO_MEMORY)

    def _answer_for(self, task: asyncio.Task[Any], desk: Desk, number: int, began: float) -> None:
        _, call = self._tasks.pop(number)
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


class _Escape:
    __slots__ = ("escaped",)

    def __init__(self, escaped: BaseException) -> None:
        self.escaped = escaped


async def _run(
    desk: Desk, call: CoroutineCall, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    try:
        around.set(call.probe)
        return await fn(*args, **kwargs)
    except (SystemExit, KeyboardInterrupt) as exc:
        return _Escape(exc)  # raised out of a task, these would end the loop under all the other calls
    except MemoryError:
        desk.spare = None  # else the loop may not get the objects that it ends this task with
        raise
