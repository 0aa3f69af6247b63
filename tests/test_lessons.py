"""What calls had to import, later workers have at once; what must not be shared, each imports as before."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from helpers import until
from installed import IN_A_PROBE, install

from hybridrt import Runtime, WorkerCrashed
from hybridrt._core.learning import INSISTENT

HAS = "__import__('sys').modules.keys() & {'lib_a', 'lib_b', 'lib_bad'}"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(install(tmp_path, lib_a="", lib_b=""))
    return tmp_path


@pytest_asyncio.fixture
async def rt(site: Path) -> AsyncIterator[Runtime]:
    """Each call has a worker of its own."""
    async with Runtime(processes=1, max_tasks_per_worker=1) as rt:
        yield rt


async def needs(rt: Runtime, *names: str) -> None:
    """So many workers import these that it is not left to the clock whether that was dear, or may be done now."""
    for _ in range(INSISTENT):
        await rt.to_process(exec, f"import {','.join(names)}", {})


def learned(rt: Runtime) -> set[str]:
    return set(rt.stats().processes.learned)


async def until_learned(rt: Runtime, *names: str) -> None:
    """There have to be workers: where nobody works, nobody learns."""
    async with a_call(rt):
        await until(lambda: learned(rt) >= set(names))


@asynccontextmanager
async def a_call(rt: Runtime) -> AsyncIterator[None]:
    """One that runs for as long as this is open."""
    job = rt.options(lane="process").submit(signal.pause)
    yield
    job.cancel()


async def has(rt: Runtime) -> Any:
    return await rt.to_process(eval, HAS)


async def test_what_workers_had_to_import_the_next_has_at_once(rt: Runtime) -> None:
    assert await has(rt) == set()
    await needs(rt, "lib_a", "lib_b")
    assert rt.stats().processes.learned == ()
    await until_learned(rt, "lib_a", "lib_b")
    assert await has(rt) == {"lib_a", "lib_b"}


async def test_a_bad_one_is_left_to_each_worker_and_the_others_are_learned(rt: Runtime, site: Path) -> None:
    install(
        site, lib_bad="import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    await needs(rt, "lib_bad", "lib_a")
    await until_learned(rt, "lib_a")
    assert learned(rt) == {"lib_a"}
    assert await has(rt) == {"lib_a"}
    assert await rt.to_process(eval, "__import__('lib_bad').__name__") == "lib_bad"


@pytest.mark.parametrize("end", ["os._exit(1)", "os.kill(os.getpid(), 9)", "1 / 0", "sys.exit()"])
async def test_what_ends_the_probe_harms_nobody(rt: Runtime, site: Path, end: str) -> None:
    install(site, lib_bad=f"import os, sys\nif {IN_A_PROBE}: {end}")
    zygote = await rt.to_process(os.getppid)
    await needs(rt, "lib_bad", "lib_a")
    await until_learned(rt, "lib_a")
    assert await has(rt) == {"lib_a"}
    assert await rt.to_process(eval, "__import__('lib_bad').__name__") == "lib_bad"
    assert await rt.to_process(os.getppid) == zygote


async def test_a_projects_own_modules_are_not_learned(rt: Runtime, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "my_module.py").write_text("import lib_a")
    monkeypatch.syspath_prepend(str(tmp_path))
    await needs(rt, "my_module")
    await until_learned(rt, "lib_a")
    assert await rt.to_process(eval, "'my_module' in __import__('sys').modules") is False


async def test_what_an_import_raises_and_warns_stays_as_it_was(rt: Runtime, site: Path) -> None:
    install(site, lib_warns="import warnings; warnings.warn('lib_warns is old', UserWarning)")
    for _ in range(INSISTENT):
        with pytest.warns(UserWarning, match="lib_warns is old"):
            await rt.to_process(exec, "import lib_warns, lib_a", {})
    await until_learned(rt, "lib_a")
    with pytest.warns(UserWarning, match="lib_warns is old"):
        await rt.to_process(exec, "import lib_warns", {})
    assert learned(rt) == {"lib_a"}


async def test_nothing_is_learned_where_that_is_turned_off(site: Path) -> None:
    async with Runtime(processes=1, learn_preload=False) as rt:
        await rt.to_process(exec, "import lib_a", {})
        conditions = await rt.to_process(
            eval, "__import__('hybridrt._engine.desk', fromlist=['Desk']).Desk.here.modules_known"
        )
        assert conditions == sys.maxsize


async def test_a_new_zygote_is_taught_what_the_last_one_knew(rt: Runtime) -> None:
    await needs(rt, "lib_a", "lib_b")
    await until_learned(rt, "lib_a", "lib_b")
    os.kill(await rt.to_process(os.getppid), signal.SIGKILL)
    await until(lambda: learned(rt) == set())
    await until_learned(rt, "lib_a", "lib_b")
    assert await has(rt) == {"lib_a", "lib_b"}


async def test_a_zygote_that_a_lesson_kills_is_replaced_and_not_taught_that_again(
    rt: Runtime, site: Path
) -> None:
    # Clean in a probe, deadly where it is imported for good: nobody is to die of that twice.
    marker = site / "seen"
    code = f"import os\nif {IN_A_PROBE}: open({str(marker)!r}, 'w').close()\n"
    code += f"elif os.path.exists({str(marker)!r}): os._exit(3)"
    install(site, lib_bad=code)
    await needs(rt, "lib_bad", "lib_a")
    zygote = await rt.to_process(os.getppid)
    async with a_call(rt):
        await until(marker.exists)
        await until(lambda: not Path(f"/proc/{zygote}").exists())
    marker.unlink()
    await needs(rt, "lib_bad", "lib_b")
    await until_learned(rt, "lib_b")
    assert learned(rt) == {"lib_b"}
    assert await has(rt) == {"lib_b"}


async def test_leaving_does_not_wait_for_a_probe_that_hangs(site: Path) -> None:
    begun = site / "begun"
    code = f"import os, signal\nif {IN_A_PROBE}:\n    open({str(begun)!r}, 'w').close()\n    signal.pause()"
    install(site, lib_bad=code)
    async with Runtime(processes=1, max_tasks_per_worker=1) as rt:
        await needs(rt, "lib_bad")
        async with a_call(rt):
            await until(begun.exists)
        assert await rt.to_process(abs, -3) == 3


async def test_a_call_that_kills_its_worker_during_a_lesson_hurts_only_itself(rt: Runtime) -> None:
    await needs(rt, "lib_a", "lib_b")
    with pytest.raises(WorkerCrashed):
        await rt.to_process(os.kill, 0, signal.SIGKILL)  # its process group, which is its own
    await until_learned(rt, "lib_a", "lib_b")


async def test_workers_draw_different_random_numbers_from_a_learned_numpy(site: Path) -> None:
    async with Runtime(processes=1, max_tasks_per_worker=1) as rt:
        await needs(rt, "numpy.random", "random")
        await until_learned(rt, "numpy")
        drawn = {await rt.to_process(eval, "__import__('numpy').random.random()") for _ in range(3)}
        drawn |= {await rt.to_process(eval, "__import__('random').random()") for _ in range(3)}
        assert len(drawn) == 6
