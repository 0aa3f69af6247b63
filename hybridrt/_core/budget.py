"""How many CPUs are really ours: what the user says, else the affinity mask and the cgroup's quota, whichever is less.

``os.cpu_count()`` counts the machine's CPUs. A container is mostly given a quota instead, a share of their time,
that neither ``os.cpu_count`` nor ``os.process_cpu_count`` knows of: on a 64-CPU node, a container with 2 CPUs would
get 64 workers that spend their time throttled.

The quota is in ``cpu.max`` (cgroup v2) or in ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us`` (v1). Each group above
ours may set one too, so the least along the path up to the mount counts (where that is: ``cgroups``).
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .cgroups import Read, folders, read_text

OVERRIDES = ("HYBRIDRT_CPU_COUNT", "PYTHON_CPU_COUNT")


@dataclass(frozen=True, slots=True)
class CpuBudget:
    """How many CPUs to use, and the facts that it was worked out from.

    ``cpus``      the answer, at least 1
    ``reason``    the fact that decided, in words
    ``online``    CPUs of the machine
    ``affinity``  CPUs that this process may run on (affinity mask and cpuset), None where the system does not say
    ``quota``     CPUs' worth of time that the cgroup may use, not rounded, None where there is no limit
    ``override``  what the user asked for (environment or ``-X cpu_count``), None where nothing was asked
    """

    cpus: int
    reason: str
    online: int
    affinity: int | None
    quota: float | None
    override: int | None


def cpu_budget(
    *,
    shared_by: int = 1,
    environ: Mapping[str, str] = os.environ,
    xoption: str | bool | None = None,
    read: Read | None = None,
    count_online: Callable[[], int | None] = os.cpu_count,
    count_affinity: Callable[[], int | None] | None = None,
) -> CpuBudget:
    """Work out how many CPUs this process should use; reads files and the environment, remembers nothing.

    The user's word wins: ``HYBRIDRT_CPU_COUNT``, then ``-X cpu_count`` and ``PYTHON_CPU_COUNT`` (which 3.13 obeys;
    here they count on 3.11 and 3.12 too). Otherwise it is the least of the CPUs online, the affinity mask and the
    cgroup's quota.

    A quota of 2.5 CPUs gives 3. Rounded down, part of what was paid for could never be used (at 1.9 nearly half of
    it); rounded up, it can, at the price that workers which are all busy at once are throttled for the last part of
    a period, 100 ms as a rule. Workers wait now and then, so that is rare; Java, .NET, Go and loky round up as well.
    Whoever prefers the lower number sets ``HYBRIDRT_CPU_COUNT``.

    ``shared_by``: how many processes like this one share the CPUs (the workers of a server); each gets an equal part,
    rounded down, at least 1. An override is taken as it is: it is meant for each of them.

    The other arguments replace what is otherwise asked of the system, for tests. Raises ValueError where
    ``HYBRIDRT_CPU_COUNT`` is not a whole number of at least 1; PYTHON_CPU_COUNT is Python's to check.
    """
    if shared_by < 1:
        raise ValueError(f"cpu_budget(shared_by={shared_by}) makes no sense: it must be at least 1")
    if xoption is None:
        xoption = sys._xoptions.get("cpu_count")
    online = count_online() or 1
    affinity = (count_affinity or _affinity)()
    quota, source = _least_quota(read or read_text)
    override, by = _override(environ, xoption)
    if override is not None:
        return CpuBudget(override, f"{by} says so", online, affinity, quota, override)
    cpus, reason = online, f"the machine has {_count(online)}"
    if affinity is not None and affinity < cpus:
        cpus, reason = max(1, affinity), f"the affinity mask allows {affinity} of {_count(online)}"
    if quota is not None and math.ceil(quota) < cpus:
        cpus = max(1, math.ceil(quota))
        reason = f"the cgroup's quota is {quota:.3g} CPUs ({source})"
    if shared_by > 1:
        cpus, reason = max(1, cpus // shared_by), f"{reason}, shared by {shared_by} processes"
    return CpuBudget(cpus, reason, online, affinity, quota, None)


def _count(cpus: int) -> str:
    return "1 CPU" if cpus == 1 else f"{cpus} CPUs"


def _affinity() -> int | None:
    # Not os.process_cpu_count: on 3.13 it asks the same mask, but says the override where there is one.
    if sys.platform == "win32" or sys.platform == "darwin":
        return None
    try:
        return len(os.sched_getaffinity(0)) or None
    except (AttributeError, OSError):
        return None


def _override(environ: Mapping[str, str], xoption: str | bool | None) -> tuple[int | None, str]:
    ours, pythons = OVERRIDES
    if text := environ.get(ours, "").strip():
        count = _whole(text)
        if count is None:
            raise ValueError(
                f"environment variable {ours} must be a whole number of CPUs, at least 1; "
                "unset it to have them counted"
            )
        return count, ours
    if isinstance(xoption, str) and (count := _whole(xoption)):
        return count, "-X cpu_count"
    if xoption != "default" and (count := _whole(environ.get(pythons, ""))):
        return count, pythons
    return None, ""


def _whole(text: str) -> int | None:
    try:
        count = int(text)
    except ValueError:
        return None
    return count if count >= 1 else None


def _least_quota(read: Read) -> tuple[float | None, str]:
    """The least quota of our cgroup and those above it, in CPUs, and the file that sets it."""
    least: float | None = None
    source = ""
    for folder, is_v2 in folders(read, "cpu"):
        quota = _quota_v2(read, folder) if is_v2 else _quota_v1(read, folder)
        if quota is not None and (least is None or quota < least):
            least, source = quota, f"{folder}/{'cpu.max' if is_v2 else 'cpu.cfs_quota_us'}"
    return least, source


def _quota_v2(read: Read, folder: str) -> float | None:
    fields = (read(f"{folder}/cpu.max") or "").split()
    return _ratio(fields[0], fields[1] if len(fields) > 1 else "100000") if fields else None


def _quota_v1(read: Read, folder: str) -> float | None:
    quota = read(f"{folder}/cpu.cfs_quota_us")
    return None if quota is None else _ratio(quota, read(f"{folder}/cpu.cfs_period_us") or "100000")


def _ratio(quota: str, period: str) -> float | None:
    try:
        of, per = int(quota), int(period)
    except ValueError:  # "max": no limit
        return None
    return of / per if of > 0 and per > 0 else None  # v1 says -1 for no limit
