"""Whatever mess a call makes of its worker's surroundings, other calls are right, and leaving is complete."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import good
import messy
import pytest
from helpers import exists, is_alive, until, worker_pid
from scene import Scene, a_scene, a_short_farewell, ids, says, settled, shown

from hybridrt import RemoteError, TaskExited, WorkerCrashed, WorkerStartError

pytestmark = pytest.mark.asyncio(loop_scope="module")


def folder() -> str:
    """A place for what a call leaves; the number keeps them apart."""
    return f"/tmp/hybridrt-faults-{os.getpid()}-{time.monotonic_ns()}"


HARMLESS: list[Any] = [
    (messy.close_descriptors, (0, 3), "closed"),
    (messy.print_after_close, (), ...),  # where it prints to is not descriptor 1
    (messy.replace_standard_descriptors, (), "replaced"),
    (messy.replace_streams, ("none",), "none"),
    (messy.replace_streams, ("closed",), "closed"),
    (messy.replace_streams, ("exploding",), "exploding"),
    (messy.read_stdin, (), ["", b"", "end of file"]),
    (messy.change_umask, (), ...),
    (messy.clear_environment, (), 0),
    (messy.be_nice, (), ...),
    (messy.limit_recursion, (), 60),
    (messy.no_recursion_limit, (), 10**9),
    (messy.fork_and, ("returns",), 0),
    (messy.fork_and, ("raises",), 0),
    (messy.fork_and, ("exits",), 0),
    (messy.fork_and, ("dies",), -9),
    (messy.fork_and, ("leaves",), 7),
    (messy.threads_that_raise, (), "fine"),
    (messy.forget_modules, (0,), "forgotten"),
    (messy.forget_modules, (60,), "forgotten"),
    (messy.empty_path, (), "emptied"),
    (messy.replace_hooks, (), "replaced"),
    (messy.stop_collecting, (), "off"),
    (messy.handle_signals, (), "handled"),
    (messy.ignore_signals, (), "ignored"),
    (messy.default_sigint, (), "default"),
    (messy.wake_up_by, ("descriptor",), "descriptor"),
    (messy.join_the_zygotes_group, (), ...),
    (messy.is_deaf_to_sigpipe, (), True),
    (messy.set_blocking, (False,), "set"),
]


@pytest.mark.parametrize(("fn", "args", "result"), HARMLESS, ids=ids(HARMLESS))
@pytest.mark.leaves_processes
async def test_a_mess_of_its_own_worker_hurts_no_other_call(
    costly: Scene, fn: Any, args: Any, result: Any
) -> None:
    scene = costly
    async with scene.good_calls(is_ordered=fn is not messy.set_blocking):
        outcome = await settled(scene.rt.to_process(fn, *args), scene.submit_behind)
    assert outcome == result or result is ..., shown(outcome) if isinstance(outcome, Exception) else outcome
    for _ in range(5):
        await scene.is_sound()
    assert scene.crashed == 0


LASTING: list[Any] = [
    (messy.drop_privileges, (), ...),
    (messy.limit_descriptors, (), "Too many open files"),
]


@pytest.mark.parametrize(("fn", "args", "result"), LASTING, ids=ids(LASTING))
async def test_what_a_call_gives_up_for_good_is_missed_by_calls_that_need_it_alone(
    fn: Any, args: Any, result: Any
) -> None:
    """A worker is no sandbox: its rights and limits are its own. A fresh one has them all."""
    async with a_scene(processes=1) as scene:
        outcome = await scene.rt.to_process(fn, *args)
        assert outcome == result or result is ...
        jobs = [scene.submit(good.double, i) for i in range(20)]
        assert await asyncio.gather(*jobs) == [i * 2 for i in range(20)]
        await worker_pid(scene.rt)
        await until(scene.is_deserted)
        path = scene.path()
        assert await scene.rt.to_process(good.append, str(path), 1) == 1
        assert path.read_text() == "1\n"


REFUSED: list[Any] = [
    (messy.new_session, (), PermissionError, "Operation not permitted"),
    (messy.limit_memory, (), MemoryError, ""),
    (messy.interrupt_oneself, (), TaskExited, "raised KeyboardInterrupt"),
    (messy.trace_everything, (), WorkerCrashed, "trace_everything was lost"),
]


@pytest.mark.parametrize(("fn", "args", "error", "message"), REFUSED, ids=ids(REFUSED))
@pytest.mark.leaves_processes
async def test_what_the_system_refuses_is_the_call_s_own_error(
    costly: Scene, fn: Any, args: Any, error: type[Exception], message: str
) -> None:
    says(await costly.outcome(fn, *args), error, message)


async def test_a_limit_on_the_size_of_files_hits_its_own_call(tmp_path: Path) -> None:
    async with a_scene() as scene:
        says(
            await scene.outcome(messy.limit_file_size, str(tmp_path / "file")),
            WorkerCrashed,
            "killed by SIGXFSZ",
        )


@pytest.mark.parametrize("range_", [(0, 500), (3, 500)])
async def test_a_call_that_closes_its_channel_is_told_that_it_did(range_: tuple[int, int]) -> None:
    async with a_scene() as scene:
        crash = await scene.outcome(messy.close_descriptors, *range_)
        says(crash, WorkerCrashed, "close_descriptors was lost", "closed its (channel|descriptors)")
        assert not is_alive(crash.pid)


async def test_descriptors_set_blocking_do_not_stop_the_loop() -> None:
    """The pipe of tokens is open in our process too. It is empty when quick calls are done but not yet heard of."""
    async with a_scene(processes=1, shutdown_grace=0.1) as scene:
        path = scene.path()
        for _ in range(10):
            await asyncio.gather(*[scene.submit(good.append, str(path), i) for i in range(10)])
        await scene.rt.to_process(messy.set_blocking, True)
        path = scene.path()
        jobs = [scene.submit(good.append, str(path), i) for i in range(5)]
        await asyncio.sleep(0)  # they leave together
        end = time.monotonic() + 1
        while (not path.exists() or len(path.read_text()) < 10) and time.monotonic() < end:
            time.sleep(0.001)  # nobody reads the answers meanwhile
        if path.read_text() != "0\n1\n2\n3\n4\n":
            pytest.skip(
                "the machine is too busy for these calls to count as quick, and so to be written ahead"
            )
        jobs[4].cancel()
        assert await asyncio.gather(*jobs[:4]) == [0, 1, 2, 3]
        await until(lambda: scene.counts() == (0, 0))


async def test_output_of_every_kind_cannot_disturb_the_answers(capfd: pytest.CaptureFixture[str]) -> None:
    async with a_scene() as scene:
        assert await scene.outcome(messy.print_everywhere, "hello") == "hello"
        assert await scene.outcome(messy.print_a_lot) == 300 * 1001
        jobs = [scene.submit(messy.print_everywhere, f"{i}") for i in range(20)]
        assert await asyncio.gather(*jobs) == [f"{i}" for i in range(20)]
    out, err = capfd.readouterr()
    for kind in ("print", "write", "puts"):
        assert f"hello from {kind}\n" in out
    assert "hello from stderr\n" in err


@pytest.mark.parametrize("kind", [messy.change_folder, messy.change_to_deleted_folder])
async def test_a_changed_folder_hurts_no_other_call(kind: Any, tmp_path: Path) -> None:
    async with a_scene() as scene:
        assert await scene.outcome(kind, str(tmp_path / "folder")) == str(tmp_path / "folder")
        assert Path.cwd() != tmp_path / "folder"
        says(
            await scene.outcome(messy.limit_memory), MemoryError
        )  # and neither do two messes on top of one another
        await scene.is_sound()


BUILTINS = ["len", "print", "isinstance", "int", "min", "open", "Exception", "tuple", "dict", "super"]


@pytest.mark.parametrize("name", BUILTINS)
@pytest.mark.leaves_processes
async def test_a_broken_builtin_costs_its_own_worker_at_most(costly: Scene, name: str) -> None:
    scene = costly
    async with scene.good_calls(is_ordered=False):
        outcome = await settled(scene.rt.to_process(messy.break_builtins, name), scene.submit_behind)
    assert outcome == name or isinstance(outcome, WorkerCrashed | RemoteError)
    await scene.is_sound()


@pytest.mark.parametrize("name", ["type", "__import__"])
async def test_an_interpreter_broken_to_its_core_is_confined_to_its_worker(name: str) -> None:
    """No call can run there any more; each is told so, and the next worker is whole."""
    async with a_scene() as scene:
        gate, begun = scene.path(), scene.path()
        running = scene.submit(good.wait_for, str(gate), str(begun))
        await exists(begun)
        other = scene.pids
        outcome = await settled(scene.rt.to_process(messy.break_builtins, name))
        assert outcome == name or isinstance(outcome, WorkerCrashed | RemoteError)
        says(await settled(scene.rt.to_process(good.append, "", 1)), RemoteError, "TypeError|an exception")
        gate.touch()
        assert await running == str(gate)
        for pid in scene.pids - other:
            os.kill(pid, 9)
        await scene.is_sound()


MODULES = [
    ("pickle", "dumps"),
    ("pickle", "loads"),
    ("os", "read"),
    ("os", "_exit"),
    ("time", "perf_counter"),
    ("socket", "socket"),
    ("struct", "Struct"),
    ("signal", "signal"),
    ("sys", "modules"),
    ("sys", "exc_info"),
]


@pytest.mark.parametrize(("module", "name"), MODULES, ids=lambda value: value)
@pytest.mark.leaves_processes
async def test_a_broken_standard_module_costs_its_own_worker_at_most(
    costly: Scene, module: str, name: str
) -> None:
    scene = costly
    async with scene.good_calls(is_ordered=False):
        outcome = await settled(scene.rt.to_process(messy.break_module, module, name), scene.submit_behind)
    assert outcome == name or isinstance(outcome, WorkerCrashed | RemoteError)
    await scene.is_sound()


# Leaving


@pytest.mark.parametrize("how", ["program", "fork", "session"])
async def test_a_process_that_a_call_has_started_is_gone_when_the_runtime_is(how: str) -> None:
    async with a_scene() as scene:
        pid = await scene.outcome(messy.start_and_leave, how, str(scene.path()))
        assert is_alive(pid), "it is the call's own affair, until then"
    assert not is_alive(pid)


async def test_a_process_that_a_crashed_call_has_started_goes_with_it() -> None:
    async with a_scene() as scene:
        pids = [
            await scene.rt.to_process(messy.start_and_leave, how, str(scene.path()))
            for how in ("program", "fork")
        ]
        await until(scene.is_deserted)
        await until(lambda: not any(map(is_alive, pids)))
        await scene.is_sound()


LINGERING: list[Any] = [
    (messy.start_thread_that_stays, ()),
    (messy.hook_that_sleeps, ()),
    (messy.hook_that_dies, ("segfault",)),
    (messy.hook_that_dies, ("exit",)),
    (messy.ignore_signals, ()),
]


@pytest.mark.parametrize(("fn", "args"), LINGERING, ids=ids(LINGERING))
async def test_what_a_call_leaves_running_delays_leaving_by_a_grace_at_most(
    fn: Any, args: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_short_farewell(monkeypatch)
    async with a_scene() as scene:
        await scene.outcome(fn, *args)
        pids = scene.pids
        began = time.monotonic()
    assert not any(map(is_alive, pids))
    assert time.monotonic() - began < 5, "not the thousand seconds that it would take"


# Alarms


async def test_an_alarm_that_is_left_behind_is_missed_by_no_call_that_has_a_worker_of_its_own() -> None:
    """A timer is the worker's, like its current folder: who leaves one behind needs a worker of his own."""
    async with a_scene(processes=1, max_tasks_per_worker=1) as scene:
        pid = await scene.rt.to_process(messy.set_alarm, 0.1)
        assert await settled(scene.rt.to_process(messy.wait_a_little, 0.2)) != pid


async def test_an_alarm_that_goes_off_in_an_idle_worker_hurts_nobody() -> None:
    async with a_scene(processes=1) as scene:
        pid = await scene.rt.to_process(messy.set_alarm, 0.02)
        if pid in scene.pids:
            await until(lambda: pid not in scene.pids)
        await scene.is_sound()
        assert scene.crashed == 0


# Used up


async def test_descriptors_used_up_fail_the_call_that_needs_one_and_it_recovers() -> None:
    async with a_scene() as scene:
        lowest = os.dup(0)
        os.close(lowest)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            error = await settled(scene.rt.to_process(good.double, 1))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        says(
            error,
            WorkerStartError,
            r"good\.double was not started, because no worker process can be: Too many open",
        )
        assert isinstance(error, OSError) and error.errno == 24
        await scene.is_sound()


async def test_descriptors_used_up_leave_the_workers_there_are_at_work() -> None:
    async with a_scene() as scene:
        pid = await worker_pid_after_a_call(scene)
        lowest = os.dup(0)
        os.close(lowest)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            jobs = [scene.submit(good.double, i) for i in range(50)]
            assert await asyncio.gather(*jobs) == [i * 2 for i in range(50)]
            assert scene.pids == {pid}
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await scene.is_sound()


async def worker_pid_after_a_call(scene: Any) -> int:
    assert await scene.rt.to_process(good.double, 1) == 2
    return await worker_pid(scene.rt)


@pytest.fixture
def few_processes() -> Any:
    """A cgroup that allows no further process to who is in it."""
    for root in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup"):
        group = Path(root, f"hybridrt-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / "pids.max").write_text("0")
        except OSError:
            group.rmdir()
            continue
        yield group
        for pid in (group / "cgroup.procs").read_text().split():
            try:
                Path(root, "cgroup.procs").write_text(pid)
            except OSError:
                pass  # gone meanwhile
        group.rmdir()
        return
    pytest.skip("no cgroup with a limit of processes can be made here (not root, or no pids controller)")


async def test_processes_used_up_fail_the_calls_that_need_one_and_it_recovers(few_processes: Path) -> None:
    async with a_scene() as scene:
        await scene.is_sound()
        zygote = await scene.rt.to_process(os.getppid)
        (few_processes / "cgroup.procs").write_text(str(zygote))
        jobs = [scene.submit(good.double, i) for i in range(50)]
        assert await asyncio.gather(*jobs) == [i * 2 for i in range(50)], "those that there are serve on"
        await until(scene.is_deserted)
        error = await settled(scene.rt.to_process(good.double, 1))
        says(
            error,
            WorkerStartError,
            r"good\.double was not started, because no worker process can be: .*unavailable",
        )
        assert isinstance(error, OSError) and error.errno == 11
        (few_processes / "pids.max").write_text("max")
        await scene.is_sound()


@pytest.mark.parametrize(
    ("executable", "message"),
    [
        ("/nonexistent/python", "No such file or directory"),
        ("/dev/null", "Permission denied"),
        ("/bin/false", "exited with 1 before it could start"),
    ],
)
async def test_an_interpreter_that_cannot_be_started_is_told_and_it_recovers(
    executable: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_scene() as scene:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", executable)
            errors = await asyncio.gather(*[settled(scene.rt.to_process(good.double, i)) for i in range(5)])
            for error in errors:
                says(error, WorkerStartError, r"good\.double was not started", message)
            assert scene.counts() == (0, 0)
        await scene.is_sound()
