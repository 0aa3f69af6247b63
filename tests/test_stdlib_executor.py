"""The standard library's own executor tests pass on our executors, but for those listed here, each with its reason."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PATIENCE = 150.0

try:
    HAS_THEM = importlib.util.find_spec("test.test_concurrent_futures.util") is not None
except ImportError:
    HAS_THEM = False
pytestmark = [
    pytest.mark.skipif(
        not HAS_THEM,
        reason="this interpreter comes without the standard library's tests (test.test_concurrent_futures), "
        "or with those of a version before 3.12, which are one file and not made to be run on other executors",
    ),
    pytest.mark.timeout(PATIENCE + 20),
    pytest.mark.leaves_processes,  # their modules run beside one another, and end while another's turn is taken
]

BY_INHERITANCE = (
    "multiprocessing's locks and queues travel by inheritance only, and our workers inherit nothing"
)
SERVICE_GOES_ON = "wants the whole pool to break; ours fails this one call with its own error, and goes on"
EXITS = "wants SystemExit as itself, which would stop the service that waits for it; ours is a TaskExited of that cause"
LONG = "mostly waits (their resource 'walltime'); tests/test_mapping.py has a time limit without the time"
NO_INITIALIZER = "a runtime's threads have no initializer"
NO_SCRIPT = "is a script that makes its executor itself; rt.threads needs a runtime around it"
INSIDE = "asks for the inside of the standard class"

# module -> test -> why it cannot pass on ours. One that passes all the same, or is gone, is found.
FAIL = {
    "test_process_pool": {
        "HybridrtProcessPoolExecutorTest.test_killed_child": SERVICE_GOES_ON,
        "HybridrtProcessPoolExecutorTest.test_map_timeout": LONG,
        "HybridrtProcessPoolExecutorTest.test_max_workers_too_large": "is for Windows",
        "HybridrtProcessPoolExecutorTest.test_max_tasks_per_child_defaults_to_spawn_context": f"{INSIDE} (_mp_context)",
        "HybridrtProcessPoolExecutorTest.test_python_finalization_error": "wants a second helper thread that cannot be "
        "started to break the pool; ours has one thread, and then runs their call, which lacks an argument",
        "HybridrtProcessPoolExecutorTest.test_saturation": BY_INHERITANCE,
        "HybridrtProcessPoolExecutorTest.test_traceback": f"{INSIDE} (a _RemoteTraceback as the cause); ours has the "
        "worker's frames in its traceback",
    },
    "test_init": {
        "HybridrtThreadsInitializerMixin.test_initializer": NO_INITIALIZER,
        "HybridrtThreadsFailingInitializerMixin.test_initializer": NO_INITIALIZER,
    },
    "test_shutdown": {
        "HybridrtProcessPoolShutdownTest.test_processes_terminate": BY_INHERITANCE,
        "HybridrtThreadsExecutorShutdownTest.test_hang_gh83386": NO_SCRIPT,
        "HybridrtThreadsExecutorShutdownTest.test_interpreter_shutdown": NO_SCRIPT,
        "HybridrtThreadsExecutorShutdownTest.test_submit_after_interpreter_shutdown": NO_SCRIPT,
    },
    "test_wait": {
        "HybridrtWaitTests.test_first_exception": LONG,
        "HybridrtThreadsWaitTests.test_first_exception": LONG,
    },
    "test_as_completed": {},
    "test_deadlock": {
        "HybridrtExecutorDeadlockTest.test_error_at_task_unpickle": SERVICE_GOES_ON,
        "HybridrtExecutorDeadlockTest.test_error_during_result_unpickle_in_result_handler": SERVICE_GOES_ON,
        "HybridrtExecutorDeadlockTest.test_exit_at_task_unpickle": SERVICE_GOES_ON,
        "HybridrtExecutorDeadlockTest.test_exit_during_func_exec_on_worker": EXITS,
        "HybridrtExecutorDeadlockTest.test_exit_during_result_pickle_on_worker": EXITS,
        "HybridrtExecutorDeadlockTest.test_exit_during_result_unpickle_in_result_handler": SERVICE_GOES_ON,
    },
    "test_thread_pool": {
        "HybridrtThreadsExecutorTest.test_default_workers": f"{INSIDE} (_max_workers)",
        "HybridrtThreadsExecutorTest.test_idle_thread_reuse": f"{INSIDE} (_threads)",
        "HybridrtThreadsExecutorTest.test_map_timeout": LONG,
    },
    "test_future": {
        "FutureTests.test_multiple_set_exception": "reads 'Future at' in a message, where ours says 'LaneFuture at'",
        "FutureTests.test_multiple_set_result": "reads 'Future at' in a message, where ours says 'LaneFuture at'",
    },
}
# The same, for tests that would hang or come out differently from time to time: not run at all.
NOT_RUN = {
    "test_shutdown": {
        "HybridrtThreadsExecutorShutdownTest.test_cancel_futures": "wants at least one of the calls to have begun; "
        "threads of a runtime start a turn of its loop later, so all may be cancelled",
    },
    "test_thread_pool": {
        "HybridrtThreadsExecutorTest.test_saturation": f"{INSIDE} (_threads), with all threads blocked",
        "HybridrtThreadsExecutorTest.test_hang_global_shutdown_lock": "is about a lock in the standard module, with "
        "standard executors only",
    },
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """All their modules at once, each in a process of its own: they mostly sleep."""
    folder = tmp_path_factory.mktemp("stdlib")
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)])}
    started = {}
    for module in FAIL:
        with (folder / f"{module}.log").open("wb") as log:
            started[module] = subprocess.Popen(
                [
                    sys.executable,
                    str(HERE / "stdlib_suites.py"),
                    module,
                    str(folder / f"{module}.json"),
                    *NOT_RUN.get(module, ()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environ,
            )
    yield started
    for process in started.values():
        process.kill()
        process.wait()


@pytest.mark.parametrize("module", FAIL)
def test_their_tests_pass_but_for_those_listed(module: str, runs: dict[str, subprocess.Popen[bytes]]) -> None:
    process = runs[module]
    code = process.wait(PATIENCE)
    assert isinstance(process.args, list)
    outcomes_file = Path(process.args[3])
    assert code == 0, outcomes_file.with_suffix(".log").read_text()
    outcomes: dict[str, str] = json.loads(outcomes_file.read_text())
    listed = FAIL[module] | NOT_RUN.get(module, {})
    wrong = [f"{name}: {said}" for name, said in outcomes.items() if said != "passed" and name not in listed]
    assert not wrong, "\n".join(wrong)
    needless = [name for name in FAIL[module] if outcomes.get(name) == "passed"]
    assert not needless, "these pass: take them off the list"
    if sys.version_info[:2] == (3, 13):  # the version the list was made with
        assert listed.keys() <= outcomes.keys(), "these are gone: take them off the list"
    assert "passed" in outcomes.values()
