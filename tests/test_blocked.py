"""What blocks the event loop is named, with its line and the remedy, and nothing else ever is."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import FREE_THREADED, PATIENCE, until
from loops import LOOPS

from hybridrt import Blockage, LoopBlocked, LoopBlockedWarning, Runtime
from hybridrt.watch import blocked as room
from hybridrt.watch import stack

AFTER = 0.05


def watch_of(rt: Runtime) -> room.BlockedWatch:
    assert rt._blocked is not None
    return rt._blocked


class Noticed(list[Blockage]):
    """What a runtime told."""

    rt: Runtime

    def runtime(self, after: float = AFTER, **settings: Any) -> Runtime:
        self.rt = Runtime(loop_blocked_after=after, on_loop_blocked=self.append, **settings)
        return self.rt

    @property
    def watch(self) -> room.BlockedWatch:
        return watch_of(self.rt)

    async def one(self) -> Blockage:
        await until(lambda: self)
        (blockage,) = self
        return blockage


@pytest.fixture
def noticed() -> Noticed:
    return Noticed()


def line_of(function: Callable[..., Any], text: str) -> int:
    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if text in line)


# Each of them blocks: in the kernel, in Python, in C that keeps the GIL


def sleep_in_a_function(watch: room.BlockedWatch) -> None:
    """Until the watchdog has seen it, which takes its time on a busy machine."""
    end = time.monotonic() + PATIENCE
    while watch._found is None and time.monotonic() < end:
        time.sleep(10 * AFTER)


def compute(watch: room.BlockedWatch) -> int:
    """Until the watchdog has seen it. It calls no Python, which might be seen in its place."""
    total, end = 0, time.monotonic() + PATIENCE
    while watch._found is None and time.monotonic() < end:
        total += 1
    return total


def call_compute(watch: room.BlockedWatch) -> int:
    return compute(watch)


def add_up() -> int:
    return sum(range(30_000_000))


async def test_a_sleep_is_named_with_what_to_do_in_its_place(noticed: Noticed) -> None:
    async def careless(watch: room.BlockedWatch) -> None:
        while watch._found is None:
            time.sleep(10 * AFTER)

    async with noticed.runtime() as rt:
        await asyncio.create_task(careless(noticed.watch), name="the one")
        found = await noticed.one()
        assert rt.stats().loop_lag.blocked == 1
        assert found.function == f"{__name__}.{careless.__qualname__}"
        assert (found.filename, found.lineno) == (__file__, line_of(careless, "time.sleep"))
        assert found.called == "time.sleep"
        assert found.remedy == "use `await asyncio.sleep(...)`"
        assert found.task == f"'the one' ({careless.__qualname__})"
        assert found.seconds >= AFTER
        assert found.stack.splitlines() == [
            f'  File "{__file__}", line {found.lineno}, in {careless.__qualname__}',
            "    time.sleep(10 * AFTER)",
        ]
        assert f"by {found.function} ({__file__}:{found.lineno}), calling time.sleep in task" in str(found)


async def test_a_computing_function_is_named_and_what_the_coroutine_called_is_to_be_handed_over(
    noticed: Noticed,
) -> None:
    async with noticed.runtime():
        call_compute(noticed.watch)
        found = await noticed.one()
        assert found.function == f"{__name__}.compute"
        first, lines = line_of(compute, "def compute"), len(inspect.getsourcelines(compute)[0])
        assert first < found.lineno < first + lines
        assert found.remedy == "use `await rt.run(call_compute, ...)`"


async def test_a_coroutine_that_computes_itself_is_told_to_move_it_out(noticed: Noticed) -> None:
    async with noticed.runtime() as rt:
        watch, end = noticed.watch, time.monotonic() + PATIENCE
        while watch._found is None and time.monotonic() < end:
            pass
        assert "move this work into a function" in (await noticed.one()).remedy
        assert rt.stats().loop_lag.blocked == 1


async def test_a_c_call_that_keeps_the_gil_is_named(noticed: Noticed) -> None:
    async with noticed.runtime():
        add_up()
        found = await noticed.one()
        assert (found.lineno, found.called) == (line_of(add_up, "sum"), "sum")
        assert found.remedy == "use `await rt.run(add_up, ...)`"


async def test_a_library_that_blocks_is_named_with_the_users_line(noticed: Noticed) -> None:
    async with noticed.runtime():
        # With two pipes it waits in a selector, as an idle loop does.
        while noticed.watch._found is None:
            subprocess.run([sys.executable, "-c", "import time; time.sleep(1)"], capture_output=True)
        found = await noticed.one()
        assert found.filename == __file__
        assert found.called == "subprocess.run"
        assert found.remedy == "use `await rt.run(subprocess.run, ...)`"
        assert "selectors.py" in found.stack


async def test_an_import_is_named(noticed: Noticed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "site-packages"
    library.mkdir()
    (library / "slow_to_import.py").write_text("import time\ntime.sleep(2)")
    monkeypatch.syspath_prepend(str(library))
    monkeypatch.delitem(sys.modules, "slow_to_import", raising=False)
    async with noticed.runtime():
        import slow_to_import  # type: ignore[import-not-found]  # noqa: F401

        found = await noticed.one()
        assert (found.filename, found.called) == (__file__, "import")
        assert found.remedy == "import it before the event loop runs"


async def test_a_plain_callback_is_named(noticed: Noticed) -> None:
    async with noticed.runtime():
        asyncio.get_running_loop().call_soon(sleep_in_a_function, noticed.watch)
        found = await noticed.one()
        assert (found.function, found.task) == (f"{__name__}.sleep_in_a_function", None)
        assert found.remedy == "use `await asyncio.sleep(...)`"


async def test_without_the_lag_timer_it_has_its_own(noticed: Noticed) -> None:
    async with noticed.runtime(loop_lag=0) as rt:
        sleep_in_a_function(noticed.watch)
        await noticed.one()
        assert rt.stats().loop_lag.samples == 0


async def test_a_second_blockage_is_told_as_well(noticed: Noticed) -> None:
    async with noticed.runtime():
        for count in (1, 2):
            sleep_in_a_function(noticed.watch)
            await until(lambda count=count: len(noticed) == count)


async def test_what_blocked_just_before_the_end_is_told(noticed: Noticed) -> None:
    async with noticed.runtime():
        call_compute(noticed.watch)
    await noticed.one()


async def test_two_loops_each_name_their_own() -> None:
    def other() -> None:
        with asyncio.Runner() as runner:
            runner.run(run(there, "there"))

    async def run(noticed: Noticed, name: str) -> None:
        async with noticed.runtime():
            await asyncio.create_task(careless(noticed.watch), name=name)
            await noticed.one()

    async def careless(watch: room.BlockedWatch) -> None:
        sleep_in_a_function(watch)

    here, there = Noticed(), Noticed()
    thread = threading.Thread(target=other)
    thread.start()
    await run(here, "here")
    await asyncio.to_thread(thread.join)
    assert [(b.task or "").split()[0] for b in (*here, *there)] == ["'here'", "'there'"]


# Reactions


async def test_by_default_it_warns_at_the_culprits_line() -> None:
    async with Runtime(loop_blocked_after=AFTER) as rt:
        with pytest.warns(LoopBlockedWarning, match="blocked for .* s by .*sleep_in_a_function") as told:
            sleep_in_a_function(watch_of(rt))
            await until(lambda: rt.stats().loop_lag.blocked)
    (warning,) = told
    assert (warning.filename, warning.lineno) == (__file__, line_of(sleep_in_a_function, "time.sleep"))


async def test_it_logs(caplog: pytest.LogCaptureFixture) -> None:
    async with Runtime(loop_blocked_after=AFTER, on_loop_blocked="log") as rt:
        sleep_in_a_function(watch_of(rt))
        await until(lambda: rt.stats().loop_lag.blocked)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("hybridrt", logging.WARNING)
    assert "in sleep_in_a_function" in record.getMessage()


async def test_a_test_can_have_it_raised() -> None:
    with pytest.raises(LoopBlocked, match=r"was blocked once:\n- the event loop was blocked for") as told:
        async with Runtime(loop_blocked_after=AFTER, on_loop_blocked="raise") as rt:
            sleep_in_a_function(watch_of(rt))
    (blockage,) = told.value.blockages
    assert blockage.function == f"{__name__}.sleep_in_a_function"


async def test_what_the_body_raised_is_not_hidden() -> None:
    with pytest.raises(KeyError) as told:
        async with Runtime(loop_blocked_after=AFTER, on_loop_blocked="raise") as rt:
            sleep_in_a_function(watch_of(rt))
            raise KeyError
    assert "sleep_in_a_function" in told.value.__notes__[0]


async def test_one_that_does_not_end_is_logged_meanwhile(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, noticed: Noticed
) -> None:
    monkeypatch.setattr(room, "STILL_BLOCKED_AFTER", 0.0)
    async with noticed.runtime():
        records, end = caplog.handler.records, time.monotonic() + PATIENCE
        while not records and time.monotonic() < end:
            pass
        assert not noticed
        assert "(and it still is)" in caplog.text
        await noticed.one()
    assert len(caplog.records) == 1


def test_the_same_line_is_told_less_and_less_often() -> None:
    lines = room._Lines()
    blockage = Blockage(1.0, "f", "f.py", 3, None, "remedy", None, "")
    told = [now for now in range(200) if lines.text(blockage, float(now))]
    assert told == [0, 10, 30, 70, 150]
    assert lines.text(blockage, 500.0).endswith("remedy (seen 201 times by now)")
    assert lines.text(Blockage(1.0, "f", "f.py", 4, None, "remedy", None, ""), 500.0) == str(
        blockage
    ).replace(":3", ":4")


# What is nobody's fault


async def test_an_idle_loop_is_never_named(noticed: Noticed) -> None:
    async with noticed.runtime(0.004):
        await asyncio.sleep(0.5)
    assert noticed == []


async def test_zero_turns_it_off() -> None:
    async with Runtime(loop_blocked_after=0, on_loop_blocked="raise") as rt:
        assert "hybridrt-watchdog" not in {thread.name for thread in threading.enumerate()}
        time.sleep(10 * AFTER)
        await asyncio.sleep(0.001)
        assert rt.stats().loop_lag.blocked == 0


@pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
def test_what_runs_while_the_loop_does_not_is_not_named(
    new_loop: Callable[[], Any], noticed: Noticed
) -> None:
    loop = new_loop()
    rt = noticed.runtime()

    async def enter() -> None:
        await rt.__aenter__()
        await asyncio.sleep(2 * AFTER)  # so that the beat is known

    loop.run_until_complete(enter())
    time.sleep(10 * AFTER)
    loop.run_until_complete(rt.__aexit__(None, None, None))
    loop.close()
    assert noticed == []


async def test_a_thread_that_keeps_the_gil_is_not_laid_at_the_loops_door(noticed: Noticed) -> None:
    async with noticed.runtime() as rt:
        await rt.to_thread(add_up)
        assert FREE_THREADED or rt.stats().loop_lag.worst > AFTER
    assert noticed == []


STOPPED = """
import asyncio, os, signal, subprocess, hybridrt
told = []
async def main():
    async with hybridrt.Runtime(loop_blocked_after=0.1, on_loop_blocked=told.append) as rt:
        pid = os.getpid()
        again = await asyncio.create_subprocess_exec("sh", "-c", f"read x; sleep 1; kill -CONT {pid}", stdin=-1)
        again.stdin.write(b"x" + os.linesep.encode())
        await again.stdin.drain()
        os.kill(pid, signal.SIGSTOP)
        await again.wait()
        while rt.stats().loop_lag.samples < 3:
            await asyncio.sleep(0.01)
        assert rt.stats().loop_lag.worst > 0.5
asyncio.run(main())
print(told)
"""


def test_a_process_that_was_stopped_has_not_blocked() -> None:
    done = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True, timeout=40)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.fixture
def no_cpu_to_spare() -> Iterator[None]:
    burning = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * (os.cpu_count() or 1))
    ]
    yield
    for process in burning:
        process.kill()
        process.wait()


def spin(seconds: float) -> None:
    """Seconds of CPU, however long they take."""
    start = time.thread_time()
    while time.thread_time() - start < seconds:
        pass


async def test_a_starved_machine_is_not_laid_at_the_loops_door(
    noticed: Noticed, no_cpu_to_spare: None
) -> None:
    async with noticed.runtime(Runtime().settings.loop_blocked_after):
        end = time.monotonic() + 3
        while time.monotonic() < end:
            spin(0.02)
            await asyncio.sleep(0.001)
    assert noticed == []


async def test_on_a_starved_machine_the_guilty_are_still_named(
    noticed: Noticed, no_cpu_to_spare: None
) -> None:
    async with noticed.runtime():
        call_compute(noticed.watch)
        assert (await noticed.one()).function == f"{__name__}.compute"


# Credit


@pytest.mark.parametrize(
    ("passed", "planned", "computed", "waited", "if_same", "if_new"),
    [
        pytest.param(0.1, 0.1, 0.0, 0.0, 0.1, 0.0, id="waiting in the kernel, all of it"),
        pytest.param(0.1, 0.1, 0.1, 0.0, 0.1, 0.0, id="computing"),
        pytest.param(0.1, 0.1, 0.01, 0.09, 0.01, 0.0, id="no CPU for the loop"),
        pytest.param(3.1, 0.1, 0.0, 0.0, 0.0, 0.0, id="stopped, or another thread had the GIL"),
        pytest.param(3.1, 0.1, 3.1, 0.0, 3.1, 3.0, id="a C call kept the GIL"),
        pytest.param(3.1, 0.1, 1.0, 2.1, 1.0, 1.0, id="a C call kept the GIL, and had a third of a CPU"),
    ],
)
def test_only_what_the_callback_used_itself_counts(
    passed: float,
    planned: float,
    computed: float,
    waited: float,
    if_same: float,
    if_new: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    witness = room._Witness(threading.get_ident(), threading.get_native_id())
    clocks = SimpleNamespace(cpu=0.0, delay=0.0)
    monkeypatch.setattr(witness, "_cpu", lambda: clocks.cpu)
    monkeypatch.setattr(witness, "_delay", lambda: clocks.delay)
    witness.planned = planned
    witness.rest(100.0)
    witness.testify(100.0)
    clocks.cpu, clocks.delay = computed, waited
    told = witness.testify(100.0 + passed)
    assert (told.if_same, told.if_new) == pytest.approx((if_same, if_new))


WAITED = room.Testimony(if_same=0.1, if_new=0.0, is_in_a_call=True)


def spot(code_of: Callable[..., Any], frame_id: int, lasti: int = 0) -> stack.Spot:
    return stack.Spot(code_of.__code__, code_of.__code__.co_firstlineno, lasti, __name__, frame_id)


def test_many_short_callbacks_of_one_turn_share_no_blame() -> None:
    sighting = room._Sighting(0.1)
    for number in range(50):
        sighting.note(1.0, [spot(add_up, number)], None, WAITED)
    assert sighting.credit == 0.0
    for _ in range(3):
        sighting.note(1.0, [spot(compute, 7), spot(call_compute, 50)], None, WAITED)
    assert sighting.credit == pytest.approx(0.2)
    assert sighting.worst()[0][0].code is compute.__code__


def test_what_comes_and_goes_inside_is_not_named_but_what_stays() -> None:
    sighting = room._Sighting(0.1)
    for number in range(4):
        sighting.note(1.0, [spot(add_up, number), spot(compute, 98), spot(call_compute, 99)], None, WAITED)
    spots, _ = sighting.worst()
    assert [s.code for s in spots] == [compute.__code__, call_compute.__code__]


@pytest.mark.parametrize(("kept_out", "credit"), [(0.05, 0.05), (3.0, 3.0)])
def test_a_single_look_is_enough_only_after_a_c_call(kept_out: float, credit: float) -> None:
    sighting = room._Sighting(0.1)
    sighting.note(
        1.0, [spot(add_up, 7)], None, room.Testimony(if_same=0.1, if_new=kept_out, is_in_a_call=False)
    )
    assert sighting.credit == credit
    assert bool(sighting._blamed) == (kept_out > room.KEPT_OUT)


def test_who_sits_in_a_debugger_has_not_blocked() -> None:
    import bdb

    assert stack.is_debugged([spot(bdb.Bdb.dispatch_line, 1), spot(compute, 2)])
    sighting = room._Sighting(0.1)
    for _ in range(3):
        sighting.note(1.0, [spot(bdb.Bdb.dispatch_line, 1), spot(compute, 2)], None, WAITED)
    assert sighting.credit == 0.0


# The name of what is called


def look() -> str | None:
    """What the caller's line calls."""
    frame = sys._getframe(1)
    return stack.call_at(stack.Spot(frame.f_code, frame.f_lineno, frame.f_lasti, "", 0))


def test_a_call_is_named_as_the_source_spells_it_and_without_its_arguments() -> None:
    space = SimpleNamespace(look=lambda *_: look(), deep=SimpleNamespace(look=look))
    assert look() == "look"
    assert space.deep.look() == "space.deep.look"
    assert (
        space.deep
        .look(
        )
    ) == "space.deep.look"  # fmt: skip
    assert [look][0]() is None
    assert eval("look()") is None  # noqa: S307 (there is no source to look at)


# Its end


async def test_a_runtime_that_nobody_holds_is_garbage_and_its_thread_ends() -> None:
    async def enter() -> weakref.ref[Runtime]:
        rt = Runtime(on_loop_blocked="log")  # a collection of all that the tests have left may take long
        await rt.__aenter__()
        return weakref.ref(rt)

    with pytest.warns(ResourceWarning, match="never left"):
        weak = await enter()
        gc.collect()
        assert weak() is None
        await until(lambda: "hybridrt-watchdog" not in {thread.name for thread in threading.enumerate()})


@pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
def test_a_closed_loop_is_watched_no_more(new_loop: Callable[[], Any]) -> None:
    loop = new_loop()
    rt = Runtime(loop_blocked_after=AFTER)
    loop.run_until_complete(rt.__aenter__())
    loop.close()
    end = time.monotonic() + PATIENCE
    while "hybridrt-watchdog" in {thread.name for thread in threading.enumerate()}:
        assert time.monotonic() < end
        time.sleep(0.01)


FORKED = """
import asyncio, os, sys, time, warnings, hybridrt
warnings.simplefilter("ignore", DeprecationWarning)
async def main():
    async with hybridrt.Runtime(loop_blocked_after=0.05, on_loop_blocked="raise"):
        pid = os.fork()
        if not pid:
            time.sleep(0.5)
    if not pid:
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_of_the_process_is_not_watched_and_leaves_in_peace() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=40)
    assert (done.stdout, done.stderr) == ("7\n", "")
