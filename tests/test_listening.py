"""What workers log and warn goes to the parent's own logging and warnings, and nothing there can break the lane."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import until

from hybridrt import Runtime
from hybridrt._engine import wire
from hybridrt._engine.output import FLUSH, HEADER, LONGEST_LINE, MORE, PIECE, STDERR, STDOUT, Outlet
from hybridrt._lanes.listening import Listening

ROOT = Path(__file__).resolve().parent.parent


class Ears(logging.Handler):
    """Keeps the records that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def said(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def ears() -> Iterator[Ears]:
    """On a logger of the tests, whose level the test sets."""
    ears = Ears()
    logger = logging.getLogger("of.the.tests")
    logger.addHandler(ears)
    yield ears
    logger.removeHandler(ears)
    logger.setLevel(logging.NOTSET)


def log(level: int, message: str, *args: Any, **kwargs: Any) -> None:
    import logging

    logging.getLogger("of.the.tests").log(level, message, *args, **kwargs)


def warn(text: str, category: str = "UserWarning", times: int = 1) -> None:
    import builtins
    import warnings

    for _ in range(times):
        warnings.warn(text, getattr(builtins, category), stacklevel=1)


@contextlib.contextmanager
def warnings_heard(*filters: str) -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as heard:
        warnings.resetwarnings()
        for action in filters:
            warnings.simplefilter(action)  # type: ignore[arg-type]
        yield heard


@pytest.fixture
def troubles() -> Callable[[], list[dict[str, Any]]]:
    """What the loop's exception handler was told."""
    told: list[dict[str, Any]] = []

    def listen() -> list[dict[str, Any]]:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        return told

    return listen


# Records


async def test_a_record_arrives_as_it_was_made_before_the_result(ears: Ears) -> None:
    def logs() -> tuple[int, int]:
        import logging
        import threading

        extra = {"user": "ann", "tags": ["a", "b"], "where": Path("/x"), "lock": threading.Lock()}
        logging.getLogger("of.the.tests.below").warning("%s is %d%%", "it", 50, extra=extra)
        return os.getpid(), threading.get_ident()

    async with Runtime(processes=1) as rt:
        job = rt.options(lane="process").submit(logs)
        pid, thread = await job
        (record,) = ears.records
    assert (record.name, record.levelno, record.levelname) == (
        "of.the.tests.below",
        logging.WARNING,
        "WARNING",
    )
    assert record.getMessage() == "it is 50%"
    assert (record.process, record.thread, record.funcName) == (pid, thread, "logs")
    assert record.__dict__["user"] == "ann"
    assert record.__dict__["tags"] == ["a", "b"]
    assert record.__dict__["where"] == Path("/x")
    assert "lock" in record.__dict__["lock"]
    assert record.__dict__["hybridrt_job"] == job.id > 0


async def test_the_traceback_of_an_error_arrives_as_text(ears: Ears) -> None:
    def logs() -> None:
        import logging

        try:
            raise LookupError("in the worker")
        except LookupError:
            logging.getLogger("of.the.tests").exception("it failed", stack_info=True)

    async with Runtime(processes=1) as rt:
        await rt.to_process(logs)
    (record,) = ears.records
    text = logging.Formatter().format(record)
    assert text.startswith("it failed\nTraceback (most recent call last):")
    assert "LookupError: in the worker" in text
    assert "in logs" in str(record.stack_info)


async def test_each_record_carries_the_number_of_its_own_job(ears: Ears) -> None:
    async def logs(me: int) -> None:
        import logging

        for _ in range(3):
            logging.getLogger("of.the.tests").error("%d", me)
            await asyncio.sleep(0)
        await asyncio.to_thread(logging.getLogger("of.the.tests").error, "%d", me)

    async with Runtime(processes=1) as rt:
        jobs = [rt.options(lane="process").submit(logs, me) for me in range(20)]
        plain = [rt.options(lane="process").submit(log, logging.ERROR, f"{me}") for me in range(20, 40)]
        threads = [rt.options(lane=lane).submit(abs, 1) for lane in ("thread", "loop")]  # type: ignore[arg-type]
        await asyncio.gather(*jobs, *plain, *threads)
    ids = [job.id for job in jobs + plain]
    assert len({*ids, *[job.id for job in threads]}) == 42
    assert [record.__dict__["hybridrt_job"] for record in ears.records] == [
        ids[int(record.getMessage())] for record in ears.records
    ]
    assert len(ears.records) == 100


async def test_outside_of_a_call_the_number_is_0(ears: Ears) -> None:
    def logs_at_exit() -> None:
        import atexit
        import logging

        atexit.register(logging.getLogger("of.the.tests").error, "bye")

    async with Runtime(processes=1) as rt:
        await rt.to_process(logs_at_exit)
    assert [(record.getMessage(), record.__dict__["hybridrt_job"]) for record in ears.records] == [("bye", 0)]


async def test_a_bad_log_call_is_reported_and_fails_nothing(
    ears: Ears, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Runtime(processes=1) as rt:
        await rt.to_process(log, logging.ERROR, "%d", "no number")
        await rt.to_process(log, logging.ERROR, "fine")
    assert ears.said() == ["fine"]
    assert "--- Logging error ---" in capsys.readouterr().err


def test_logging_is_loaded_where_somebody_uses_it_and_as_ever() -> None:
    code = """
    import asyncio, logging, hybridrt
    loaded = "'logging' in __import__('sys').modules"
    finders = "any('relay' in type(finder).__module__ for finder in __import__('sys').meta_path)"
    loader = "type(__import__('logging').__spec__.loader).__name__"
    async def main():
        async with hybridrt.Runtime(processes=1) as rt:
            for what in (loaded, finders, loader, loaded, finders):
                print(await rt.to_process(eval, what))
            await rt.to_process(logging.error, "heard")
    asyncio.run(main())
    """
    done = run_script(code)
    assert (done.returncode, done.stderr) == (0, "ERROR:root:heard\n")
    assert done.stdout.split() == ["False", "True", type(logging.__spec__.loader).__name__, "True", "False"]


# Levels


async def test_what_the_parent_would_not_show_is_not_sent(ears: Ears) -> None:
    logging.getLogger("of.the.tests").setLevel(logging.ERROR)

    def is_enabled(level: int) -> bool:
        import logging

        return logging.getLogger("of.the.tests.below").isEnabledFor(level)

    async with Runtime(processes=1) as rt:
        assert await rt.to_process(is_enabled, logging.ERROR)
        assert not await rt.to_process(is_enabled, logging.WARNING)


async def test_a_change_of_levels_is_in_force_with_the_next_call(ears: Ears) -> None:
    logger = logging.getLogger("of.the.tests")

    async with Runtime(processes=2) as rt:

        async def all_say() -> list[str]:
            ears.records.clear()
            levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
            await asyncio.gather(*[rt.to_process(log, level, f"{level}") for level in levels])
            return sorted(ears.said())

        logger.setLevel(logging.INFO)
        assert await all_say() == ["20", "30", "40"]
        logger.setLevel(logging.DEBUG)
        assert await all_say() == ["10", "20", "30", "40"]
        logging.disable(logging.INFO)
        try:
            assert await all_say() == ["30", "40"]
        finally:
            logging.disable(logging.NOTSET)
        assert await all_say() == ["10", "20", "30", "40"]
        logger.setLevel(logging.NOTSET)
        assert await all_say() == ["30", "40"]
        logging.getLogger("of.the").setLevel(logging.ERROR)
        try:
            assert await all_say() == ["40"]
        finally:
            logging.getLogger("of.the").setLevel(logging.NOTSET)


async def test_two_runtimes_hear_of_the_same_change(ears: Ears) -> None:
    async with Runtime(processes=1) as one, Runtime(processes=1) as other:
        for rt in (one, other):
            await rt.to_process(log, logging.DEBUG, "too low")
        logging.getLogger("of.the.tests").setLevel(logging.DEBUG)
        for rt in (one, other):
            await rt.to_process(log, logging.DEBUG, "just right")
    assert ears.said() == ["just right"] * 2


async def test_caplog_sees_workers(caplog: pytest.LogCaptureFixture) -> None:
    async with Runtime(processes=1) as rt:
        await rt.to_process(log, logging.INFO, "not yet")
        with caplog.at_level(logging.INFO):
            await rt.to_process(log, logging.INFO, "now")
        await rt.to_process(log, logging.INFO, "no more")
    assert caplog.messages == ["now"]


async def test_a_level_with_a_name_of_the_parents_own(ears: Ears) -> None:
    logging.addLevelName(35, "NOTICE")
    async with Runtime(processes=1) as rt:
        await rt.to_process(log, 35, "named here")
    assert [record.levelname for record in ears.records] == ["NOTICE"]


async def test_filters_and_disabled_loggers_of_the_parent_count(ears: Ears) -> None:
    logger = logging.getLogger("of.the.tests")

    def drops_secrets(record: logging.LogRecord) -> bool:
        return "secret" not in record.getMessage()

    async with Runtime(processes=1) as rt:
        logger.addFilter(drops_secrets)
        try:
            await rt.to_process(log, logging.ERROR, "a secret")
            await rt.to_process(log, logging.ERROR, "open")
        finally:
            logger.removeFilter(drops_secrets)
        logger.disabled = True
        try:
            await rt.to_process(log, logging.ERROR, "silenced")
        finally:
            logger.disabled = False
    assert ears.said() == ["open"]


# The worker's own handlers

CONFIGURED = """
import logging, logging.config, sys
logging.config.dictConfig({
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"f": {"format": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "f"},
        "file": {"class": "logging.FileHandler", "filename": FILE, "formatter": "f"},
    },
    "loggers": {"configured": {"handlers": ["console"], "level": "INFO", "propagate": False}},
    "root": {"handlers": ["console", "file"], "level": "WARNING"},
})
def work(n):
    logging.getLogger("configured.x").info("info %d", n)
    logging.getLogger("other").warning("warning %d", n)
    logging.getLogger("other").info("unheard")
"""


def run_script(code: str, *options: str, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{path}"},
    )


def test_a_configuration_in_a_module_that_both_sides_import_doubles_nothing(tmp_path: Path) -> None:
    (tmp_path / "configured.py").write_text(CONFIGURED.replace("FILE", repr(str(tmp_path / "log"))))
    done = run_script(
        """
        import asyncio, configured, hybridrt
        async def main():
            async with hybridrt.Runtime(processes=1) as rt:
                for n in range(3):
                    await rt.to_process(configured.work, n)
        asyncio.run(main())
        """,
        path=tmp_path,
    )
    pairs = [(f"INFO configured.x info {n}", f"WARNING other warning {n}") for n in range(3)]
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [line for pair in pairs for line in pair]
    assert (tmp_path / "log").read_text().splitlines() == [line for _, line in pairs]


@pytest.mark.parametrize("force", [False, True])
def test_basic_config_in_a_call_shows_each_line_once(force: bool) -> None:
    done = run_script(
        f"""
        import asyncio, logging, hybridrt
        def work():
            logging.basicConfig(format="worker %(message)s", level=logging.INFO, force={force})
            logging.info("info")
            logging.warning("warning")
        async def main():
            async with hybridrt.Runtime(processes=1) as rt:
                await rt.to_process(work)
                print("unconfigured", flush=True)
                logging.basicConfig(format="parent %(message)s", level=logging.INFO)
                await rt.to_process(work)
        asyncio.run(main())
        """
    )
    assert done.stdout == "unconfigured\n"
    assert done.stderr.splitlines() == ["worker info", "worker warning", "parent info", "parent warning"]


def test_without_any_configuration_a_warning_is_shown_once() -> None:
    done = run_script(
        """
        import asyncio, logging, hybridrt
        async def main():
            async with hybridrt.Runtime(processes=1) as rt:
                await rt.to_process(logging.getLogger("x").warning, "shown")
                await rt.to_process(logging.getLogger("x").info, "not shown")
        asyncio.run(main())
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "shown\n")


async def test_a_root_that_is_configured_is_not_configured_anew(ears: Ears) -> None:
    """``logging.warning`` adds a handler where the root has none; here it has."""
    root = logging.getLogger()
    root.addHandler(ears)
    try:
        async with Runtime(processes=1) as rt:
            with contextlib.redirect_stderr(io.StringIO()) as err:
                await rt.to_process(logging.warning, "by the module's function")
    finally:
        root.removeHandler(ears)
    assert (ears.said(), err.getvalue()) == (["by the module's function"], "")


async def test_handlers_that_a_call_adds_do_their_work_as_well(ears: Ears, tmp_path: Path) -> None:
    def captures(path: str) -> str:
        import io
        import logging

        logger = logging.getLogger("of.the.tests")
        text = io.StringIO()
        capture, file = logging.StreamHandler(text), logging.FileHandler(path)
        logger.addHandler(capture)
        logger.addHandler(file)
        logger.warning("caught")
        logger.removeHandler(capture)
        logger.removeHandler(file)
        file.close()
        return text.getvalue()

    async with Runtime(processes=1) as rt:
        assert await rt.to_process(captures, str(tmp_path / "log")) == "caught\n"
    assert (tmp_path / "log").read_text() == "caught\n"
    assert ears.said() == ["caught"]


# Warnings


async def test_a_warning_is_shown_under_the_parents_filters() -> None:
    async with Runtime(processes=1) as rt:
        with warnings_heard("default") as heard:
            await rt.to_process(warn, "first")
            await rt.to_process(warn, "second", "DeprecationWarning")
    assert [(str(w.message), w.category) for w in heard] == [
        ("first", UserWarning),
        ("second", DeprecationWarning),
    ]
    assert all(w.lineno > 0 and w.filename for w in heard)


async def test_pytest_warns_sees_workers() -> None:
    async with Runtime(processes=1) as rt:
        for _ in range(3):
            with pytest.warns(DeprecationWarning, match="old"):
                await rt.to_process(warn, "old", "DeprecationWarning")


async def test_one_place_warns_once_not_once_a_worker() -> None:
    async with Runtime(processes=3) as rt:
        await rt.warm_up()
        with warnings_heard("default") as heard:
            await asyncio.gather(*[rt.to_process(warn, "again", times=5) for _ in range(12)])
            assert [str(w.message) for w in heard] == ["again"]


async def test_always_is_always_and_ignore_is_never() -> None:
    async with Runtime(processes=1) as rt:
        with warnings_heard("ignore") as heard:
            await rt.to_process(warn, "quiet", times=3)
        assert heard == []
        with warnings_heard("always") as heard:
            await rt.to_process(warn, "loud", times=3)
            warnings.simplefilter("ignore")
            await rt.to_process(warn, "quiet", times=3)
            warnings.simplefilter("always")
            await rt.to_process(warn, "loud", times=2)
        assert [str(w.message) for w in heard] == ["loud"] * 5


async def test_an_error_filter_goes_to_the_loop_and_breaks_nothing(
    troubles: Callable[[], list[dict[str, Any]]],
) -> None:
    told = troubles()
    async with Runtime(processes=1) as rt:
        with warnings_heard("error"):
            await rt.to_process(warn, "not here")
            assert await rt.to_process(abs, -1) == 1
    (context,) = told
    assert context["message"] == "hybridrt: a warning from a worker could not be passed on here"
    assert repr(context["exception"]) == "UserWarning('not here')"


def test_an_error_of_the_command_line_is_raised_in_the_call() -> None:
    code = """
    import asyncio, warnings, hybridrt
    def work(): warnings.warn("raised")
    async def main():
        async with hybridrt.Runtime(processes=1) as rt:
            try:
                await rt.to_process(work)
            except UserWarning as exc:
                print(repr(exc))
    asyncio.run(main())
    """
    done = run_script(code, "-Werror::UserWarning")
    assert (done.returncode, done.stdout, done.stderr) == (0, "UserWarning('raised')\n", "")


async def test_a_category_that_is_not_known_here_is_named() -> None:
    def warns() -> None:
        import warnings

        class TheirWarning(Warning):
            def __init__(self, one: str, two: str = "") -> None:
                super().__init__(one)

        TheirWarning.__module__ = "theirs"
        warnings.warn(TheirWarning("look out"), stacklevel=1)

    async with Runtime(processes=1) as rt:
        with warnings_heard("always") as heard:
            await rt.to_process(warns)
    (w,) = heard
    assert w.category is UserWarning
    assert str(w.message).startswith("theirs.")
    assert str(w.message).endswith("TheirWarning: look out")


async def test_a_filter_for_a_category_that_workers_load_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cautious.py").write_text(
        "import warnings\n"
        "class Caution(DeprecationWarning): pass\n"
        "def work():\n"
        "    for _ in range(3): warnings.warn('careful', Caution)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import cautious  # type: ignore[import-not-found]

    try:
        async with Runtime(processes=1) as rt:
            with warnings_heard("ignore") as heard:
                warnings.simplefilter("always", cautious.Caution)
                await rt.to_process(abs, -1)
                await rt.to_process(cautious.work)
        assert [w.category for w in heard] == [cautious.Caution] * 3
    finally:
        del sys.modules["cautious"]


async def test_a_call_may_catch_its_own_warnings() -> None:
    def catches() -> list[str]:
        import warnings

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.warn("mine", stacklevel=1)
        file = io.StringIO()
        warnings.showwarning("shown", UserWarning, "x.py", 1, file)
        return [str(w.message) for w in caught] + [file.getvalue()]

    async with Runtime(processes=1) as rt:
        with warnings_heard("always") as heard:
            assert await rt.to_process(catches) == ["mine", "x.py:1: UserWarning: shown\n"]
        assert heard == []


# Streams and handlers that fail


class Broken:
    encoding = "utf-8"

    def __init__(self) -> None:
        self.tries = 0

    def write(self, text: str) -> int:
        self.tries += 1
        raise BrokenPipeError("gone")

    def flush(self) -> None:
        raise BrokenPipeError("gone")


async def test_a_broken_stream_is_told_once_and_breaks_nothing(
    troubles: Callable[[], list[dict[str, Any]]],
) -> None:
    told = troubles()
    broken = Broken()
    async with Runtime(processes=1) as rt:
        with contextlib.redirect_stdout(broken):  # type: ignore[type-var]
            for n in range(5):
                assert await rt.to_process(work_and_print, n) == n
        assert broken.tries == 5
        with contextlib.redirect_stdout(io.StringIO()) as out:
            await rt.to_process(print, "back")
            assert out.getvalue() == "back\n"
    (context,) = told
    assert context["message"] == "hybridrt: text for sys.stdout from a worker could not be passed on here"
    assert type(context["exception"]) is BrokenPipeError


def work_and_print(n: int) -> int:
    print(n)
    print(n, file=sys.stderr)
    return n


async def test_no_streams_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Runtime(processes=1) as rt:
        monkeypatch.setattr(sys, "stdout", None)
        monkeypatch.setattr(sys, "stderr", None)
        assert await rt.to_process(work_and_print, 3) == 3


async def test_a_handler_that_raises_breaks_nothing(
    ears: Ears, monkeypatch: pytest.MonkeyPatch, troubles: Callable[[], list[dict[str, Any]]]
) -> None:
    told = troubles()

    def raises(record: logging.LogRecord) -> None:
        raise OSError(f"cannot take {record.getMessage()}")

    async with Runtime(processes=1) as rt:
        monkeypatch.setattr(ears, "handle", raises)
        await asyncio.gather(*[rt.to_process(log, logging.ERROR, f"{n}") for n in range(3)])
        assert await rt.to_process(abs, -1) == 1
    assert {context["message"] for context in told} == {
        "hybridrt: a log record from a worker could not be passed on here"
    }
    assert sorted(str(context["exception"]) for context in told) == [f"cannot take {n}" for n in range(3)]


async def test_an_extra_that_explodes_on_arrival_is_shown_in_words(ears: Ears) -> None:
    def logs() -> None:
        import logging

        import work

        logging.getLogger("of.the.tests").error("odd", extra={"odd": work.ExplodesOnArrival()})

    async with Runtime(processes=1) as rt:
        await rt.to_process(logs)
    (record,) = ears.records
    assert "ExplodesOnArrival object" in record.__dict__["odd"]


async def test_a_handler_may_use_the_runtime(ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    more: list[Any] = []
    async with Runtime(processes=1) as rt:
        verbs = rt.options(lane="process")
        monkeypatch.setattr(ears, "handle", lambda record: more.append(verbs.submit(abs, -len(more))))
        await asyncio.gather(*[rt.to_process(log, logging.ERROR, "") for _ in range(10)])
        assert await asyncio.gather(*more) == list(range(10))


# The near end by itself


class Speaker:
    """A worker's outlet on the far end of a Listening, in this process."""

    def __init__(self) -> None:
        self.listening = Listening(asyncio.get_running_loop())
        self.outlet = Outlet()
        self.outlet.open(os.dup(self.listening.far_end()))

    def close(self) -> None:
        self.listening.close()
        socket = self.outlet._socket
        assert socket is not None
        socket.close()


@pytest.fixture
async def speaker() -> Any:
    speaker = Speaker()
    yield speaker
    speaker.close()
    speaker.listening.close()


async def test_what_is_drained_is_written_in_one_go(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, str]] = []
    for name in ("stdout", "stderr"):
        stream = io.StringIO()
        monkeypatch.setattr(stream, "write", lambda text, name=name: written.append((name, text)))
        monkeypatch.setattr(sys, name, stream)
    for kind, text in (
        (STDOUT, b"1\n"),
        (STDOUT, b"2\n"),
        (STDERR, b"3\n"),
        (STDOUT, b"4\n"),
        (STDOUT, b"5\n"),
    ):
        speaker.outlet.send(kind, text)
    speaker.listening.drain()
    assert written == [("stdout", "1\n2\n"), ("stderr", "3\n"), ("stdout", "4\n5\n")]


async def test_a_turn_of_the_loop_takes_a_bounded_part(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    for n in range(200):
        speaker.outlet.send(STDOUT, b"%d\n" % n)
    while not out.getvalue():
        await asyncio.sleep(0)
    assert 0 < out.getvalue().count("\n") < 200
    await until(lambda: out.getvalue().count("\n") == 200)


async def test_pieces_are_put_together_by_sender(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    socket = speaker.outlet._socket
    assert socket is not None
    for pid, serial, flags, text in (
        (1, 1, MORE, b"a"),
        (2, 1, MORE, b"X"),
        (1, 2, MORE, b"1"),
        (1, 1, MORE, b"b"),
        (2, 1, 0, b"Y\n"),
        (1, 1, FLUSH, b"c\n"),
    ):
        socket.send(HEADER.pack(pid, serial, STDOUT, flags) + text)
    speaker.listening.drain()
    assert out.getvalue() == "XY\nabc\n"
    speaker.listening.hear_out(2)
    assert out.getvalue() == "XY\nabc\n"
    speaker.listening.hear_out(1)
    assert out.getvalue() == "XY\nabc\n1"


async def test_beginnings_without_an_end_do_not_fill_the_memory(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    socket = speaker.outlet._socket
    assert socket is not None
    for pid in range(1, 301):
        socket.send(HEADER.pack(pid, 1, STDOUT, MORE) + b"%d " % pid)
        speaker.listening.drain()
    assert out.getvalue().split() == [str(pid) for pid in range(1, 45)]
    speaker.listening.close()
    assert out.getvalue().split() == [str(pid) for pid in range(1, 301)]


async def test_an_endless_line_does_not_fill_the_memory(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    socket = speaker.outlet._socket
    assert socket is not None
    message = HEADER.pack(1, 1, STDOUT, MORE) + b"x" * PIECE
    for _ in range(LONGEST_LINE // PIECE + 1):
        socket.send(message)
        speaker.listening.drain()
    assert LONGEST_LINE <= len(out.getvalue()) <= LONGEST_LINE + 2 * PIECE


async def test_nobody_listens_any_more(speaker: Speaker) -> None:
    speaker.listening.close()
    speaker.outlet.send(STDOUT, b"into the void\n")
    assert speaker.outlet.finish() == wire.AFTER_OUTPUT
    assert not speaker.outlet.is_used
