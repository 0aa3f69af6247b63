"""The ambient runtime: hybridrt.run makes it, the two functions use it, and it is found where no variable leads."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import pytest
import work

import hybridrt
from hybridrt import Runtime, RuntimeClosed


@pytest.mark.parametrize("loop", ["auto", "uvloop", "asyncio"])
def test_run_makes_the_loop_and_the_runtime(loop: Any) -> None:
    async def main(x: int, y: int) -> tuple[int, int, str]:
        name = type(asyncio.get_running_loop()).__module__
        assert hybridrt.current_runtime().settings.processes == 1
        return await hybridrt.to_thread(work.double, x), await hybridrt.to_process(work.double, y), name

    one, two, module = hybridrt.run(main, 1, 2, loop=loop, processes=1)
    assert (one, two) == (2, 4)
    assert module.startswith("asyncio" if loop == "asyncio" else "uvloop")


def test_without_uvloop_auto_takes_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> str:
        return type(asyncio.get_running_loop()).__module__

    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert hybridrt.run(main).startswith("asyncio")
    with pytest.raises(ImportError, match="needs uvloop"):
        hybridrt.run(main, loop="uvloop")


def test_run_refuses_what_it_cannot_run() -> None:
    async def main() -> None: ...

    bad: Any = main()
    with pytest.raises(TypeError, match=r"run\(main\), not run\(main\(\)\)"):
        hybridrt.run(bad)
    bad = 5
    with pytest.raises(TypeError, match="takes an async function, not a int"):
        hybridrt.run(bad)
    bad = "fast"
    with pytest.raises(ValueError, match="'auto', 'uvloop' and 'asyncio'"):
        hybridrt.run(main, loop=bad)
    with pytest.raises(ValueError, match="makes no sense"):
        hybridrt.run(main, processes=-1)


def test_run_raises_what_main_raises() -> None:
    async def main() -> None:
        await hybridrt.to_thread(work.fail, "as it is")

    with pytest.raises(ValueError, match=r"^as it is$"):
        hybridrt.run(main)


async def test_without_a_runtime_the_message_says_what_to_do() -> None:
    for call in (hybridrt.to_thread, hybridrt.to_process):
        with pytest.raises(RuntimeClosed, match=r"hybridrt\.run\(main\)"):
            await call(work.double, 1)


def test_without_a_loop_the_message_says_so() -> None:
    with pytest.raises(RuntimeClosed, match="no event loop is running"):
        hybridrt.current_runtime()


async def test_the_runtime_is_found_by_a_task_that_was_started_before_it() -> None:
    entered, found = asyncio.Event(), asyncio.Event()

    async def handler() -> Runtime:
        await entered.wait()
        runtime = hybridrt.current_runtime()
        found.set()
        return runtime

    task = asyncio.create_task(handler())
    async with Runtime() as rt:
        entered.set()
        await found.wait()
        assert await task is rt


async def test_the_innermost_open_runtime_is_current() -> None:
    async with Runtime() as outer:
        assert hybridrt.current_runtime() is outer
        async with Runtime() as inner:
            assert hybridrt.current_runtime() is inner
        assert hybridrt.current_runtime() is outer


def test_public_names_are_there() -> None:
    for name in hybridrt.__all__:
        assert getattr(hybridrt, name).__name__ == name
    assert set(hybridrt.__all__) <= set(dir(hybridrt))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hybridrt.nothing  # noqa: B018  (the access is the test)


def test_the_process_id_is_another() -> None:
    async def main() -> int:
        return await hybridrt.to_process(os.getpid)

    assert hybridrt.run(main, processes=1) != os.getpid()
