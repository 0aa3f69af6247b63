"""Whether a worker that was killed was killed for want of memory: the kernel counts whom it kills so, and we compare.

The counters: ``oom_kill`` in ``memory.events`` (cgroup v2; it covers the groups below) or ``memory.oom_control``
(v1), in our group and in those above it, and in ``/proc/vmstat`` for the whole machine. The kernel raises them before
it sends the signal, so at a worker's death the count is there. The nearest counter that has moved tells most: a kill
that our own group counted was one of ours; one that the machine alone counted may have been a stranger's.
"""

from __future__ import annotations

from dataclasses import dataclass

from .cgroups import Read, folders, read_text

MACHINE = "/proc/vmstat"

_LIMITS = {"memory.events": "memory.max", "memory.oom_control": "memory.limit_in_bytes"}
_BURST_SECONDS = 2.0
"""One shortage may kill several workers, whose deaths are told one by one; the first look sees all the kills."""


@dataclass(frozen=True, slots=True)
class OomEvidence:
    """What the counters say of one death by SIGKILL.

    ``is_out_of_memory``  a counter has moved: the kernel killed for want of memory, and this worker is why we look
    ``counter``           the file that says so; where none has moved, the nearest one that there is
    ``is_machine``        that file counts for the whole machine
    ``allowed``           bytes that the group may use, or the machine has; None where not known or without limit
    """

    is_out_of_memory: bool
    counter: str
    is_machine: bool
    allowed: int | None


class OomWatch:
    """Remembers the counters, and compares. ``read`` gives a file's text, None where there is none.

    A look at the counters without a ``begin`` before it finds nothing: they count from the machine's start.
    """

    def __init__(self, read: Read = read_text) -> None:
        self._read = read
        self._seen: dict[str, int] | None = None  # by file, the nearest first
        self._left = 0  # kills that were counted, and whose victims we have not heard of yet
        self._left_in = ""
        self._left_until = 0.0

    def begin(self) -> None:
        """Take down the counters as they are now; after the first time this does nothing."""
        if self._seen is None:
            self._seen = {}
            for path in self._counter_files():
                count = _oom_kills(self._read(path))
                if count is not None:
                    self._seen[path] = count

    def look(self, now: float) -> OomEvidence | None:
        """A worker has died of SIGKILL at ``now`` (seconds, any clock); None where the system has no counters."""
        if not self._seen:
            return None
        moved = ""
        by = 0
        for path, before in self._seen.items():
            count = _oom_kills(self._read(path))
            if count is None:
                continue
            self._seen[path] = count
            if count > before and not moved:
                moved, by = path, count - before
        if moved:
            self._left, self._left_in, self._left_until = by - 1, moved, now + _BURST_SECONDS
        elif self._left and now <= self._left_until:
            self._left -= 1
            moved = self._left_in
        return self._evidence(moved)

    def _evidence(self, moved: str) -> OomEvidence:
        counter = moved or next(iter(self._seen or {MACHINE: 0}))
        if counter == MACHINE:
            return OomEvidence(bool(moved), counter, True, _machine_memory(self._read("/proc/meminfo")))
        return OomEvidence(bool(moved), counter, False, self._least_limit())

    def _least_limit(self) -> int | None:
        """The least that our group and those above it allow, in bytes."""
        limits = []
        for path in self._seen or ():
            folder, _, name = path.rpartition("/")
            text = (self._read(f"{folder}/{_LIMITS[name]}") or "").strip() if name in _LIMITS else ""
            if text.isdigit() and int(text) < 1 << 60:  # v1 says "no limit" with a number close to 2**63
                limits.append(int(text))
        return min(limits, default=None)

    def _counter_files(self) -> list[str]:
        files = [
            f"{folder}/{'memory.events' if is_v2 else 'memory.oom_control'}"
            for folder, is_v2 in folders(self._read, "memory")
        ]
        return [*files, MACHINE]


def _oom_kills(text: str | None) -> int | None:
    # Not line by line: /proc/vmstat has two hundred.
    _, found, rest = f"\n{text or ''}".partition("\noom_kill ")
    number = rest.partition("\n")[0].strip()
    return int(number) if found and number.isdigit() else None


def _machine_memory(text: str | None) -> int | None:
    for line in (text or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None
