"""A worker's own memory is what it took since its birth: leaks count, what is preloaded or shared does not."""

from __future__ import annotations

import builtins
import errno
import mmap
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import FREE_THREADED

from hybridrt import Runtime
from hybridrt._engine.memory import OwnMemory, allocator_variables, is_shortage

MB = 1 << 20
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only a peak is known")


def keep(name: str, value: object) -> None:
    setattr(builtins, f"kept_{name}", value)


def meter() -> int:
    """What this worker has of its own; the meter is made by the first call, as at a birth."""
    if not hasattr(builtins, "kept_meter"):
        keep("meter", OwnMemory())
    return int(builtins.kept_meter.read())  # type: ignore[attr-defined]


def leak(megabytes: int) -> int:
    keep("leak", b"x" * (megabytes * MB))
    return meter()


def write_all_preloaded() -> int:
    import big_and_preloaded  # type: ignore[import-not-found]

    big_and_preloaded.BLOB[:] = b"y" * len(big_and_preloaded.BLOB)
    assert sum(map(len, big_and_preloaded.OBJECTS)) > 0
    return meter()


def map_shared(megabytes: int) -> int:
    fd = os.memfd_create("shared")
    os.ftruncate(fd, megabytes * MB)
    shared = mmap.mmap(fd, megabytes * MB)
    os.close(fd)
    shared[:] = b"x" * len(shared)
    keep("shared", shared)
    return meter()


def forget() -> int:
    keep("leak", None)
    return meter()


@pytest.mark.skipif(
    FREE_THREADED, reason="its allocator keeps what was freed for a while: the meter counts that"
)
async def test_leaks_count_and_what_is_shared_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "big_and_preloaded.py").write_text(
        f"BLOB = bytearray(b'x' * {40 * MB})\nOBJECTS = [str(i) * 3 for i in range(200_000)]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    async with Runtime(processes=1, preload=("big_and_preloaded",)) as rt:
        assert await rt.to_process(meter) < 2 * MB
        assert await rt.to_process(map_shared, 30) < 3 * MB
        leaked = await rt.to_process(leak, 50)
        assert 50 * MB <= leaked < 54 * MB
        assert await rt.to_process(forget) < 5 * MB
        # The bytes that it writes with are its own for a moment; that the pages become its own is not counted.
        assert await rt.to_process(write_all_preloaded) < 5 * MB


def test_a_call_that_takes_the_descriptor_away_harms_itself_alone(tmp_path: Path) -> None:
    own = OwnMemory()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    os.write(other, b"what is this?")
    os.dup2(other, own._fd)
    os.close(other)
    assert own.read() == 0
    os.close(own._fd)
    assert own.read() == 0


def test_without_proc_the_growth_of_the_peak_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> int:
        raise FileNotFoundError(errno.ENOENT, "no /proc here")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        own = OwnMemory()
    assert own.read() < 20 * MB
    peak = own._at_birth
    monkeypatch.setattr("hybridrt._engine.memory._peak", lambda: peak + 60 * MB)
    assert own.read() == 60 * MB


@pytest.mark.parametrize(
    ("exc", "is_one"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOENT, "No such file"), False),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("dictionary changed size during iteration"), False),
        (ImportError("x.so: failed to map segment from shared object: Cannot allocate memory"), True),
        (ImportError("x.so: failed to map segment from shared object"), True),
        (ImportError("no module"), False),
        (ImportError(), False),
        (ValueError(), False),
    ],
)
def test_what_says_that_memory_was_short(exc: Exception, is_one: bool) -> None:
    assert is_shortage(exc) is is_one


def cap_in_a_child(code: str) -> int:
    """Exit code of a fresh process that ran ``code`` with ``cap`` of 50 MB; 0 where it ran through."""
    script = f"""
import os
from hybridrt._engine.memory import MemoryCap, allocator_variables
MB = {MB}
try:
    exec({code!r}, {{"cap": MemoryCap(50 * MB), "MB": MB}})
except MemoryError:
    os._exit(7)
os._exit(0)
"""
    environ = os.environ | allocator_variables()
    return subprocess.run([sys.executable, "-c", script], timeout=30, check=False, env=environ).returncode


@pytest.mark.parametrize(
    ("code", "exitcode"),
    [
        ("b = bytearray(40 * MB)", 0),
        ("b = bytearray(60 * MB)", 7),
        ("cap.lift(); b = bytearray(60 * MB)", 0),
        ("cap.lift(); cap.hold(); b = bytearray(60 * MB)", 7),
        pytest.param(
            "cap.lift(); b = bytearray(60 * MB); cap.hold(); c = bytearray(5 * MB)",
            7,
            marks=pytest.mark.skipif(
                FREE_THREADED, reason="it has 5 MB in the 32 MB that it has taken already"
            ),
        ),
        ("cap.lift(); b = bytearray(60 * MB); cap.hold(); del b; c = bytearray(5 * MB)", 0),
        # Files and shared memory are not what a worker has of its own.
        ("import mmap, sys; m = mmap.mmap(-1, 200 * MB); m[:MB] = bytes(MB)", 0),
    ],
)
def test_beyond_the_limit_there_is_no_memory(code: str, exitcode: int) -> None:
    assert cap_in_a_child(code) == exitcode


def test_a_narrower_limit_of_the_system_stays() -> None:
    narrow = "import resource as r; r.setrlimit(r.RLIMIT_DATA, (100 * MB, r.getrlimit(r.RLIMIT_DATA)[1]));"
    again = "type(cap)(10_000 * MB)"
    assert cap_in_a_child(f"cap.lift(); {narrow} cap = {again}; b = bytearray(200 * MB)") == 7
    assert cap_in_a_child(f"cap.lift(); {narrow} cap = {again}; cap.lift(); b = bytearray(200 * MB)") == 7
