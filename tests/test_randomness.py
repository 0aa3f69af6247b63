"""Each worker draws random numbers of its own, unless the user's code has seeded the generator on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from hybridrt import Runtime


async def drawn(rt: Runtime) -> float:
    number: float = await rt.to_process(eval, "__import__('numpy').random.random()")
    return number


async def test_workers_with_numpy_preloaded_draw_different_numbers() -> None:
    async with Runtime(processes=1, max_tasks_per_worker=1, preload=("numpy.random",)) as rt:
        assert len({await drawn(rt) for _ in range(3)}) == 3


async def test_a_seed_that_a_preloaded_module_has_set_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seeded_on_purpose.py").write_text("import numpy; numpy.random.seed(7)")
    monkeypatch.syspath_prepend(str(tmp_path))
    async with Runtime(processes=1, max_tasks_per_worker=1, preload=("seeded_on_purpose",)) as rt:
        assert len({await drawn(rt) for _ in range(3)}) == 1


async def test_a_module_of_that_name_that_is_not_numpy_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pretends.py").write_text("import sys; sys.modules['numpy.random'] = 7")
    monkeypatch.syspath_prepend(str(tmp_path))
    async with Runtime(processes=1, preload=("pretends",)) as rt:
        assert await rt.to_process(abs, -3) == 3
