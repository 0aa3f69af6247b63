"""What a worker prints reaches the parent's streams in whole lines, each once, before its call's result."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import work
from helpers import a_seed, exists, until

from hybridrt import Runtime, WorkerCrashed

ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def listening() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """What arrives on the parent's two streams."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err


def run_script(code: str, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | environ,
    )


# Where it appears, and when


async def test_prints_are_there_before_the_result() -> None:
    def talks(n: int) -> int:
        print("line", n)
        print("complaint", n, file=sys.stderr)
        return n

    async with Runtime(processes=2) as rt:
        with listening() as (out, err):
            for n in range(50):
                assert await rt.to_process(talks, n) == n
                assert out.getvalue().endswith(f"line {n}\n")
                assert err.getvalue().endswith(f"complaint {n}\n")
            jobs = [rt.options(lane="process").submit(talks, n) for n in range(50, 150)]
            for job in asyncio.as_completed(jobs):
                assert f"line {await job}\n" in out.getvalue()
        assert sorted(out.getvalue().splitlines()) == sorted(f"line {n}" for n in range(150))


async def test_whatever_the_streams_are_at_that_moment(capsys: pytest.CaptureFixture[str]) -> None:
    async with Runtime(processes=1) as rt:
        await rt.to_process(print, "to capsys")
        with listening() as (out, err):
            await rt.to_process(print, "redirected")
        await rt.to_process(print, "to capsys again")
    assert capsys.readouterr().out == "to capsys\nto capsys again\n"
    assert (out.getvalue(), err.getvalue()) == ("redirected\n", "")


async def test_a_failing_and_a_crashing_call_are_heard_out() -> None:
    def fails() -> None:
        print("before the error", end="")
        raise ValueError("no")

    def dies(how: int) -> None:
        print("last words")
        print("not a whole line", end="", flush=True)
        if how:
            os.kill(os.getpid(), how)
        os._exit(3)

    async with Runtime(processes=1) as rt:
        with listening() as (out, _):
            with pytest.raises(ValueError, match="no"):
                await rt.to_process(fails)
            assert out.getvalue() == "before the error"
            for how in (0, signal.SIGKILL, signal.SIGABRT):
                out.truncate(0)
                out.seek(0)
                with pytest.raises(WorkerCrashed):
                    await rt.to_process(dies, how)
                assert out.getvalue() == "last words\nnot a whole line"


async def test_a_long_line_that_a_kill_cut_short_is_shown_as_far_as_it_came() -> None:
    def dies() -> None:
        import signal
        import threading

        threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
        while True:
            print("x" * 7_000_000 + "y")

    async with Runtime(processes=1) as rt:
        with listening() as (out, _):
            with pytest.raises(WorkerCrashed):
                await rt.to_process(dies)
            rest = out.getvalue().replace("x" * 7_000_000 + "y\n", "")
            assert set(rest) <= {"x", "y"}
            assert len(rest) % (1 << 15) == 0 or rest.endswith("y")


async def test_a_flush_shows_the_beginning_of_a_line_while_the_call_runs(tmp_path: Path) -> None:
    go_on = tmp_path / "go on"

    def progress(path: str) -> None:
        print("working", end="")
        print(" ...", end="", flush=True)
        while not os.path.exists(path):
            pass
        print(" done")

    async with Runtime(processes=1) as rt:
        with listening() as (out, _):
            job = rt.options(lane="process").submit(progress, str(go_on))
            await until(lambda: out.getvalue() == "working ...")
            go_on.touch()
            await job
            assert out.getvalue() == "working ... done\n"


async def test_a_flush_in_a_call_flushes_the_parents_stream(tmp_path: Path) -> None:
    path = tmp_path / "out"
    async with Runtime(processes=1) as rt:
        with path.open("w") as file, contextlib.redirect_stdout(file):
            await rt.to_process(print, "kept")
            assert path.read_text() == ""
            await rt.to_process(print, "shown", flush=True)
            assert path.read_text() == "kept\nshown\n"
            await rt.to_process(print, "kept")
            await rt.to_process(exec, "import sys; sys.stdout.flush()")
            assert path.read_text() == "kept\nshown\nkept\n"


async def test_a_thread_that_outlives_its_call_is_heard_all_the_same(tmp_path: Path) -> None:
    def leaves_a_thread(path: str) -> None:
        import threading

        def late() -> None:
            while not os.path.exists(path):
                pass
            print("late", "line")

        print("begun by the call", end="")
        threading.Thread(target=late).start()

    async with Runtime(processes=1) as rt:
        with listening() as (out, _):
            await rt.to_process(leaves_a_thread, str(tmp_path / "go on"))
            assert out.getvalue() == "begun by the call"
            (tmp_path / "go on").touch()
            await until(lambda: out.getvalue().endswith("late line\n"))


async def test_exit_hooks_are_heard_while_the_runtime_is_left() -> None:
    def will_say() -> None:
        import atexit

        atexit.register(print, "bye", "for good", end="")
        atexit.register(print, "bye")

    with listening() as (out, _):
        async with Runtime(processes=1) as rt:
            await rt.to_process(will_say)
        assert out.getvalue() == "bye\nbye for good"


async def test_what_a_preload_prints_is_heard_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "talkative.py").write_text("print('loaded', end='')\n")
    monkeypatch.syspath_prepend(tmp_path)
    async with Runtime(processes=2, preload=("talkative",)) as rt:
        with listening() as (out, _):
            await rt.warm_up()
            await rt.to_process(abs, -1)
            await until(out.getvalue)
    assert out.getvalue() == "loaded"


async def test_output_goes_on_with_another_zygote() -> None:
    async with Runtime(processes=1) as rt:
        with listening() as (out, _):
            await rt.to_process(print, "one")
            workforce = rt._open_lanes().processes._workforce  # type: ignore[attr-defined]
            os.kill(workforce.zygote_pid, signal.SIGKILL)
            await until(lambda: workforce.zygote_pid is None)
            with pytest.raises(WorkerCrashed):
                await rt.to_process(os._exit, 1)
            await rt.to_process(print, "two")
            assert out.getvalue() == "one\ntwo\n"


# Whole lines, each once


def in_pieces(worker: int, threads: int, lines: int) -> None:
    import threading

    def talk(thread: int) -> None:
        for n in range(lines):
            print(f"<{worker}", end="")
            sys.stdout.write(f".{thread}")
            print(f".{n}", "x" * (n % 50), sep=" ", end=" ")
            print(">")

    talkers = [threading.Thread(target=talk, args=(thread,)) for thread in range(threads)]
    for talker in talkers:
        talker.start()
    for talker in talkers:
        talker.join()


async def test_pieces_of_many_threads_in_many_workers_make_whole_lines() -> None:
    async with Runtime(processes=5) as rt:
        with listening() as (out, _):
            await asyncio.gather(*[rt.to_process(in_pieces, worker, 5, 200) for worker in range(5)])
        lines = out.getvalue().splitlines()
    assert Counter(lines) == Counter(
        f"<{worker}.{thread}.{n} {'x' * (n % 50)} >"
        for worker in range(5)
        for thread in range(5)
        for n in range(200)
    )


async def test_long_lines_and_long_texts_arrive_whole() -> None:
    def talks(me: int) -> None:
        for n in range(3):
            print(str(me) * 1_000_000)
            print("\n".join(f"{me} {n} {line} {'-' * 50}" for line in range(5000)))

    async with Runtime(processes=3) as rt:
        with listening() as (out, _):
            await asyncio.gather(*[rt.to_process(talks, me) for me in range(3)])
        lines = Counter(out.getvalue().splitlines())
    expected = Counter(
        f"{me} {n} {line} {'-' * 50}" for me in range(3) for n in range(3) for line in range(5000)
    )
    expected.update({str(me) * 1_000_000: 3 for me in range(3)})
    assert lines == expected


async def test_a_cancelled_call_prints_each_line_once_and_whole(tmp_path: Path) -> None:
    """Interrupts land anywhere in the middle of printing."""

    def counts(me: int) -> None:
        n = 0
        while True:
            print(f"<{me}", end=" ")
            print(f"{n}>")
            n += 1

    dice = random.Random(5)
    async with Runtime(processes=2, interrupt_grace=20) as rt:
        verbs = rt.options(lane="process")
        with listening() as (out, _):
            for me in range(60):
                job = verbs.submit(counts, me)
                await until(lambda me=me: f"<{me} 0>\n" in out.getvalue())
                await asyncio.sleep(dice.random() * 0.003)
                job.cancel()
            await rt.to_process(print, "end")
            await asyncio.gather(rt.to_process(work.spin, 0.01), rt.to_process(work.spin, 0.01))
        assert rt.stats().processes.crashed == 0
    said: dict[int, list[int]] = {me: [] for me in range(60)}

    def note(whole: re.Match[str]) -> str:
        said[int(whole[1])].append(int(whole[2]))
        return ""

    rest = re.sub(r"<(\d+) (\d+)>\n", note, out.getvalue())
    for numbers in said.values():
        assert numbers
        assert numbers == list(range(len(numbers)))
    # The line at which a call was stopped may have been begun, and that once.
    begun = re.findall(r"<(\d+) ?(?:(\d+)>)?", rest)
    assert len({me for me, _ in begun}) == len(begun)
    assert all(n in ("", str(len(said[int(me)]))) for me, n in begun)
    assert re.sub(r"<(\d+) ?(?:(\d+)>)?", "", rest) == "end\n"


@pytest.mark.parametrize("seed", [1, None])
async def test_random_kills_lose_no_line_that_was_printed(seed: int | None, tmp_path: Path) -> None:
    dice = random.Random(a_seed(seed))

    def tells(me: int, ledger: str) -> None:
        with open(ledger, "wb", 0) as file:
            for n in range(300):
                file.write(b"begin\n")
                print("line", me, n, "x" * (n * 37 % 3000))
                file.write(b"end\n")

    async with Runtime(processes=4) as rt:
        with listening() as (out, _):

            async def killer() -> None:
                while True:
                    await asyncio.sleep(dice.random() * 0.03)
                    if workers := rt.stats().workers:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(dice.choice(workers).pid, signal.SIGKILL)

            kills = asyncio.create_task(killer())
            calls = [rt.to_process(tells, me, str(tmp_path / f"{me}")) for me in range(60)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            kills.cancel()
            assert await rt.to_process(abs, -1) == 1
    assert {type(outcome) for outcome in outcomes} <= {WorkerCrashed, type(None)}
    lines = Counter(out.getvalue().splitlines())
    for me in range(60):
        ledger = tmp_path / f"{me}"
        told = ledger.read_text().splitlines() if ledger.exists() else []
        for n in range(told.count("begin")):
            count = lines.pop(f"line {me} {n} {'x' * (n * 37 % 3000)}", 0)
            assert count == 1 or (count == 0 and n >= told.count("end"))
    assert not lines, "no line is torn"


async def test_a_full_socket_stops_the_one_who_prints_and_nobody_else(tmp_path: Path) -> None:
    def floods(begun: str) -> int:
        Path(begun).touch()
        for n in range(20_000):
            print(n, "x" * 100)
        return n

    async with Runtime(processes=2) as rt:
        await rt.warm_up()
        with listening() as (out, _):
            job = rt.options(lane="process").submit(floods, str(tmp_path / "begun"))
            await exists(tmp_path / "begun")
            other = rt.options(lane="process").submit(Path.touch, tmp_path / "other")
            while not (tmp_path / "other").exists():
                time.sleep(0.001)  # the loop stands still, so nobody reads
            assert not other.done()
            await other
            assert await job == 19_999
            assert out.getvalue().count("\n") == 20_000


# The streams, as the call sees them


async def test_the_streams_are_what_one_expects(tmp_path: Path) -> None:
    def looks() -> list[Any]:
        streams = [sys.stdout, sys.stderr]
        return [
            [stream.fileno() for stream in streams],
            [stream.encoding for stream in streams],
            [stream.name for stream in streams],
            [stream.mode for stream in streams],
            [stream.writable() and not stream.readable() for stream in streams],
            [stream.isatty() == os.isatty(stream.fileno()) for stream in streams],
            [isinstance(stream, io.TextIOWrapper) for stream in streams],
        ]

    async with Runtime(processes=1) as rt:
        assert await rt.to_process(looks) == [
            [1, 2],
            ["utf-8"] * 2,
            ["<stdout>", "<stderr>"],
            ["w"] * 2,
            [True] * 2,
            [True] * 2,
            [True] * 2,
        ]


async def test_bytes_pass_as_they_are() -> None:
    def writes() -> None:
        print("text ü", end="")
        sys.stdout.buffer.write(bytearray(b" and bytes \xff\n"))
        sys.stdout.buffer.raw.write(memoryview(b"raw\n"))  # type: ignore[attr-defined]

    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    async with Runtime(processes=1) as rt:
        with contextlib.redirect_stdout(file):
            await rt.to_process(writes)
        file.flush()
        assert file.buffer.getvalue() == "text ü and bytes ".encode() + b"\xff\nraw\n"  # type: ignore[attr-defined]
        with listening() as (out, _):
            await rt.to_process(writes)
        assert out.getvalue() == "text ü and bytes \\xff\nraw\n"
        with pytest.raises(TypeError, match="bytes-like"):
            await rt.to_process(eval, "sys.stdout.buffer.write('text')", {"sys": sys})


async def test_no_call_can_take_the_streams_from_the_next() -> None:
    def mistreats() -> None:
        sys.stdout.reconfigure(write_through=False, line_buffering=False, encoding="utf-16")  # type: ignore[union-attr]
        print("reconfigured", "ü")
        buffer = sys.stdout.detach()  # type: ignore[union-attr]
        buffer.write(b"detached\n")
        sys.stdout.close()
        sys.stderr.close()
        sys.stdout.buffer.close()

    async with Runtime(processes=1) as rt:
        with listening() as (out, _):
            await rt.to_process(mistreats)
            await rt.to_process(print, "still there")
        assert out.getvalue() == "reconfigured ü\ndetached\nstill there\n"


async def test_programs_and_c_code_write_where_the_parents_own_output_goes(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def starts_programs() -> None:
        import ctypes
        import subprocess

        subprocess.run(["/bin/echo", "a program"], check=True)
        subprocess.run(["/bin/echo", "another"], check=True, stdout=sys.stdout)
        ctypes.CDLL(None).puts(b"C code")
        ctypes.CDLL(None).fflush(None)
        os.write(2, b"descriptor 2")

    async with Runtime(processes=1) as rt:
        await rt.to_process(starts_programs)
    assert capfd.readouterr() == ("a program\nanother\nC code\n", "descriptor 2")


async def test_a_forked_child_is_heard_and_says_nothing_twice() -> None:
    def forks() -> None:
        print("begun by the parent", end="")
        pid = os.fork()
        if pid == 0:
            print("the child")
            print("the child's rest", end="")
            return
        os.waitpid(pid, 0)
        print(", ended by the parent")

    async with Runtime(processes=1) as rt:
        with listening() as (out, _):
            await rt.to_process(forks)
            assert sorted(out.getvalue().split("begun")) == sorted(
                ["the child\nthe child's rest", " by the parent, ended by the parent\n"]
            )


async def test_children_of_multiprocessing_are_heard_before_the_result() -> None:
    def starts_processes() -> None:
        import multiprocessing

        processes = [
            multiprocessing.get_context("fork").Process(target=print, args=("child", n)) for n in range(5)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()

    async with Runtime(processes=1) as rt:
        with listening() as (out, _):
            await rt.to_process(starts_processes)
            assert sorted(out.getvalue().splitlines()) == [f"child {n}" for n in range(5)]


async def test_closing_every_descriptor_harms_that_worker_alone(capfd: pytest.CaptureFixture[str]) -> None:
    def closes() -> None:
        os.closerange(0, 1000)
        print("nobody hears this")

    async with Runtime(processes=2) as rt:
        with listening() as (out, _):
            with pytest.raises(WorkerCrashed):
                await rt.to_process(closes)
            await asyncio.gather(*[rt.to_process(print, n) for n in range(4)])
        assert sorted(out.getvalue().split()) == ["0", "1", "2", "3"]


async def test_an_interrupt_reaches_a_call_that_does_nothing_but_print() -> None:
    def prints(n: int) -> None:
        while True:
            print("on and on")

    async with Runtime(processes=1, interrupt_grace=20) as rt:
        with listening():
            for _ in range(20):
                with pytest.raises(TimeoutError):
                    await rt.options(timeout=0.02).to_process(prints, 1)
            await rt.to_process(abs, -1)
        assert rt.stats().processes.crashed == 0


async def test_coroutine_calls_are_heard_before_their_results() -> None:
    async def talks(n: int) -> int:
        print("begin", n)
        await asyncio.sleep(0.001 * (n % 3))
        print("end", n, end="" if n % 2 else "\n")
        return n

    async with Runtime(processes=2) as rt:
        with listening() as (out, _):
            for job in asyncio.as_completed([rt.to_process(talks, n) for n in range(60)]):
                n = await job
                assert re.search(rf"begin {n}\n", out.getvalue())
                assert re.search(rf"end {n}(\n|end|begin|$)", out.getvalue())


async def test_a_default_timeout_for_sockets_does_not_reach_the_workers() -> None:
    import socket

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(5)
    try:
        async with Runtime(processes=1) as rt:
            pid = await rt.to_process(os.getpid)
            with listening() as (out, _):
                await rt.to_process(exec, "for n in range(5000): print('x' * 500)")
            assert out.getvalue().count("\n") == 5000
            await asyncio.gather(*[rt.to_process(abs, -1) for _ in range(3)])
            assert await rt.to_process(os.getpid) == pid
    finally:
        socket.setdefaulttimeout(before)


# Real descriptors

SCRIPT = """
import asyncio, os, sys, hybridrt

def talk(n):
    print("line", n)
    print("piece", end="")
    print("piece", n)

async def main():
    async with hybridrt.Runtime(processes=3) as rt:
        await asyncio.gather(*[rt.to_process(talk, n) for n in range(100)])
        print("parent")

asyncio.run(main())
"""


@pytest.mark.parametrize("environ", [{}, {"PYTHONUNBUFFERED": "1"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_script_prints_what_its_workers_print(environ: dict[str, str]) -> None:
    done = run_script(SCRIPT, **environ)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr, lines[-1]) == (0, "", "parent")
    assert Counter(lines[:-1]) == Counter(
        [f"line {n}" for n in range(100)] + [f"piecepiece {n}" for n in range(100)]
    )


def test_a_script_without_streams_runs_all_the_same() -> None:
    code = """
    import os, sys
    os.close(1); os.close(2)
    sys.stdout = sys.stderr = None
    import asyncio, hybridrt
    async def main():
        async with hybridrt.Runtime(processes=1) as rt:
            await rt.to_process(print, "into the void")
            return await rt.to_process(abs, -7)
    os._exit(asyncio.run(main()))
    """
    assert run_script(code).returncode == 7


def test_a_stream_that_cannot_say_it_says_it_in_ascii() -> None:
    code = """
    import asyncio, hybridrt
    async def main():
        async with hybridrt.Runtime(processes=1) as rt:
            await rt.to_process(print, "ü")
    asyncio.run(main())
    """
    done = run_script(code, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\xfc\n", "")
