"""The drop-in ProcessPoolExecutor: what the standard one promises, and what it does not, without an event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import inspect
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import weakref
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import carried
import pytest
import work
from helpers import wait_until

from hybridrt import (
    HybridrtError,
    InitializerFailed,
    NotSendable,
    ProcessPoolExecutor,
    WorkerCrashed,
    WorkerStartError,
)

HERE = Path(__file__).parent


@pytest.fixture(autouse=True, params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both loops that may be inside."""
    name: str = request.param
    if name == "asyncio":
        monkeypatch.setitem(sys.modules, "uvloop", None)
    return name


def engine_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hybridrt-executor"]


def run_script(text: str, *args: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, with the loop of this test."""
    if sys.modules.get("uvloop", sys) is None:
        text = f"import sys; sys.modules['uvloop'] = None\n{text}"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", text, *args],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)])},
    )


# The signature


def test_the_signature_is_the_standard_one_and_more() -> None:
    ours = inspect.signature(ProcessPoolExecutor).parameters
    for name, theirs in inspect.signature(concurrent.futures.ProcessPoolExecutor).parameters.items():
        assert (ours[name].default, ours[name].kind) == (theirs.default, theirs.kind), name
    positional = [p.name for p in ours.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == ["max_workers", "mp_context", "initializer", "initargs"]


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"max_workers": 0}, ValueError, "max_workers must be greater than 0"),
        ({"max_workers": -1}, ValueError, "max_workers must be greater than 0"),
        ({"max_workers": "2"}, TypeError, "max_workers must be an integer"),
        ({"initializer": 5}, TypeError, "initializer must be a callable"),
        (
            {"initializer": work.co_double},
            TypeError,
            "co_double is a coroutine function.*pass a plain function",
        ),
        ({"max_tasks_per_child": 0}, ValueError, "max_tasks_per_child must be >= 1"),
        ({"max_tasks_per_child": 1.5}, TypeError, "max_tasks_per_child must be an integer"),
        ({"max_task_per_child": 1}, TypeError, "no setting 'max_task_per_child'"),
        ({"processes": 1}, TypeError, "'processes': it is called 'max_workers' here"),
        ({"max_tasks_per_worker": 1}, TypeError, "it is called 'max_tasks_per_child' here"),
        ({"nice": -1}, ValueError, "nice=-1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    given: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        ProcessPoolExecutor(**given)


@pytest.mark.parametrize("method", [None, *multiprocessing.get_all_start_methods()])
def test_any_context_gives_clean_workers(method: str | None) -> None:
    context: Any = method and multiprocessing.get_context(method)
    os.environ["NOT_FOR_WORKERS"] = "x"
    marker = [1]
    sys.modules["only_here"] = marker  # type: ignore[assignment]
    try:
        with ProcessPoolExecutor(1, context) as executor:
            assert executor.submit(lambda: "only_here" in sys.modules).result(30) is False
    finally:
        del sys.modules["only_here"], os.environ["NOT_FOR_WORKERS"]


def test_settings_of_the_engine_are_taken() -> None:
    with ProcessPoolExecutor(1, preload=("colorsys",), nice=7) as executor:
        assert executor.submit(lambda: "colorsys" in sys.modules).result(30)
        assert executor.submit(os.nice, 0).result(30) == min(19, os.nice(0) + 7)


# Calls


def test_calls_of_all_kinds() -> None:
    with ProcessPoolExecutor(2) as executor:
        assert executor.submit(work.double, 21).result(30) == 42
        assert executor.submit(work.echo, 1, fn=2, self=3).result(30) == ((1,), {"fn": 2, "self": 3})
        assert executor.submit(lambda: "lambda").result(30) == "lambda"
        assert executor.submit(work.co_double, 4).result(30) == 8
        assert executor.submit(work.Greeter("Ann").greet, "Bob").result(30) == "Ann greets Bob"
        with pytest.raises(ValueError, match=r"^too bad$") as caught:
            executor.submit(work.fail, "too bad").result(30)
        assert "fail" in [entry.name for entry in caught.traceback]
        assert list(executor.map(work.double, range(10), timeout=30)) == list(range(0, 20, 2))


def test_what_cannot_be_sent_shows_in_the_future() -> None:
    with ProcessPoolExecutor(1) as executor:
        with pytest.raises(NotSendable, match=r"args\[0\]"):
            executor.submit(work.echo, threading.Lock()).result(30)
        with pytest.raises(TypeError, match="without calling it"):
            executor.submit(5).result(30)  # type: ignore[arg-type]
        assert executor.submit(work.double, 1).result(30) == 2


def test_nothing_starts_before_the_first_call() -> None:
    executor = ProcessPoolExecutor(1)
    assert not engine_threads()
    executor.shutdown()
    assert not engine_threads()


def test_threads_may_submit_at_once() -> None:
    results: dict[int, list[int]] = {}
    with ProcessPoolExecutor(2) as executor:

        def many(start: int) -> None:
            futures = [executor.submit(work.double, n) for n in range(start, start + 100)]
            results[start] = [future.result(30) for future in futures]

        threads = [threading.Thread(target=many, args=(start,)) for start in range(0, 800, 100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(engine_threads()) == 1
    assert results == {start: [n * 2 for n in range(start, start + 100)] for start in range(0, 800, 100)}


def test_an_event_loop_may_use_it() -> None:
    async def main() -> None:
        with ProcessPoolExecutor(2) as executor:
            loop = asyncio.get_running_loop()
            calls = [loop.run_in_executor(executor, work.double, n) for n in range(50)]
            assert await asyncio.gather(*calls) == [n * 2 for n in range(50)]

    asyncio.run(main())


def test_it_works_inside_a_worker() -> None:
    def inside() -> int:
        with ProcessPoolExecutor(1) as executor:
            return executor.submit(work.double, 4).result(30)

    with ProcessPoolExecutor(1) as executor:
        assert executor.submit(inside).result(30) == 8


def test_a_thread_that_cannot_be_had_is_the_caller_s_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with ProcessPoolExecutor(1) as executor:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                executor.submit(work.double, 1)
        assert executor.submit(work.double, 1).result(30) == 2


def test_registered_context_variables_travel() -> None:
    with ProcessPoolExecutor(1) as executor:

        def read(value: str) -> list[str]:
            carried.request_id.set(value)
            read = [executor.submit(carried.read), executor.submit(carried.co_read)]
            mapped = executor.map(lambda _: carried.read(), range(4), chunksize=2)
            return [*(future.result(30) for future in read), *mapped]

        for value in ("r1", "r2"):
            assert contextvars.copy_context().run(read, value) == [value] * 6


@pytest.mark.leaves_processes  # the standard library's resource tracker stays for good
def test_proxies_of_a_manager_work_in_workers() -> None:
    def put(queue: Any, n: int) -> None:
        queue.put(n)

    with multiprocessing.get_context("spawn").Manager() as manager, ProcessPoolExecutor(2) as executor:
        queue = manager.Queue()
        for future in [executor.submit(put, queue, n) for n in range(10)]:
            future.result(30)
        assert sorted(queue.get(timeout=30) for _ in range(10)) == list(range(10))


# The states of a future


def test_running_is_what_a_worker_has(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    with ProcessPoolExecutor(1) as executor:
        first = executor.submit(work.wait_for_file, str(gate), str(begun))
        waiting = executor.submit(work.double, 1)
        wait_until(begun.exists)
        assert first.running() and not first.done()
        assert not waiting.running() and not waiting.done()
        gate.touch()
        assert first.result(30) == str(gate)
        assert waiting.result(30) == 2
        assert not first.running() and first.done()


def test_cancelling_a_running_call_stops_it(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    with ProcessPoolExecutor(1, interrupt_grace=30) as executor:
        pid = executor.submit(os.getpid).result(30)
        future = executor.submit(work.note_and_wait, str(begun), str(ended))
        told = threading.Event()
        future.add_done_callback(lambda _: told.set())
        wait_until(begun.exists)
        assert future.cancel()
        assert future.cancelled() and not future.running() and told.is_set()
        assert future.cancel(), "once more changes nothing"
        done, _ = concurrent.futures.wait([future], 0)
        assert done == {future}, "those who wait for it are told"
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(30)
        wait_until(ended.exists)
        assert executor.submit(os.getpid).result(30) == pid, "interrupting needs no new worker"


def test_cancelling_a_waiting_call_keeps_it_from_starting(tmp_path: Path) -> None:
    gate, begun, trace = tmp_path / "gate", tmp_path / "begun", tmp_path / "trace"
    with ProcessPoolExecutor(1) as executor:
        first = executor.submit(work.wait_for_file, str(gate), str(begun))
        waiting = [executor.submit(work.touch, str(trace)) for _ in range(10)]
        wait_until(begun.exists)
        assert all(future.cancel() for future in waiting)
        gate.touch()
        assert first.result(30) == str(gate)
    assert not trace.exists()


def test_cancels_at_any_moment_leave_every_future_settled() -> None:
    with ProcessPoolExecutor(2) as executor:
        for _ in range(20):
            futures = [executor.submit(work.double, n) for n in range(100)]
            cancelled = [future.cancel() for future in futures[::3]]
            pending = concurrent.futures.wait(futures, 30).not_done
            assert not pending
            assert [future.cancelled() for future in futures[::3]] == cancelled
            assert [f.result() for n, f in enumerate(futures) if n % 3] == [
                n * 2 for n in range(100) if n % 3
            ]


def test_waiting_in_a_callback_is_refused() -> None:
    said: list[str] = []
    with ProcessPoolExecutor(1) as executor:
        gate = threading.Event()

        def on_done(_: object) -> None:
            try:
                executor.submit(work.double, 1).result(30)
            except RuntimeError as exc:
                said.append(str(exc))
            gate.set()

        executor.submit(work.double, 1).add_done_callback(on_done)
        assert gate.wait(30)
    assert "would stop the event loop" in said[0] and "wait in another thread" in said[0]


# Deaths


@pytest.mark.parametrize("how", ["SIGKILL", "segfault", "exit"])
def test_a_death_hurts_one_call(how: str) -> None:
    with ProcessPoolExecutor(2) as executor:
        beside = [executor.submit(work.double, n) for n in range(50)]
        victim = executor.submit(work.die, how)
        after = [executor.submit(work.double, n) for n in range(50)]
        with pytest.raises(BrokenProcessPool, match=r"work\.die was lost") as caught:
            victim.result(30)
        assert isinstance(caught.value, WorkerCrashed)
        assert [future.result(30) for future in beside + after] == [n * 2 for n in range(50)] * 2


def test_our_errors_are_those_that_code_for_the_standard_executors_expects() -> None:
    for error in (WorkerCrashed, WorkerStartError, InitializerFailed):
        assert issubclass(error, BrokenProcessPool) and issubclass(error, HybridrtError)
    error = WorkerStartError(11, "no more processes")
    assert (error.errno, error.strerror) == (11, "no more processes")


def test_a_worker_is_replaced_after_its_calls() -> None:
    with ProcessPoolExecutor(1, max_tasks_per_child=3) as executor:
        pids = [executor.submit(os.getpid).result(30) for _ in range(7)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


# Shutdown


def test_shutdown_waits_for_all_that_was_accepted(tmp_path: Path) -> None:
    executor = ProcessPoolExecutor(2)
    futures = [executor.submit(work.append, str(tmp_path / "ledger"), str(n)) for n in range(100)]
    executor.shutdown()
    assert all(future.done() for future in futures) and not engine_threads()
    assert sorted(map(int, (tmp_path / "ledger").read_text().split())) == list(range(100))
    for call in (partial(executor.submit, abs, 1), partial(executor.map, abs, [1])):
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            call()
    executor.shutdown()


def test_shutdown_without_waiting_lets_the_work_end(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    executor = ProcessPoolExecutor(1)
    running = executor.submit(work.wait_for_file, str(gate), str(begun))
    waiting = [executor.submit(work.double, n) for n in range(5)]
    wait_until(begun.exists)
    executor.shutdown(wait=False)
    assert not running.done()
    gate.touch()
    assert [future.result(30) for future in waiting] == [0, 2, 4, 6, 8]
    assert running.result(30) == str(gate)
    executor.shutdown()
    assert not engine_threads()


def test_cancel_futures_cancels_what_no_worker_has(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    executor = ProcessPoolExecutor(1)
    running = executor.submit(work.wait_for_file, str(gate), str(begun))
    waiting = [executor.submit(work.double, n) for n in range(50)]
    wait_until(begun.exists)
    executor.shutdown(wait=False, cancel_futures=True)
    wait_until(lambda: all(future.cancelled() for future in waiting))
    assert not running.cancelled()
    gate.touch()
    executor.shutdown()
    assert running.result() == str(gate)


def test_shutdown_in_a_callback_does_not_wait_for_itself() -> None:
    executor = ProcessPoolExecutor(1)
    done = threading.Event()

    def on_done(_: object) -> None:
        executor.shutdown()
        done.set()

    executor.submit(work.double, 1).add_done_callback(on_done)
    assert done.wait(30)
    executor.shutdown()


def test_a_shutdown_between_many_submits_forgets_no_call() -> None:
    for _ in range(10):
        executor = ProcessPoolExecutor(1)
        executor.submit(work.double, 0).result(30)
        futures: list[concurrent.futures.Future[int]] = []
        has_begun = threading.Event()

        def submit_until_refused(
            executor: ProcessPoolExecutor = executor,
            futures: list[concurrent.futures.Future[int]] = futures,
            has_begun: threading.Event = has_begun,
        ) -> None:
            while True:
                try:
                    futures.append(executor.submit(work.double, len(futures)))
                except RuntimeError:
                    return
                has_begun.set()

        thread = threading.Thread(target=submit_until_refused)
        thread.start()
        assert has_begun.wait(30)
        executor.shutdown()
        thread.join()
        assert [future.result(0) for future in futures] == [n * 2 for n in range(len(futures))]


def test_one_that_is_dropped_ends_its_work_and_leaves(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    executor = ProcessPoolExecutor(1)
    running = executor.submit(work.wait_for_file, str(gate), str(begun))
    results = executor.map(work.double, range(5))
    watched = weakref.ref(executor)
    wait_until(begun.exists)
    del executor
    gc.collect()
    assert watched() is None and engine_threads()
    gate.touch()
    assert running.result(30) == str(gate)
    assert list(results) == [0, 2, 4, 6, 8]
    wait_until(lambda: not engine_threads())


def test_one_that_is_dropped_goes_on_for_its_buffered_map() -> None:
    results = ProcessPoolExecutor(1).map(work.double, range(10), buffersize=2)
    gc.collect()
    assert list(results) == list(range(0, 20, 2))
    del results
    gc.collect()
    wait_until(lambda: not engine_threads())


def test_one_that_is_dropped_while_its_worker_is_killed_leaves(tmp_path: Path) -> None:
    for n in range(5):
        executor = ProcessPoolExecutor(1)
        pid = executor.submit(os.getpid).result(30)
        begun = tmp_path / f"begun{n}"
        future = executor.submit(work.note_and_wait, str(begun), str(tmp_path / "ended"))
        wait_until(begun.exists)
        os.kill(pid, signal.SIGKILL)
        del executor
        with pytest.raises(WorkerCrashed):
            future.result(30)
        wait_until(lambda: not engine_threads())


# The interpreter's exit


def test_at_exit_all_that_was_submitted_is_run_first() -> None:
    done = run_script("""
import hybridrt, time, work
def slow(n):
    time.sleep(0.05)
    print(n, flush=True)
executor = hybridrt.ProcessPoolExecutor(1)
for n in range(5):
    executor.submit(slow, n)
dropped = hybridrt.ProcessPoolExecutor(1)
dropped.submit(slow, "dropped")
del dropped
unwaited = hybridrt.ProcessPoolExecutor(1)
unwaited.submit(slow, "unwaited")
unwaited.shutdown(wait=False)
idle = hybridrt.ProcessPoolExecutor(1)
idle.submit(abs, 1).result()
""")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == ["0", "1", "2", "3", "4", "dropped", "unwaited"]


def test_a_call_after_the_exit_has_begun_is_refused() -> None:
    done = run_script("""
import atexit
@atexit.register
def last():
    for executor in (used, fresh):
        try:
            executor.submit(abs, 1)
        except RuntimeError as exc:
            print(exc)
import hybridrt
used = hybridrt.ProcessPoolExecutor(1)
used.submit(abs, 1).result()
fresh = hybridrt.ProcessPoolExecutor(1)
""")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["cannot schedule new futures after interpreter shutdown"] * 2


@pytest.mark.parametrize("kill", ["worker", "zygote", "both"])
def test_an_exit_after_a_kill_does_not_hang(kill: str) -> None:
    done = run_script(
        """
import hybridrt, os, signal, sys, time
executor = hybridrt.ProcessPoolExecutor(2)
worker, zygote = executor.submit(lambda: (os.getpid(), os.getppid())).result()
futures = [executor.submit(time.sleep, 0.1) for _ in range(4)]
while not futures[1].running():
    pass
for name in ("zygote", "worker"):
    if sys.argv[1] in (name, "both"):
        os.kill(globals()[name], signal.SIGKILL)
futures[0].add_done_callback(lambda f: print("told"))
""",
        kill,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "told\n", "")


def test_ctrl_c_during_the_exit_stops_the_work(tmp_path: Path) -> None:
    done = run_script(
        """
import hybridrt, os, signal, sys, threading, work
def interrupt_when_exiting():
    while True:
        frame = sys._current_frames()[threading.main_thread().ident]
        while frame is not None:
            if frame.f_code.co_name == "join" and frame.f_back.f_code.co_name == "begin":
                os.kill(os.getpid(), signal.SIGINT)
                return
            frame = frame.f_back
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
executor = hybridrt.ProcessPoolExecutor(1)
begun, ended = sys.argv[1:]
executor.submit(work.note_and_wait, begun, ended)
while not os.path.exists(begun):
    pass
threading.Thread(target=interrupt_when_exiting, daemon=True).start()
""",
        str(tmp_path / "begun"),
        str(tmp_path / "ended"),
    )
    assert "KeyboardInterrupt" in done.stderr and done.returncode == 0
    assert done.stdout == ""


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import hybridrt\nprint('top level')\ndef double(x):\n    return x * 2\n"
        "print(list(hybridrt.ProcessPoolExecutor(2).map(double, range(3))))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"PYTHONPATH": str(HERE.parent)},
    )
    assert (done.stdout, done.stderr) == ("top level\n[0, 2, 4]\n", "")


# A fork of the program


def test_a_forked_child_is_told_and_the_parent_goes_on() -> None:
    done = run_script("""
import hybridrt, os, warnings, work
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks with threads: that is what this is about
executor = hybridrt.ProcessPoolExecutor(1)
fresh = hybridrt.ProcessPoolExecutor(1)
executor.submit(abs, 1).result()
pending = executor.submit(work.wait_for_file, "/no/such/file")
while not pending.running():
    pass
pid = os.fork()
if pid == 0:
    for call in (lambda: executor.submit(abs, 1), pending.result, pending.exception):
        try:
            call()
        except RuntimeError as exc:
            assert "belongs to the process that this one was forked from; make a new one here" in str(exc), exc
        else:
            raise AssertionError
    executor.shutdown()
    assert fresh.submit(work.double, 2).result(30) == 4, "one that had not begun works here"
    print("child done", flush=True)
    raise SystemExit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
assert pending.cancel()
assert executor.submit(work.double, 4).result(30) == 8
print("parent done")
""")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["child done", "parent done"]


# The initializer


def note_worker(folder: str, text: str = "") -> None:
    global _noted
    _noted = text
    work.append(f"{folder}/ledger", str(os.getpid()))


def noted() -> tuple[int, str]:
    return os.getpid(), _noted


def ledger(folder: Path) -> list[int]:
    return list(map(int, (folder / "ledger").read_text().split()))


def test_the_initializer_runs_once_in_each_worker_before_its_first_call(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, initializer=note_worker, initargs=(str(tmp_path), "hello")) as executor:
        seen = [executor.submit(noted) for _ in range(40)]
        assert {future.result(30)[1] for future in seen} == {"hello"}
        assert executor.submit(work.co_double, 2).result(30) == 4
        with pytest.raises(WorkerCrashed):
            executor.submit(work.die, "SIGKILL").result(30)
        pids = {future.result()[0] for future in seen} | {executor.submit(noted).result(30)[0]}
        assert executor.submit(noted).result(30)[1] == "hello"
    assert len(ledger(tmp_path)) == len(set(ledger(tmp_path)))
    assert pids <= set(ledger(tmp_path))


def test_a_new_worker_after_max_tasks_is_initialized_too(tmp_path: Path) -> None:
    with ProcessPoolExecutor(
        1, initializer=note_worker, initargs=(str(tmp_path),), max_tasks_per_child=2
    ) as executor:
        pids = [executor.submit(os.getpid).result(30) for _ in range(5)]
    assert list(dict.fromkeys(pids)) == ledger(tmp_path)[:3]


def test_a_call_is_pending_while_the_initializer_runs_and_its_cancel_kills_nobody(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"

    def slow() -> None:
        work.append(str(tmp_path / "ledger"), str(os.getpid()))
        work.wait_for_file(str(gate), str(begun))

    with ProcessPoolExecutor(1, initializer=slow, interrupt_grace=0, process_idle=0.01) as executor:
        futures = [executor.submit(work.double, n) for n in range(10)]
        wait_until(begun.exists)
        assert not any(future.running() for future in futures)
        assert all(future.cancel() for future in futures[:9])
        engine: Any = executor._engine
        wait_until(lambda: engine._lane.stats().waiting == 1)  # the loop has heard of it
        gate.touch()
        assert futures[9].result(30) == 18
    assert len(ledger(tmp_path)) == 1


def test_in_a_script_the_calls_see_the_globals_that_the_initializer_set() -> None:
    done = run_script("""
import hybridrt

model = None
settings = {}
factor = 1

def double(x):
    return x * 2

def initialize(name):
    global model, unborn
    model = unborn = name
    settings["name"] = name

class Predictor:
    def predict(self):
        return model

def predict(x):
    return model, settings["name"], unborn, double(x) * factor, Predictor().predict()

def count_down(n):
    return [model] + count_down(n - 1) if n else []

with hybridrt.ProcessPoolExecutor(1, initializer=initialize, initargs=("m",)) as executor:
    for factor in range(1, 6):  # what the initializer does not touch comes with each call
        assert executor.submit(predict, 5).result() == ("m", "m", "m", 10 * factor, "m")
    assert executor.submit(count_down, 3).result() == ["m"] * 3
    assert list(executor.map(predict, [1, 2], chunksize=2)) == [("m", "m", "m", n, "m") for n in (10, 20)]
    assert executor.submit(lambda: model).result() == "m"
    assert executor.submit(lambda: __name__).result() == "__main__"
with hybridrt.ProcessPoolExecutor(1) as executor:
    for factor in range(3):
        assert executor.submit(lambda: (model, factor, double(2))).result() == (None, factor, 4)
assert (model, settings) == (None, {})
""")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_initializer_that_raises_says_so_once_and_ends_the_executor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        work.append(str(tmp_path / "ledger"), str(os.getpid()))
        raise LookupError("no model")

    with ProcessPoolExecutor(2, initializer=broken) as executor:
        futures = [executor.submit(work.double, n) for n in range(20)]
        for future in futures:
            with pytest.raises(
                InitializerFailed, match=r"broken raised an exception.*make a new executor"
            ) as caught:
                future.result(30)
            assert isinstance(caught.value.__cause__, LookupError) and caught.value.__cause__.args == (
                "no model",
            )
        for call in (partial(executor.submit, abs, 1), partial(executor.map, abs, [1])):
            with pytest.raises(InitializerFailed, match="broken raised an exception"):
                call()
    assert 1 <= len(ledger(tmp_path)) <= 2, "no worker is started for calls that nobody can serve"
    critical = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert [record.name for record in critical] == ["concurrent.futures"]
    assert "LookupError: no model" in caplog.text and "in broken" in caplog.text


def test_what_runs_when_another_worker_s_initializer_fails_goes_on(tmp_path: Path) -> None:
    gate, begun, flag = tmp_path / "gate", tmp_path / "begun", tmp_path / "flag"

    def second_time_unlucky() -> None:
        if flag.exists():
            raise LookupError("no more licences")
        flag.touch()

    with ProcessPoolExecutor(2, initializer=second_time_unlucky) as executor:
        running = executor.submit(work.wait_for_file, str(gate), str(begun))
        wait_until(begun.exists)
        with pytest.raises(InitializerFailed):
            executor.submit(work.double, 1).result(30)
        gate.touch()
        assert running.result(30) == str(gate)


@pytest.mark.parametrize("how", ["exit", "SIGKILL", "clean exit"])
def test_an_initializer_that_kills_its_workers_ends_the_executor(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def deadly() -> None:
        work.append(str(tmp_path / "ledger"), str(os.getpid()))
        os._exit(0) if how == "clean exit" else work.die(how)

    with ProcessPoolExecutor(1, initializer=deadly) as executor:
        futures = [executor.submit(work.double, n) for n in range(5)]
        for future in futures:
            with pytest.raises(InitializerFailed, match="5 worker processes in a row died while it ran"):
                future.result(30)
        with pytest.raises(BrokenProcessPool):
            executor.submit(abs, 1)
    assert len(ledger(tmp_path)) == 5
    assert caplog.text.count("CRITICAL") == 1


def test_idle_workers_killed_from_outside_are_not_the_initializer_s_fault(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with ProcessPoolExecutor(6, initializer=work.wait_for_file, initargs=(str(gate),)) as executor:
        futures = [executor.submit(work.double, n) for n in range(6)]
        engine: Any = executor._engine
        wait_until(lambda: len(engine._lane.workers()) == 6)
        for future in futures:
            future.cancel()
        pids = [worker.pid for worker in engine._lane.workers()]
        gate.touch()
        wait_until(lambda: not engine._lane._workforce._setup.under_way)  # ready, and none has begun a call
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not engine._lane.workers())
        assert executor.submit(work.double, 2).result(30) == 4


def test_an_initializer_that_leaves_by_sys_exit_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    with ProcessPoolExecutor(1, initializer=sys.exit, initargs=(3,)) as executor:
        with pytest.raises(InitializerFailed) as caught:
            executor.submit(abs, 1).result(30)
        assert isinstance(caught.value.__cause__, HybridrtError)
        assert "sys.exit(3)" in str(caught.value.__cause__)


def test_an_initializer_that_cannot_be_sent_is_the_caller_s_error() -> None:
    executor = ProcessPoolExecutor(1, initializer=work.echo, initargs=(threading.Lock(),))
    with pytest.raises(NotSendable, match=r"work\.echo cannot be sent.*args\[0\].*_thread\.lock"):
        executor.submit(abs, 1)
    assert not engine_threads()
