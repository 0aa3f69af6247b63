"""Calls that take memory; importing this takes none that is worth the name, unlike a test file with its pytest."""

from __future__ import annotations

import asyncio
import threading

MB = 1 << 20
LIMIT = 64 * MB


def one_block(size: int) -> int:
    return len(bytearray(size))


def many_small() -> None:
    kept = []
    while True:
        kept.append([str(len(kept))] * 3)


def deep_in_a_cause() -> None:
    kept = bytearray(40 * MB)
    try:
        bytearray(40 * MB)
    except MemoryError as exc:
        raise LookupError(len(kept)) from exc


def result_of(size: int) -> bytes:
    return bytes(size)


def result_that_only_the_pickle_makes_too_large() -> list[str]:
    return ["x" * 100] * 1_000 + [str(i) * 40 for i in range(150_000)]


def length_of(data: bytes) -> int:
    return len(data)


def copies_of(data: bytes) -> int:
    return len([bytearray(data) for _ in range(8)])


def many_threads() -> None:
    done = threading.Event()
    started = []
    try:
        for _ in range(100):
            started.append(threading.Thread(target=done.wait))
            started[-1].start()
    finally:
        done.set()


def caught_by_the_call() -> str:
    try:
        bytearray(2 * LIMIT)
    except MemoryError:
        return "smaller, then"
    return "it was there"


async def in_a_coroutine(size: int) -> int:
    block = bytearray(size)
    await asyncio.sleep(0)
    return len(block)


async def many_small_in_a_coroutine() -> None:
    kept = []
    while True:
        await asyncio.sleep(0)
        kept.append([[str(at)] * 3 for at in range(1_000)])


async def waits_for_the_end_of_that() -> int:
    for _ in range(2_000):
        await asyncio.sleep(0)
    return 3
