"""A probe finds out what an import would do to other processes; whatever it does, the zygote goes on."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from by_hand import ORDINARY, PATIENCE, Worker, Zygote, is_gone, is_readable
from installed import install

from hybridrt._engine import wire
from hybridrt._engine.blackbox import BlackBox
from hybridrt._engine.conditions import Conditions


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


def verdict(zygote: Zygote, *names: str, seconds: float = PATIENCE) -> tuple[int, str]:
    zygote.tell("probe", names, seconds)
    message, _ = zygote.hear("probed")
    return message[1], message[2]


THREAD_IN_EACH_FORK = """
import os, threading
def start(): threading.Thread(target=threading.Event().wait, daemon=True).start()
os.register_at_fork(after_in_child=start)
"""
BAD = {
    "raises": ("1 / 0", "raises ZeroDivisionError"),
    "exits": ("raise SystemExit", "raises SystemExit"),
    "is interrupted": ("raise KeyboardInterrupt", "raises KeyboardInterrupt"),
    "raises what is nobody's": ("class Odd(BaseException): pass\nraise Odd", "raises Odd"),
    "dies": ("import os; os._exit(3)", "ends its process with 3"),
    "crashes": ("import os, signal; signal.raise_signal(signal.SIGSEGV)", "ends its process with -11"),
    "leaves a thread": (
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "starts a thread",
    ),
    "forks": ("import os\nif os.fork() == 0: os._exit(0)", "forks"),
    "runs a program": ("import subprocess; subprocess.run(['true'])", "starts a program"),
    "runs a shell": ("import os; os.system('true')", "starts a program"),
    "becomes another": ("import os; os.execv('/bin/true', ['true'])", "becomes another program"),
    "opens a file": ("log = open('/dev/zero')", "changes descriptors"),
    "opens a pipe": ("import os; ends = os.pipe()", "changes descriptors"),
    "opens a socket": ("import socket; sock = socket.socket()", "changes descriptors"),
    "connects": ("import socket; socket.socket().connect(('127.0.0.1', 1))", "talks to the network"),
    "closes all": ("import os; os.closerange(3, 100)", "ends its process with 0"),
    "handles a signal": (
        "import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
        "changes signal handlers",
    ),
    "kills": ("import os; os.kill(os.getppid(), 9)", "sends a signal"),
    "sets a variable": ("import os; os.environ['LIB'] = '1'", "changes the environment"),
    "goes elsewhere": ("import os; os.chdir('/usr')", "changes the folder"),
    "changes the path": ("import sys; sys.path.append('/usr')", "changes sys.path"),
    "hooks": ("import sys; sys.excepthook = print", "changes hooks"),
    "recurses": ("import sys; sys.setrecursionlimit(5000)", "changes the recursion limit"),
    "prints": ("print('hello')", "prints, logs or warns"),
    "writes": ("import os; os.write(2, b'hello')", "prints, logs or warns"),
    "warns": ("import warnings; warnings.warn('old')", "prints, logs or warns"),
    "logs": ("import logging; logging.getLogger('lib').error('bad')", "prints, logs or warns"),
    "draws": ("import random; generator = random.Random()", "draws random numbers"),
    "draws bytes": ("import os; salt = os.urandom(8)", "draws random numbers"),
    "draws a token": ("from secrets import token_hex; key = token_hex()", "draws random numbers"),
    "draws an id": ("import uuid; here = uuid.uuid4()", "draws random numbers"),
    "kills each fork": (
        "import os; os.register_at_fork(after_in_child=lambda: os._exit(9))",
        "makes a mess of each process that is forked",
    ),
    "starts a thread in each fork": (THREAD_IN_EACH_FORK, "makes a mess of each process that is forked"),
    "asks who it is": ("from os import getpid; me = getpid()", "asks for its process id"),
}


@pytest.mark.parametrize("how", BAD)
def test_what_others_would_feel_is_refused(zygote: Zygote, tmp_path: Path, how: str) -> None:
    code, why = BAD[how]
    site = install(tmp_path, lib_good="", lib_bad=code)
    zygote.tell("path", [site, *sys.path])
    assert verdict(zygote, "lib_good", "lib_bad", "wave") == (1, why)
    worker = zygote.fork()
    assert worker.call(1, eval, "'lib_good' in __import__('sys').modules").result() is False
    worker.close()


GOOD = {
    "nothing": "",
    "closes what it opens": "import os\nwith open(os.__file__) as file: file.read()",
    "is seeded": "import random; generator = random.Random(7)",
    "belongs to Python": "import asyncio, multiprocessing, logging, random, secrets, ssl, uuid, tempfile",
    "keeps nothing open": "import socket\nwith socket.socket() as sock: sock.bind(('127.0.0.1', 0))",
    "is ctypes' library": "import os\nheld = open(os.path.join(os.path.dirname(__file__), 'libffi.so.8.1.0'), 'w')",
    "forks well": "import os; os.register_at_fork(before=int, after_in_child=int)",
    "warns nobody": "import warnings; warnings.simplefilter('ignore'); warnings.warn('old')",
}


@pytest.mark.parametrize("how", GOOD)
def test_what_nobody_feels_is_clean(zygote: Zygote, tmp_path: Path, how: str) -> None:
    zygote.tell("path", [install(tmp_path, lib_good=GOOD[how]), *sys.path])
    assert verdict(zygote, "lib_good") == (0, "")


def test_what_brings_code_of_a_project_is_refused(zygote: Zygote, tmp_path: Path) -> None:
    (tmp_path / "my_plugin.py").write_text("")
    zygote.tell("path", [install(tmp_path, lib_host="import my_plugin"), str(tmp_path), *sys.path])
    assert verdict(zygote, "lib_host") == (0, "brings my_plugin, which is not installed")


def test_numpy_is_clean_with_its_random_numbers_and_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    zygote = Zygote()
    try:
        assert verdict(zygote, "numpy", "numpy.random") == (0, "")
    finally:
        zygote.close()


def test_what_no_worker_could_import_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIMALLOC_ARENA_RESERVE", "0")  # as a runtime does where there is no GIL
    zygote = Zygote()
    zygote.tell("conditions", Conditions(memory_limit=64_000_000))
    zygote.tell("path", [install(tmp_path, lib_large="held = bytearray(200_000_000)"), *sys.path])
    found = verdict(zygote, "colorsys", "lib_large")
    zygote.close()
    assert found == (1, "raises MemoryError")


def test_a_module_that_is_not_there_is_refused(zygote: Zygote) -> None:
    assert verdict(zygote, "colorsys", "no_such_module") == (1, "raises ModuleNotFoundError")


def test_one_that_hangs_is_killed_with_what_it_has_started(zygote: Zygote, tmp_path: Path) -> None:
    zygote.tell("path", [install(tmp_path, lib_hangs="import signal\nwhile True: signal.pause()"), *sys.path])
    seconds, at = 0.1, 0
    while at == 0 and seconds < PATIENCE:  # a busy machine may still be at colorsys
        at, why = verdict(zygote, "colorsys", "lib_hangs", seconds=seconds)
        assert why == "does not come to an end"
        assert children(zygote) == []
        seconds *= 4
    assert at == 1


def test_forks_go_on_while_a_probe_hangs_and_it_goes_with_the_zygote(tmp_path: Path) -> None:
    zygote = Zygote()
    whistle = tmp_path / "whistle"
    os.mkfifo(whistle)
    site = install(tmp_path, lib_hangs=f"open({str(whistle)!r}).read()")
    zygote.tell("path", [site, *sys.path])
    zygote.tell("probe", ("lib_hangs",), PATIENCE)
    with open(whistle, "w"):  # opens when the probe is in the middle of its import
        worker = zygote.fork()
        assert worker.call(1, abs, -3).result() == 3
        (probe,) = set(children(zygote)) - {worker.pid}
        assert zygote.close() == 0
        assert is_gone(probe)
        worker.close()


def test_there_is_no_probe_where_no_process_can_be_had() -> None:
    refuses = "import os\ndef refuse(): raise BlockingIOError(11, 'none')\nos.fork = refuse\n"
    zygote = Zygote(boot=refuses + ORDINARY)
    zygote.tell("probe", ("colorsys",), PATIENCE)
    assert zygote.hear("not probed")[0] == ("not probed",)
    zygote.close()


def children(zygote: Zygote) -> list[int]:
    pid = zygote.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# what comes before and after a probe


def told(worker: Worker) -> Any:
    answer = worker.answer()
    assert answer.kind == wire.NEEDED
    return pickle.loads(answer.payload)


def test_a_worker_tells_after_its_answer_what_a_call_has_imported(zygote: Zygote) -> None:
    zygote.tell("conditions", Conditions(tells_needs=True))
    worker = zygote.fork()
    assert worker.call(1, exec, "import colorsys, wave").result() is None
    assert {"colorsys", "wave"} <= set(told(worker))
    assert worker.call(2, exec, "import colorsys, wave").result() is None
    assert worker.call(3, abs, -1).result() == 1  # nothing was told in between
    worker.close()


def test_it_tells_also_what_a_call_that_fails_has_imported(zygote: Zygote) -> None:
    zygote.tell("conditions", Conditions(tells_needs=True))
    worker = zygote.fork()
    assert isinstance(worker.call(1, exec, "import colorsys; 1 / 0").error(), ZeroDivisionError)
    assert "colorsys" in told(worker)
    worker.close()


def test_a_worker_that_is_not_asked_tells_nothing(zygote: Zygote) -> None:
    worker = zygote.fork()
    assert worker.call(1, exec, "import colorsys, wave").result() is None
    assert worker.call(2, abs, -1).result() == 1
    worker.close()


def test_a_worker_whose_call_has_made_a_mess_of_the_modules_goes_on(zygote: Zygote) -> None:
    zygote.tell("conditions", Conditions(tells_needs=True))
    worker = zygote.fork()
    code = "import sys; sys.modules[7] = 7"
    assert worker.call(1, exec, code).result() is None
    assert worker.call(2, exec, "import colorsys").result() is None
    assert worker.call(3, abs, -1).result() == 1
    worker.close()


def test_what_was_learned_is_there_in_every_worker_to_come(zygote: Zygote, tmp_path: Path) -> None:
    zygote.tell("path", [install(tmp_path, lib_bad="1 / 0"), *sys.path])
    zygote.tell("learn", ("colorsys", "lib_bad", "wave"), PATIENCE)
    assert zygote.hear("learned")[0] == ("learned",)
    worker = zygote.fork()
    assert worker.call(1, eval, "{'colorsys', 'wave'} <= set(__import__('sys').modules)").result() is True
    assert isinstance(worker.call(2, exec, "import lib_bad").error(), ZeroDivisionError)
    worker.close()


def test_a_fork_waits_for_no_more_than_one_module(zygote: Zygote, tmp_path: Path) -> None:
    gates = [tmp_path / name for name in ("first", "second")]
    for gate in gates:
        os.mkfifo(gate)
    site = install(
        tmp_path, lib_first=f"open({str(gates[0])!r}).read()", lib_second=f"open({str(gates[1])!r}).read()"
    )
    zygote.tell("path", [site, *sys.path])
    zygote.tell("learn", ("lib_first", "lib_second"), PATIENCE)
    ours, far = socket.socketpair()
    tokens = os.pipe()
    box = BlackBox()
    with open(gates[0], "w"):  # opens when the first one has begun
        zygote.tell("fork", 41, fds=(far.fileno(), tokens[0], box.fd))
    _, (pidfd,) = zygote.hear("forked")  # the second one has not ended
    with open(gates[1], "w"):
        pass
    assert zygote.hear("learned")[0] == ("learned",)
    ours.close()
    far.close()
    assert is_readable(pidfd)
    for fd in (*tokens, pidfd):
        os.close(fd)
    box.close()


def test_a_zygote_that_hangs_in_a_lesson_ends(tmp_path: Path) -> None:
    zygote = Zygote()
    zygote.tell("path", [install(tmp_path, lib_hangs="import signal\nwhile True: signal.pause()"), *sys.path])
    zygote.tell("learn", ("lib_hangs",), 0.05)
    assert zygote.process.wait(PATIENCE) == -signal.SIGALRM
    zygote.close()


def test_a_worker_keeps_what_signals_were_before_a_lesson(zygote: Zygote) -> None:
    zygote.tell("learn", ("colorsys",), PATIENCE)
    worker = zygote.fork()
    code = "signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)"
    result = worker.call(1, eval, code, {"signal": signal}).result()
    assert result == (signal.SIG_DFL, (0.0, 0.0))
    worker.close()
