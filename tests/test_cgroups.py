"""Our groups are found nearest first, in both versions, in containers, and where /proc says little."""

from __future__ import annotations

from pathlib import Path

from hybridrt._core.cgroups import folders, read_text

V2 = "25 22 0:21 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
CPU_V1 = "31 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
MEMORY_V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def found(controller: str, cgroup: str, mountinfo: str | None) -> list[tuple[str, bool]]:
    files = {"/proc/self/cgroup": cgroup}
    if mountinfo is not None:
        files["/proc/self/mountinfo"] = mountinfo
    return list(folders(files.get, controller))


def test_in_v1_each_controller_has_its_own_place() -> None:
    cgroup = "9:memory:/a/b\n4:cpuacct,cpu:/c\n"
    assert found("memory", cgroup, CPU_V1 + MEMORY_V1) == [
        ("/sys/fs/cgroup/memory/a/b", False),
        ("/sys/fs/cgroup/memory/a", False),
        ("/sys/fs/cgroup/memory", False),
    ]
    assert found("cpu", cgroup, CPU_V1 + MEMORY_V1) == [
        ("/sys/fs/cgroup/cpu,cpuacct/c", False),
        ("/sys/fs/cgroup/cpu,cpuacct", False),
    ]


def test_in_v2_they_share_one() -> None:
    for controller in ("cpu", "memory"):
        assert found(controller, "0::/user.slice/x\n", V2) == [
            ("/sys/fs/cgroup/user.slice/x", True),
            ("/sys/fs/cgroup/user.slice", True),
            ("/sys/fs/cgroup", True),
        ]


def test_a_container_sees_its_own_group_at_the_mount() -> None:
    bound = MEMORY_V1.replace(" / ", " /docker/1f ", 1)
    assert found("memory", "9:memory:/docker/1f/mine\n", bound) == [
        ("/sys/fs/cgroup/memory/mine", False),
        ("/sys/fs/cgroup/memory", False),
    ]
    assert found("memory", "9:memory:/elsewhere\n", bound) == [("/sys/fs/cgroup/memory", False)]


def test_without_mountinfo_the_usual_places_are_looked_at() -> None:
    assert found("memory", "9:memory:/x\n0::/\n", None) == [
        ("/sys/fs/cgroup/memory/x", False),
        ("/sys/fs/cgroup/memory", False),
        ("/sys/fs/cgroup", True),
    ]


def test_a_file_is_read_whole_and_a_missing_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(b"x" * 200_000 + b"\xff")
    assert read_text(str(path)) == "x" * 200_000 + "\udcff"
    assert read_text(str(tmp_path / "none")) is None
    assert read_text(str(tmp_path)) is None
    assert read_text("nul\0") is None
