"""Our hold on the zygote: starts it when the first worker is wanted, asks it for workers, hears of their deaths."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from .._core.native_threads import thread_variables
from .._core.settings import Settings
from .child import close_unseen
from .conditions import ArenaTerms, Conditions
from .memory import allocator_variables
from .zygote import open_control, receive_message, send_message

# Not pathlib, whose import takes as long as a tenth of this package.
_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
# In place of the current folder, which -c puts first: a pickle.py there would be taken for the standard one.
_BOOT = (
    "import sys; sys.path[: sys.path[:1] == ['']] = [{path!r}]; "
    "from hybridrt._engine.zygote import main; main({fd}, {parent}, {line}, {out})"
)

_HURRIED_SECONDS = 0.5
_GOING_SECONDS = 5.0
"""What a zygote that was hung up on has to go by itself: it takes milliseconds, where nobody has stopped it."""


class Nursery:
    """One zygote and the conversation with it. All methods belong to the loop's thread.

    ``on_forked(id, pid, pidfd)`` (pidfd -1 where the system has none), ``on_refused(id, error)``,
    ``on_exited(pid, exitcode)`` and ``on_lost(exitcode)`` are called from the loop as the zygote's messages arrive.
    After ``on_lost`` the next ``fork`` starts another zygote. ``output()`` is the descriptor for the workers' output.
    ``on_lesson(message)``: what the zygote says to ``teach``.
    ``on_loop_closed()``: the loop was closed before we were; the zygote has been sent away.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        settings: Settings,
        on_forked: Callable[[int, int, int], None],
        on_refused: Callable[[int, OSError], None],
        on_exited: Callable[[int, int], None],
        on_lost: Callable[[int | None], None],
        output: Callable[[], int],
        on_loop_closed: Callable[[], None] = lambda: None,
        on_lesson: Callable[[tuple[Any, ...]], None] = lambda _: None,
    ) -> None:
        self._loop = loop
        self._on_lesson = on_lesson
        self._preload = tuple(settings.preload)
        self._settings = settings
        self._on_forked = on_forked
        self._on_refused = on_refused
        self._on_exited = on_exited
        self._on_lost = on_lost
        self._on_loop_closed = on_loop_closed
        self._output = output
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: tuple[int, int] | None = None
        self._exitcode: int | None = None  # of the last zygote that went by itself
        self.path: list[str] = []
        """``sys.path`` as the zygote, and so a fresh worker, has it."""
        self._audience: tuple[Any, ...] | None = None

    @property
    def pid(self) -> int | None:
        """The zygote's process id, or None where there is none now."""
        return self._process.pid if self._process else None

    def fork(self, number: int, channel: int, tokens: int, box: int, hatch: int) -> None:
        """Ask for a worker that gets these descriptors; raises OSError where no zygote can be started."""
        for is_second in (False, True):
            try:
                control = self._control or self._start()
                send_message(control, ("fork", number), (channel, tokens, box, hatch))
                return
            except (BrokenPipeError, ConnectionResetError):
                self._hear()  # the zygote has gone, and the news had not reached us
                if is_second:
                    raise ChildProcessError(
                        f"the process that forks workers exited with {self._exitcode} before it could start this one"
                    ) from None

    def preload(self, names: Iterable[str]) -> None:
        """Import these modules in the zygote, for the workers to come."""
        self._preload = tuple(dict.fromkeys((*self._preload, *names)))
        if self._control is not None:
            try:
                send_message(self._control, ("preload", tuple(names)))
            except OSError:
                pass  # it has gone: the next one is told when it starts

    def teach(self, message: tuple[Any, ...]) -> bool:
        """Send the zygote "probe" or "learn", with the modules' names; False where there is no zygote to be taught."""
        if self._control is None:
            return False
        try:
            if self.path != sys.path:
                self.path = list(sys.path)
                send_message(self._control, ("path", self.path))
            send_message(self._control, message)
        except OSError:
            return False
        return True

    def tell_audience(self, audience: tuple[Any, ...]) -> None:
        """What our process would show (audience.py), for the workers to come. May raise OSError."""
        self._audience = audience
        if self._control is not None:
            send_message(self._control, ("audience", audience))

    def _start(self) -> socket.socket:
        lifeline = self._lifeline or os.pipe()  # one for all zygotes: workers of an earlier one may be there
        line = lifeline[0]
        ours, theirs = open_control()
        with theirs:
            try:
                out = self._output()
                boot = _BOOT.format(
                    path=_PACKAGE_PARENT, fd=theirs.fileno(), parent=os.getpid(), line=line, out=out
                )
                # A process group of its own: neither Ctrl-C nor a kill of our group reaches the zygote, which has to be
                # there afterwards to clear up. Not a session of its own: Linux shares the CPUs out among sessions first
                # (autogroup), so workers in another session than ours would wait longer for theirs.
                self._process = subprocess.Popen(
                    [sys.executable, *_interpreter_options(), "-c", boot],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), line, out),
                    process_group=0,
                    env=self._environment(),
                )
            except OSError:
                ours.close()
                if self._lifeline is None:
                    _close_all(lifeline)
                raise
        self._lifeline = lifeline
        ours.setblocking(False)
        self._control = ours
        self._loop.add_reader(ours, self._on_readable, _Anchor(partial(self._loop_dropped, ours)))
        self.path = list(sys.path)
        send_message(ours, ("path", self.path))
        settings = self._settings
        if settings.worker_memory_limit and sys.platform == "darwin":
            warnings.warn(
                "worker_memory_limit has no effect on macOS, whose kernel does not keep to RLIMIT_AS: "
                "max_worker_memory replaces a worker that has grown between two calls",
                RuntimeWarning,
                stacklevel=1,
            )
        conditions = Conditions(
            settings.nice,
            settings.oom_score_adj,
            settings.worker_memory_limit,
            tells_memory=settings.max_worker_memory > 0,
            tells_needs=settings.learn_preload and sys.platform == "linux",
            arenas=ArenaTerms(settings.arena_limit, settings.processes, settings.shared_by),
        )
        send_message(ours, ("conditions", conditions))
        if self._audience is not None:
            send_message(ours, ("audience", self._audience))
        if self._preload:
            send_message(ours, ("preload", self._preload))
        return ours

    def _environment(self) -> dict[str, str]:
        """What the zygote, and so every worker, finds in ``os.environ``: ours, and what only workers need to know."""
        settings = self._settings
        environ = dict(os.environ)
        environ.update(thread_variables(settings.worker_threads, environ))
        if settings.worker_memory_limit:
            environ.update(allocator_variables())
        # For a runtime inside a worker.
        environ["HYBRIDRT_SHARED_BY"] = str(settings.shared_by * settings.processes)
        return environ

    def _on_readable(self, _: _Anchor) -> None:
        self._hear()

    def _hear(self) -> None:
        while self._control is not None:
            try:
                message, fds = receive_message(self._control)
            except BlockingIOError:
                return
            match message:
                case None:
                    self._lost()
                case ("forked", int(number), int(pid)):
                    self._on_forked(number, pid, fds[0] if fds else -1)
                case ("refused", int(number), errno, str(text)):
                    self._on_refused(number, OSError(errno, text))
                case ("exited", int(pid), int(exitcode)):
                    self._on_exited(pid, exitcode)
                case ("probed" | "not probed" | "learned", *_):
                    self._on_lesson(message)
                case ("preload failed", str(name), str(text)):
                    warnings.warn(
                        f"hybridrt could not preload {name!r} in its workers: {text}",
                        RuntimeWarning,
                        stacklevel=1,
                    )

    def _lost(self) -> None:
        self._drop_control()
        process, self._process = self._process, None
        exitcode = None
        if process is not None:
            try:
                exitcode = process.wait(
                    timeout=1
                )  # its end of the channel is closed: it has gone, or is going
            except subprocess.TimeoutExpired:
                process.kill()
                exitcode = process.wait()
        self._exitcode = exitcode
        self._on_lost(exitcode)

    def _drop_control(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            self._loop.remove_reader(control)
            control.close()

    def _loop_dropped(self, control: socket.socket) -> None:
        """Nobody will call us any more. Unless we have closed the channel ourselves, the loop was closed under us."""
        if self._control is not control or self._process is None:
            return
        process, self._process = self._process, None
        self._control = None
        close_unseen(control)
        self._cut_lifeline()
        self._on_loop_closed()
        _hurry(process)

    def forsake(self) -> None:
        """In a process forked from ours: give back our copies of the descriptors; the zygote stays our parent's."""
        control, self._control = self._control, None
        if control is not None:
            close_unseen(control)
        self._cut_lifeline()
        if self._process is not None:
            self._process.returncode = 0  # not ours to wait for, so nothing to warn of
            self._process = None

    def _cut_lifeline(self) -> None:
        lifeline, self._lifeline = self._lifeline, None
        _close_all(lifeline or ())

    def close(self) -> None:
        """Close the channel: the zygote kills what is left of its workers and goes. Does not wait."""
        self._drop_control()
        self._cut_lifeline()

    async def wait_closed(self) -> None:
        """Until the zygote has gone and is reaped; one that does not go (it may have been stopped) is killed."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            delay = 0.0005
            patience_ends = self._loop.time() + _GOING_SECONDS
            while process.poll() is None:
                if self._loop.time() > patience_ends:
                    process.kill()
                await asyncio.sleep(delay)
                delay = min(delay * 2, 0.02)
        except asyncio.CancelledError:
            _hurry(process)
            raise


def _hurry(process: subprocess.Popen[bytes]) -> None:
    """Wait for a zygote that was hung up on, where nobody may await: milliseconds, if it has not been stopped."""
    try:
        process.wait(timeout=_HURRIED_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class _Anchor:
    """Held by the loop alone, as an argument of a callback, so that its end tells that the loop has dropped us."""

    __slots__ = ("_on_end",)

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end

    def __del__(self) -> None:
        if not sys.is_finalizing():  # else our process ends, and the kernel tells everybody
            self._on_end()


def _close_all(descriptors: Iterable[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def _interpreter_options() -> list[str]:
    """This interpreter's own options, so that a worker decodes, warns, asserts and imports as we do."""
    options = []
    flags = sys.flags
    for flag, option in (("optimize", "-O"), ("dont_write_bytecode", "-B"), ("bytes_warning", "-b")):
        options += [option] * int(getattr(flags, flag))
    if flags.isolated:
        options.append("-I")
    else:
        options += ["-E"] * flags.ignore_environment + ["-s"] * flags.no_user_site + ["-P"] * flags.safe_path
    options += ["-S"] * flags.no_site
    options += [f"-W{option}" for option in sys.warnoptions]
    for name, value in sys._xoptions.items():
        if name not in ("frozen_modules", "importtime"):
            options.append(f"-X{name}" if value is True else f"-X{name}={value}")
    return options
