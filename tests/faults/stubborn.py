"""Calls that are hard to stop; all are run in workers by test_cancels.py. Each touches ``begun`` where it is stuck."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from itertools import chain, repeat
from typing import Any

import good

LOCK = threading.Lock()
INTERRUPT = signal.SIGRTMIN + 6


def loop(begun: str, ended: str) -> None:
    try:
        good.touch(begun)
        while True:
            pass
    finally:
        good.touch(ended)


def sleep(begun: str, ended: str) -> None:
    try:
        good.touch(begun)
        time.sleep(1000)
    finally:
        good.touch(ended)


def match(begun: str, ended: str) -> None:
    import re

    try:
        good.touch(begun)
        re.match(r"(a+)+$", "a" * 100 + "b")
    finally:
        good.touch(ended)


def multiply(begun: str, ended: str) -> None:
    big = 3**1_000_000
    try:
        good.touch(begun)
        while True:
            _ = big * big
    finally:
        good.touch(ended)


def wait_for_a_lock(begun: str, ended: str) -> None:
    lock = threading.Lock()
    lock.acquire()
    try:
        good.touch(begun)
        lock.acquire()
    finally:
        good.touch(ended)


def wait_for_a_thread(begun: str, ended: str) -> None:
    thread = threading.Thread(target=lambda: threading.Event().wait(), daemon=True)
    thread.start()
    try:
        good.touch(begun)
        thread.join()
    finally:
        good.touch(ended)


def wait_for_a_program(begun: str, ended: str) -> None:
    import subprocess

    try:
        subprocess.run(["sh", "-c", f"touch {begun}; exec sleep 1000"], check=False)  # noqa: S607
    finally:
        good.touch(ended)


def read_a_pipe(begun: str, ended: str) -> None:
    read, write = os.pipe()
    try:
        good.touch(begun)
        os.read(read, 1)
    finally:
        os.close(read)
        os.close(write)
        good.touch(ended)


def hold_a_lock(begun: str, ended: str) -> None:
    with LOCK:
        loop(begun, ended)


def is_the_lock_free() -> bool:
    return LOCK.acquire(blocking=False) and not LOCK.release()


def linger_in_finally(begun: str, ended: str) -> None:
    try:
        raise ValueError("first")
    finally:
        loop(begun, ended)


class Lingers:
    def __init__(self, begun: str, ended: str) -> None:
        self.paths = begun, ended

    def __enter__(self) -> None: ...

    def __exit__(self, *exc: object) -> None:
        loop(*self.paths)


def linger_in_exit(begun: str, ended: str) -> None:
    with Lingers(begun, ended):
        pass


def linger_in_except(begun: str, ended: str) -> None:
    try:
        raise ValueError("first")
    except ValueError:
        loop(begun, ended)


def linger_in_generator(begun: str, ended: str) -> None:
    def numbers() -> Any:
        yield 1
        loop(begun, ended)

    sum(numbers())


class LingersWhenSent(Lingers):
    def __reduce__(self) -> Any:
        loop(*self.paths)


def return_lingering(begun: str, ended: str) -> Any:
    return {"deep": [LingersWhenSent(begun, ended)]}


class LingersOnArrival:
    def __init__(self, begun: str, ended: str) -> None:
        self.paths = begun, ended

    def __reduce__(self) -> Any:
        return loop, self.paths


def take(thing: Any) -> None: ...


# What an interrupt does not stop


def swallow(begun: str, ended: str) -> None:
    while True:
        try:
            loop(begun, ended)
        except BaseException:
            pass


def count_in_c(begun: str, ended: str) -> None:
    """Not one step of the interpreter is between the making of the folder and the endless rest."""
    steps = chain(map(os.mkdir, [begun]), repeat(None))
    deque(steps, maxlen=0)


def hash_in_c(begun: str, ended: str) -> None:
    import hashlib

    main = threading.get_ident()

    def watch() -> None:
        seen = 0
        while seen < 5:
            time.sleep(0.001)
            frame = sys._current_frames()[main]
            seen = seen + 1 if frame.f_code.co_name == "hash_in_c" and frame.f_lineno == line else 0
        good.touch(begun)

    line = sys._getframe().f_lineno + 2
    threading.Thread(target=watch, daemon=True).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


class LingersWhenDropped(Lingers):
    def __del__(self) -> None:
        loop(*self.paths)


def linger_in_del(begun: str, ended: str) -> None:
    """The interpreter swallows what is raised in ``__del__``."""
    while True:
        thing = LingersWhenDropped(begun, ended)
        del thing


def ignore_the_signal(begun: str, ended: str) -> None:
    signal.signal(INTERRUPT, signal.SIG_IGN)
    loop(begun, ended)


def default_the_signal(begun: str, ended: str) -> None:
    signal.signal(INTERRUPT, signal.SIG_DFL)
    loop(begun, ended)


def take_the_signal(begun: str, ended: str) -> None:
    signal.signal(INTERRUPT, lambda *_: None)
    loop(begun, ended)


def block_the_signal(begun: str, ended: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    loop(begun, ended)


class LingeringError(Exception):
    def __init__(self, begun: str, ended: str) -> None:
        super().__init__(begun, ended)

    def __reduce__(self) -> Any:
        loop(*self.args)


def raise_lingering(begun: str, ended: str) -> None:
    raise LingeringError(begun, ended)


def interrupt_turns_into_another(begun: str, ended: str) -> None:
    try:
        loop(begun, ended)
    except BaseException as exc:
        raise ValueError("instead") from exc


def interrupt_turns_into_a_result(begun: str, ended: str) -> str:
    try:
        loop(begun, ended)
    except BaseException:
        return "instead"


def interrupt_turns_into_exit(begun: str, ended: str) -> None:
    try:
        loop(begun, ended)
    except BaseException:
        sys.exit(3)


def forget_the_signals(what: str) -> None:
    """Leave the worker deaf to interrupts, for the calls to come."""
    if what == "ignored":
        signal.signal(INTERRUPT, signal.SIG_IGN)
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, [INTERRUPT])


# Coroutines


async def co_wait(begun: str, ended: str) -> None:
    import asyncio

    try:
        good.touch(begun)
        await asyncio.sleep(1000)
    finally:
        good.touch(ended)


async def co_swallow(begun: str, ended: str) -> None:
    import asyncio

    while True:
        try:
            good.touch(begun)
            await asyncio.sleep(1000)
        except BaseException:
            good.touch(ended)


async def co_block(begun: str, ended: str) -> None:
    good.touch(begun)
    time.sleep(1000)


async def co_thread(begun: str, ended: str) -> None:
    import asyncio

    try:
        await asyncio.to_thread(good.wait_for, ended, begun)
    finally:
        good.touch(ended)
