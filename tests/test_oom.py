"""A worker killed for want of memory is told from one that was merely killed, by the kernel's own counters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from hybridrt import Runtime, WorkerCrashed
from hybridrt._core.cgroups import folders, read_text
from hybridrt._core.oom import MACHINE, OomEvidence, OomWatch

V2 = "25 22 0:21 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
ROOT_V2, ROOT_V1 = "/sys/fs/cgroup", "/sys/fs/cgroup/memory"
GB = 10**9


class Machine:
    """Made-up files. `kill` counts a kill where the kernel would: in v2 in the groups above as well."""

    def __init__(self, group: str, *, is_v2: bool = True, has_vmstat: bool = True) -> None:
        self.files = {"/proc/meminfo": "MemTotal:       16000000 kB\nMemFree: 1 kB\n"}
        self.is_v2 = is_v2
        self.root = ROOT_V2 if is_v2 else ROOT_V1
        self.files["/proc/self/cgroup"] = f"0::{group}\n" if is_v2 else f"9:memory:{group}\n0::/\n"
        self.files["/proc/self/mountinfo"] = V2 if is_v2 else V1
        self.counts: dict[str, int] = {}
        if has_vmstat:
            self.counts[MACHINE] = 41
        for folder, _ in folders(self.files.get, "memory"):
            if folder != self.root or not is_v2:  # the root of v2 has none
                self.counts[folder] = 0
        self._write()

    def kill(self, folder: str) -> None:
        for path in list(self.counts):
            if path in (MACHINE, folder) or (self.is_v2 and folder.startswith(f"{path}/")):
                self.counts[path] += 1
        self._write()

    def _write(self) -> None:
        for path, count in self.counts.items():
            if path == MACHINE:
                self.files[path] = f"nr_free_pages 9\noom_kill {count}\nnuma_hit 3\n"
            elif self.is_v2:
                self.files[f"{path}/memory.events"] = f"low 0\noom 9\noom_kill {count}\noom_group_kill 0\n"
            else:
                self.files[f"{path}/memory.oom_control"] = (
                    f"oom_kill_disable 0\nunder_oom 0\noom_kill {count}\n"
                )

    def watch(self) -> OomWatch:
        watch = OomWatch(self.files.get)
        watch.begin()
        return watch


@pytest.mark.parametrize("is_v2", [True, False])
def test_a_kill_in_our_group_is_told_with_what_it_may_use(is_v2: bool) -> None:
    machine = Machine("/pod/ours", is_v2=is_v2)
    ours = f"{machine.root}/pod/ours"
    limit, counter = (
        ("memory.max", "memory.events") if is_v2 else ("memory.limit_in_bytes", "memory.oom_control")
    )
    machine.files[f"{ours}/{limit}"] = "max\n" if is_v2 else "9223372036854771712\n"
    machine.files[f"{machine.root}/pod/{limit}"] = f"{2 * GB}\n"
    watch = machine.watch()
    machine.kill(ours)
    assert watch.look(1.0) == OomEvidence(True, f"{ours}/{counter}", False, 2 * GB)


def test_v2_counts_kills_in_groups_below_ours() -> None:
    machine = Machine("/pod/ours")
    watch = machine.watch()
    machine.kill(f"{ROOT_V2}/pod/ours/nested/worker")
    assert watch.look(1.0) == OomEvidence(True, f"{ROOT_V2}/pod/ours/memory.events", False, None)


@pytest.mark.parametrize("is_v2", [True, False])
def test_a_group_above_ours_tells_more_than_the_machine(is_v2: bool) -> None:
    machine = Machine("/pod/ours", is_v2=is_v2)
    watch = machine.watch()
    machine.kill(f"{machine.root}/pod")
    evidence = watch.look(1.0)
    assert evidence is not None
    assert evidence.is_out_of_memory
    assert evidence.counter.startswith(f"{machine.root}/pod/memory.")


def test_a_kill_that_the_machine_alone_counts_is_very_likely_ours() -> None:
    machine = Machine("/pod/ours", is_v2=False)
    watch = machine.watch()
    machine.kill(f"{ROOT_V1}/elsewhere")
    assert watch.look(1.0) == OomEvidence(True, MACHINE, True, 16_000_000 * 1024)


def test_a_kill_by_somebody_moves_nothing() -> None:
    watch = Machine("/pod/ours").watch()
    assert watch.look(1.0) == OomEvidence(False, f"{ROOT_V2}/pod/ours/memory.events", False, None)
    watch = Machine("/").watch()
    assert watch.look(1.0) == OomEvidence(False, MACHINE, True, 16_000_000 * 1024)


def test_what_was_before_does_not_count_and_each_kill_counts_once() -> None:
    machine = Machine("/ours")
    machine.kill(f"{ROOT_V2}/ours")
    watch = machine.watch()
    machine.kill(f"{ROOT_V2}/ours")
    watch.begin()  # a later hire
    looks = [watch.look(1.0), watch.look(1.1)]
    assert [look is not None and look.is_out_of_memory for look in looks] == [True, False]


def test_workers_that_one_shortage_kills_are_all_told_though_the_first_look_sees_all() -> None:
    machine = Machine("/ours")
    watch = machine.watch()
    for _ in range(3):
        machine.kill(f"{ROOT_V2}/ours")
    looks = [watch.look(1.0 + at / 10) for at in range(4)]
    assert [look is not None and look.is_out_of_memory for look in looks] == [True, True, True, False]
    for _ in range(2):
        machine.kill(f"{ROOT_V2}/ours")
    looks = [watch.look(10.0), watch.look(13.0)]
    assert [look is not None and look.is_out_of_memory for look in looks] == [True, False], (
        "that is another's"
    )


def test_a_group_that_has_gone_is_passed_over() -> None:
    machine = Machine("/ours")
    watch = machine.watch()
    machine.kill(f"{ROOT_V2}/elsewhere")
    del machine.files[f"{ROOT_V2}/ours/memory.events"]
    evidence = watch.look(1.0)
    assert evidence is not None
    assert (evidence.is_out_of_memory, evidence.counter) == (True, MACHINE)


def test_a_system_that_counts_nothing_says_nothing() -> None:
    watch = OomWatch({}.get)
    assert watch.look(1.0) is None
    watch.begin()
    assert watch.look(1.0) is None
    odd = {MACHINE: "oom_kill many\nno_oom_kill 3\n"}
    watch = OomWatch(odd.get)
    watch.begin()
    assert watch.look(1.0) is None


# for real


def memory_root() -> tuple[Path, bool]:
    for folder, is_v2 in reversed(list(folders(read_text, "memory"))):
        name = "memory.events" if is_v2 else "memory.limit_in_bytes"
        if not is_v2 or any(Path(folder).glob(f"*/{name}")):
            return Path(folder), is_v2
    pytest.skip("no memory control groups here")


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group of 150 MB that nobody is in, where the tests may make one."""
    root, is_v2 = memory_root()
    group = root / f"hybridrt-tests-{os.getpid()}"
    try:
        group.mkdir()
        try:
            (group / ("memory.max" if is_v2 else "memory.limit_in_bytes")).write_text(str(150 << 20))
            for swap in ("memory.swap.max", "memory.memsw.limit_in_bytes"):
                if (group / swap).exists():
                    (group / swap).write_text("0" if is_v2 else str(150 << 20))
        except OSError:
            group.rmdir()
            raise
    except OSError as error:
        pytest.skip(f"the tests may not make a control group here ({error.strerror})")
    yield group
    group.rmdir()


def move_and_eat(group: str) -> None:
    Path(group, "cgroup.procs").write_text(str(os.getpid()))
    eaten = []
    while True:
        eaten.append(b"x" * (1 << 20))


async def test_a_call_that_eats_all_memory_elsewhere_is_told_by_the_machine(small_group: Path) -> None:
    async with Runtime(processes=2) as rt:
        bystander = rt.submit(sum, range(1000))
        with pytest.raises(WorkerCrashed, match=r"move_and_eat was lost: .* killed by SIGKILL") as caught:
            await rt.to_process(move_and_eat, str(small_group))
        crash = caught.value
        assert crash.is_out_of_memory
        assert "Very likely it ran out of memory: the kernel has killed a process on this machine" in str(
            crash
        )
        assert "(oom_kill in /proc/vmstat went up)" in str(crash)
        assert "with worker_memory_limit such a call gets a MemoryError instead" in str(crash)
        assert await bystander == 499500
        assert await rt.to_process(abs, -3) == 3


def test_in_a_container_the_worker_is_killed_and_not_the_service(small_group: Path, tmp_path: Path) -> None:
    """The whole program is in the group; what is there for one process is the same for a container."""
    service = tmp_path / "service.py"
    service.write_text(
        textwrap.dedent("""
        import asyncio, json, os, sys, hybridrt
        open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))

        def eat():
            eaten = []
            while True:
                eaten.append(b"x" * (1 << 20))

        async def main():
            ballast = b"x" * (50 << 20)  # the service is larger than its workers are at first
            async with hybridrt.Runtime(processes=2) as rt:
                told = []
                for _ in range(2):
                    try:
                        await rt.to_process(eat)
                    except hybridrt.WorkerCrashed as crash:
                        told.append([crash.is_out_of_memory, str(crash)])
                print(json.dumps([told, await rt.to_process(abs, -3), len(ballast)]))

        asyncio.run(main())
        """)
    )
    done = subprocess.run(
        [sys.executable, str(service), str(small_group)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done
    told, answer, _ = json.loads(done.stdout)
    assert answer == 3
    assert len(told) == 2
    for is_out_of_memory, message in told:
        assert is_out_of_memory
        assert f"It ran out of memory: the kernel killed it, as {small_group}/memory." in message
        assert "in this control group (container), which may use 157 MB" in message


async def test_a_worker_that_somebody_killed_did_not_run_out_of_memory() -> None:
    def kills() -> str:
        return next((line for line in (read_text(MACHINE) or "").splitlines() if "oom_kill " in line), "")

    if not kills():
        pytest.skip("this system has no such counter")
    async with Runtime(processes=1) as rt:
        while True:
            before = kills()
            with pytest.raises(WorkerCrashed) as caught:
                await rt.to_process(signal.raise_signal, signal.SIGKILL)
            if kills() == before:  # else the kernel has really killed somebody meanwhile
                break
        assert not caught.value.is_out_of_memory
        assert "Something sent it SIGKILL: an operator, a supervisor" in str(caught.value)
        assert "hardly the kernel for want of memory, which has counted no such kill (/" in str(caught.value)
