"""The results as a Markdown table, and as the page of the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import machine
from .pools import POOLS, Pool
from .runner import ALL_PROBES
from .verdicts import COLUMNS, row

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "failures.md"

_PAGE = """\
# What pools do when things go wrong

One bad task among good ones, a cancelled await, a killed parent: each failure below is caused for real, in a fresh
process, with a bound in time (a hang is a result), and what can be seen from outside is written down: results, errors,
CPU time, processes that stay. hybridrt is put to the same probes as its peers. They are in `benchmarks/failures`; a
test runs hybridrt's row again and compares it with this page.

```sh
pip install --group peers   # the pools that the group dev does not bring
python -m benchmarks.failures --docs
```

{about}

{table}

- The pools are made and called as their documentation says, with two workers. Where the start method is the user's
  choice, it is forkserver (the default since Python 3.14). trio-parallel runs on trio, all others on asyncio.
- *Segfault, exception, result*: a good task of half a second is running and six others are queued right behind the bad
  one. What has not ended after 6 s hangs. Then two more calls are made: with both results the pool is usable, with
  errors it is dead. loky is asked for its executor at each call, as its documentation has it, and replaces a broken one
  then: what was in flight is lost, and the pool is usable.
- *Cancelling*: by the way that the library offers (`cancellable=True` in anyio, `kill_on_cancel=True` in trio-parallel,
  `cancel()` of the future or the handle; multiprocessing.Pool, mpire and aiomultiprocess have none for one task). The
  CPU has stopped when, within 4 s, the worker has gone or wants a CPU less than a fifth of the time. C code is tried
  twice, with the GIL held and let go; it looks at no signal. The others that stop C code kill the worker at once, and
  so skip its `finally` blocks: hybridrt interrupts first, and kills what goes on for `interrupt_grace` seconds.
- *Parent killed*: who is there 5 s after the SIGKILL stays. The busy workers are one in a Python loop and one in C
  code; the program is a `sleep 600` that a busy task started. A pool's own helper processes count as its workers.
- *No guard*: a function of the script itself is called, and nothing stands under `if __name__ == "__main__"`.
- joblib is not listed: it runs on loky, and has no handle for a single call.
- Each cell is one run. Where it depends on a race (how many other tasks were lost), the next run may differ.
"""


def version(pool: type[Pool]) -> str | None:
    """What is installed of it; "" where it comes with Python, None where it is not there."""
    if pool.package is None:
        return ""
    try:
        return metadata.version(pool.package)
    except metadata.PackageNotFoundError:
        return None


def facts() -> dict[str, Any]:
    """Where and with what the pools are probed."""
    return machine.facts("asyncio", [pool.package for pool in POOLS.values() if pool.package])


def table(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Markdown lines."""
    lines = [f"| pool | {' | '.join(COLUMNS)} |", "|" + " --- |" * (1 + len(COLUMNS))]
    for key, probes in results.items():
        cells = (POOLS[key].label, *row(probes))
        if key == "hybridrt":
            cells = tuple(f"**{cell}**" for cell in cells)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def document(saved: Mapping[str, Any]) -> str:
    """The whole page, from what a run saved."""
    about = saved["machine"]
    packages = [POOLS[key].package for key in saved["results"] if POOLS[key].package]
    text = f"{about['date'][:10]}, {about['python']}, {about['system']}, {about['cores']} shared cores; "
    text += ", ".join(f"{package} {about['versions'][package]}" for package in packages) + "."
    absent = [pool.label for key, pool in POOLS.items() if key not in saved["results"]]
    if absent:
        text += f" Not installed, so not probed: {', '.join(absent)}."
    about_lines = textwrap.fill(text, 118, break_on_hyphens=False)
    return _PAGE.format(about=about_lines, table="\n".join(table(saved["results"])))


def is_complete(saved: Mapping[str, Any]) -> bool:
    """Whether this is a page's worth: hybridrt beside others, every probe of each."""
    results = saved["results"]
    return (
        "hybridrt" in results
        and len(results) > 1
        and all(set(probes) == set(ALL_PROBES) for probes in results.values())
    )
