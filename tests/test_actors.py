"""An instance lives in a worker of its own: its calls run in order, its errors are told early, and its end is whole."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import inspect
import os
import pickle
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import acting
import pytest
from acting import Counter, Entered, Talker
from helpers import a_seed, exists, is_alive, until

import hybridrt
from hybridrt import HybridrtError, NotSendable, Restart, Runtime, RuntimeClosed, WorkerCrashed

ONE = {"processes": 1}


def pids(rt: Runtime) -> set[int]:
    return {worker.pid for worker in rt.stats().workers}


# Calls


async def test_it_lives_in_one_process_and_remembers() -> None:
    async with Runtime(processes=1) as rt, rt.actor(Counter, 10, step=2) as counter:
        assert await counter.add() == 12
        assert await counter.call(Counter.add, 4) == 20
        assert await counter.add(number=1) == 22
        pid = await counter.pid()
        assert pid not in (os.getpid(), await rt.to_process(os.getpid))
        assert await counter.double(4) == 8
        assert await counter.named("here") == "Counter here"
        assert await counter.call(Counter.named, "here") == "Counter here"
        assert await counter.call(Counter.double, 5) == 10
        assert await counter.call(Counter._private) == "private"


async def test_calls_of_one_instance_run_one_at_a_time_in_their_order() -> None:
    async with Runtime(processes=2) as rt, rt.actor(Counter) as counter:
        results = await asyncio.gather(*[counter.see(number) for number in range(300)])
        assert results == list(range(1, 301))
        assert await counter.seen_so_far() == list(range(300))


async def test_large_arguments_and_results() -> None:
    async with Runtime(processes=1) as rt, rt.actor(Counter) as counter:
        assert await counter.length(b"x" * 3_000_000) == 3_000_000
        assert await counter.length(list(range(200_000))) == 200_000
        assert len(await counter.many(200_000)) == 200_000
        shared = rt.share(list(range(100_000)))
        assert await counter.length(shared) == 100_000


async def test_what_it_raises_arrives_as_itself_and_it_lives_on() -> None:
    async with Runtime(processes=1) as rt, rt.actor(Counter) as counter:
        with pytest.raises(ValueError, match="oh dear") as caught:
            await counter.fail("oh dear")
        assert caught.traceback[-1].name == "fail"
        with pytest.raises(TypeError, match="argument"):
            await counter.add(1, 2, 3)
        with pytest.raises(NotSendable, match=r"acting.Counter.length cannot be sent.*args\[0\]") as told:
            await counter.length(threading.Lock())
        assert told.value.where == "args[0]"
        assert await counter.add() == 1


async def test_a_class_of_main_s_and_of_a_function_s_travel() -> None:
    class Local:
        def __init__(self, x: int) -> None:
            self.x = x

        def plus(self, y: int) -> int:
            return self.x + y

        @hybridrt.batched(max_size=2)
        def twice(self, items: list[int]) -> list[int]:
            return [item * 2 for item in items]

    async with Runtime(processes=1) as rt, rt.actor(Local, 4) as local:
        assert [await local.plus(y) for y in range(3)] == [4, 5, 6]
        assert await local.twice(5) == 10


async def test_a_subclass_s_own_method_is_called() -> None:
    async with Runtime(processes=1) as rt, rt.actor(acting.Loud) as loud:
        assert await loud.add() == 1001
        assert await loud.call(Counter.add) == 1002


async def test_methods_that_are_made_when_they_are_asked_for() -> None:
    async with Runtime(processes=1) as rt, rt.actor(acting.Dynamic) as dynamic:
        assert await dynamic.anything(1) == "anything 1"


async def test_a_method_goes_wherever_a_coroutine_function_goes() -> None:
    async with Runtime(processes=1) as rt, rt.actor(Counter) as counter:
        assert inspect.iscoroutinefunction(counter.add)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(counter.add()) for _ in range(5)]
        assert sorted(task.result() for task in tasks) == [1, 2, 3, 4, 5]
        assert counter.add.__doc__ == "Add so many steps." and counter.add.__qualname__ == "Counter.add"


# What is told early


async def test_what_is_no_method_is_told_when_it_is_asked_for() -> None:
    async with Runtime(processes=1) as rt, rt.actor(Counter) as counter:
        for name, kind, told in (
            ("ad", AttributeError, r"acting.Counter has no method 'ad'; did you mean 'add'\?"),
            ("count", AttributeError, "attribute that its instance has in the worker"),
            ("size", AttributeError, "acting.Counter.size is an attribute"),
            ("half", AttributeError, "acting.Counter.half is a property"),
            ("_private", AttributeError, r"not public.*actor.call\(Counter._private"),
            ("numbers", TypeError, "acting.Counter.numbers is a generator method"),
            ("numbers_later", TypeError, "generator method"),
        ):
            with pytest.raises(kind, match=told):
                getattr(counter, name)
        assert not hasattr(counter, "whatever")
        with pytest.raises(TypeError, match=r"call takes a method of acting.Counter.*not work|not len"):
            await counter.call(len, ())  # type: ignore[call-overload]
        with pytest.raises(TypeError, match=r"call takes a method of acting.Counter"):
            await counter.call("add")  # type: ignore[call-overload]
        public = {"add", "call", "die", "double", "fail", "length", "many", "named", "pid", "see", "thread"}
        assert public <= set(dir(counter))
        assert not {"_private", "half", "size", "numbers"} & set(dir(counter))
        assert repr(counter) == "<hybridrt actor of acting.Counter>"
        with pytest.raises(TypeError, match="stays with its runtime"):
            pickle.dumps(counter)


async def test_options_that_make_no_sense() -> None:
    async with Runtime(processes=1, own_workers=4) as rt:
        actor: Any = rt.actor
        with pytest.raises(TypeError, match=r"an actor is made of a class.*not of"):
            actor(len)
        with pytest.raises(TypeError, match="a value of type int"):
            actor(3)
        with pytest.raises(ValueError, match="an actor lives in a thread or a process"):
            rt.options(lane="loop").actor(Counter)
        with pytest.raises(ValueError, match=r"options\(retries=...\) is not for actors"):
            rt.options(retries=1).actor(Counter)
        for replicas in (0, True, 1.5):
            with pytest.raises(ValueError, match="replicas"):
                rt.options(replicas=replicas)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="own_workers=4"):
            rt.options(replicas=5).actor(Counter)
        with pytest.raises(ValueError, match="'never' and 'on-crash'"):
            rt.options(restart="always")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="not int"):
            rt.options(restart=3)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="are for actors"):
            await rt.options(replicas=2).to_process(len, ())
        with pytest.raises(TypeError, match="asynchronous context manager"):
            rt.options(lane="thread").actor(acting.EnteredOnLoop, "x")
    with pytest.raises(RuntimeClosed):
        rt.actor(Counter)
    with ThreadPoolExecutor(1) as executor:
        async with Runtime(processes=executor) as rt:
            with pytest.raises(HybridrtError, match="ThreadPoolExecutor in their place"):
                async with rt.actor(Counter):
                    pass


async def test_it_is_entered_once_and_called_in_its_thread(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt:
        context = rt.actor(Counter)
        async with context as counter:
            with pytest.raises(RuntimeError, match="was entered already"):
                await context.__aenter__()
            with pytest.raises(RuntimeError, match="from another thread"):
                await rt.to_thread(asyncio.run, counter.add())
        with pytest.raises(
            RuntimeClosed, match=r"acting.Counter.add was not started: its actor has been left"
        ):
            await counter.add()
        assert repr(counter).endswith("left>")


# Its beginning


@pytest.mark.parametrize("lane", ["process", "thread"])
@pytest.mark.parametrize("replicas", [1, 2])
async def test_what_the_constructor_raises_arrives_as_itself(lane: Any, replicas: int) -> None:
    async with Runtime(processes=1, own_workers=2) as rt:
        rt_with = rt.options(lane=lane, replicas=replicas)
        for _ in range(2):  # nothing is left behind: there are workers for the next
            with pytest.raises(ValueError, match="-1 is below zero"):
                async with rt_with.actor(Counter, -1):
                    pass
        await until(lambda: not pids(rt))
        async with rt_with.actor(Counter, 1) as counter:
            assert await counter.add() == 2


async def test_arguments_that_cannot_be_sent() -> None:
    async with Runtime(processes=1) as rt:
        with pytest.raises(NotSendable, match=r"acting.Counter cannot be sent.*kwargs\['step'\]"):
            async with rt.actor(Counter, step=threading.Lock()):  # type: ignore[arg-type]
                pass


async def test_a_cancel_while_it_is_built_leaves_nothing(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    async with Runtime(processes=1) as rt:

        async def build() -> None:
            async with rt.options(replicas=2).actor(acting.Slow, str(begun), str(tmp_path / "never")):
                pass

        building = asyncio.ensure_future(build())
        await exists(begun)
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building
        await until(lambda: not pids(rt))


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5])
async def test_a_cancel_at_any_step_of_building_leaves_nothing(steps: int) -> None:
    async with Runtime(processes=1, own_workers=1) as rt:

        async def build() -> None:
            async with rt.actor(Counter) as counter:
                await counter.add()

        building = asyncio.ensure_future(build())
        for _ in range(steps):
            await asyncio.sleep(0)
        building.cancel()
        await asyncio.gather(building, return_exceptions=True)
        async with rt.actor(Counter) as counter:
            assert await counter.add() == 1


async def test_a_worker_that_dies_while_it_is_built(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    begun.write_text("built ")
    async with Runtime(processes=1) as rt:
        with pytest.raises(WorkerCrashed, match=r"acting.Slow was lost"):
            async with rt.options(restart="on-crash").actor(acting.Slow, str(begun), deaths=1):
                pass


# Its end


@pytest.mark.parametrize("lane", ["process", "thread"])
async def test_a_context_manager_is_entered_and_left(lane: Any, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    async with Runtime(processes=1) as rt:
        async with rt.options(lane=lane).actor(Entered, str(ledger)) as entered:
            assert ledger.read_text().split() == ["enter"]
            await entered.add()
        assert ledger.read_text().split() == ["enter", "exit"]


async def test_an_asynchronous_one_is_too(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    async with Runtime(processes=1) as rt:
        async with rt.actor(acting.EnteredOnLoop, str(ledger)) as entered:
            assert await entered.plain(3) == 3
        assert ledger.read_text().split() == ["aenter", "aexit"]


@pytest.mark.parametrize("lane", ["process", "thread"])
async def test_errors_of_entering_and_leaving(lane: Any, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    async with Runtime(processes=1, own_workers=1) as rt:
        for where in ("enter", "exit"):
            with pytest.raises(LookupError, match=where):
                async with rt.options(lane=lane).actor(Entered, str(ledger), where):
                    pass
        assert ledger.read_text().split() == ["enter", "enter", "exit"]


async def test_leaving_waits_for_calls_in_flight(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    async with Runtime(processes=1) as rt:
        async with rt.actor(Counter) as counter:
            call = asyncio.ensure_future(counter.wait_for_file(str(gate), str(begun)))
            behind = asyncio.ensure_future(counter.add())
            await exists(begun)
            asyncio.get_running_loop().call_later(0.05, gate.touch)
        assert call.done() and behind.done()
        await call
        assert await behind == 1


async def test_leaving_by_an_error_stops_calls_in_flight(tmp_path: Path) -> None:
    begun, ended, ledger = tmp_path / "begun", tmp_path / "ended", tmp_path / "ledger"
    async with Runtime(processes=1) as rt:
        with pytest.raises(ValueError, match="enough"):
            async with rt.actor(Entered, str(ledger)) as entered:
                call = asyncio.ensure_future(entered.note_and_wait(str(begun), str(ended)))
                await exists(begun)
                raise ValueError("enough")
        with pytest.raises(RuntimeClosed, match=r"acting.Entered.note_and_wait was stopped"):
            await call
        assert ended.exists()
        assert ledger.read_text().split() == ["enter"]
        with pytest.raises(ValueError, match="nothing runs"):
            async with rt.actor(Entered, str(ledger)):
                raise ValueError("nothing runs")
        assert ledger.read_text().split() == ["enter", "enter", "exit"]


async def test_a_cancel_while_it_is_left_ends_it_all_the_same(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    async with Runtime(processes=1, own_workers=1, interrupt_grace=0.05) as rt:

        async def live() -> None:
            async with rt.actor(Counter) as counter:
                calls.append(asyncio.ensure_future(counter.swallow_interrupts(str(begun))))
                await exists(begun)

        calls: list[asyncio.Future[Any]] = []
        living = asyncio.ensure_future(live())
        await exists(begun)
        await asyncio.sleep(0.01)  # it waits for the call by now; nothing can be seen of that
        living.cancel()
        with pytest.raises(asyncio.CancelledError):
            await living
        with pytest.raises((RuntimeClosed, WorkerCrashed)):
            await calls[0]
        async with rt.actor(Counter) as counter:
            assert await counter.add() == 1


async def test_the_runtime_s_end_is_its_end(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    async with Runtime(processes=1, shutdown_grace=0.05, interrupt_grace=0.05) as rt:
        context = rt.options(restart="on-crash").actor(Counter)
        counter = await context.__aenter__()
        pid = await counter.pid()
        call = asyncio.ensure_future(counter.swallow_interrupts(str(begun)))
        await exists(begun)
    assert not is_alive(pid)
    for lost in (call, counter.add()):
        with pytest.raises(RuntimeClosed):
            await lost
    await context.__aexit__(None, None, None)


# Cancel


async def test_a_cancelled_call_is_interrupted_and_the_instance_lives_on(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    async with Runtime(processes=1, interrupt_grace=10.0) as rt, rt.actor(Counter) as counter:
        await counter.add()
        call = asyncio.ensure_future(counter.note_and_wait(str(begun), str(ended)))
        await exists(begun)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await counter.add() == 2
        assert ended.exists()


async def test_one_that_does_not_stop_takes_the_instance_along(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    async with Runtime(processes=1, interrupt_grace=0.05) as rt, rt.actor(Counter) as counter:
        call = asyncio.ensure_future(counter.swallow_interrupts(str(begun)))
        behind = asyncio.ensure_future(counter.add())
        await exists(begun)
        call.cancel()
        with pytest.raises(
            WorkerCrashed, match=r"add was not started.*cancelled and did not stop.*is gone with it"
        ):
            await behind
        with pytest.raises(WorkerCrashed, match="What lived in it is gone"):
            await counter.add()


async def test_a_time_limit_is_for_each_call(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    async with Runtime(processes=1, interrupt_grace=10.0) as rt:
        async with rt.options(timeout=0.2).actor(Counter) as counter:
            with pytest.raises(TimeoutError, match=r"acting.Counter.note_and_wait did not end within 0.2 s"):
                await counter.note_and_wait(str(begun), str(ended))
        assert ended.exists() == begun.exists()


# Coroutine functions


async def test_coroutine_methods_run_side_by_side_and_plain_ones_in_order(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt, rt.actor(Talker, 5) as talker:
        folder = str(tmp_path)
        await asyncio.gather(talker.wait(folder, "a", "b"), talker.wait(folder, "b", "a"))
        assert await talker.call(Talker.on_a_loop) == await talker.pid()
        await asyncio.gather(*[talker.see(number) for number in range(100)])
        assert await talker.seen_so_far() == list(range(100))
        assert await talker.length([0] * 200_000) == 200_000
        with pytest.raises(ValueError, match="oh"):
            await talker.fail("oh")
        with pytest.raises(NotSendable, match=r"args\[0\]"):
            await talker.length(threading.Lock())


async def test_a_cancelled_coroutine_method_ends(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    async with Runtime(processes=1) as rt, rt.actor(Talker) as talker:
        call = asyncio.ensure_future(talker.wait_until_cancelled(str(begun), str(ended)))
        await exists(begun)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await exists(ended)
        assert await talker.add() == 1


# Death and restart


async def test_a_death_fails_the_call_and_what_comes(tmp_path: Path) -> None:
    async with Runtime(processes=1) as rt, rt.actor(Counter) as counter:
        dying, behind = (asyncio.ensure_future(it) for it in (counter.die(), counter.add()))
        with pytest.raises(WorkerCrashed, match=r"acting.Counter.die was lost") as caught:
            await dying
        assert (caught.value.attempts, caught.value.signal) == (1, "SIGKILL")
        with pytest.raises(WorkerCrashed, match=r"acting.Counter.add was not started") as caught:
            await behind
        assert caught.value.attempts == 0
        with pytest.raises(WorkerCrashed, match=r"acting.Counter.add was not started"):
            await counter.add()
        assert await rt.to_process(len, "ab") == 2


async def test_on_crash_it_is_built_again_and_what_had_not_begun_runs_then(tmp_path: Path) -> None:
    begun, ledger = tmp_path / "begun", tmp_path / "ledger"
    quick = Restart(backoff=0.01)
    async with Runtime(processes=1) as rt, rt.options(restart=quick).actor(acting.Slow, str(begun)) as slow:
        first = await slow.pid()
        dying = asyncio.ensure_future(slow.die())
        behind = [asyncio.ensure_future(slow.note(str(ledger), f"{number} ")) for number in range(10)]
        with pytest.raises(WorkerCrashed, match="die was lost"):
            await dying
        await asyncio.gather(*behind)
        assert ledger.read_text().split() == [str(number) for number in range(10)]
        assert await slow.pid() != first
        assert begun.read_text().split() == ["built"] * 2


async def test_it_is_built_again_though_nobody_calls() -> None:
    async with (
        Runtime(processes=1) as rt,
        rt.options(restart=Restart(backoff=0.0)).actor(Counter, 3) as counter,
    ):
        pid = await counter.pid()
        os.kill(pid, signal.SIGKILL)
        await until(lambda: pids(rt) and pid not in pids(rt))
        assert await counter.add() == 4


async def test_it_is_not_built_more_often_than_allowed(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    policy = Restart(most=2, backoff=0.0)
    async with (
        Runtime(processes=1) as rt,
        rt.options(restart=policy).actor(acting.Slow, str(begun), deaths=9) as slow,
    ):
        with pytest.raises(WorkerCrashed, match="die was lost"):
            await slow.die()
        with pytest.raises(
            WorkerCrashed, match=r"built again 2 times within 60 s.*not built once more"
        ) as caught:
            await slow.pid()
        assert isinstance(caught.value.__cause__, WorkerCrashed)
        assert begun.read_text().split() == ["built"] * 3
        with pytest.raises(WorkerCrashed, match="not built once more"):
            await slow.pid()


async def test_who_waits_for_it_to_be_built_again_can_be_cancelled_and_it_can_be_left(tmp_path: Path) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    gate.touch()
    async with Runtime(processes=1, own_workers=1) as rt:
        policy = Restart(backoff=0.0)
        async with rt.options(restart=policy).actor(acting.Slow, str(begun), str(gate)) as slow:
            gate.unlink()
            with pytest.raises(WorkerCrashed):
                await slow.die()
            waiting = asyncio.ensure_future(slow.pid())
            await until(lambda: begun.read_text().count("built") == 2)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        async with rt.actor(Counter) as counter:
            assert await counter.add() == 1


# Replicas


async def test_each_call_goes_to_the_replica_with_the_fewest(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    async with (
        Runtime(processes=1, interrupt_grace=10.0) as rt,
        rt.options(replicas=3).actor(Counter) as counter,
    ):
        assert repr(counter) == "<hybridrt actor of acting.Counter, 3 replicas>"
        busy = asyncio.ensure_future(counter.note_and_wait(str(begun), str(ended)))
        await exists(begun)
        for _ in range(5):
            assert len(set(await asyncio.gather(counter.pid(), counter.pid()))) == 2, (
                "neither waits for the busy one"
            )
        assert len(pids(rt)) == 3
        busy.cancel()


async def test_what_had_not_begun_on_a_dead_replica_runs_on_another(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    async with Runtime(processes=1) as rt, rt.options(replicas=2).actor(Counter) as counter:
        waiting = asyncio.ensure_future(counter.wait_for_file(str(gate), str(begun)))
        await exists(begun)
        dying = asyncio.ensure_future(counter.die())
        behind = [asyncio.ensure_future(counter.add(0)) for _ in range(6)]
        with pytest.raises(WorkerCrashed):
            await dying
        gate.touch()
        assert await asyncio.gather(*behind) == [0] * 6
        await waiting
        assert await counter.add() == 1


# Threads


async def test_one_in_a_thread_stays_in_it() -> None:
    async with (
        Runtime(processes=1, thread_idle=0.0) as rt,
        rt.options(lane="thread").actor(acting.Rows) as rows,
    ):
        threads = {await rows.insert(number) for number in range(20)}
        assert len(threads) == 1 and threads != {threading.get_ident()}
        assert await rows.all() == list(range(20))
        with pytest.raises(AttributeError, match="did you mean 'insert'"):
            _ = rows.inser


async def test_coroutine_functions_are_refused_in_a_thread() -> None:
    async with Runtime(processes=1) as rt, rt.options(lane="thread").actor(Talker) as talker:
        assert await talker.add() == 1
        with pytest.raises(TypeError, match=r"acting.Talker.wait is a coroutine function.*lives in a thread"):
            _ = talker.wait
        shared = rt.share([1, 2, 3])
        assert await talker.length(shared) == 3


async def test_a_runtime_has_no_processes_for_one_in_a_thread() -> None:
    async with Runtime(processes=1) as rt:
        async with rt.options(lane="thread").actor(Counter) as counter:
            assert await counter.thread() != threading.get_ident()
        assert not pids(rt)


async def test_in_a_scope() -> None:
    async with Runtime(processes=1) as rt, rt.scope() as scope:
        async with scope.actor(Counter) as counter:
            assert await counter.add() == 1
        async with scope.options(replicas=2, restart="on-crash").actor(Counter) as counter:
            assert await counter.add() == 1


async def test_classes_that_are_not_written_in_python() -> None:
    async with Runtime(processes=1) as rt, rt.actor(collections.deque, [1, 2]) as queue:
        await queue.append(3)
        assert await queue.popleft() == 1
        with pytest.raises(AttributeError, match="did you mean 'popleft'"):
            _ = queue.poplef


request_id: ContextVar[str] = hybridrt.register_contextvar(ContextVar("request_id_of_actors", default="none"))


class Asker:
    def which(self) -> str:
        return request_id.get()


class AskerLater:
    async def which(self) -> str:
        return request_id.get()


@pytest.mark.parametrize("cls", [Asker, AskerLater])
async def test_the_caller_s_context_travels_with_each_call(cls: type[Any]) -> None:
    async with Runtime(processes=1) as rt, rt.actor(cls) as asker:
        for word in ("one", "two"):
            token = request_id.set(word)
            assert await asker.which() == word
            request_id.reset(token)
        assert await asker.which() == "none"


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("lane", ["process", "thread"])
async def test_a_cancel_at_any_step_of_leaving_leaves_nothing(steps: int, lane: Any, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    async with Runtime(processes=1, own_workers=1) as rt:
        context = rt.options(lane=lane).actor(Entered, str(ledger))
        await context.__aenter__()
        leaving = asyncio.ensure_future(context.__aexit__(None, None, None))
        for _ in range(steps):
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        async with rt.options(lane=lane).actor(Counter) as counter:
            assert await counter.add() == 1


@pytest.mark.parametrize("seed", [1, None])
async def test_random_cancels_and_kills(seed: int | None, tmp_path: Path) -> None:
    """Every call has an outcome, none has run twice, and what has a result has run."""
    chance = random.Random(a_seed(seed))
    path = tmp_path / "ledger"
    path.touch()
    policy = Restart(most=10_000, backoff=0.0)
    async with Runtime(processes=1, interrupt_grace=0.2) as rt:
        actor = rt.options(replicas=2, restart=policy).actor(acting.Slow, str(tmp_path / "begun"))
        async with actor as slow:
            calls: dict[int, asyncio.Task[None]] = {}
            for number in range(400):
                calls[number] = asyncio.ensure_future(slow.note(str(path), f"{number}"))
                luck = chance.random()
                if luck < 0.05 and (alive := sorted(pids(rt))):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(chance.choice(alive), signal.SIGKILL)
                elif luck < 0.15:
                    calls[chance.randrange(number + 1)].cancel()
                elif luck < 0.3:
                    await asyncio.sleep(chance.random() * 0.01)
            outcomes = await asyncio.gather(*calls.values(), return_exceptions=True)
    ran = [int(line) for line in path.read_text().split()]
    assert len(ran) == len(set(ran)), "none has run twice"
    for number, outcome in enumerate(outcomes):
        if outcome is None:
            assert number in ran
        elif isinstance(outcome, WorkerCrashed):
            assert outcome.attempts == 1, "it had begun"
        else:
            assert isinstance(outcome, asyncio.CancelledError)
    assert outcomes.count(None) > 200
