"""The loop's process is the last to starve or be killed: workers and what they start are nicer and likelier victims."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hybridrt import Runtime
from hybridrt._engine.conditions import Conditions

OOM_SCORE_ADJ = Path("/proc/self/oom_score_adj")
pytestmark = pytest.mark.skipif(not OOM_SCORE_ADJ.exists(), reason="this system has no oom_score_adj")
LOOK = "import os; print(os.nice(0), open('/proc/self/oom_score_adj').read().strip())"


def place_of(pid: int | str = "self") -> tuple[int, int]:
    """Niceness and oom_score_adj of a process."""
    nice = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16])
    return nice, int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def place_of_a_grandchild() -> tuple[int, int]:
    told = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True).stdout
    nice, score = told.split()
    return int(nice), int(score)


async def test_workers_and_their_children_stand_behind_the_loop_s_process() -> None:
    nice, score = place_of()
    async with Runtime(processes=1) as rt:
        worker = (min(19, nice + 4), min(1000, score + 500))
        assert await rt.to_process(place_of) == worker
        assert await rt.to_process(place_of_a_grandchild) == worker
        zygote = await rt.to_process(os.getppid)
        assert place_of(zygote) == (nice, score), "it has to be quick when our process dies"
    assert place_of() == (nice, score)


@pytest.mark.parametrize("by", [0, 1, 1000])
async def test_by_as_much_as_is_set(by: int) -> None:
    _, score = place_of()
    async with Runtime(processes=1, oom_score_adj=by, nice=0) as rt:
        assert (await rt.to_process(place_of))[1] == min(1000, score + by)


async def test_a_runtime_in_a_worker_goes_on_from_there_up_to_the_most() -> None:
    _, score = place_of()

    async def nested() -> tuple[int, int]:
        from hybridrt import Runtime

        async with Runtime(processes=1, oom_score_adj=700) as rt:
            return await rt.to_process(place_of)

    async with Runtime(processes=1) as rt:
        assert (await rt.to_process(nested))[1] == min(1000, score + 1200)


def test_a_system_that_has_no_such_file_or_forbids_it_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hybridrt._engine.conditions._OOM_SCORE_ADJ", str(tmp_path / "none"))
    assert Conditions(oom_score_adj=500).take_on() is None
    other = tmp_path / "other"
    other.write_text("what is this")
    monkeypatch.setattr("hybridrt._engine.conditions._OOM_SCORE_ADJ", str(other))
    assert Conditions(oom_score_adj=500).take_on() is None
    assert other.read_text() == "what is this"
