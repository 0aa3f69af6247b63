"""The figures as a page of Markdown, with the part that is written by hand kept as it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .frames import ASIDE
from .subjects import PerCall

BY_HAND = "## What was tried and did not help"
"""From this heading on the page belongs to people."""

_LEAST = {"system calls": 0.02, "libraries": 50.0, "instructions": 250.0, "frames": 0.05, "allocations": 0.05}
_MOST_ROWS = {"system calls": 14, "libraries": 12, "instructions": 16, "frames": 24, "allocations": 10}

Columns = Mapping[str, PerCall]
"""By the subject's title."""


def page(
    machine: Mapping[str, Any],
    command: str,
    times: Mapping[str, Mapping[str, float]],
    tables: Mapping[str, Columns | str],
    by_hand: str,
) -> str:
    """``tables``: by what was counted, the figures, or why there are none."""
    parts = [
        "# Where the time of one call goes",
        (
            f"Made by `{command}`: counted by tools, not by hand ({machine['date'][:10]}, {machine['python']}, "
            f"{machine['loop']}, {machine['system']}, commit {machine['commit']}). A call is a no-op. Counts are "
            "differences of two runs with and without the calls, so that start-up is in none of them; they are the "
            "same on a busy machine. Times are of this one run: for those, see `results/latest.json`. *Caller* is the "
            "process that makes the calls, *workers* are the others that have a part in it. The floor is a bare "
            "socketpair and pickle, or a bare queue and a thread, on the same loop, with no promise kept."
        ),
        *_times(times),
    ]
    for what, heading, words in _SECTIONS:
        found = tables[what]
        parts += [f"## {heading}", words]
        if isinstance(found, str):
            parts.append(f"Not counted: {found}.")
            continue
        for lane in ("process", "thread"):
            parts.append(_table(what, {title: counted for title, counted in found.items() if lane in title}))
    return "\n\n".join(parts) + f"\n\n{by_hand}"


_SECTIONS = (
    (
        "system calls",
        "System calls",
        (
            "`strace -ff`, of all processes and threads. strace makes each of them slower, so more calls and answers "
            "travel together than without it; one at a time is not touched by that. Two workers."
        ),
    ),
    (
        "libraries",
        "Instructions by library",
        (
            "`valgrind --tool=callgrind`: machine instructions outside of the kernel. One worker, and valgrind runs "
            "the threads of a process one after the other."
        ),
    ),
    (
        "instructions",
        "Instructions by function",
        "The same, by the C function that has them itself, whatever it calls.",
    ),
    (
        "allocations",
        "Memory allocated",
        (
            "The same runs: how often the allocators were called. Most blocks are freed, and taken again from a free "
            "list without a system call."
        ),
    ),
    (
        "frames",
        "Python frames",
        (
            "`sys.setprofile`: frames entered, a coroutine that goes on included, and calls of built-in functions. One "
            "worker; those of the worker are not told apart for the floor."
        ),
    ),
)


def _times(times: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    yield "## Time"
    rows = {
        "from call to call": "wall",
        "caller: CPU in its own code": "user",
        "caller: CPU in the kernel": "system",
        "worker: CPU in its own code": "worker_user",
        "worker: CPU in the kernel": "worker_system",
        "kept while it waits: bytes": "bytes",
        "kept while it waits: blocks": "blocks",
    }
    lines = [_line(["one worker, µs a call", *times]), _line([":---", *["---:"] * len(times)])]
    for title, key in rows.items():
        cells = [f"{found[key]:.1f}" if found.get(key) else "" for found in times.values()]
        if any(cells):
            lines.append(_line([title, *cells]))
    yield "\n".join(lines)
    yield (
        "What is kept: by `sys.getallocatedblocks` and `tracemalloc`, for calls that were made in one turn of the loop "
        "and have not begun."
    )


def _table(what: str, columns: Columns) -> str:
    """A row for each name that counts, the dearest first; what is left out is summed in one row."""
    shown: list[tuple[str, Counter[str]]] = []
    for title, counted in columns.items():
        shown.append((f"{title}: caller" if counted.workers else title, counted.caller))
        if counted.workers:
            shown.append(("workers", counted.workers))
    weight: Counter[str] = Counter()
    for _, counts in shown:
        for name, count in counts.items():
            weight[name] = max(weight[name], count)
    aside = weight.pop(ASIDE, 0.0)
    dearest = sorted(weight, key=lambda name: (-round(weight[name], 2), name))[: _MOST_ROWS[what]]
    kept = [name for name in dearest if weight[name] >= _LEAST[what]]
    form: Callable[[float], str] = (
        "{:,.0f}".format if what in ("libraries", "instructions") else "{:.2f}".format
    )
    lines = [_line(["a call", *(title for title, _ in shown)]), _line([":---", *["---:"] * len(shown)])]
    for name in kept:
        cells = [form(counts[name]) if counts[name] >= _LEAST[what] / 2 else "" for _, counts in shown]
        lines.append(_line([f"`{name}`" if what != "allocations" else name, *cells]))
    totals = [counts.total() - counts[ASIDE] for _, counts in shown]
    rest = [
        total - sum(counts[name] for name in kept) for total, (_, counts) in zip(totals, shown, strict=True)
    ]
    if any(abs(count) >= _LEAST[what] for count in rest):
        lines.append(_line(["others", *map(form, rest)]))
    lines.append(_line(["**all**", *(f"**{form(total)}**" for total in totals)]))
    if aside:
        lines.append(_line([f"beside them, {ASIDE}", *(form(counts[ASIDE]) for _, counts in shown)]))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def by_hand(old: str) -> str:
    """What people wrote on the page as it was; an empty section where there is none."""
    _, heading, rest = old.partition(BY_HAND)
    return heading + rest if heading else f"{BY_HAND}\n\nNothing yet.\n"
