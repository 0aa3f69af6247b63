"""The small parent of all workers: preloads modules, forks workers, reaps them, and outlives nobody.

It runs in a fresh interpreter, never has a second thread, and loads only what workers need, so that a fork takes a
millisecond or two and a new worker shares nearly all its memory. The script's ``__main__`` is not loaded, here or in a
worker: no guard is needed, and the top level of a script never runs twice.

It speaks with our process over one datagram-like socket (whole messages, descriptors attached):

    to the zygote     ("fork", id) with the worker's channel, token pipe, black box and hatch
                      ("preload", names)   ("path", sys.path)   ("conditions", of the workers to come)
                      ("audience", what our process would show)
                      ("probe", names, seconds): see in a process of its own whether these may be imported here
                      ("learn", names, seconds): import them, as a probe has done
    from the zygote   ("forked", id, pid) with a pidfd where there are such   ("refused", id, errno, text)
                      ("exited", pid, status)   ("preload failed", name, text)
                      ("probed", index, why, seconds)   ("not probed",)   ("learned",)

End of file, or the death of our process (its pidfd), means: kill every worker with its process group, then what they
had set apart from it (such orphans become the zygote's own children), and go. The zygote is always waiting in poll, so
this works also where every worker is busy in C code. Where it has been killed itself, ``lifeline`` does most of it.
"""

from __future__ import annotations

import array
import gc
import os
import pickle
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import farewell, lifeline, output, relay, worker
from .blackbox import BlackBox
from .conditions import Conditions

if TYPE_CHECKING:
    from .probing import Probe

_MOST_MESSAGE = 1 << 17
_MOST_FDS = 4
_PR_SET_CHILD_SUBREAPER = 36
# Without it a program that a call starts would hold the worker's channel open; macOS has none.
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def open_control() -> tuple[socket.socket, socket.socket]:
    """The two ends of a channel that keeps messages whole; they wait, whatever socket.setdefaulttimeout says."""
    kind = socket.SOCK_DGRAM if sys.platform == "darwin" else socket.SOCK_SEQPACKET
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    ours.setblocking(True)
    theirs.setblocking(True)
    return ours, theirs


def send_message(control: socket.socket, message: tuple[Any, ...], fds: tuple[int, ...] = ()) -> None:
    """Send one whole message; raises OSError where the other side has gone or its queue is full."""
    data = pickle.dumps(message)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    control.sendmsg([data], rights)


def receive_message(control: socket.socket) -> tuple[tuple[Any, ...] | None, list[int]]:
    """One whole message and its descriptors; None at the end. Raises BlockingIOError where there is none yet."""
    fds = array.array("i")
    room = socket.CMSG_SPACE(_MOST_FDS * fds.itemsize)
    try:
        try:
            data, ancillary, _, _ = control.recvmsg(_MOST_MESSAGE, room, _CLOEXEC)
        except ConnectionResetError:
            # Told first where the other side died with messages unread, and once. What it has sent comes after.
            data, ancillary, _, _ = control.recvmsg(_MOST_MESSAGE, room, _CLOEXEC)
    except ConnectionError:
        return None, []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return (pickle.loads(data) if data else None), list(fds)


class Zygote:
    """The state of this process as a zygote; ``serve`` is its life."""

    def __init__(self, control: socket.socket, parent: int, line: int) -> None:
        self._control = control
        self._line = line
        self._parent = parent
        self._children: set[int] = set()
        self._conditions = Conditions()
        self._adopts_orphans = False
        self._probe: Probe | None = None
        self._lesson: list[str] = []  # modules still to be imported, the next one last
        self._lesson_seconds = 0.0
        self._pidfd = os.pidfd_open(parent) if hasattr(os, "pidfd_open") else -1
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def serve(self) -> Callable[[], None] | None:
        """Until our process has gone. In a forked child this returns what the child has to do with its life."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(worker.INTERRUPT, signal.SIG_IGN)  # for workers that are too young to have a handler
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        poll = select.poll()
        watched = (self._control.fileno(), self._wake_read, self._pidfd)
        for fd in watched:
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll(self._patience())}
            if self._wake_read in ready:
                self._reap()
            if self._pidfd in ready or os.getppid() != self._parent:
                break
            if self._control.fileno() in ready:
                message, fds = receive_message(self._control)
                if message is None:
                    break
                life = self._obey(message, fds)
                if life is not None:
                    return life
            elif self._lesson and not ready:
                self._learn_one()
        self._kill_all()
        return None

    def _patience(self) -> int | None:
        """Milliseconds until there is something to do, whatever comes."""
        if self._lesson:
            return 0
        if self._probe is not None:
            self._probe.kill_if_late()
            return min(500, int(min(self._probe.patience(), 1.0) * 1000) + 1)
        # Where there is no pidfd, a parent that died is noticed by its child's having got another one.
        return None if self._pidfd >= 0 else 500

    def _obey(self, message: tuple[Any, ...], fds: list[int]) -> Callable[[], None] | None:
        match message:
            case ("fork", number):
                return self._fork(number, fds)
            case ("preload", names):
                for name in names:
                    self._preload(name)
            case ("path", path):
                sys.path[:] = path
            case ("conditions", conditions):
                self._conditions = conditions
            case ("audience", audience):
                relay.set_audience(audience)
            case ("probe", names, seconds):
                return self._start_probe(names, seconds)
            case ("learn", names, seconds):
                self._lesson[:] = reversed(names)
                self._lesson_seconds = seconds
        return None

    def _preload(self, name: str) -> None:
        try:
            __import__(name)
        except BaseException as exc:
            self._tell(("preload failed", name, f"{type(exc).__name__}: {exc}"))
        output.outlet.finish()  # a fork would take what was begun for its parent's to send

    def _start_probe(self, names: tuple[str, ...], seconds: float) -> Callable[[], None] | None:
        from . import probing  # most runtimes have nothing to learn

        read, write = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(read)
            os.close(write)
            self._tell(("not probed",))
            return None
        if pid == 0:
            self._leave_home()
            os.close(read)
            conditions = self._conditions
            return lambda: probing.probe(names, write, conditions)
        os.close(write)
        _lead_a_group(pid)
        self._children.add(pid)
        self._probe = probing.Probe(pid, read, seconds)
        return None

    def _learn_one(self) -> None:
        """Import what a probe has found clean: one module, so that who wants a worker waits for no more than that.

        What hangs all the same ends this process; ours starts another one.
        """
        before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, self._lesson_seconds)
        try:
            __import__(self._lesson.pop())
        except BaseException:
            pass  # a worker that needs it will say why
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)  # None: a handler that is not Python's
        if not self._lesson:
            output.outlet.finish()
            gc.collect()  # not in the fork that somebody waits for
            farewell.remember()
            gc.freeze()
            self._tell(("learned",))

    def _fork(self, number: int, fds: list[int]) -> Callable[[], None] | None:
        gc.collect()
        farewell.remember()
        gc.freeze()  # a collection in a child would write to every object's header, and so copy every page
        try:
            pid = os.fork()
        except OSError as exc:
            for fd in fds:
                os.close(fd)
            self._tell(("refused", number, exc.errno, str(exc)))
            return None
        if pid == 0:
            return self._become_worker(fds)
        for fd in fds:
            os.close(fd)
        self._children.add(pid)
        _lead_a_group(pid)
        if not self._adopts_orphans:
            self._adopts_orphans = True
            adopt_orphans()  # after the first fork, which somebody waits for
        if hasattr(os, "pidfd_open"):
            pidfd = os.pidfd_open(pid)  # nobody but us reaps it, so the pid is still this child's
            self._tell(("forked", number, pid), (pidfd,))
            os.close(pidfd)
        else:
            self._tell(("forked", number, pid))
        return None

    def _leave_home(self) -> None:
        """In a forked child: let go of what is the zygote's alone, and end with our process."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._control.close()
        for fd in (self._wake_read, self._wake_write, self._pidfd):
            if fd >= 0:
                os.close(fd)
        _lead_a_group(0)
        lifeline.hold_on(self._line)

    def _become_worker(self, fds: list[int]) -> Callable[[], None]:
        self._leave_home()
        channel, tokens, box, hatch = fds
        conditions = self._conditions  # not for the zygote itself: it has to be quick when our process dies

        def life() -> None:
            gc.enable()
            worker.main(socket.socket(fileno=channel), tokens, BlackBox(box), conditions, hatch)

        return life

    def _reap(self) -> None:
        try:
            while os.read(self._wake_read, 512):
                pass
        except BlockingIOError:
            pass
        while True:
            try:
                # Looked at first and reaped afterwards: until then the group is still this worker's.
                news = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if news is None:
                return
            pid = news.si_pid
            if pid in self._children:
                _kill(os.killpg, pid)  # what its calls have started goes with it
            _, status = os.waitpid(pid, 0)
            if pid in self._children:
                self._children.discard(pid)
                exitcode = os.waitstatus_to_exitcode(status)
                if self._probe is not None and pid == self._probe.pid:
                    self._tell(("probed", *self._probe.verdict(exitcode)))
                    self._probe = None
                else:
                    self._tell(("exited", pid, exitcode))

    def _kill_all(self) -> None:
        """Every worker with its process group, then the orphans that come to us, until there are none."""
        for pid in self._children:
            _kill(os.killpg, pid)
        while True:
            for pid in self._children | _children_of_ours():
                _kill(os.kill, pid)
            try:
                pid, _ = os.waitpid(-1, 0)
            except ChildProcessError:
                return
            self._children.discard(pid)

    def _tell(self, message: tuple[Any, ...], fds: tuple[int, ...] = ()) -> None:
        try:
            send_message(self._control, message, fds)
        except OSError:
            pass  # our process has gone; poll says so next


def _lead_a_group(pid: int) -> None:
    """Zygote and child both see to it, so that it is done before either needs it."""
    try:
        os.setpgid(pid, pid)
    except OSError:
        pass  # the other one was quicker, or the child has gone already


def adopt_orphans() -> None:
    """Become the parent of all orphans below us, so that what a task has set apart (setsid) is found at the end.

    Linux only (prctl(2), PR_SET_CHILD_SUBREAPER); elsewhere such a process is left alone.
    """
    if sys.platform != "linux":
        return
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except Exception:
        pass  # no ctypes, or another libc: process groups alone then


def _children_of_ours() -> set[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return {int(pid) for pid in file.read().split()}
    except OSError:
        return set()


def _kill(kill: Callable[[int, int], None], target: int) -> None:
    try:
        kill(target, signal.SIGKILL)
    except OSError:
        pass  # gone already, or not yet the leader of its group


def main(control: int, parent: int, line: int, out: int = -1) -> None:
    """Be the zygote of the process ``parent``; in the forked children, be a worker.

    ``control`` is our end of the channel, ``line`` the read end of the pipe that ends workers (``lifeline``),
    ``out`` the socket for output (``output``); without it, output goes where our own goes.
    """
    gc.disable()
    # A mask outlives exec: what our process blocks (to wait for it in a thread, say) would be deaf in workers too.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # Line by line: a worker may be killed at any time, and what it printed is out by then. And whole lines, not
            # pieces (as PYTHONUNBUFFERED has it), so that those of other workers do not tear them.
            reconfigure(line_buffering=True, write_through=False)
    if os.getppid() != parent:
        return
    farewell.install()
    if out >= 0:
        output.install(out)
        relay.install()
    with socket.socket(fileno=control) as channel:
        life = Zygote(channel, parent, line).serve()
    if life is not None:
        life()
