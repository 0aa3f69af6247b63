"""An import that is bad where the zygote would learn it: no call feels it, and the other modules are learned."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from helpers import until
from installed import IN_A_PROBE, install
from scene import LIMIT, Scene, a_scene

from hybridrt._core.learning import INSISTENT

BAD = {
    "raises": "1 / 0",
    "raises a BaseException": "class Odd(BaseException): pass\nraise Odd",
    "exits": "raise SystemExit(3)",
    "interrupts": "raise KeyboardInterrupt",
    "ends": "os._exit(0)",
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "crashes": "signal.raise_signal(signal.SIGSEGV)",
    "takes all memory": "resource.setrlimit(resource.RLIMIT_DATA, (1, 1)); held = bytearray(1 << 30)",
    "starts a thread": "threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "waits for a thread at its end": "threading.Thread(target=threading.Event().wait).start()",
    "forks": "pid = os.fork()\nif pid == 0: signal.pause()",
    "starts a program": "subprocess.Popen(['sleep', '1000'])",
    "sets itself apart": "os.setsid(); subprocess.Popen(['sleep', '1000'])",
    "opens a socket": "sock = socket.socket()",
    "listens": "sock = socket.socket(); sock.bind(('127.0.0.1', 0)); sock.listen()",
    "closes every descriptor": "os.closerange(0, 1000)",
    "is deaf": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "prints": "print('hello')",
    "prints without end": "os.write(1, b'x' * 10_000_000)",
    "kills each fork": "os.register_at_fork(after_in_child=lambda: os._exit(9))",
}
NEEDED_BY_ALL = "import os, resource, signal, socket, subprocess, threading\n"


@asynccontextmanager
async def a_learning_scene(folder: Path, bad: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """Its workers have needed ``lib_bad``, which is bad in probes only, and ``lib_good``."""
    code = NEEDED_BY_ALL + f"if {IN_A_PROBE}:\n    " + bad.replace("\n", "\n    ")
    monkeypatch.syspath_prepend(install(folder, lib_bad=code, lib_good=""))
    async with a_scene(max_tasks_per_worker=1, shutdown_grace=0.1) as scene:
        for _ in range(INSISTENT):
            await scene.rt.to_process(exec, "import lib_bad, lib_good", {})
        yield scene


# What happens here happens in the zygote, whatever the loop is.
@pytest.mark.asyncio(loop_factories=["asyncio"])
@pytest.mark.parametrize("how", BAD)
async def test_a_bad_import_is_left_to_the_workers(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async with a_learning_scene(tmp_path, BAD[how], monkeypatch) as scene:
        async with scene.good_calls(is_ordered=False), asyncio.timeout(LIMIT):
            await until(lambda: "lib_good" in scene.rt.stats().processes.learned)
        assert "lib_bad" not in scene.rt.stats().processes.learned
        assert await scene.rt.to_process(eval, "__import__('lib_bad').__name__") == "lib_bad"
        await scene.is_sound()
        assert scene.crashed == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("how", ["signal.pause()", "while True: pass"])
async def test_an_import_that_hangs_holds_up_nobody(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = tmp_path / "begun"
    async with a_learning_scene(tmp_path, f"open({str(begun)!r}, 'w').close()\n{how}", monkeypatch) as scene:
        async with scene.good_calls(is_ordered=False):
            await until(begun.exists)
        await scene.is_sound()
        assert scene.rt.stats().processes.learned == ()
        assert scene.crashed == 0
