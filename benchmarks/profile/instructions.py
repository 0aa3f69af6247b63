"""Instructions and allocations, by callgrind: exact counts, the same on a busy machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

from ..measurements.memory import descendants
from ..traced import MEETING, Order, by_birth

_SECONDS = 600.0
_NAME = re.compile(r"\((\d+)\)(?: (.*))?")
_WITHOUT_PIDFD = """
import os

# valgrind does not know this system call before 3.20, and without it Python code falls back on others.
vars(os).pop("pidfd_open", None)
"""
ALLOCATIONS = {
    "_PyObject_Malloc": "objects and other small blocks (pymalloc)",
    "_PyObject_Calloc": "objects and other small blocks (pymalloc)",
    "_PyObject_Realloc": "blocks made larger or smaller",
    "malloc": "blocks from the C library",
    "calloc": "blocks from the C library",
    "realloc": "blocks made larger or smaller",
}
"""C functions whose calls are counted, and the words for them."""


@dataclass(slots=True)
class Instructions:
    """Of one process."""

    by_library: Counter[str] = field(default_factory=Counter)
    by_function: Counter[str] = field(default_factory=Counter)
    """Those spent in a function itself; "function (library)"."""
    allocations: Counter[str] = field(default_factory=Counter)
    """By the words of ``ALLOCATIONS``."""


def missing() -> str | None:
    """Why nothing can be counted, or None."""
    return (
        None
        if shutil.which("valgrind")
        else "valgrind is not installed (Debian, Ubuntu: apt-get install valgrind)"
    )


def count(order: Order) -> dict[int, Instructions]:
    """By process id, in the order in which they began; the first is the one that makes the calls."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sitecustomize.py").write_text(_WITHOUT_PIDFD)
        os.mkfifo(f"{folder}/go")
        paths = (folder, str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", ""))
        with (
            open(f"{folder}/stderr", "w+") as stderr,
            subprocess.Popen(
                [
                    *("valgrind", "--tool=callgrind", "--trace-children=yes"),
                    *(f"--callgrind-out-file={folder}/out.%p", f"--log-file={folder}/log.%p"),
                    *order.command(),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                # The same hashes each time, or dicts collide differently and the difference of two runs shows that.
                env=os.environ
                | {
                    "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                    "PYTHONHASHSEED": "0",
                    MEETING: folder,
                },
            ) as process,
        ):
            try:
                _wait_done(process, folder)
                asked = {
                    pid: _profile_so_far(pid, folder) for pid in (process.pid, *descendants(process.pid))
                }
                found = {pid: text for pid, text in asked.items() if text}
                Path(folder, "go").write_text("")
                process.wait(_SECONDS)
            except BaseException:
                process.kill()
                raise
            if process.returncode:
                stderr.seek(0)
                last_words = " / ".join(stderr.read().strip().splitlines()[-3:])
                raise RuntimeError(f"under callgrind it ended with {process.returncode}: {last_words}")
        return {pid: read(found[pid]) for pid in by_birth(found, process.pid)}


def _wait_done(process: subprocess.Popen[bytes], folder: str) -> None:
    """Until all calls are done."""
    end = monotonic() + _SECONDS
    while not Path(folder, "done").exists():
        if process.poll() is not None or monotonic() > end:
            last_words = Path(folder, "stderr").read_text().strip().splitlines()[-3:]
            raise RuntimeError(
                f"under callgrind the calls did not come to their end: {' / '.join(last_words)}"
            )
        sleep(0.05)


def _profile_so_far(pid: int, folder: str) -> str:
    """Asked for while the process runs: a worker may be killed at its end, while it still writes.

    "" where it has just gone, as what was only probed for a moment does.
    """
    subprocess.run(
        ["callgrind_control", "--dump", str(pid)],  # noqa: S607  # wherever the user has it
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )
    dump = Path(folder, f"out.{pid}.1")
    if not dump.exists() and Path(f"/proc/{pid}/stat").exists() and not _is_zombie(pid):
        raise RuntimeError(f"callgrind has not dumped what process {pid} did")
    return dump.read_text() if dump.exists() else ""


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def read(profile: str) -> Instructions:
    """From a file in callgrind's format (https://valgrind.org/docs/manual/cl-format.html)."""
    found = Instructions()
    libraries: dict[str, str] = {}
    functions: dict[str, str] = {}
    library = function = called = ""
    is_inclusive = False
    for line in profile.splitlines():
        key, equals, value = line.partition("=")
        if equals and key == "ob":
            library = _library(_unpacked(libraries, value))
        elif equals and key == "cob":
            _unpacked(libraries, value)
        elif equals and key == "fn":
            function = _unpacked(functions, value)
        elif equals and key == "cfn":
            called = _unpacked(functions, value)
        elif equals and key == "calls":
            is_inclusive = True  # the next line has what the called function spent, which it has itself, too
            words = ALLOCATIONS.get(called)
            # `malloc` inside of the C library's own start-up tables is the same function: counted as it is.
            if words is not None:
                found.allocations[words] += int(value.split()[0])
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            spent = int(line.split()[1])
            if not is_inclusive:
                found.by_library[library] += spent
                found.by_function[f"{function} ({library})"] += spent
            is_inclusive = False
    return found


def _unpacked(names: dict[str, str], value: str) -> str:
    """``(7) name`` where a name comes first, ``(7)`` afterwards; ``'2`` at its end is a level of recursion."""
    match = _NAME.match(value)
    if match is None:
        return value
    number, name = match.groups()
    if name is not None:
        names[number] = re.sub(r"'\d+$", "", name)
    return names[number]


def _library(path: str) -> str:
    """Its file's name without version and platform; with its package's, where it is part of one."""
    if path == "???":
        return "code made at run time"
    name = re.split(r"[.-]", Path(path).name)[0]
    return f"{Path(path).parent.name}.{name}" if "site-packages" in path else name
