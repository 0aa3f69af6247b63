"""Context variables of an importable module, in each place where one may live, and functions that read them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import carried_too

import hybridrt

request_id = hybridrt.register_contextvar(ContextVar("request_id", default="none"))
local_only = ContextVar("local_only", default="none")


class Session:
    user = hybridrt.register_contextvar(ContextVar("user", default="nobody"))


class Holder:
    def __init__(self) -> None:
        self.tenant = hybridrt.register_contextvar(ContextVar("tenant", default="nobody's"))


holder = Holder()
arrived: list[str] = []


def read() -> str:
    return request_id.get()


def read_all() -> tuple[str, str, str, str, str]:
    return (
        request_id.get(),
        carried_too.request_id.get(),
        Session.user.get(),
        holder.tenant.get(),
        local_only.get(),
    )


def read_and_change(value: str) -> str:
    before = request_id.get()
    request_id.set(value)
    return before


async def co_read() -> str:
    await asyncio.sleep(0)
    return request_id.get()


async def co_read_among(count: int) -> tuple[str, str, str]:
    """What is read before all of ``count`` calls run side by side, after that, and in a task of the call's own."""
    before = request_id.get()
    arrived.append(before)
    while len(arrived) < count:
        await asyncio.sleep(0)
    return before, request_id.get(), await asyncio.create_task(co_read())


def read_when(path: str, begun: str) -> str:
    Path(begun).touch()
    while not Path(path).exists():
        pass
    return request_id.get()


def die_once(trace: str) -> str:
    """Kill the worker, the first time; then say what is read."""
    if not Path(trace).exists():
        Path(trace).write_text(request_id.get())
        os.kill(os.getpid(), signal.SIGKILL)
    return request_id.get()


async def nested_read(reader: Callable[[], str] = read) -> str:
    """What a worker of a runtime in this worker reads."""
    async with hybridrt.Runtime(processes=1) as rt:
        return await rt.to_process(reader)


def run_nested(reader: Callable[[], str] = read) -> str:
    return asyncio.run(nested_read(reader))


def the_variable() -> Any:
    return request_id
