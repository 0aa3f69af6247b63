"""A real web server: how quick its cheap endpoint stays while CPU-bound calls keep all cores busy."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

from .. import work
from ..contestants.contract import Contestant
from .contract import Figure, Measurement, Scale

_CLIENT = "from benchmarks.web_client import main; main()"
_BURN = 200_000
"""Turns of a Python loop in one call: some 15 ms."""


async def web(contestant: type[Contestant], scale: Scale) -> dict[str, float]:
    """The server runs in this process, on the loop under test, as a user's would; its client in one of its own."""
    async with _server() as port, contestant(scale.workers) as pool:
        await _ask(port, max(scale.requests // 5, 10))
        idle = await _ask(port, scale.requests)
        load = _Load(pool, 2 * scale.workers)
        try:
            await load.wait_running()
            began, done = perf_counter(), load.done
            busy = await _ask(port, scale.requests)
            rate = (load.done - done) / (perf_counter() - began)
        finally:
            await load.stop()
    return {
        "p99_ms": busy["p99"] * 1e3,
        "p50_ms": busy["p50"] * 1e3,
        "idle_ms": idle["p99"] * 1e3,
        "over_idle": busy["p99"] / idle["p99"],
        "per_second": rate,
    }


class _Load:
    """``count`` CPU-bound calls are under way or waiting at any time."""

    def __init__(self, pool: Contestant, count: int) -> None:
        self.pool = pool
        self.done = 0
        self.is_running = asyncio.Event()
        self.tasks = [asyncio.ensure_future(self.run(2 * count)) for _ in range(count)]

    async def run(self, enough: int) -> None:
        while True:
            await self.pool.call(work.burn, _BURN)
            self.done += 1
            if self.done >= enough:
                self.is_running.set()

    async def wait_running(self) -> None:
        """Until each worker has started, and its first calls are done."""
        await self.is_running.wait()

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def _application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """ASGI, without any framework."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def _server() -> AsyncIterator[int]:
    """Its port."""
    import uvicorn

    config = uvicorn.Config(_application, port=0, log_level="error", lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve())
    while not server.started:  # noqa: ASYNC110  # it has no event
        await asyncio.sleep(0.001)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def _ask(port: int, count: int) -> dict[str, float]:
    """What the client measured: seconds."""
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CLIENT, str(port), str(count), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await client.communicate()
    answer: dict[str, float] = json.loads(out)
    return answer


ROWS = (
    Measurement(
        "web",
        "uvicorn on the loop under test; {requests} requests to a cheap endpoint, 100 in a second whatever becomes of "
        "them, by a client in a process of its own, each timed from the moment it was due; first with nothing else to "
        "do, then while CPU-bound calls of some 15 ms, twice as many as workers, are under way",
        web,
        (
            Figure("p99_ms", "cheap endpoint under CPU load, p99", "ms", "lower"),
            Figure("p50_ms", "cheap endpoint under CPU load, median", "ms", "lower"),
            Figure("idle_ms", "cheap endpoint, idle, p99", "ms", "lower"),
            Figure("over_idle", "p99 under load, in units of the idle one", "x", "lower"),
            Figure("per_second", "CPU-bound calls meanwhile", "/s", "higher"),
        ),
        {"process": ("stdlib-process",)},
        {},
        rounds=3,
        is_mixed=True,
    ),
)
