"""The CPU budget is what the user says, else the least of the machine, the affinity mask and every cgroup above us."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from hybridrt._core.budget import CpuBudget, cpu_budget
from hybridrt._core.cgroups import read_text

V2 = "25 22 0:21 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "31 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
MEMORY_V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def budget(
    files: Mapping[str, str] | None = None,
    *,
    online: int | None = 16,
    affinity: int | None = None,
    environ: Mapping[str, str] | None = None,
    xoption: str | bool = "",
    shared_by: int = 1,
) -> CpuBudget:
    return cpu_budget(
        shared_by=shared_by,
        environ=environ or {},
        xoption=xoption,
        read=(files or {}).get,
        count_online=lambda: online,
        count_affinity=lambda: affinity,
    )


def v2(path: str, **quotas: str) -> dict[str, str]:
    """A made-up v2 tree: `cpu.max` by folder, `__` in the name standing for a slash."""
    files = {"/proc/self/cgroup": f"0::{path}\n", "/proc/self/mountinfo": V2}
    for folder, text in quotas.items():
        files["/".join(["/sys/fs/cgroup", *filter(None, folder.split("__")), "cpu.max"])] = f"{text}\n"
    return files


def v1(path: str, root: str = "/", **quotas: tuple[int, int]) -> dict[str, str]:
    files = {
        "/proc/self/cgroup": f"9:memory:/elsewhere\n4:cpuacct,cpu:{path}\n1:name=systemd:{path}\n",
        "/proc/self/mountinfo": MEMORY_V1 + V1.replace(" / ", f" {root} ", 1),
    }
    for folder, (quota, period) in quotas.items():
        at = "/".join(["/sys/fs/cgroup/cpu,cpuacct", *filter(None, folder.split("__"))])
        files |= {f"{at}/cpu.cfs_quota_us": f"{quota}\n", f"{at}/cpu.cfs_period_us": f"{period}\n"}
    return files


def test_a_bare_machine_gives_all_its_cpus() -> None:
    assert budget() == CpuBudget(16, "the machine has 16 CPUs", 16, None, None, None)


def test_a_machine_that_cannot_count_gives_one() -> None:
    assert budget(online=None).cpus == 1
    assert budget(online=None).reason == "the machine has 1 CPU"


def test_the_affinity_mask_limits() -> None:
    found = budget(affinity=3)
    assert (found.cpus, found.affinity) == (3, 3)
    assert found.reason == "the affinity mask allows 3 of 16 CPUs"
    assert budget(affinity=16).reason == "the machine has 16 CPUs"


@pytest.mark.parametrize(
    ("text", "cpus", "quota"),
    [
        ("200000 100000", 2, 2.0),
        ("250000 100000", 3, 2.5),
        ("50000 100000", 1, 0.5),
        ("1000 100000", 1, 0.01),
        ("3000000 1000000", 3, 3.0),
        ("300000", 3, 3.0),
        ("max 100000", 16, None),
        ("max", 16, None),
        ("", 16, None),
        ("0 100000", 16, None),
        ("100000 0", 16, None),
        ("-1 100000", 16, None),
        ("lots 100000", 16, None),
    ],
)
def test_a_v2_quota_is_rounded_up_and_nonsense_is_no_limit(text: str, cpus: int, quota: float | None) -> None:
    found = budget(v2("/app", app=text))
    assert (found.cpus, found.quota) == (cpus, quota)


def test_the_reason_names_the_file() -> None:
    found = budget(v2("/app", app="250000 100000"), affinity=8)
    assert found.reason == "the cgroup's quota is 2.5 CPUs (/sys/fs/cgroup/app/cpu.max)"


def test_the_least_v2_quota_on_the_way_up_counts() -> None:
    nested = {"kube": "max 100000", "kube__pod": "150000 100000", "kube__pod__box": "400000 100000"}
    found = budget(v2("/kube/pod/box", **nested))
    assert (found.cpus, found.quota) == (2, 1.5)
    assert "/sys/fs/cgroup/kube/pod/cpu.max" in found.reason


def test_the_mount_point_itself_counts_and_a_neighbour_does_not() -> None:
    assert budget(v2("/", **{"": "300000 100000"})).cpus == 3
    assert budget(v2("/app", app2="100000 100000", application="100000 100000")).cpus == 16


@pytest.mark.parametrize("path", ["/../other", "/..", "/not/below/the/root"])
def test_a_group_that_is_not_mounted_falls_back_to_what_is(path: str) -> None:
    files = v2(path, **{"": "200000 100000"})
    if ".." not in path:
        files["/proc/self/mountinfo"] = V2.replace(" / ", " /docker/abc ", 1)
    assert budget(files).cpus == 2


def test_a_v1_quota_counts_and_so_do_those_above_it() -> None:
    assert budget(v1("/a/b", a__b=(350000, 100000))).cpus == 4
    assert budget(v1("/a/b", a__b=(350000, 100000), a=(100000, 50000))).cpus == 2
    assert budget(v1("/a/b", a__b=(-1, 100000))).quota is None


def test_a_v1_container_sees_its_group_at_the_mount_point() -> None:
    found = budget(v1("/docker/abc/sub", root="/docker/abc", sub=(-1, 100000), **{"": (200000, 100000)}))
    assert (found.cpus, found.quota) == (2, 2.0)


def test_v1_and_v2_side_by_side_give_the_least() -> None:
    files = v1("/a", a=(400000, 100000))
    files["/proc/self/cgroup"] += "0::/u\n"
    files["/proc/self/mountinfo"] += V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    files["/sys/fs/cgroup/unified/u/cpu.max"] = "300000 100000"
    assert budget(files).cpus == 3


def test_a_mount_point_may_hold_spaces_and_optional_fields() -> None:
    files = v2("/app")
    files["/proc/self/mountinfo"] = (
        "not a line\n\n30 1 0:26 / /my\\040cgroups\\134v2 rw shared:9 master:1 - cgroup2 none rw\n"
    )
    files["/my cgroups\\v2/app/cpu.max"] = "200000 100000"
    assert budget(files).cpus == 2


def test_without_mountinfo_the_usual_places_are_tried() -> None:
    files = v2("/app", app="200000 100000")
    del files["/proc/self/mountinfo"]
    assert budget(files).cpus == 2
    files = v1("/a", a=(300000, 100000))
    del files["/proc/self/mountinfo"]
    assert budget(files).cpus == 3


def test_a_quota_above_the_affinity_mask_decides_nothing() -> None:
    found = budget(v2("/app", app="800000 100000"), affinity=2)
    assert (found.cpus, found.quota) == (2, 8.0)
    assert "affinity" in found.reason


@pytest.mark.parametrize(
    ("environ", "xoption", "cpus", "reason"),
    [
        ({"HYBRIDRT_CPU_COUNT": "5"}, "", 5, "HYBRIDRT_CPU_COUNT says so"),
        ({"HYBRIDRT_CPU_COUNT": " 5 ", "PYTHON_CPU_COUNT": "6"}, "7", 5, "HYBRIDRT_CPU_COUNT says so"),
        ({"PYTHON_CPU_COUNT": "6"}, "7", 7, "-X cpu_count says so"),
        ({"PYTHON_CPU_COUNT": "6"}, "", 6, "PYTHON_CPU_COUNT says so"),
        ({"HYBRIDRT_CPU_COUNT": "64"}, "", 64, "HYBRIDRT_CPU_COUNT says so"),
    ],
)
def test_the_users_word_wins(environ: dict[str, str], xoption: str, cpus: int, reason: str) -> None:
    found = budget(v2("/app", app="100000 100000"), affinity=2, environ=environ, xoption=xoption, shared_by=4)
    assert (found.cpus, found.override, found.reason) == (cpus, cpus, reason)
    assert (found.online, found.affinity, found.quota) == (16, 2, 1.0)


@pytest.mark.parametrize(
    ("environ", "xoption"),
    [
        ({"PYTHON_CPU_COUNT": "default"}, ""),
        ({"PYTHON_CPU_COUNT": "lots"}, ""),
        ({"PYTHON_CPU_COUNT": "0"}, ""),
        ({"PYTHON_CPU_COUNT": "9"}, "default"),
        ({"HYBRIDRT_CPU_COUNT": ""}, True),
    ],
)
def test_what_says_nothing_overrides_nothing(environ: dict[str, str], xoption: str | bool) -> None:
    found = budget(environ=environ, xoption=xoption)
    assert (found.cpus, found.override) == (16, None)


@pytest.mark.parametrize("text", ["0", "-2", "2.5", "many", "0x4"])
def test_nonsense_in_our_own_variable_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match="HYBRIDRT_CPU_COUNT must be a whole number of CPUs, at least 1"
    ) as info:
        budget(environ={"HYBRIDRT_CPU_COUNT": text})
    assert "unset it" in str(info.value)


def test_processes_that_share_the_cpus_get_an_equal_part_and_at_least_one() -> None:
    assert budget(shared_by=4).cpus == 4
    assert budget(shared_by=4).reason == "the machine has 16 CPUs, shared by 4 processes"
    assert budget(shared_by=3).cpus == 5
    assert budget(shared_by=100).cpus == 1
    with pytest.raises(ValueError, match="must be at least 1"):
        budget(shared_by=0)


def test_on_this_machine_the_budget_is_possible() -> None:
    found = cpu_budget(environ={})
    assert 1 <= found.cpus <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks here")
def test_a_real_affinity_mask_is_seen() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from hybridrt._core.budget import cpu_budget\n"
        "found = cpu_budget(environ={}); assert (found.cpus, found.affinity) == (1, 1), found"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr


def test_a_file_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_bytes(b"max \xff\n")
    assert read_text(str(tmp_path / "cpu.max")) == "max \udcff\n"
    assert read_text(str(tmp_path / "none")) is None
    assert read_text(str(tmp_path)) is None
    assert read_text("a\0b") is None
