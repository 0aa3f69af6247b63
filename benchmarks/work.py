"""What runs in the workers. Only built-in modules here: what this file imports counts as each worker's memory."""

from __future__ import annotations

import os
import time
from typing import Any


def noop() -> None:
    """Nothing: all that is measured then is the way there and back."""


def hold(folder: str) -> None:
    """Say so in ``folder``, then keep this worker until the measuring process unlocks the file ``gate`` there."""
    import fcntl

    with open(f"{folder}/{os.getpid()}", "w"):
        pass
    with open(f"{folder}/gate") as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)


def meet(folder: str, count: int) -> int:
    """This process's id, as soon as ``count`` processes are here: so each of them answered one call."""
    with open(f"{folder}/{os.getpid()}", "w"):
        pass
    while len(os.listdir(folder)) < count:
        time.sleep(0.001)
    return os.getpid()


def answer_one(channel: Any) -> None:
    """The whole life of a process that is started for one call: receive it through a pipe, run it, answer."""
    fn, args = channel.recv()
    channel.send(fn(*args))
