"""Large arguments and results arrive as what they were, by way of shared memory or without it."""

from __future__ import annotations

import asyncio
import dataclasses
import pickle
import random
import warnings
from typing import Any

import bulky
import numpy as np
import pytest
from helpers import until

from hybridrt import NotSendable, Runtime
from hybridrt._engine.cargo import Cargo, Hold, Outgrown, pack
from hybridrt._engine.hatch import open_hatch
from hybridrt._engine.packing import OUT_OF_BAND, STREAM_ON_LOOP
from hybridrt._engine.pieces import LONG_TEXT
from hybridrt._engine.side import Side

MB = 1 << 20
TEXT = "aé€😀" * (LONG_TEXT // 2)


@dataclasses.dataclass
class Deep:
    inside: Any


def bits(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def told(view: memoryview) -> tuple[Any, ...]:
    return view.format, view.shape, view.readonly, view.tobytes()


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return type(other) is np.ndarray and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, tuple | list) and type(one) is type(other):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, memoryview):
        return type(other) is memoryview and told(one) == told(other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(map(equal, one.values(), other.values()))
    if isinstance(one, Deep):
        return equal(one.inside, other.inside)
    return type(one) is type(other) and bool(one == other)


THINGS: dict[str, Any] = {
    "bytes": bits(3 * MB),
    "bytearray": bytearray(bits(3 * MB)),
    "memoryview": memoryview(bits(3 * MB)),
    "small memoryview": memoryview(b"abc"),
    "typed memoryview": memoryview(bytearray(bits(3 * MB))).cast("d", (3, MB // 8)),
    "strided memoryview": memoryview(bits(3 * MB))[::2],
    "str": TEXT,
    "ascii": "x" * (3 * MB + 1),
    "surrogates": "\ud800" * (2 * MB),
    "array": np.arange(MB, dtype="f8"),
    "fortran array": np.asfortranarray(np.arange(MB, dtype="i4").reshape(1024, 1024)),
    "strided array": np.arange(2 * MB, dtype="i4")[::2],
    "objects": np.array([{"a": i} for i in range(20_000)], dtype=object),
    "many arrays": [np.full(20_000, i) for i in range(40)],
    "nested": {"a": [TEXT, (bits(2 * MB), np.ones(MB))], "b": Deep([TEXT, bits(MB)])},
    "graph": [{"i": i, "s": str(i), "l": [i]} for i in range(50_000)],
    "empty array": [np.empty(0), b"", "", bits(2 * MB)],
}


@pytest.fixture(params=["shared", "in band"])
async def rt(request: pytest.FixtureRequest) -> Any:
    settings = {"arena_limit": 4096} if request.param == "in band" else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "hybridrt has no shared memory", RuntimeWarning)
        async with Runtime(processes=1, **settings) as rt:
            yield rt


@pytest.mark.parametrize("name", THINGS)
async def test_a_thing_there_and_back_is_the_same(rt: Runtime, name: str) -> None:
    for _ in range(2):
        assert equal(await rt.to_process(bulky.same, THINGS[name]), THINGS[name])


async def test_what_was_one_object_is_one_object(rt: Runtime) -> None:
    array, text, data = np.ones(MB), TEXT, bits(2 * MB)
    box = [text, data]
    got = await rt.to_process(bulky.same, (array, array, text, text, data, data, box, [box]))
    assert got[0] is got[1]
    assert got[2] is got[3]
    assert got[4] is got[5]
    assert got[6] is got[7][0]
    box = [text, Deep(None)]
    box[1].inside = box
    got = await rt.to_process(bulky.same, box)
    assert got[1].inside is got
    assert got[0] == text
    knot: list[Any] = [text]
    knot.append((knot,))
    got = await rt.to_process(bulky.same, knot)
    assert got[1][0] is got
    assert got[0] == text


async def test_arrays_may_be_written_to_and_only_their_owner_sees_it(rt: Runtime) -> None:
    array = np.ones(MB)
    assert await rt.to_process(bulky.fill, array, 5.0) == 5.0 * MB
    assert array.sum() == MB
    mine, yours = [await rt.to_process(bulky.same, array) for _ in range(2)]
    mine[:] = 7
    assert yours.sum() == MB == array.sum()
    array.flags.writeable = False
    assert not await rt.to_process(bulky.is_writeable, array)
    assert not (await rt.to_process(bulky.same, array)).flags.writeable


async def test_by_keyword_with_luggage_by_value_and_in_coroutines(rt: Runtime) -> None:
    array = np.ones(MB)
    assert await rt.to_process(bulky.total, array=array) == MB
    assert await rt.to_process(bulky.total_in_a_coroutine, array) == MB
    assert await rt.to_process(lambda a: a.sum() + array.sum(), array) == 2 * MB
    calls = [rt.to_process(bulky.total_in_a_coroutine, array * i) for i in range(5)]
    assert await asyncio.gather(*calls) == [MB * i for i in range(5)]
    assert await rt.to_process(bulky.total, array) == MB


async def test_pandas_and_arrow_go_as_they_are(rt: Runtime) -> None:
    pd = pytest.importorskip("pandas")
    pa = pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"a": np.arange(200_000), "b": np.arange(200_000) / 7, "c": ["x", "y"] * 100_000})
    table = pa.table({"a": np.arange(200_000), "s": ["text"] * 200_000})
    for thing in (frame, table):
        assert (await rt.to_process(bulky.same, thing)).equals(thing)


async def test_what_cannot_be_pickled_is_named_and_leaves_nothing_taken(rt: Runtime) -> None:
    with pytest.raises(NotSendable, match=r"args\[1\]\['f'\]"):
        await rt.to_process(bulky.same, np.ones(MB), {"f": (i for i in ())})
    with pytest.raises(NotSendable, match="result"):
        await rt.to_process(eval, "[bytes(3000000), (i for i in ())]")
    with pytest.raises(ValueError, match="1048576"):
        await rt.to_process(bulky.raises_with, np.ones(MB))
    assert await rt.to_process(bulky.total, np.ones(MB)) == MB
    await until(lambda: pool_of(rt).in_use == 0)


def pool_of(rt: Runtime) -> Any:
    """The arenas for arguments."""
    assert rt._lanes is not None
    lane: Any = rt._lanes.processes
    return lane.hold.arenas


async def test_a_batch_of_map_brings_large_results(rt: Runtime) -> None:
    results = await asyncio.to_thread(
        lambda: list(rt.processes.map(bulky.ones, [10, MB, 20, MB], chunksize=2))
    )
    assert [len(result) for result in results] == [10, MB, 20, MB]


async def test_memory_of_a_call_is_free_with_its_answer_and_used_again() -> None:
    async with Runtime(processes=1) as rt:
        for _ in range(20):
            assert await rt.to_process(bulky.total, np.ones(MB)) == MB
            await rt.to_process(bulky.ones, MB)
        assert pool_of(rt).in_use == 0
        assert pool_of(rt).nbytes == 8 * MB


async def test_the_warning_comes_once_and_says_what_to_do() -> None:
    async with Runtime(processes=1, arena_limit=4096) as rt:
        with pytest.warns(RuntimeWarning, match="arena_limit says how much") as told:
            for _ in range(3):
                await rt.to_process(bulky.same, np.ones(MB))
        assert len(told) == 1


# Without a worker


class Pair:
    """A hold, and a side with nobody at the other end of the hatch but itself."""

    def __init__(self, most: int = 64 * MB) -> None:
        self.short: list[str] = []
        self.hold = Hold(lambda: most, self.short.append)
        ours, theirs = open_hatch()
        self.near, self.far = Side(ours), Side(theirs)

    def cross(self, cargo: Cargo, *, keep: bool = False) -> Any:
        pieces = self.near.accept(cargo, keep=keep)
        return self.far.take_in(b"".join(pieces)).open()

    def settle(self) -> None:
        frame = self.far.news()
        if frame:
            self.near.released(frame[21:])

    def close(self) -> None:
        for side in (self.near, self.far):
            side.close()
            side.drop()
        self.hold.close()


@pytest.fixture
def pair() -> Any:
    pair = Pair()
    yield pair
    pair.close()


def test_a_small_call_is_what_pickle_makes_of_it() -> None:
    for args in ((), (1, 2.5, None, True), ("text", b"bytes"), ([1, 2], {"a": (1,)}), (np.ones(3),)):
        call = (args, {"k": 1})
        assert repr(pickle.loads(pack(call))) == repr(call)
        assert repr(pickle.loads(pack((args, {})))) == repr((args, {}))


@pytest.mark.parametrize(
    "value",
    [
        bytes(STREAM_ON_LOOP),
        "x" * STREAM_ON_LOOP,
        bytearray(STREAM_ON_LOOP),
        np.zeros(OUT_OF_BAND, "u1"),
        list(range(STREAM_ON_LOOP)),
        memoryview(bytes(OUT_OF_BAND)),
        {"a": [np.zeros(OUT_OF_BAND, "u1")]},
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_large_call_is_outgrown(value: Any) -> None:
    for call in (((value,), {}), ((1,), {"k": value}), ((), {}, value)):
        with pytest.raises(Outgrown):
            pack(call)


def test_pickling_stops_where_the_call_is_outgrown() -> None:
    class Tells:
        told = 0

        def __reduce__(self) -> Any:
            Tells.told += 1
            return bytes, (bytes(1000),)

    with pytest.raises(Outgrown):
        pack((([Tells() for _ in range(5000)],), {}))
    assert Tells.told < 500


def test_release_is_once_and_for_all_and_the_receiver_counts_too(pair: Pair) -> None:
    array = np.ones(MB)
    cargo = pair.hold.load_up(((array,), {}))
    got = pair.cross(cargo)
    cargo.release()
    cargo.release()
    assert pair.hold.arenas.in_use == array.nbytes
    pair.settle()
    assert pair.hold.arenas.in_use == array.nbytes
    del got
    pair.settle()
    assert pair.hold.arenas.in_use == 0


def test_a_worker_that_dies_gives_everything_back(pair: Pair) -> None:
    cargo = pair.hold.load_up(((np.ones(MB), bits(3 * MB), TEXT), {}))
    kept = pair.cross(cargo)
    pair.near.close()
    assert pair.hold.arenas.in_use > 0
    cargo.release()
    assert pair.hold.arenas.in_use == 0
    assert kept[0][0].sum() == MB


def test_cargo_that_nobody_releases_is_released_as_garbage(pair: Pair) -> None:
    pair.hold.load_up(((np.ones(MB),), {}))
    assert pair.hold.arenas.in_use == 0


def test_a_payload_that_is_never_opened_is_released(pair: Pair) -> None:
    cargo = pair.hold.load_up(((np.ones(MB), bits(3 * MB)), {}))
    pair.far.take_in(b"".join(pair.near.accept(cargo)))
    cargo.release()
    pair.settle()
    assert pair.hold.arenas.in_use == 0


def test_what_is_kept_for_a_second_try_is_not_written_to(pair: Pair) -> None:
    cargo = pair.hold.load_up(((np.ones(MB),), {}))
    ((first,), _) = pair.cross(cargo, keep=True)
    first[:] = 7
    ((second,), _) = pair.cross(cargo, keep=True)
    assert second.sum() == MB


def test_a_full_hatch_sends_it_in_band(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    call = ((np.ones(MB), bits(3 * MB), TEXT, TEXT), {})
    cargo = pair.hold.load_up(call)
    monkeypatch.setattr(pair.near._hatch, "_fd", -1)
    assert equal(pair.cross(cargo), call)


@pytest.mark.parametrize("most", [4096, 4 * MB, 9 * MB])
def test_memory_that_ends_in_the_middle_sends_all_in_band(most: int) -> None:
    pair = Pair(most)
    call = ((bits(3 * MB), np.ones(MB), TEXT), {})
    assert equal(pair.cross(pair.hold.load_up(call)), call)
    assert len(pair.short) == 1
    assert "limit" in pair.short[0]
    assert pair.hold.arenas.in_use == 0
    pair.close()


def test_what_is_heavy_is_told(pair: Pair) -> None:
    def is_heavy(*args: Any) -> bool:
        cargo = pair.hold.load_up((args, {}))
        return pair.hold.is_heavy(b"".join(pair.near.accept(cargo)), cargo.flag)

    assert not is_heavy(np.ones(MB))  # a view, and nothing to be copied
    assert is_heavy(bytes(3 * MB))
    assert is_heavy(TEXT)
    assert is_heavy(list(range(100_000)))
    assert not pair.hold.is_heavy(b"small", 0)
    assert pair.hold.is_heavy(bytes(STREAM_ON_LOOP + 1), 0)


def test_a_closed_hold_loads_in_band(pair: Pair) -> None:
    pair.hold.close()
    call = ((bits(3 * MB),), {})
    assert equal(pair.cross(pair.hold.load_up(call)), call)


def test_collection_is_as_it_was(pair: Pair) -> None:
    import gc

    graph = [[i] for i in range(100_000)]
    assert gc.isenabled()
    got = pair.cross(pair.hold.load_up(((graph,), {})))
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    gc.disable()
    try:
        pair.cross(pair.hold.load_up(((graph,), {})))
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert got[0][0] == graph
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        pair.cross(pair.hold.load_up(((graph,), {})))
        assert frozen / 2 < gc.get_freeze_count() <= frozen, "what the user has frozen is not thawed"
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("size", [(1 << 16) - 1, 1 << 16, OUT_OF_BAND - 1, OUT_OF_BAND])
async def test_sizes_at_which_the_way_changes(rt: Runtime, size: int) -> None:
    for thing in (bits(size), bytearray(bits(size)), np.frombuffer(bits(size), "u1"), memoryview(bits(size))):
        assert equal(await rt.to_process(bulky.same, thing), thing)
    things = [bits(size), bytearray(b"__main__" * (size // 8)), np.zeros(size, "u1"), bits(3 * MB)]
    assert equal(await rt.to_process(bulky.same, things), things)
