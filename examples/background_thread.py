"""A blocking function counts in a thread while the event loop does other things; then its result is awaited.

Look at the order of the lines: the loop goes on speaking between the numbers, although ``count`` blocks for a second
after each of them.

    python examples/background_thread.py [SECONDS]
"""

import asyncio
import sys
import time

import hybridrt

second = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0


def say(line: str) -> None:
    """Print in one piece; ``print(line)`` may write the end of the line apart, after what another thread writes."""
    print(line + "\n", end="", flush=True)


def count(to: int) -> str:
    for number in range(1, to + 1):
        say(f"thread: {number}")
        time.sleep(second)
    return "Done"


async def main() -> None:
    rt = hybridrt.current_runtime()
    counting = rt.options(lane="thread").submit(count, 5)  # starts now; a future of the result
    while not counting.done():
        say("loop:   here, and free for other things")
        await asyncio.wait([counting], timeout=second / 2)
    say(await counting)


hybridrt.run(main)
