"""All workers of one lane, from the wish for one to its reaped death."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from collections.abc import Callable, Iterable
from typing import Any

from .._core.settings import Settings
from . import wire
from .audience import Audience
from .child import Child
from .nursery import Nursery

FAREWELL_SECONDS = 1.0
"""What a worker has for its atexit hooks."""

_ZYGOTES_LOST = 3
"""So many, one after the other, without a worker from any of them: then the calls that wait are told."""


class Staff:
    """Hires workers through the nursery, and reports what becomes of them from the loop's thread.

    ``on_readable(child)``: answers can be read. ``on_started(child)``: the worker is there.
    ``on_death(child, exitcode, error)``: it has gone; ``exitcode`` is None where nobody knows it, ``child.pid`` is 0
    where it was never there, and ``error`` is set where another one would not be either. After ``on_death`` the child
    is closed. ``on_loop_closed()``: the loop was closed under us; no worker is left. ``output()`` is the descriptor
    for the workers' output. ``on_lesson(message)``: what the zygote says to ``teach``, or ("lost",): the next one knows
    nothing. ``check_audience()`` tells all workers, and those to come, what our process would show, if that is news.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        settings: Settings,
        on_readable: Callable[[Child], None],
        on_started: Callable[[Child], None],
        on_death: Callable[[Child, int | None, OSError | None], None],
        output: Callable[[], int],
        on_loop_closed: Callable[[], None] = lambda: None,
        on_lesson: Callable[[tuple[Any, ...]], None] = lambda _: None,
    ) -> None:
        self._loop = loop
        self._on_readable = on_readable
        self._on_started = on_started
        self._on_death = on_death
        self._on_loop_closed = on_loop_closed
        self._on_lesson = on_lesson
        self._nursery = Nursery(
            loop,
            settings=settings,
            on_forked=self._forked,
            on_refused=self._refused,
            on_exited=self._exited,
            on_lost=self._zygote_lost,
            on_loop_closed=self._loop_closed,
            on_lesson=on_lesson,
            output=output,
        )
        self.teach = self._nursery.teach
        self._audience = Audience(self._tell_audience)
        self.check_audience = self._audience.check
        self._children: dict[int, Child] = {}
        self._by_pid: dict[int, Child] = {}
        self._next = 1
        self._zygotes_lost = 0
        self._all_gone: asyncio.Future[None] | None = None

    @property
    def zygote_pid(self) -> int | None:
        """Process id of the zygote, or None where there is none now."""
        return self._nursery.pid

    def hire(self) -> Child:
        """One more worker. Calls may be sent to it at once: they wait in its channel until it is there.

        Raises OSError where descriptors or processes are used up.
        """
        number = self._next
        self._next += 1
        has_managers = "multiprocessing.managers" in sys.modules
        if has_managers:
            self._nursery.preload(["multiprocessing.managers"])
        child = Child(self._loop, number, self._on_readable)
        try:
            child.give_away(self._nursery.fork)
        except OSError:
            child.close()
            raise
        child.path = self._nursery.path
        self._children[number] = child
        if has_managers:
            self._share_authkey(child)
        return child

    def _share_authkey(self, child: Child) -> None:
        """With it a proxy of a ``multiprocessing`` manager proves itself; its own children inherit it."""
        from multiprocessing.process import current_process

        child.send(wire.pack(wire.AUTHKEY, 0, 0, bytes(current_process().authkey)))

    def path_news(self, child: Child) -> list[str] | None:
        """``sys.path`` where it is not what this worker has (it has it from now on), else None."""
        if child.path == sys.path:
            return None
        child.path = list(sys.path)
        return child.path

    def _tell_audience(self, audience: tuple[Any, ...]) -> None:
        frame = wire.pack(wire.AUDIENCE, 0, 0, pickle.dumps(audience))
        for child in self._children.values():
            child.send(frame)
        self._nursery.tell_audience(audience)

    def preload(self, names: Iterable[str]) -> None:
        """Import these modules in the zygote, for the workers to come."""
        self._nursery.preload(names)

    def _forked(self, number: int, pid: int, pidfd: int) -> None:
        child = self._children[number]
        self._zygotes_lost = 0
        child.adopt(pid, pidfd)
        self._by_pid[pid] = child
        self._on_started(child)

    def _refused(self, number: int, error: OSError) -> None:
        self._bury(self._children[number], None, error)

    def _exited(self, pid: int, exitcode: int) -> None:
        child = self._by_pid.get(pid)
        if child is not None:
            self._bury(child, exitcode, None)

    def _zygote_lost(self, exitcode: int | None) -> None:
        how = "vanished" if exitcode is None else f"exited with {exitcode}"
        error: OSError | None = None
        self._on_lesson(("lost",))
        self._zygotes_lost += 1
        if self._zygotes_lost >= _ZYGOTES_LOST:
            self._zygotes_lost = 0
            error = ChildProcessError(
                f"the process that forks workers {how} before it could start one, again and again"
            )
        for child in tuple(self._children.values()):
            # One that was forked already may be running its first call: its zygote could not tell of it any more.
            pid = child.pid or child.box.give_up()
            if not pid:
                self._bury(child, None, error)
                continue
            if not child.pid:
                try:
                    pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
                except OSError:
                    self._bury(child, None, None)  # it has died meanwhile
                    continue
                self._forked(child.number, pid, pidfd)
            child.watch_death(self._died_without_zygote)

    def _died_without_zygote(self, child: Child) -> None:
        child.kill_group()  # as the zygote would have done
        self._bury(child, None, None)

    def _bury(self, child: Child, exitcode: int | None, error: OSError | None) -> None:
        if self._children.pop(child.number, None) is None:
            return
        self._by_pid.pop(child.pid, None)
        try:
            self._on_death(child, exitcode, error)
        finally:
            child.close()
            if not self._children and self._all_gone is not None and not self._all_gone.done():
                self._all_gone.set_result(None)

    def _loop_closed(self) -> None:
        for child in self._children.values():
            child.forsake()
        self._children.clear()
        self._by_pid.clear()
        self._on_loop_closed()

    def forsake(self) -> None:
        """In a process forked from ours: give back our copies of the descriptors; the workers stay our parent's."""
        for child in self._children.values():
            child.forsake()
        self._nursery.forsake()

    async def close(self, farewell: float = FAREWELL_SECONDS) -> None:
        """Dismiss everybody: a farewell first (atexit hooks run), a kill for who stays. Nothing is left behind."""
        try:
            if self._children and farewell > 0:
                self._all_gone = self._loop.create_future()
                for child in self._children.values():
                    child.send(wire.pack(wire.QUIT, 0, 0))
                await asyncio.wait([self._all_gone], timeout=farewell)
        finally:
            for child in tuple(self._children.values()):
                child.kill()
            self._nursery.close()
            for child in tuple(self._children.values()):
                self._bury(child, None, None)
            await self._nursery.wait_closed()
