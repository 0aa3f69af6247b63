"""Places are taken all at once or not at all, in the order of asking; a cancel leaves them to others."""

from __future__ import annotations

import asyncio

import pytest

from hybridrt import RuntimeClosed
from hybridrt._lanes.places import Places


def asking(places: Places, *counts: int) -> list[asyncio.Task[None]]:
    return [asyncio.ensure_future(places.take(count)) for count in counts]


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def done(tasks: list[asyncio.Task[None]]) -> list[bool]:
    return [task.done() for task in tasks]


async def test_first_come_first_served_and_all_at_once() -> None:
    places = Places(asyncio.get_running_loop(), 4)
    tasks = asking(places, 3, 2, 1)
    await turns()
    assert done(tasks) == [True, False, False], "the third would have found one, but is not the first to wait"
    assert places.waiting == 2
    places.give()
    await turns()
    assert done(tasks) == [True, True, False]
    places.give()
    await asyncio.gather(*tasks)
    assert places.waiting == 0


@pytest.mark.parametrize("is_in_time", [True, False])
async def test_who_is_cancelled_leaves_what_it_would_have_had_to_others(is_in_time: bool) -> None:
    places = Places(asyncio.get_running_loop(), 2)
    await places.take(1)
    tasks = asking(places, 2, 1)
    await turns()
    assert done(tasks) == [False, False]
    if not is_in_time:
        places.give()  # it has them now, but does not know it yet
    tasks[0].cancel()
    await turns()
    assert tasks[0].cancelled()
    assert tasks[1].done()
    places.give(1)
    if is_in_time:
        places.give(1)
    await asyncio.wait_for(places.take(2), 5)


async def test_who_waits_is_refused_and_so_is_everybody_after() -> None:
    places = Places(asyncio.get_running_loop(), 1)
    await places.take()
    (waiting,) = asking(places, 1)
    await turns()
    places.refuse(lambda: RuntimeClosed("over"))
    places.give()
    for refused in (waiting, places.take()):
        with pytest.raises(RuntimeClosed, match="over"):
            await refused
