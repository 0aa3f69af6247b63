"""What ends a worker when our process dies, by the kernel alone: nobody has to be alive, or listening, or idle.

Our process holds the one write end of a pipe. Each worker opens the read end anew, so that it has an owner of its own
there, and asks for a signal when something happens at it (``O_ASYNC``, fcntl(2)): SIGKILL, to its process group. The
kernel closes the write end when our process ends, however it ends, and so kills every worker at once, those that are
busy in C code and what they have started too.

The zygote, which watches our process as well, does the same and more where it is alive; this is for the case that it
has been killed. Where the system has no ``/proc`` or no ``F_SETSIG``, the zygote alone has to do.
"""

from __future__ import annotations

import fcntl
import os
import signal


def hold_on(read_end: int) -> None:
    """In a worker, which leads its process group: die when the write end is closed. Closes ``read_end``."""
    if not hasattr(fcntl, "F_SETSIG"):
        os.close(read_end)
        return
    try:
        # Without O_NONBLOCK this would wait for a writer where ours has gone already.
        line = os.open(f"/proc/self/fd/{read_end}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    finally:
        os.close(read_end)
    fcntl.fcntl(line, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(line, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(line, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    try:
        os.read(line, 1)
    except BlockingIOError:
        return  # there is a writer: our process lives
    os._exit(0)
