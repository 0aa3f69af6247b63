"""Porters: threads that pack large calls and unpack large answers, so that the loop never stalls at it.

Theory of operation. An errand is one call to pack or one answer to unpack. All state belongs to the loop's thread; a
porter takes an errand, works at it alone, and gives it back through a deque and one pending wake-up, as the thread lane
does. At most two start, when they are needed, and leave when they have been idle.

Answers go first: they end a wait and free memory. Calls are packed a few ahead of the workers and no more, so however
many large calls wait, only these few exist twice. A call that was packed takes the place in the queue that it was
submitted to; calls behind it may overtake it meanwhile, so no worker idles. A worker that is somebody's own has a line
of its own here, so that its calls, which may wait for long, are in nobody's way.

An errand that nobody wants any more is dropped: before it was begun it never is; a porter that is at it cannot be
stopped, so its work is thrown away when it is done, in its own thread. While it is stuck there (a ``__reduce__`` that
never returns), another porter may start in its place.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from .._core.crew import Crew, Seat
from .._engine import failure, wire
from .._engine.cargo import Hold
from .._engine.child import Child
from .answers import decline
from .counters import Counters
from .errands import Errand, Packing, Unpacking, still_at
from .job import LargeJob, ProcessJob

MOST_PORTERS = 2
"""More would not be quicker: one of them at a time has the GIL."""

_AHEAD_OF_ONE = 2
"""Calls that are packed and wait for a worker which is somebody's own: the next one, and one behind it."""
_IDLE_SECONDS = 5.0
_FAREWELL_SECONDS = 1.0


class _Line:
    """Large calls that wait for the same workers: at most so many are packed, or being packed, ahead of these."""

    __slots__ = ("most", "queued", "stock")

    def __init__(self, most: int) -> None:
        self.most = most
        self.queued: deque[Packing] = deque()  # too far ahead of the workers
        self.stock: set[int] = set()  # calls that are being packed, or are packed and wait


class Porters:
    """The porters of one process lane, and what they are at. Belongs to the loop's thread.

    What was packed waits in ``crew``, and ``on_settled()`` is called after one or more errands, to give it out. At most
    one call more than there may be workers is packed and not yet with one.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        crew: Crew[ProcessJob[Any]],
        counters: Counters,
        hold: Hold,
        on_settled: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._crew = crew
        self._counters = counters
        self._on_settled = on_settled
        self._hold = hold
        self._wanted: dict[int, Errand] = {}  # by number of the job
        self._unwanted: set[Errand] = set()  # handed to the threads, withdrawn, and not come back
        self._line = _Line(crew.size + 1)
        self._lines: dict[Seat[ProcessJob[Any]], _Line] = {}  # those of residents
        self._to_unpack: deque[Errand] = deque()
        self._to_pack: deque[Errand] = deque()
        self._tokens: SimpleQueue[bool] = SimpleQueue()  # one for each errand in these two; False: leave
        self._outbox: deque[Errand | threading.Thread] = deque()
        self._wake_is_pending = False
        self._threads: set[threading.Thread] = set()
        self._staying = 0  # those among them that were not told to leave
        self._idle_timer: asyncio.TimerHandle | None = None
        self._out = 0  # errands handed to the threads and not come back
        self._handed_out = 0  # ever
        self._started = 0
        self._is_over = False
        self._left: asyncio.Future[None] | None = None
        self.packing: int = 0
        """Calls that are to be packed, or are being, and belong to no worker: one that does waits at its worker."""
        self.unpacking: int = 0
        """Answers that are to be unpacked, or are being."""

    @property
    def is_busy(self) -> bool:
        """Whether there is anything to be packed or unpacked."""
        return bool(self._wanted)

    # Errands

    def pack(self, job: LargeJob[Any], call: tuple[Any, ...]) -> None:
        """Pack this call when its turn comes, and put it where it belongs among those that wait.

        At once, and last of all, where it is large only by what was shared before.
        """
        job.cargo = self._hold.load_letter(call)
        if job.cargo is not None:
            self._crew.add(job)
            return
        job.make_room = self._make_room
        errand = Packing(job, call)
        self._wanted[job.number] = errand
        self.packing += job.home is None
        line = self._line_of(job)
        line.queued.append(errand)
        job.add_done_callback(self._on_done)
        self._feed(line)

    def unpack(self, job: ProcessJob[Any], child: Child, frame: wire.Frame) -> None:
        """Give ``job`` its outcome out of this answer, which has its marks yet; at once where that is quick."""
        if job.done():
            if frame.kind & wire.CARGO:
                decline(child, frame)
            job.let_go()
            self._counters.cancelled += 1
            return
        errand = Unpacking(job, child, frame)
        if not errand.is_heavy(self._hold):
            errand.carry(self._hold)
            self._unpacked(errand)
            return
        child.side.expect()
        self._wanted[job.number] = errand
        self.unpacking += 1
        self._to_unpack.append(errand)
        self._hand_out()

    def withdraw(self, job: ProcessJob[Any]) -> bool:
        """Nobody wants this call any more; False where no porter has to do with it."""
        errand = self._wanted.pop(job.number, None)
        if errand is None:
            return False
        errand.drop()
        if isinstance(errand, Packing):
            self.packing -= job.home is None
            is_out = job.number in self._line_of(job).stock and not self._take_back(errand)
        else:
            self.unpacking -= 1
            is_out = True
        if is_out:
            self._unwanted.add(errand)
        job.let_go()
        if self._to_pack or self._to_unpack:
            self._need_threads()  # the porter that is at it may be stuck in it
        return True

    def _take_back(self, errand: Packing) -> bool:
        """Whether no porter had begun it; its token then leads to nothing."""
        try:
            self._to_pack.remove(errand)
        except (ValueError, IndexError):  # a porter has it, or has just taken another one
            return False
        self._out -= 1
        return True

    def drop_packing(self) -> list[ProcessJob[Any]]:
        """Withdraw every call that is to be packed for any worker; those that are not done, as they were submitted."""
        wanted = self._wanted.values()
        return self._drop([it for it in wanted if isinstance(it, Packing) and it.job.home is None])

    def drop_all(self) -> list[ProcessJob[Any]]:
        """Withdraw everything; the jobs that are not done."""
        return self._drop(list(self._wanted.values()))

    def _drop(self, errands: list[Any]) -> list[ProcessJob[Any]]:
        for errand in errands:
            errand.drop()  # first all of them: none is begun in another's place
        for errand in errands:
            self.withdraw(errand.job)
        return [errand.job for errand in errands if not errand.job.done()]

    def _on_done(self, job: Any) -> None:
        seat = job.seat
        if seat is None or job.number not in seat.under_way:  # else its worker may be reading its cargo
            self.withdraw(job)  # where somebody has set its result, as one may with a future
            job.let_go()

    def _line_of(self, job: ProcessJob[Any]) -> _Line:
        home = job.home
        if home is None:
            return self._line
        line = self._lines.get(home)
        if line is None:
            line = self._lines[home] = _Line(_AHEAD_OF_ONE)
        return line

    def _make_room(self, job: LargeJob[Any]) -> None:
        line = self._line_of(job)
        line.stock.discard(job.number)
        self._feed(line)
        if job.home is not None and not line.stock and not line.queued:
            del self._lines[job.home]

    def _feed(self, line: _Line) -> None:
        while line.queued and len(line.stock) < line.most and not self._is_over:
            errand = line.queued.popleft()
            if not errand.is_unwanted:
                line.stock.add(errand.job.number)
                self._to_pack.append(errand)
                self._hand_out()

    def _came_back(self, errand: Errand) -> None:
        self._out -= 1
        if isinstance(errand, Unpacking):
            errand.child.side.has_taken_in()
        if errand.is_unwanted:
            self._unwanted.discard(errand)
            errand.drop()
            return
        del self._wanted[errand.job.number]
        if isinstance(errand, Packing):
            self.packing -= errand.job.home is None
            self._packed(errand)
        elif isinstance(errand, Unpacking):
            self.unpacking -= 1
            self._unpacked(errand)

    def _packed(self, errand: Packing) -> None:
        job = errand.large
        if job.done():
            errand.drop()
        elif errand.error is not None:
            job.let_go()
            self._counters.failed += 1
            job.set_exception(errand.error)
            if job.home is not None:
                self._crew.cancelled_waiting(job)
        else:
            job.cargo = errand.cargo
            self._crew.add_in_place(job)

    def _unpacked(self, errand: Unpacking) -> None:
        job = errand.job
        counters = self._counters
        job.let_go()
        if job.done():
            counters.cancelled += 1
            return
        seconds = errand.micros * 1e-6
        counters.run_times.record(seconds)
        job.function.in_process.record(seconds)
        if errand.error is None:
            counters.succeeded += 1
            job.set_result(errand.result)
        else:
            counters.failed += 1
            job.set_exception(errand.error)

    # Threads

    def _hand_out(self) -> None:
        self._out += 1
        self._handed_out += 1
        self._tokens.put(True)
        self._need_threads()

    def _need_threads(self) -> None:
        stuck = sum(errand.is_begun for errand in self._unwanted)
        if self._staying - stuck < min(MOST_PORTERS, self._out - stuck) and not self._is_over:
            self._start_thread(is_needed=self._staying <= stuck)

    def _start_thread(self, *, is_needed: bool) -> None:
        self._started += 1
        # A daemon, so that a __reduce__ that never returns does not hold up the interpreter's exit.
        thread = threading.Thread(target=self._work, name=f"hybridrt-porter-{self._started}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if is_needed:
                # None to be had: the machine has no more, or the interpreter is on its way out.
                self._loop.call_soon(self._carry_here)
        else:
            self._threads.add(thread)
            self._staying += 1

    def _carry_here(self) -> None:
        if self._carry_one(block=False) and (self._to_pack or self._to_unpack):
            self._loop.call_soon(self._carry_here)

    def _work(self) -> None:
        """The life of one porter."""
        while self._carry_one():
            pass
        self._give_back(threading.current_thread())

    def _carry_one(self, *, block: bool = True) -> bool:
        """Wait for an errand, and carry it; False where it is time to leave, or where there is none."""
        try:
            # Without a time limit: where several threads wait at one SimpleQueue, it may never come (CPython 3.11).
            if not self._tokens.get(block):
                return False
        except Empty:
            return False
        try:
            errand = self._to_unpack.popleft()
        except IndexError:
            try:
                errand = self._to_pack.popleft()
            except IndexError:
                return True  # it was taken back
        errand.is_begun = True
        try:
            errand.carry(self._hold)
        except BaseException as exc:
            errand.error = failure.presentable(exc)
        self._give_back(errand)
        return True

    def _give_back(self, what: Errand | threading.Thread) -> None:
        # Append first, then look: the loop clears the flag before it empties the deque.
        self._outbox.append(what)
        if not self._wake_is_pending:
            self._wake_is_pending = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:
                pass  # the loop was closed under us: nobody waits any more

    def _drain(self) -> None:
        self._wake_is_pending = False
        if self._idle_timer is None and not self._is_over:
            self._idle_timer = self._loop.call_later(_IDLE_SECONDS, self._dismiss_idle, self._handed_out)
        has_settled = False
        while self._outbox:
            what = self._outbox.popleft()
            if isinstance(what, threading.Thread):
                self._thread_left(what)
            else:
                self._came_back(what)
                has_settled = True
        if has_settled:
            self._on_settled()

    def _thread_left(self, thread: threading.Thread) -> None:
        self._threads.discard(thread)
        thread.join()  # it has said its last word
        if self._left is not None and not self._left.done() and not self._threads:
            self._left.set_result(None)

    def _dismiss_idle(self, handed_out_before: int) -> None:
        self._idle_timer = None
        if self._handed_out == handed_out_before:
            for _ in range(self._staying - self._out):
                self._staying -= 1
                self._tokens.put(False)
        if self._staying:
            self._idle_timer = self._loop.call_later(_IDLE_SECONDS, self._dismiss_idle, self._handed_out)

    # The end

    def dismiss(self) -> None:
        """Withdraw everything; each porter leaves when it has done what it is at. A second time is harmless."""
        if self._is_over:
            return
        self._is_over = True
        self._drop(list(self._wanted.values()))
        for _ in range(self._staying):
            self._tokens.put(False)
        self._staying = 0

    async def close(self) -> None:
        """Dismiss the porters and wait for them a while: one that is stuck in the user's code cannot be stopped."""
        self.dismiss()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        try:
            if self._threads:
                self._left = self._loop.create_future()
                await asyncio.wait([self._left], timeout=_FAREWELL_SECONDS)
        finally:
            for errand in self._unwanted if self._threads else ():
                if errand.is_begun:
                    warnings.warn(still_at(errand), RuntimeWarning, stacklevel=2)

    def abandon(self) -> None:
        """The loop was closed under us: nobody can be waited for."""
        self.dismiss()

    def forsake(self) -> None:
        """In a process forked from ours, where the porters are not."""
        self._is_over = True
