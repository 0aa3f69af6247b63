"""The adaptive workload as an SVG: throughput, loop delay and the lane of each function over the first seconds.

Written by hand, as the picture of the benchmarks is, and with the same manners: it needs nothing, brings its own
background and follows the reader's light or dark scheme.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from html import escape
from math import log10
from statistics import median
from typing import Any

from .. import apart
from ..picture import COMMON_STYLE
from .mixes import RUN, THREAD
from .recording import GROWS_AT, GUESTS

_WIDTH, _MARGIN, _LEFT, _RIGHT = 900, 24, 190, 110
_PANEL, _GAP, _ROW, _HEAD = 130, 46, 24, 104
_DECADES = (0.1, 1.0, 10.0, 100.0, 1000.0)

_STYLE = (
    COMMON_STYLE
    + """\
.grid { stroke: #d1d9e0 }
.mark { stroke: #59636e; stroke-dasharray: 3 3 }
.ours { fill: none; stroke: #0969da; stroke-width: 2 }
.other { fill: none; stroke: #9a6700; stroke-width: 1.5; stroke-dasharray: 5 3 }
.name-ours { fill: #0969da; font-weight: 600 }
.name-other { fill: #9a6700 }
.thread { fill: #8c959f }
.process { fill: #0969da }
.inside { fill: #ffffff; font-size: 11px }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.card { fill: #0d1117; stroke: #3d444d }
.quiet { fill: #9198a1 }
.grid { stroke: #3d444d }
.mark { stroke: #9198a1 }
.ours { stroke: #4493f8 }
.other { stroke: #d29922 }
.name-ours { fill: #4493f8 }
.name-other { fill: #d29922 }
.thread { fill: #59636e }
.process { fill: #1f6feb }
.inside { fill: #ffffff }
}
"""
)


def record(loop: str, seconds: float, rounds: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """The workload by ``run`` and with all in threads in turns, each in a fresh process: what ``draw`` takes."""
    samples: dict[str, list[list[dict[str, Any]]]] = {THREAD: [], RUN: []}
    for number in range(rounds):
        for placement, of_placement in samples.items():
            tell(f"recording {number + 1} of {rounds}: {placement}")
            order = {"placement": placement, "seconds": seconds, "processes": 2, "loop": loop}
            of_placement.append(apart.carry_out("placement.recording", order))
    return {"seconds": seconds, "samples": samples}


def _middle(rounds: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Window by window the median of all rounds, and the lane that most of them have seen."""
    found = []
    for windows in zip(*rounds, strict=False):
        names = {name for window in windows for name in window["lanes"]}
        lanes = {name: Counter(w["lanes"][name] for w in windows if name in w["lanes"]) for name in names}
        found.append(
            {key: median(window[key] for window in windows) for key in ("t", "done", "late_ms")}
            | {"lanes": {name: of_name.most_common(1)[0][0] for name, of_name in lanes.items()}}
        )
    return found


def draw(recorded: dict[str, Any]) -> str:
    """The whole SVG."""
    seconds: float = recorded["seconds"]
    samples = {placement: _middle(rounds) for placement, rounds in recorded["samples"].items()}
    machine, count = recorded["machine"], len(recorded["samples"][RUN])
    inner = _WIDTH - _LEFT - _RIGHT

    def x(t: float) -> float:
        return _LEFT + inner * min(t / seconds, 1.0)

    rates = {p: _rates(rows) for p, rows in samples.items()}
    delays = {p: [(row["t"], row["late_ms"]) for row in rows] for p, rows in samples.items()}
    most = max(rate for points in rates.values() for _, rate in points) * 1.1
    tops = [_HEAD, _HEAD + _PANEL + _GAP, _HEAD + 2 * (_PANEL + _GAP)]
    height = tops[2] + _ROW * len(GUESTS) + 64
    parts = [
        *_axis(
            tops[0],
            "Calls a second",
            [(0.0, "0"), (most / 2, _short(most / 2)), (most, _short(most))],
            _linear(most),
        ),
        *_axis(tops[1], "Worst delay of the loop", [(d, f"{d:g} ms") for d in _DECADES], _log),
        *_lines(tops[0], rates, x, _linear(most)),
        *_lines(tops[1], delays, x, _log),
        *_lanes(tops[2], samples[RUN], x, seconds),
        *_marks(tops, x, seconds),
    ]
    where = (
        f"{machine['python']}, {machine['loop']}, {machine['cores']} cores ({machine['cpu'] or machine['system']}), "
        f"{str(machine['date'])[:10]}; medians of {count} recordings, in turns"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'role="img" aria-labelledby="title desc">\n'
        '<title id="title">Functions find their places</title>\n'
        f'<desc id="desc">{escape(_as_text(rates, delays, samples[RUN]))}</desc>\n<style>{_STYLE}</style>\n'
        f'<rect class="card" x=".5" y=".5" width="{_WIDTH - 1}" height="{height - 1}" rx="10"/>\n'
        f'<text class="big" x="{_MARGIN}" y="36">Functions find their places</text>\n'
        f'<text class="quiet" x="{_MARGIN}" y="56">A new function now and then; run measures it, and moves what denies '
        "the GIL to others and may be moved.</text>\n"
        + "\n".join(parts)
        + f'\n<text class="quiet" x="{_MARGIN}" y="{height - 14}">{escape(where)}</text>\n</svg>\n'
    )


def _rates(rows: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """Over three windows at a time: a single one holds few calls."""
    points = []
    for at in range(2, len(rows)):
        begin = rows[at - 3]["t"] if at >= 3 else 0.0
        points.append(
            (rows[at]["t"], sum(row["done"] for row in rows[at - 2 : at + 1]) / (rows[at]["t"] - begin))
        )
    return points


def _linear(most: float) -> Callable[[float], float]:
    return lambda value: _PANEL * (1 - min(value / most, 1.0))


def _log(value: float) -> float:
    low, high = log10(_DECADES[0]), log10(_DECADES[-1])
    return _PANEL * (1 - (log10(min(max(value, _DECADES[0]), _DECADES[-1])) - low) / (high - low))


def _axis(top: float, title: str, ticks: list[tuple[float, str]], y: Callable[[float], float]) -> list[str]:
    parts = [f'<text class="title" x="{_MARGIN}" y="{top - 12}">{title}</text>']
    for value, label in ticks:
        at = top + y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="quiet" x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{label}</text>')
    return parts


def _lines(
    top: float,
    of: dict[str, list[tuple[float, float]]],
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> list[str]:
    parts, ends = [], []
    for placement, points in of.items():
        style = "ours" if placement == RUN else "other"
        path = " ".join(f"{x(t):.1f},{top + y(value):.1f}" for t, value in points)
        parts.append(f'<polyline class="{style}" points="{path}"/>')
        recent = sorted(value for _, value in points[-8:])
        ends.append((y(recent[len(recent) // 2]), style, placement))
    # The two names do not stand on each other.
    ends.sort()
    if len(ends) == 2 and ends[1][0] - ends[0][0] < 14:
        ends[1] = (ends[0][0] + 14, *ends[1][1:])
    for at, style, placement in ends:
        parts.append(
            f'<text class="name-{style}" x="{_WIDTH - _RIGHT + 8}" y="{top + at + 4:.1f}">{escape(placement)}</text>'
        )
    return parts


def _lanes(top: float, rows: list[dict[str, Any]], x: Callable[[float], float], seconds: float) -> list[str]:
    parts = [f'<text class="title" x="{_MARGIN}" y="{top - 12}">Where run has each function</text>']
    for number, guest in enumerate(GUESTS):
        y = top + _ROW * number
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 14}" text-anchor="end">{escape(guest.label)}</text>')
        for begin, end, lane in _stretches(rows, guest.name, guest.since * seconds, seconds):
            width = x(end) - x(begin)
            parts.append(
                f'<rect class="{lane}" x="{x(begin):.1f}" y="{y + 2}" width="{width:.1f}" height="{_ROW - 6}" rx="2"/>'
            )
            if width > 60:
                parts.append(f'<text class="inside" x="{x(begin) + 6:.1f}" y="{y + 14}">{lane}</text>')
    bottom = top + _ROW * len(GUESTS) + 16
    return parts + [
        f'<text class="quiet" x="{x(second):.1f}" y="{bottom}" text-anchor="middle">{second} s</text>'
        for second in range(int(seconds) + 1)
    ]


def _stretches(
    rows: list[dict[str, Any]], name: str, since: float, until: float
) -> list[tuple[float, float, str]]:
    """From when to when in which lane. A sample speaks for the window that it ends."""
    found: list[tuple[float, float, str]] = []
    begin = since
    for row in rows:
        lane = row["lanes"].get(name)
        if lane is None:
            continue
        if found and found[-1][2] == lane:
            found[-1] = (found[-1][0], row["t"], lane)
        else:
            found.append((found[-1][1] if found else begin, row["t"], lane))
    if found:
        found[-1] = (found[-1][0], until, found[-1][2])
    return found


def _marks(tops: list[int], x: Callable[[float], float], seconds: float) -> list[str]:
    times = sorted({guest.since for guest in GUESTS if guest.since} | {GROWS_AT})
    bottom = tops[2] + _ROW * len(GUESTS)
    return [
        f'<line class="mark" x1="{x(t * seconds):.1f}" x2="{x(t * seconds):.1f}" y1="{tops[0]}" y2="{bottom}"/>'
        for t in times
    ]


def _short(value: float) -> str:
    return f"{value / 1000:.1f}k" if value >= 1000 else f"{value:.0f}"


def _as_text(
    rates: dict[str, list[tuple[float, float]]],
    delays: dict[str, list[tuple[float, float]]],
    rows: list[dict[str, Any]],
) -> str:
    """What the picture shows, for those who cannot see it."""
    told = [
        f"{placement}: {points[-1][1]:.0f} calls a second at the end, the loop late by up to "
        f"{sorted(late for _, late in delays[placement])[len(delays[placement]) // 2]:.1f} ms in half of the windows."
        for placement, points in rates.items()
    ]
    lanes = rows[-1]["lanes"]
    told.append(
        "At the end " + ", ".join(f"{g.label} in a {lanes[g.name]}" for g in GUESTS if g.name in lanes) + "."
    )
    return " ".join(told)
