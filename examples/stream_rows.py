"""A large CSV file is parsed in a worker process, row by row, and the rows arrive here as an async iterator.

Look at ``read_rows``, an ordinary generator: it opens the file, parses and converts, and never has more than a few rows
in memory. It works while the loop below uses its rows, and waits when that falls behind; meanwhile the event loop is
free, as the ticks show. ``--first N`` leaves the loop early: the generator's ``with`` closes the file in the worker.

    python examples/stream_rows.py [FILE] [--rows 200000] [--first N]

Without a file it makes one, of weather that was never measured.
"""

import argparse
import asyncio
import csv
import os
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import hybridrt

parser = argparse.ArgumentParser()
parser.add_argument("file", nargs="?", type=Path, help="with the columns station, day and celsius")
parser.add_argument("--rows", type=int, default=200_000, help="how many to make where there is no file")
parser.add_argument("--first", type=int, default=0, help="stop after so many rows (0: at the end)")
options = parser.parse_args()
if options.file is not None and not options.file.is_file():
    parser.error(f"there is no file {options.file}")


class Row(NamedTuple):
    station: str
    day: int
    celsius: float


def read_rows(path: Path) -> Iterator[tuple[str, int, float]]:
    """The rows of a file. Runs in a worker."""
    with path.open(newline="") as file:
        try:
            for row in csv.DictReader(file):
                yield row["station"], int(row["day"]), float(row["celsius"])
        finally:
            print(
                f"worker {os.getpid()}: closed the file at byte {os.lseek(file.fileno(), 0, os.SEEK_CUR):,}"
            )


def write_weather(path: Path, rows: int) -> None:
    dice = random.Random(1)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        for number in range(rows):
            station = dice.choice(["Aachen", "Bergen", "Cádiz", "Debrecen"])
            writer.writerow([station, number // 4, f"{dice.gauss(12, 8):.1f}"])


async def tick(ticks: list[float]) -> None:
    while True:
        ticks.append(time.perf_counter())
        await asyncio.sleep(0.005)


async def main(path: Path) -> None:
    rt = hybridrt.current_runtime()
    ticks: list[float] = []
    ticking = asyncio.create_task(tick(ticks))
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    number = 0
    began = time.perf_counter()
    async with rt.stream(read_rows, path) as rows:
        async for station, _, celsius in rows:
            sums[station] += celsius
            counts[station] += 1
            number += 1
            if number == options.first:
                break
    took = time.perf_counter() - began
    ticking.cancel()
    print(f"process {os.getpid()}: {number:,} rows in {took:.2f} s: {number / took:,.0f} rows/s")
    for station in sorted(sums):
        print(
            f"  {station:<10}{sums[station] / counts[station]:6.1f} °C in the mean of {counts[station]:,} rows"
        )
    print(f"the event loop turned {len(ticks)} times meanwhile")


with tempfile.TemporaryDirectory() as folder:
    source = options.file or Path(folder, "weather.csv")
    if options.file is None:
        write_weather(source, options.rows)
    hybridrt.run(main, source)
