"""Five CPU-heavy tasks run side by side in worker processes, as many at once as there are CPUs.

Look at the last line: the tasks took longer, added up, than the clock says. And look for what is not here: no
``if __name__ == "__main__"``, no pool to set up or to shut down.

    python examples/cpu_tasks.py [SIZE]
"""

import asyncio
import math
import sys
import time

import hybridrt

size = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000


def count_primes(name: str, below: int) -> tuple[int, float]:
    """How many primes there are, and the seconds that it took to find out."""
    print(f"{name}: starting")
    began = time.perf_counter()
    primes = 0
    for number in range(2, below):
        primes += all(number % divisor for divisor in range(2, math.isqrt(number) + 1))
    print(f"{name}: finishing")
    return primes, time.perf_counter() - began


async def main() -> None:
    began = time.perf_counter()
    names = [f"Process {number}" for number in range(5)]
    results = await asyncio.gather(*(hybridrt.to_process(count_primes, name, size) for name in names))
    clock = time.perf_counter() - began

    for name, (primes, seconds) in zip(names, results, strict=True):
        print(f"{name}: {primes} primes below {size}, found in {seconds:.2f} s")
    added_up = sum(seconds for _, seconds in results)
    print(f"{added_up:.2f} s of work in {clock:.2f} s on the clock: {added_up / clock:.2f} at a time")


hybridrt.run(main)
