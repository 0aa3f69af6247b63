"""What is registered, and set by the caller, is there in the worker for that call, and for no other."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from pathlib import Path
from types import ModuleType
from typing import Any

import carried
import carried_too
import pytest
import work
from carried import request_id
from helpers import exists

import hybridrt
from hybridrt import NotSendable, Runtime, WorkerCrashed
from hybridrt._engine import parcel, variables


def in_context(value: str, fn: Callable[..., Any], *args: Any) -> Any:
    """``fn(*args)`` where ``request_id`` is ``value``, and back here where it is not."""

    def inside() -> Any:
        request_id.set(value)
        return fn(*args)

    return copy_context().run(inside)


async def test_every_way_into_a_process_takes_the_value_along() -> None:
    async with Runtime(processes=1) as rt:
        request_id.set("r1")
        loop = asyncio.get_running_loop()
        in_process = rt.options(lane="process")
        assert await rt.to_process(carried.read) == "r1"
        assert await rt.to_process(carried.co_read) == "r1"
        assert await hybridrt.to_process(carried.read) == "r1"
        assert await in_process.submit(carried.read) == "r1"
        assert await in_process.run(carried.co_read) == "r1"
        assert await asyncio.wrap_future(rt.processes.submit(carried.read)) == "r1"
        assert await loop.run_in_executor(rt.processes, carried.read) == "r1"
        assert await rt.to_process(lambda: carried.read()) == "r1"


async def test_a_call_from_another_thread_takes_the_context_of_that_thread() -> None:
    futures = []
    async with Runtime(processes=1) as rt:
        request_id.set("of the loop")
        executor = rt.processes

        def elsewhere() -> None:
            assert request_id.get() == "none"
            futures.append(executor.submit(carried.read))
            request_id.set("of the thread")
            futures.append(executor.submit(carried.read))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert [await asyncio.wrap_future(future) for future in futures] == ["none", "of the thread"]


async def test_threads_have_the_whole_context_however_they_are_reached(tmp_path: Path) -> None:
    carried.local_only.set("here")

    def opener(path: str, flags: int) -> int:
        seen.append(carried.local_only.get())
        return os_open(path, flags)

    from os import open as os_open

    seen: list[str] = []
    async with Runtime() as rt:
        assert await rt.to_thread(carried.local_only.get) == "here"
        assert await rt.run(carried.local_only.get) == "here"
        assert await rt.submit(carried.local_only.get) == "here"
        assert await asyncio.wrap_future(rt.threads.submit(carried.local_only.get)) == "here"
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(rt.threads, carried.local_only.get) == "here"
        async with rt.open(tmp_path / "file", "w", opener=opener):
            pass
    assert seen == ["here"]


async def test_only_what_is_registered_and_set_travels() -> None:
    async with Runtime(processes=1) as rt:
        submit = rt.options(lane="process").submit
        nothing = submit(carried.read_all)
        assert nothing.payload == parcel.dumps(((), {}))  # type: ignore[attr-defined]
        assert await nothing == ("none", "none, too", "nobody", "nobody's", "none")
        carried.local_only.set("here")
        assert await submit(carried.read_all) == ("none", "none, too", "nobody", "nobody's", "none")
        carried_too.request_id.set("r2")
        assert await submit(carried.read_all) == ("none", "r2", "nobody", "nobody's", "none")
        request_id.set("r1")
        carried.Session.user.set("eve")
        carried.holder.tenant.set("acme")
        assert await submit(carried.read_all) == ("r1", "r2", "eve", "acme", "none")


async def test_none_and_other_false_values_are_values() -> None:
    async with Runtime(processes=1) as rt:
        for value in (None, "", 0):
            request_id.set(value)  # type: ignore[arg-type]
            assert await rt.to_process(carried.read) == value


async def test_a_variable_of_a_library_is_found_where_it_lives() -> None:
    hybridrt.register_contextvar(carried_too.of_a_library)
    carried_too.of_a_library.set("mine")
    async with Runtime(processes=1) as rt:
        assert await rt.to_process(carried_too.read_library) == "mine"
        # There it was registered by its arrival alone, and travels on.
        assert await rt.to_process(carried.run_nested, carried_too.read_library) == "mine"


async def test_interleaved_calls_each_have_their_own() -> None:
    async with Runtime(processes=2) as rt:

        async def call(name: str) -> None:
            request_id.set(name)
            for _ in range(5):
                assert await rt.to_process(carried.read) == name
                assert await rt.to_process(carried.co_read) == name

        await asyncio.gather(*[call(f"r{i}") for i in range(20)])
        assert await rt.to_process(carried.read) == "none"


async def test_coroutines_that_share_a_worker_each_have_their_own() -> None:
    async with Runtime(processes=1) as rt:

        async def call(name: str) -> tuple[str, str, str]:
            request_id.set(name)
            return await rt.to_process(carried.co_read_among, 20)

        seen = await asyncio.gather(*[call(f"r{i}") for i in range(20)])
        assert seen == [(f"r{i}",) * 3 for i in range(20)]
        assert await rt.to_process(carried.co_read) == "none"


async def test_a_waiting_call_keeps_what_was_set_when_it_was_made(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with Runtime(processes=1) as rt:
        submit = rt.options(lane="process").submit
        first = submit(work.wait_for_file, str(gate))
        jobs = []
        for i in range(10):
            request_id.set(f"r{i}")
            jobs.append(submit(carried.read))
        request_id.set("later")
        gate.touch()
        assert [await job for job in jobs] == [f"r{i}" for i in range(10)]
        await first


async def test_what_a_call_sets_itself_ends_with_it() -> None:
    async with Runtime(processes=1) as rt:
        assert await in_context("r1", rt.options(lane="process").submit, carried.read_and_change, "x") == "r1"
        assert await rt.to_process(carried.read) == "none"


async def test_a_cancelled_call_leaves_nothing_in_its_worker(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt:
        submit = rt.options(lane="process").submit
        for at, fn in enumerate([work.note_and_wait, work.co_wait]):
            begun, ended = tmp_path / f"begun{at}", tmp_path / f"ended{at}"
            job = in_context("r1", submit, fn, str(begun), str(ended))
            await exists(begun)
            job.cancel()
            await exists(ended)
            reader: Any = carried.co_read if fn is work.co_wait else carried.read
            assert await rt.to_process(reader) == "none"
            assert await in_context("r2", submit, reader) == "r2"


async def test_a_crash_leaves_nothing_and_a_retry_has_it_again(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt:
        in_process = rt.options(lane="process")
        with pytest.raises(WorkerCrashed):
            await in_context("r1", in_process.submit, work.die, "SIGKILL")
        assert await rt.to_process(carried.read) == "none"
        assert await in_context("r2", in_process.submit, carried.read) == "r2"
        again = rt.options(lane="process", retries=1)
        trace = tmp_path / "trace"
        assert await in_context("r3", again.submit, carried.die_once, str(trace)) == "r3"
        assert trace.read_text() == "r3"


async def test_it_travels_on_from_a_worker_to_the_workers_of_a_runtime_there() -> None:
    request_id.set("deep")
    async with Runtime(processes=1) as rt:
        assert await rt.to_process(carried.run_nested) == "deep"
        assert await rt.to_process(carried.nested_read) == "deep"


async def test_a_value_that_cannot_be_pickled_is_named_and_not_shown() -> None:
    async with Runtime(processes=1) as rt:
        request_id.set({"secret": "hunter2", "guard": threading.Lock()})  # type: ignore[arg-type]
        with pytest.raises(NotSendable) as caught:
            await rt.to_process(carried.read)
        assert str(caught.value).startswith(
            "carried.read cannot be sent to a worker process: context['request_id']['guard']: "
            "cannot pickle '_thread.lock' object"
        )
        assert caught.value.where == "context['request_id']['guard']"
        assert "hunter2" not in str(caught.value)
        with pytest.raises(NotSendable, match=r"context\['request_id'\]"):
            await rt.to_process(carried.co_read)
        with pytest.raises(NotSendable, match=r"context\['request_id'\]"):
            await asyncio.wrap_future(rt.processes.submit(carried.read))
        with pytest.raises(NotSendable, match=r"cannot be sent to a worker process: args\[0\]: "):
            await rt.to_process(work.echo, threading.Lock())  # the arguments are looked at first
        request_id.set("fine")
        assert await rt.to_process(carried.read) == "fine"


async def test_a_value_that_cannot_be_unpickled_there_fails_that_call_alone() -> None:
    async with Runtime(processes=1) as rt:
        request_id.set(work.ExplodesOnArrival())  # type: ignore[arg-type]
        for fn in (carried.read, carried.co_read):
            with pytest.raises(ValueError, match="invalid literal for int"):
                await rt.to_process(fn)
        request_id.set("fine")
        assert await rt.to_process(carried.read) == "fine"


async def test_a_variable_that_a_worker_cannot_have_stops_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its module is here, and cannot be imported there; so nothing that runs there could read it."""
    module = ModuleType("only_here")
    module.__spec__ = carried.__spec__
    monkeypatch.setitem(sys.modules, "only_here", module)
    var = ContextVar("var", default="")
    module.var = var  # type: ignore[attr-defined]
    hybridrt.register_contextvar(var)
    var.set("x")
    request_id.set("r1")
    async with Runtime(processes=1) as rt:
        job = rt.options(lane="process").submit(carried.read)
        assert b"only_here" in job.payload  # type: ignore[attr-defined]
        assert await job == "r1"
        assert await rt.to_process(carried.co_read) == "r1"


async def test_a_variable_comes_back_as_itself() -> None:
    async with Runtime(processes=1) as rt:
        assert await rt.to_process(carried.the_variable) is request_id
        assert await rt.to_process(work.echo, request_id) == ((request_id,), {})


async def test_an_unregistered_variable_is_refused_with_what_to_do() -> None:
    async with Runtime(processes=1) as rt:
        with pytest.raises(NotSendable) as caught:
            await rt.to_process(work.echo, carried.local_only)
    assert (
        "args[0]: cannot pickle '_contextvars.ContextVar' object; send its value (var.get()), or let it"
        in str(caught.value)
    )
    assert "hybridrt.register_contextvar(var)" in str(caught.value)


def run_script(tmp_path: Path, text: str) -> list[str]:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(text))
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(script)], capture_output=True, text=True, check=False, timeout=50
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout.splitlines()


def test_functions_of_a_script_bring_its_variables_along(tmp_path: Path) -> None:
    script = """
        import asyncio
        from contextvars import ContextVar
        import hybridrt

        request_id = hybridrt.register_contextvar(ContextVar("request_id", default="none"))
        bare = hybridrt.register_contextvar(ContextVar("bare"))
        same_name = hybridrt.register_contextvar(ContextVar("request_id", default="another"))

        class Person:
            def __init__(self, name): self.name = name
            def __str__(self): return self.name

        def as_global():
            return str(request_id.get()), same_name.get()

        async def as_global_of_a_coroutine():
            await asyncio.sleep(0)
            return str(request_id.get()), same_name.get()

        def closure():
            var = request_id
            return lambda: str(var.get())

        def as_default(var=request_id):
            return str(var.get())

        def without_default():
            try:
                return bare.get()
            except LookupError:
                return "not set"

        async def main():
            rt = hybridrt.current_runtime()
            as_closure = closure()
            functions = as_global, as_global_of_a_coroutine, as_closure, as_default, without_default
            for _ in range(3):  # inside the call, then by a number, then with the number alone
                print(*[await rt.to_process(fn) for fn in functions])
            request_id.set("r1")
            same_name.set("r2")
            bare.set("r3")
            print(*[await rt.to_process(fn) for fn in functions])
            request_id.set(Person("r4"))
            print(*[await rt.to_process(fn) for fn in functions])
            print((await rt.to_process(lambda: request_id)) is request_id)
            async def one(i):
                request_id.set(i)
                return await rt.to_process(as_global_of_a_coroutine), await rt.to_process(as_global)
            got = await asyncio.gather(*[one(i) for i in range(20)])
            print(got == [((str(i), "r2"),) * 2 for i in range(20)])

        hybridrt.run(main, processes=2)
        """
    unset = "('none', 'another') ('none', 'another') none none not set"
    assert run_script(tmp_path, script) == [
        unset,
        unset,
        unset,
        "('r1', 'r2') ('r1', 'r2') r1 r1 r3",
        "('r4', 'r2') ('r4', 'r2') r4 r4 r3",
        "True",
        "True",
    ]


def test_a_function_with_a_registered_variable_is_sent_once(tmp_path: Path) -> None:
    script = """
        import hybridrt
        from contextvars import ContextVar
        from hybridrt._engine import parcel
        request_id = hybridrt.register_contextvar(ContextVar("request_id", default=""))
        listed = hybridrt.register_contextvar(ContextVar("listed", default=[]))
        unknown = ContextVar("unknown")
        for fn in (lambda: request_id, lambda: listed, lambda: unknown):
            print(parcel.fixed_state(fn) is not None, parcel.same_state(parcel.fixed_state(fn), parcel.fixed_state(fn)))
        """
    assert run_script(tmp_path, script) == ["True True", "False False", "False False"]


def test_while_nothing_is_registered_nothing_is_touched(tmp_path: Path) -> None:
    script = """
        import copyreg, contextvars, hybridrt, operator
        from hybridrt._lanes import processes
        processes.accompany = None  # not to be called

        async def main():
            rt = hybridrt.current_runtime()
            print(await rt.to_process(operator.add, 1, 2))
            print(contextvars.ContextVar in copyreg.dispatch_table)

        hybridrt.run(main, processes=1)
        """
    assert run_script(tmp_path, script) == ["3", "False"]


def test_the_registry_is_the_same_for_all_threads() -> None:
    before = len(variables.travellers)
    fresh = [ContextVar(f"v{i}") for i in range(200)]
    threads = [
        threading.Thread(target=lambda: [hybridrt.register_contextvar(var) for var in fresh])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [traveller.var for traveller in variables.travellers[before:]].count(fresh[0]) == 1
    assert len(variables.travellers) == before + 200
