"""The event loop inside a worker: coroutine functions run here, many at a time. Loaded when the first one arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from . import wire
from .worker import Worker, pack_failure


class CoroutineLoop:
    """Serves the channel from an event loop for as long as coroutine calls come; kept for the worker's life."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._unwanted: set[int] = set()

    def serve(self, worker: Worker, first: wire.Frame) -> bool:
        """Run ``first`` and what follows; True: back to the plain loop, for a frame that is not for us."""
        stay = self._loop.run_until_complete(self._serve(worker, first))
        if not stay:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
        return stay

    async def _serve(self, worker: Worker, first: wire.Frame) -> bool:
        done: asyncio.Future[bool] = self._loop.create_future()

        def take_all() -> None:
            while not done.done() and (frame := worker.reader.next_frame()) is not None:
                self._take(worker, frame, done)

        def on_readable() -> None:
            if worker.receive():
                take_all()
            elif not done.done():
                done.set_result(False)

        self._take(worker, first, done)
        take_all()
        self._loop.add_reader(worker.channel, on_readable)
        try:
            stay = await done
        finally:
            self._loop.remove_reader(worker.channel)
        if not stay and self._tasks:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.wait(self._tasks.values())
        return stay

    def _take(self, worker: Worker, frame: wire.Frame, done: asyncio.Future[bool]) -> None:
        if frame.kind == wire.COROUTINE:
            self._start(worker, frame)
        elif frame.kind == wire.CANCEL:
            task = self._tasks.get(frame.number)
            if task is not None:
                self._unwanted.add(frame.number)
                task.cancel()
        elif frame.kind == wire.PING:
            worker.answer(wire.PONG, frame.number, perf_counter(), b"")
        elif frame.kind in (wire.CALL, wire.AHEAD):
            # Sent only when every coroutine of this worker has been answered: the plain loop takes over.
            worker.put_back = frame
            done.set_result(True)
        elif not worker.note(frame):
            done.set_result(False)

    def _start(self, worker: Worker, frame: wire.Frame) -> None:
        began = perf_counter()
        try:
            # Now, not in the task: the frame's payload is overwritten by the next frame.
            fn, args, kwargs = worker.unpack_call(frame)
        except BaseException as exc:
            worker.answer(wire.FAILED, frame.number, began, pack_failure(exc))
            return
        task = self._loop.create_task(_run(fn, args, kwargs))
        self._tasks[frame.number] = task
        task.add_done_callback(partial(self._answer, worker, frame.number, began))

    def _answer(self, worker: Worker, number: int, began: float, task: asyncio.Task[Any]) -> None:
        # A done callback, not the end of the task: a task that is cancelled before its first step has no end.
        del self._tasks[number]
        if task.cancelled():
            if number in self._unwanted:
                kind, payload = wire.STOPPED, b""
            else:
                kind, payload = wire.FAILED, pack_failure(asyncio.CancelledError())
        else:
            exc = task.exception()
            result = None if exc else task.result()
            if type(result) is _Escape:
                exc = result.escaped
            if exc is None:
                kind, payload = worker.pack_result(result)
            else:
                kind, payload = wire.FAILED, pack_failure(exc)
        self._unwanted.discard(number)
        worker.answer(kind, number, began, payload)


class _Escape:
    __slots__ = ("escaped",)

    def __init__(self, escaped: BaseException) -> None:
        self.escaped = escaped


async def _run(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return await fn(*args, **kwargs)
    except (SystemExit, KeyboardInterrupt) as exc:
        return _Escape(exc)  # raised out of a task, these would end the loop under all the other calls
