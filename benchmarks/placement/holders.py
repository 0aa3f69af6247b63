"""Numbers: pure computing that denies the GIL to others, with plain data in and out. It belongs in a process.

From half a millisecond to half a second on the machine where they were measured. What they give back is small: what
is dear to send is on the line, and left out.
"""

from __future__ import annotations

import fractions
import heapq
import itertools
import math
import statistics
from collections import defaultdict, deque

from .case import HOLDER, Cases
from .data import a_grid, a_text, integers, matrix

CASES = Cases(HOLDER)
_PURE = "a Python loop over plain data; changes nothing but what it makes"
_IN_C = "C code that keeps the GIL, over plain data"


def count_primes(below: int) -> int:
    sieve = bytearray([1]) * below
    sieve[:2] = b"\0\0"
    for number in range(2, math.isqrt(below) + 1):
        if sieve[number]:
            for multiple in range(number * number, below, number):
                sieve[multiple] = 0
    return sum(sieve)


def primes_by_division(below: int) -> int:
    found: list[int] = []
    for number in range(2, below):
        root = math.isqrt(number)
        for prime in found:
            if prime > root:
                found.append(number)
                break
            if number % prime == 0:
                break
        else:
            found.append(number)
    return len(found)


def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def edit_distance(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def common_subsequence(one: str, other: str) -> int:
    before = [0] * (len(other) + 1)
    for a in one:
        now = [0]
        for j, b in enumerate(other):
            now.append(before[j] + 1 if a == b else max(before[j + 1], now[-1]))
        before = now
    return before[-1]


def knapsack(weights: list[int], values: list[int], room: int) -> int:
    best = [0] * (room + 1)
    for weight, value in zip(weights, values, strict=True):
        for space in range(room, weight - 1, -1):
            best[space] = max(best[space], best[space - weight] + value)
    return best[room]


def multiply(one: list[list[float]], other: list[list[float]]) -> float:
    columns = list(zip(*other, strict=True))
    product = [[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in one]
    return sum(map(sum, product))


def queens(size: int, placed: tuple[int, ...] = ()) -> int:
    row = len(placed)
    if row == size:
        return 1
    return sum(
        queens(size, (*placed, column))
        for column in range(size)
        if all(column != c and abs(column - c) != row - r for r, c in enumerate(placed))
    )


def mandelbrot(width: int, height: int) -> int:
    inside = 0
    for y in range(height):
        for x in range(width):
            c = complex(3 * x / width - 2, 2 * y / height - 1)
            z = 0j
            for _ in range(50):
                z = z * z + c
                if abs(z) > 2:
                    break
            else:
                inside += 1
    return inside


def game_of_life(generations: int) -> int:
    alive = {(0, 1), (1, 2), (2, 0), (2, 1), (2, 2), (10, 10), (10, 11), (10, 12), (11, 11)}
    for _ in range(generations):
        neighbours: defaultdict[tuple[int, int], int] = defaultdict(int)
        for x, y in alive:
            for dx, dy in itertools.product((-1, 0, 1), repeat=2):
                if dx or dy:
                    neighbours[x + dx, y + dy] += 1
        alive = {cell for cell, n in neighbours.items() if n == 3 or (n == 2 and cell in alive)}
    return len(alive)


def shortest_path(grid: list[list[int]]) -> int:
    end = (len(grid) - 1, len(grid[0]) - 1)
    costs = {(0, 0): 0}
    todo = [(0, (0, 0))]
    while todo:
        cost, (y, x) = heapq.heappop(todo)
        if (y, x) == end:
            return cost
        for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
            if 0 <= near[0] <= end[0] and 0 <= near[1] <= end[1]:
                further = cost + grid[near[0]][near[1]]
                if further < costs.get(near, 1 << 30):
                    costs[near] = further
                    heapq.heappush(todo, (further, near))
    return -1


def flood(grid: list[list[int]], level: int) -> int:
    seen: set[tuple[int, int]] = set()
    lakes = 0
    for start in itertools.product(range(len(grid)), range(len(grid[0]))):
        if start in seen or grid[start[0]][start[1]] > level:
            continue
        lakes += 1
        todo = deque([start])
        while todo:
            y, x = todo.popleft()
            if (y, x) in seen or not (0 <= y < len(grid) and 0 <= x < len(grid[0])) or grid[y][x] > level:
                continue
            seen.add((y, x))
            todo.extend(((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)))
    return lakes


def longest_collatz(below: int) -> int:
    lengths = {1: 1}
    for start in range(2, below):
        number, chain = start, []
        while number not in lengths:
            chain.append(number)
            number = number // 2 if number % 2 == 0 else 3 * number + 1
        length = lengths[number]
        for number in reversed(chain):
            length += 1
            lengths[number] = length
    return max(lengths, key=lambda number: lengths[number])


def harmonic(terms: int) -> tuple[int, int]:
    total = fractions.Fraction(0)
    for n in range(1, terms + 1):
        total += fractions.Fraction(1, n)
    return total.numerator % 1_000_007, total.denominator % 1_000_007


def describe(numbers: list[int]) -> tuple[float, float, float]:
    return statistics.mean(numbers), statistics.stdev(numbers), statistics.median(numbers)


def hash_of(text: str) -> int:
    value = 2166136261
    for byte in text.encode():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


def count_permutations(items: str) -> int:
    return sum(1 for p in itertools.permutations(items) if p[0] < p[-1])


def factorial_bits(n: int) -> int:
    return math.factorial(n).bit_length()


def power_bits(base: int, exponent: int) -> int:
    return int(base**exponent).bit_length()


def merge_sort(numbers: list[int]) -> int:
    def sort(part: list[int]) -> list[int]:
        if len(part) < 2:
            return part
        left, right = sort(part[: len(part) // 2]), sort(part[len(part) // 2 :])
        return list(heapq.merge(left, right))

    return sort(numbers)[len(numbers) // 2]


def simulate(steps: int) -> float:
    x, y, vx, vy = 1.0, 0.0, 0.0, 1.0
    for _ in range(steps):
        r3 = (x * x + y * y) ** 1.5
        vx -= x / r3 * 0.001
        vy -= y / r3 * 0.001
        x += vx * 0.001
        y += vy * 0.001
    return x * x + y * y


_add = CASES.add
_add("prime sieve", count_primes, lambda: (60_000,), _PURE)
_add("primes by division", primes_by_division, lambda: (6_000,), _PURE)
_add("fibonacci, recursive", fibonacci, lambda: (21,), _PURE)
_add("edit distance", edit_distance, lambda: (a_text(400), a_text(400, 1)), _PURE)
_add("longest common subsequence", common_subsequence, lambda: (a_text(150), a_text(150, 1)), _PURE)
_add("knapsack", knapsack, lambda: (integers(30, 40), integers(30, 90), 500), _PURE)
_add("matrix product in lists", multiply, lambda: (matrix(40), matrix(40)), _PURE)
_add("eight queens", queens, lambda: (7,), _PURE)
_add("mandelbrot", mandelbrot, lambda: (120, 80), _PURE)
_add("game of life", game_of_life, lambda: (40,), _PURE)
_add("shortest path in a grid", shortest_path, lambda: (a_grid(60),), _PURE)
_add("lakes in a grid", flood, lambda: (a_grid(80), 6), _PURE)
_add("longest Collatz chain", longest_collatz, lambda: (100_000,), _PURE)
_add("fractions", harmonic, lambda: (500,), _PURE)
_add("statistics", describe, lambda: (integers(4_000, 9_999),), _PURE)
_add("FNV hash of bytes", hash_of, lambda: (a_text(20_000),), _PURE)
_add("permutations", count_permutations, lambda: ("abcdefghi",), _PURE)
_add("factorial", factorial_bits, lambda: (12_000,), _IN_C)
_add("power of a large number", power_bits, lambda: (7, 200_000), _IN_C)
_add("merge sort", merge_sort, lambda: (integers(1_500, 99_999),), _PURE)
_add("two bodies", simulate, lambda: (900_000,), _PURE)
