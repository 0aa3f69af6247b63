"""Many files are read in threads, turned into word lists in processes, and written in threads, in bounded memory.

Look at ``main`` and ``carry``: a stream without a buffer hands paths to a fixed number of carriers, and each has one
file in hand from reading to writing. So there are never more than ``--window`` files in memory, however many there
are on disk; whoever is slow, the disk or the CPUs, slows down the one who hands out paths. (The tally is for show.)

    python examples/pipeline.py [SOURCE [TARGET]] [--window 8] [--pattern '*.py']

Without a source it takes Python's own library; without a target it throws the lists away.
"""

import argparse
import re
import resource
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

import hybridrt

parser = argparse.ArgumentParser()
parser.add_argument("source", nargs="?", type=Path, default=Path(sysconfig.get_path("stdlib")))
parser.add_argument("target", nargs="?", type=Path)
parser.add_argument("--window", type=int, default=8, help="files in memory at once")
parser.add_argument("--pattern", default="*.py")
options = parser.parse_args()
if not options.source.is_dir():
    parser.error(f"there is no folder {options.source}")
if options.window < 1:
    parser.error("--window must be at least 1")


def list_words(data: bytes) -> bytes:
    """The words of a file, each with its count, the most frequent first."""
    words = Counter(re.findall(rb"[^\W\d]\w+", data))
    return b"".join(b"%7d %s\n" % (count, word) for word, count in words.most_common())


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


class Tally:
    files = size = in_hand = most_in_hand = 0


async def carry(paths: MemoryObjectReceiveStream[Path], target: Path, tally: Tally) -> None:
    async with paths:
        async for path in paths:
            data = await hybridrt.to_thread((options.source / path).read_bytes)
            tally.in_hand += len(data)
            tally.most_in_hand = max(tally.most_in_hand, tally.in_hand)
            words = await hybridrt.to_process(list_words, data)
            await hybridrt.to_thread(write, target / f"{path}.words", words)
            tally.in_hand -= len(data)
            tally.files += 1
            tally.size += len(data)


def find(source: Path, pattern: str) -> list[Path]:
    """The files below ``source``, as seen from there; what was installed into Python's library is not Python's own."""
    paths = (path.relative_to(source) for path in source.rglob(pattern) if path.is_file())
    return [path for path in paths if "site-packages" not in path.parts]


async def main(target: Path) -> None:
    began = time.perf_counter()
    tally = Tally()
    send, receive = anyio.create_memory_object_stream[Path](0)
    async with anyio.create_task_group() as tg, send:
        for _ in range(options.window):
            tg.start_soon(carry, receive.clone(), target, tally)
        receive.close()
        for path in await hybridrt.to_thread(find, options.source, options.pattern):
            await send.send(path)
    seconds = time.perf_counter() - began
    print(f"{tally.files} files, {tally.size / 1e6:.1f} MB in {seconds:.1f} s: ", end="")
    print(f"{tally.files / seconds:.0f} files/s, {tally.size / 1e6 / seconds:.1f} MB/s")
    print(f"in hand at once: {options.window} files, at most {tally.most_in_hand / 1e3:.1f} kB of them")


def peak_memory(who: int) -> str:
    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(who).ru_maxrss * unit / 1e6:.0f} MB"


with tempfile.TemporaryDirectory() as thrown_away:
    hybridrt.run(main, options.target or Path(thrown_away))
print(f"peak memory: {peak_memory(resource.RUSAGE_SELF)} here, ", end="")
print(f"{peak_memory(resource.RUSAGE_CHILDREN)} in the largest worker")
