"""The README's table, made from a saved run: ``python -m benchmarks.summary`` prints it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LATEST = Path(__file__).parent / "results" / "latest.json"

# Title, measurement, figure, how to write it, ours, and the others by the name that people know.
ROWS = (
    ("10,000 calls at once in processes, calls/s", "many", "per_second", "{:,.0f}", "process"),
    ("the same by `submit`", "many", "per_second", "{:,.0f}", "process-submit"),
    ("parent CPU per call, µs", "many", "cpu_us", "{:.1f}", "process"),
    ("one call at a time in a process, µs", "one", "us", "{:.0f}", "process"),
    ("64 MiB array sent and summed, ms", "array", "sum_ms", "{:.0f}", "process"),
    ("64 MiB array there and back, ms", "array", "back_ms", "{:.0f}", "process"),
    (
        "worst stall of the loop, 300,000 dicts there and back, ms",
        "stall-dicts",
        "stall_ms",
        "{:.0f}",
        "process",
    ),
    ("p99 of a web server under CPU load, ms", "web", "p99_ms", "{:.1f}", "process"),
    ("first call on a cold pool, ms", "cold", "ms", "{:.0f}", "process"),
    ("a fresh worker, ms", "fresh", "ms", "{:.1f}", "process"),
    ("from a worker's death to the next result, ms", "crash", "ms", "{:.1f}", "process"),
    ("memory of a worker of its own, MB", "memory", "worker_mb", "{:.1f}", "process"),
    ("10,000 calls at once in threads, calls/s", "many", "per_second", "{:,.0f}", "thread"),
    ("the same by `submit`", "many", "per_second", "{:,.0f}", "thread-submit"),
    ("one call at a time in a thread, µs", "one", "us", "{:.0f}", "thread"),
)
COLUMNS = {
    "process": ("stdlib-process", "anyio-process", "loky", "pebble"),
    "thread": ("asyncio-thread", "anyio-thread"),
}


def table(results: dict[str, Any]) -> str:
    """Markdown: ours, the standard library's (asyncio's for threads), anyio's, loky's, pebble's; what was measured."""
    lines = ["| | hybridrt | stdlib | anyio | loky | pebble |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for title, measurement, figure, form, ours in ROWS:
        figures = results["medians"].get(measurement)
        if figures is None:
            continue
        names = (f"hybridrt-{ours}", *COLUMNS[ours.partition("-")[0]])
        cells = [form.format(figures[name][figure]) if name in figures else "–" for name in names]
        cells += ["–"] * (5 - len(cells))
        lines.append(f"| {title} | **{cells[0]}** | {' | '.join(cells[1:])} |")
    return "\n".join(lines)


def sentences(results: dict[str, Any]) -> Iterator[str]:
    """When and on what it was measured."""
    machine = results["machine"]
    yield (
        f"{machine['date'][:10]}, {machine['python']}, {machine['loop']}, {machine['cores']} shared cores "
        f"({machine['cpu']}), load {machine['load']:.1f} at the start, {results['rounds']} rounds"
    )


if __name__ == "__main__":
    latest = json.loads(LATEST.read_text())
    print(table(latest), *sentences(latest), sep="\n\n")
