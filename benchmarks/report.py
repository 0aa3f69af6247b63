"""The run as text: a table for each figure and lane, best first."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict

from .contestants.contract import Contestant
from .measurements import MEASUREMENTS, Figure, Measurement
from .results import Results, amount, better_by, times

_LABEL, _CELL = 62, 14


def lines(results: Results, contestants: dict[str, type[Contestant]]) -> Iterator[str]:
    """The whole report but for the goals."""
    m = results.machine
    yield f"{m['python']}, {m['loop']}, {m['cores']} cores, {m['cpu'] or m['system']}, load {m['load']}, {m['date']}"
    yield (
        f"Medians of {results.rounds} interleaved round{'s' * (results.rounds != 1)}, each in a fresh interpreter; "
        f"{results.scale.workers} workers; fewer rounds for what is counted or takes long, and for peers in no 'vs'. "
        "'vs': how many times as good; "
        "'of the floor': 100 % is the least that a call can cost."
    )
    yield f"It took {_clock(results.seconds())}, in {len(results.outcomes)} interpreters one after the other."
    for measurement in MEASUREMENTS.values():
        told = False
        for figure in measurement.figures:
            for lane in ("mixed",) if measurement.is_mixed else ("process", "thread"):
                table = list(_table(results, contestants, measurement, figure, lane))
                if table and not told:
                    told = True
                    yield ""
                    yield from textwrap.wrap(
                        f"-- {measurement.key}: {measurement.what.format(**asdict(results.scale))}"
                        f"{_fewer(measurement, results.rounds)}",
                        118,
                        subsequent_indent="   ",
                    )
                yield from table
    yield from _errors(results, contestants)


def _table(
    results: Results,
    contestants: dict[str, type[Contestant]],
    measurement: Measurement,
    figure: Figure,
    lane: str,
) -> Iterator[str]:
    rows = []
    for key, contestant in contestants.items():
        row = results.row(measurement.key, key, figure.key)
        if lane in (contestant.lane, "mixed") and row is not None:
            rows.append((row, contestant))
    if not rows:
        return
    rows.sort(key=lambda pair: pair[0].value, reverse=figure.better == "higher")
    of_lane = "process" if lane == "mixed" else lane
    floor = measurement.floors.get(of_lane)
    others = [
        (f"vs {contestants[key].short}", results.median(measurement.key, key, figure.key))
        for key in measurement.baselines.get(of_lane, ())
        if key in contestants
    ]
    limit = results.median(measurement.key, floor, figure.key) if floor else None
    yield ""
    heads = [figure.unit.lstrip("/") if figure.unit != "/s" else "calls/s", "least - most"]
    heads += [head for head, _ in others] + ["of the floor"]
    widths = [_CELL, 22, *(max(_CELL, len(head) + 2) for head in heads[2:])]
    title = results.title(figure) + ("" if lane == "mixed" else f", {lane} lane")
    yield f"  {title:<{_LABEL}}" + "".join(
        f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)
    )
    for row, contestant in rows:
        cells = [_plain(row.value), f"{_plain(row.least)} - {_plain(row.most)}"]
        cells += [times(better_by(row.value, v, figure)) if v else "-" for _, v in others]
        cells.append(f"{better_by(row.value, limit, figure):.0%}" if limit else "-")
        mark = {"ours": "> ", "floor": "_ "}.get(contestant.rank, "  ")
        yield f"{mark}{contestant.label:<{_LABEL}}" + "".join(
            f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)
        )


def _fewer(measurement: Measurement, rounds: int) -> str:
    """That it had fewer rounds than the others, where that is so."""
    if measurement.rounds is None or measurement.rounds >= rounds:
        return ""
    return f" ({measurement.rounds} round{'s' * (measurement.rounds != 1)})"


def _clock(seconds: float) -> str:
    """``9 min 05 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"


def _plain(value: float) -> str:
    return amount(value, "").strip()


def _errors(results: Results, contestants: dict[str, type[Contestant]]) -> Iterator[str]:
    """One paragraph for all that failed in a measurement for the same reason."""
    labels: dict[tuple[str, str], list[str]] = {}
    for (measurement, key), error in results.errors().items():
        label = contestants[key].label if key in contestants else key
        labels.setdefault((measurement, error), []).append(label)
    for (measurement, error), those in labels.items():
        yield ""
        yield from textwrap.wrap(
            f"no {measurement!r} of {', '.join(those)}: {error}", 118, subsequent_indent="   "
        )
