"""Read by type checkers, never run: tests/test_typing.py wants an error on each line marked so, and on no other."""

# pyright: strict, reportUnusedCoroutine=false

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import assert_type

import hybridrt


def size(text: str, *, factor: int = 1) -> int:
    return len(text) * factor


async def fetch(url: str) -> bytes:
    return url.encode()


@hybridrt.cpu_bound
def parse(text: str) -> list[str]:
    return text.split()


@hybridrt.limit(4)
@hybridrt.io_bound
def load(path: str, encoding: str = "utf-8") -> str:
    return path + encoding


def rows(path: str, *, skip: int = 0) -> Iterator[list[str]]:
    yield [path] * skip


def some(path: str) -> Iterable[float]:
    yield 1.0


def numbered(path: str) -> Generator[tuple[int, str], None, bool]:
    yield 1, path
    return True


async def lines(url: str) -> AsyncIterator[bytes]:
    yield url.encode()


async def events(url: str) -> AsyncGenerator[dict[str, int], None]:
    yield {url: 1}


async def main() -> float:
    return 1.0


async def main_of(name: str) -> str:
    return name


async def a_call_has_the_type_of_its_function(rt: hybridrt.Runtime) -> None:
    assert_type(await rt.to_thread(size, "x", factor=2), int)
    assert_type(await rt.to_process(size, "x"), int)
    assert_type(await rt.run(size, "x"), int)
    assert_type(await rt.submit(size, "x"), int)
    assert_type(rt.submit(size, "x"), hybridrt.Job[int])


async def a_coroutine_function_gives_what_it_returns(rt: hybridrt.Runtime) -> None:
    assert_type(await rt.to_process(fetch, "x"), bytes)
    assert_type(await rt.run(fetch, "x"), bytes)
    assert_type(await rt.submit(fetch, "x"), bytes)
    assert_type(rt.submit(fetch, "x"), hybridrt.Job[bytes])


async def options_change_no_type(rt: hybridrt.Runtime) -> None:
    quick = rt.options(lane="process")
    of_one = rt.options(priority=1, deadline=2.0, key="a", weight=2, key_limit=3, max_queue=4)
    assert_type(await of_one.run(size, "x"), int)
    assert_type(of_one.submit(fetch, "x"), hybridrt.Job[bytes])
    assert_type(await quick.run(size, "x"), int)
    assert_type(await quick.run(fetch, "x"), bytes)
    assert_type(quick.submit(size, "x"), hybridrt.Job[int])
    assert_type(quick.submit(fetch, "x"), hybridrt.Job[bytes])


async def a_stream_gives_what_its_generator_yields(rt: hybridrt.Runtime) -> None:
    assert_type(rt.stream(rows, "x", skip=1), hybridrt.Stream[list[str]])
    assert_type(rt.stream(some, "x"), hybridrt.Stream[float])
    assert_type(rt.stream(numbered, "x"), hybridrt.Stream[tuple[int, str]])
    assert_type(rt.stream(lines, "x"), hybridrt.Stream[bytes])
    assert_type(rt.options(lane="process").stream(events, "x"), hybridrt.Stream[dict[str, int]])
    async for row in rt.stream(rows, "x"):
        assert_type(row, list[str])
    async with rt.stream(lines, "x") as stream:
        assert_type(stream, hybridrt.Stream[bytes])
        assert_type(await anext(stream), bytes)
        async for line in stream:
            assert_type(line, bytes)
    rt.stream(rows, 1)  # error
    rt.stream(rows, "x", skip="1")  # error
    rt.stream(lines)  # error
    rt.stream(main)  # error
    rt.stream(rows("x"))  # error


def weigh(text: str, factor: int) -> float:
    return len(text) * factor


def of_five(a: int, b: str, c: bytes, d: float, e: bool) -> str:
    return f"{a}{b}{c!r}{d}{e}"


def of_six(a: int, b: int, c: int, d: int, e: int, f: int) -> str:
    return f"{a}{b}{c}{d}{e}{f}"


async def map_gives_what_its_function_returns(
    rt: hybridrt.Runtime, texts: AsyncIterable[str], is_asked: bool
) -> None:
    assert_type(rt.map(size, ["x"]), hybridrt.MapResults[int])
    assert_type(rt.map(fetch, texts, limit=3), hybridrt.MapResults[bytes])
    async for result in rt.map(size, texts, ordered=False, progress="sizes"):
        assert_type(result, int)
    async with rt.map(weigh, texts, [1, 2]) as results:
        assert_type(await anext(results), float)
        await results.aclose()
    assert_type(
        rt.map(weigh, ["x"], range(3), return_exceptions=True), hybridrt.MapResults[float | Exception]
    )
    assert_type(rt.map(fetch, texts, return_exceptions=True), hybridrt.MapResults[bytes | Exception])
    assert_type(rt.map(size, texts, return_exceptions=is_asked), hybridrt.MapResults[int | Exception])
    assert_type(rt.options(lane="process").map(size, "xyz"), hybridrt.MapResults[int])
    assert_type(rt.map(of_five, [1], texts, [b""], [1.0], [True]), hybridrt.MapResults[str])
    assert_type(rt.map(of_six, [1], [1], [1], [1], [1], [1]), hybridrt.MapResults[str])
    plain: AsyncIterator[int] = rt.map(size, texts)
    assert_type(await anext(plain), int)
    rt.map(size, [1])  # error
    rt.map(size)  # error
    rt.map(size, 3)  # error
    rt.map(weigh, texts)  # error
    rt.map(weigh, texts, ["x"])  # error
    rt.map(size, texts, limit="many")  # error
    rt.map(size, texts, chunksize=3)  # error


async def the_ambient_functions_are_typed_alike() -> None:
    assert_type(await hybridrt.to_thread(size, "x"), int)
    assert_type(await hybridrt.to_process(size, "x", factor=2), int)
    assert_type(await hybridrt.to_process(fetch, "x"), bytes)
    assert_type(hybridrt.current_runtime(), hybridrt.Runtime)


def context_variables_keep_their_type() -> None:
    request_id = hybridrt.register_contextvar(ContextVar("request_id", default=""))
    assert_type(request_id, ContextVar[str])
    assert_type(request_id.get(), str)
    hybridrt.register_contextvar("request_id")  # error
    hybridrt.register_contextvar(request_id.get)  # error


def a_call_may_ask_whether_it_is_wanted() -> None:
    assert_type(hybridrt.cancelled(), bool)
    hybridrt.cancelled(1)  # error


def run_gives_what_main_returns() -> None:
    assert_type(hybridrt.run(main), float)
    assert_type(hybridrt.run(main_of, "x"), str)


async def a_decorated_function_is_the_same_to_its_callers(rt: hybridrt.Runtime) -> None:
    assert_type(parse("x"), list[str])
    assert_type(load("x"), str)
    assert_type(await rt.run(parse, "x"), list[str])
    assert_type(await rt.run(load, "x", encoding="latin-1"), str)
    parse(1)  # error


async def it_is_an_async_context_manager() -> None:
    async with hybridrt.Runtime(threads=4, processes=2) as rt:
        assert_type(rt, hybridrt.Runtime)
        await rt.warm_up()


def the_drop_in_executor_is_typed_like_the_standard_one() -> None:
    with hybridrt.ProcessPoolExecutor(
        2, initializer=size, initargs=("x",), max_tasks_per_child=3
    ) as executor:
        assert_type(executor, hybridrt.ProcessPoolExecutor)
        assert_type(executor.submit(size, "x", factor=2), Future[int])
        assert_type(executor.submit(fetch, "x"), Future[bytes])
        assert_type(executor.submit(size, "x").result(timeout=1), int)
        assert_type(executor.map(size, ["x", "y"], timeout=1, chunksize=2, buffersize=3), Iterator[int])
        assert_type(executor.map(fetch, ["x"]), Iterator[bytes])
        executor.submit(size, 1)  # error
        executor.submit(size)  # error
        executor.submit(fetch, 1)  # error
        executor.map(size, ["x"], buffersize="3")  # error
    hybridrt.ProcessPoolExecutor("2")  # error
    hybridrt.ProcessPoolExecutor(initializer=3)  # error


async def wrong_arguments_are_errors(rt: hybridrt.Runtime) -> None:
    await rt.to_thread(size, 1)  # error
    await rt.to_process(size, 1)  # error
    await rt.to_process(size, "x", 2)  # error
    await rt.to_process(size, "x", factor="2")  # error
    await rt.to_process(size)  # error
    await rt.to_process(fetch, 1)  # error
    await rt.to_process(size("x"))  # error
    await rt.run(size, 1)  # error
    await rt.run(fetch, "x", "y")  # error
    rt.submit(size, 1)  # error
    rt.submit(fetch, 1)  # error
    rt.options(lane="process").submit(size, 1)  # error
    await hybridrt.to_thread(size, 1)  # error
    await hybridrt.to_process(size, 1)  # error


def wrong_settings_are_errors(rt: hybridrt.Runtime) -> None:
    hybridrt.Runtime(threads="many")  # error
    rt.options(lane="nowhere")  # error


class Model:
    def __init__(self, path: str, *, size: int = 1) -> None:
        self.path = path

    def predict(self, x: float, *, digits: int = 2) -> str:
        return f"{x:.{digits}f}"

    async def fetch(self, url: str) -> bytes:
        return url.encode()

    @hybridrt.batched(max_size=8, max_delay=0.01)
    def score(self, texts: list[str]) -> list[float]:
        return [1.0 for _ in texts]

    @hybridrt.batched()
    async def score_later(self, texts: list[str]) -> list[float]:
        return [1.0 for _ in texts]


async def an_actor_is_made_of_a_class_and_its_arguments(rt: hybridrt.Runtime) -> None:
    async with rt.actor(Model, "weights", size=2) as model:
        assert_type(model, hybridrt.Actor[Model])
        assert_type(await model.call(Model.predict, 1.0, digits=3), str)
        assert_type(await model.call(Model.fetch, "x"), bytes)
        assert_type(await model.call(Model.score, "x"), float)
        assert_type(await model.call(Model.score_later, "x"), float)
        await model.predict(1.0)
        await model.call(Model.predict, "x")  # error
        await model.call(Model.score, ["x"])  # error
        await model.call(str.upper)  # error
    policy = hybridrt.Restart(most=3, within=60.0, backoff=0.1, longest=5.0)
    async with rt.options(replicas=2, restart=policy, timeout=1.0).actor(Model, "weights") as model:
        assert_type(model, hybridrt.Actor[Model])
    rt.options(restart="on-crash").actor(Model, "weights")
    rt.options(restart="always")  # error
    rt.actor(Model, 1)  # error
    rt.actor(Model)  # error
    hybridrt.batched(8)  # error
    assert_type(Model("w").score("x"), float)
