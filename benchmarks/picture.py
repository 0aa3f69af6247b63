"""The medians as an SVG: one panel a figure, bars on a log scale that begin at the baseline.

Written by hand, so that it needs nothing and stays small. It brings its own background and follows the reader's light
or dark scheme, so it can be read wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from math import log

from .contestants.contract import Contestant
from .measurements import MEASUREMENTS, Figure
from .results import Results, amount, better_by, times

_PANELS = (
    ("many", "per_second", "process"),
    ("many", "cpu_us", "process"),
    ("one", "us", "process"),
    ("array", "sum_ms", "process"),
    ("array", "back_ms", "process"),
    ("many", "per_second", "thread"),
    ("one", "us", "thread"),
    ("crash", "ms", "process"),
    ("stall-dicts", "stall_ms", "process"),
    ("stall-text", "stall_ms", "process"),
    ("web", "p99_ms", "mixed"),
    ("waiting", "bytes", "process"),
    ("fresh", "ms", "process"),
    ("memory", "worker_mb", "process"),
)
"""Two beside each other, of about the same height."""
_COLUMNS, _WIDTH, _GAP, _MARGIN, _HEAD = 2, 450, 24, 24, 62
_LABEL, _VALUE, _RATIO = 142, 76, 40
"""Of a panel's width: the names on the left, the amounts on the right, room for a ratio after the longest bar."""
_ROW, _BAR, _TOP = 22, 13, 50
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)

COMMON_STYLE = """
text { font-family: system-ui, -apple-system, 'Segoe UI', Roboto, Ubuntu, sans-serif; font-size: 12px; fill: #1f2328 }
.card { fill: #ffffff; stroke: #d1d9e0 }
.big { font-size: 17px; font-weight: 600 }
.title { font-size: 13px; font-weight: 600 }
.quiet { fill: #59636e; font-size: 11px }
"""
"""Of this picture and of those of ``placement``."""
_STYLE = (
    COMMON_STYLE
    + """\
.ours { fill: #0969da }
.peer { fill: #afb8c1 }
.floor { fill: #8250df; fill-opacity: .14; stroke: #8250df; stroke-dasharray: 3 2 }
.name-ours { font-weight: 600; fill: #0969da }
.name-floor { fill: #8250df }
.grid { stroke: #d1d9e0 }
.one { stroke: #59636e }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.card { fill: #0d1117; stroke: #3d444d }
.quiet { fill: #9198a1 }
.ours { fill: #4493f8 }
.peer { fill: #59636e }
.floor { fill: #ab7df8; stroke: #ab7df8 }
.name-ours { fill: #4493f8 }
.name-floor { fill: #ab7df8 }
.grid { stroke: #3d444d }
.one { stroke: #9198a1 }
}
"""
)


@dataclass(frozen=True, slots=True)
class _Entry:
    contestant: type[Contestant]
    value: float | None
    """None where it failed."""
    ratio: float


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    baseline: str
    figure: Figure
    entries: list[_Entry]

    @property
    def height(self) -> int:
        return _TOP + _ROW * len(self.entries) + 22


def draw(results: Results, contestants: dict[str, type[Contestant]]) -> str:
    """The whole SVG; panels without figures are left out."""
    panels = [p for which in _PANELS if (p := _panel(results, contestants, *which)) is not None]
    parts: list[str] = []
    y = _MARGIN + _HEAD
    for at in range(0, len(panels), _COLUMNS):
        row = panels[at : at + _COLUMNS]
        for column, panel in enumerate(row):
            x = _MARGIN + column * (_WIDTH + _GAP)
            parts.append(f'<g transform="translate({x} {y})">{_draw_panel(panel)}</g>')
        y += max(panel.height for panel in row) + 14
    width, height = 2 * _MARGIN + _COLUMNS * _WIDTH + (_COLUMNS - 1) * _GAP, y + 18
    m = results.machine
    where = (
        f"{m['python']}, {m['loop']}, {m['cores']} cores ({m['cpu'] or m['system']}), {str(m['date'])[:10]}"
    )
    how = f"{results.scale.workers} workers, medians of interleaved rounds in fresh interpreters ({results.rounds})"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-labelledby="title desc">\n'
        f'<title id="title">hybridrt beside its peers</title>\n'
        f'<desc id="desc">{escape(_as_text(panels))}</desc>\n<style>{_STYLE}</style>\n'
        f'<rect class="card" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="10"/>\n'
        f'<text class="big" x="{_MARGIN}" y="42">hybridrt beside its peers, and beside the floor</text>\n'
        f'<text class="quiet" x="{_MARGIN}" y="62">Longer is better: how many times as good as the baseline (1×), log '
        "scale. The floor: the same way there and back, without any promise kept.</text>\n"
        + "\n".join(parts)
        + f'\n<text class="quiet" x="{_MARGIN}" y="{height - 16}">{escape(f"{where}; {how}")}</text>\n</svg>\n'
    )


def _panel(
    results: Results, contestants: dict[str, type[Contestant]], key: str, figure_key: str, lane: str
) -> _Panel | None:
    measurement = MEASUREMENTS[key]
    figure = next(f for f in measurement.figures if f.key == figure_key)
    of_lane = "process" if lane == "mixed" else lane
    baseline = measurement.baselines[of_lane][0]
    base = results.median(key, baseline, figure_key)
    if base is None:
        return None
    errors = results.errors()
    entries = []
    for name, contestant in contestants.items():
        if lane not in (contestant.lane, "mixed"):
            continue
        if contestant.rank == "floor" and name != measurement.floors.get(of_lane):
            continue
        value = results.median(key, name, figure_key)
        if value is not None or (key, name) in errors:
            entries.append(_Entry(contestant, value, better_by(value, base, figure) if value else 0.0))
    entries.sort(key=lambda entry: entry.ratio, reverse=True)
    title = results.title(figure) + ("" if lane == "mixed" else f", {lane} lane")
    return _Panel(title, contestants[baseline].short, figure, entries)


def _draw_panel(panel: _Panel) -> str:
    ratios = [entry.ratio for entry in panel.entries if entry.value is not None]
    low, high = min(0.8, *ratios), max(1.25, *ratios)
    left, right = _LABEL + 8, _WIDTH - _VALUE - _RATIO

    def x(ratio: float) -> float:
        return left + (right - left) * log(ratio / low) / log(high / low)

    bottom = _TOP + _ROW * len(panel.entries)
    parts = [
        f'<text class="title" x="0" y="14">{escape(panel.title[0].upper() + panel.title[1:])}</text>',
        f'<text class="quiet" x="0" y="31">1× = {escape(panel.baseline)}</text>',
    ]
    last = -100.0
    for tick in _TICKS:
        if not low <= tick <= high:
            continue
        style = "one" if tick == 1 else "grid"
        parts.append(
            f'<line class="{style}" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP - 6}" y2="{bottom}"/>'
        )
        if x(tick) - last > 34:
            last = x(tick)
            parts.append(
                f'<text class="quiet" x="{last:.1f}" y="{bottom + 14}" text-anchor="middle">{tick:g}×</text>'
            )
    for at, entry in enumerate(panel.entries):
        parts += _draw_entry(entry, panel.figure, _TOP + _ROW * at, x)
    return "\n".join(parts)


def _draw_entry(entry: _Entry, figure: Figure, y: float, x: Callable[[float], float]) -> list[str]:
    rank = entry.contestant.rank
    text = y + _BAR - 2
    parts = [
        f'<text class="name-{rank}" x="{_LABEL}" y="{text}" text-anchor="end">{escape(entry.contestant.short)}</text>'
    ]
    if entry.value is None:
        return [*parts, f'<text class="quiet" x="{_WIDTH}" y="{text}" text-anchor="end">failed</text>']
    start, end = sorted((x(1.0), x(entry.ratio)))
    parts += [
        f'<rect class="{rank}" x="{start:.1f}" y="{y}" width="{max(end - start, 2):.1f}" height="{_BAR}" rx="2"/>',
        f'<text class="quiet" x="{max(end, x(1.0)) + 5:.1f}" y="{text}">{times(entry.ratio).replace("x", "×")}</text>',
        f'<text x="{_WIDTH}" y="{text}" text-anchor="end">{amount(entry.value, figure.unit)}</text>',
    ]
    return parts


def _as_text(panels: list[_Panel]) -> str:
    """What the picture shows, for those who cannot see it."""
    return " ".join(
        f"{panel.title}: "
        + ", ".join(
            f"{e.contestant.short} {amount(e.value, panel.figure.unit)}"
            for e in panel.entries
            if e.value is not None
        )
        + "."
        for panel in panels
    )
