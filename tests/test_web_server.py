"""A real uvicorn serves examples/web_server.py: quick while CPU calls run, strict with bad input, clean at its end."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import random
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "examples" / "web_server.py"
ON_LINUX = Path("/proc/self/environ").exists()
PATIENCE = 30.0  # seconds for what has no time limit of its own
SHUTDOWN_GRACE = 10.0  # the runtime's default
TEXT = b"to be or not to be, that is the question\n"
# Longer to compress than any test takes (some 20 s), and what does not compress keeps lzma in C code, where an
# interrupt does not reach it.
ENDLESS = random.Random(1).randbytes((16 << 20) - 1000)
# Half a second or more: long enough to be seen at work, and yet to be waited for.
LONG = ENDLESS[: 1 << 20]
LOOPS = ["uvloop", "asyncio"]

Start: TypeAlias = "Callable[..., Server]"


class Server:
    """A server process; its log ends when the last process that could write to it has gone, workers included."""

    def __init__(self, *command: str, folder: Path, **environ: str) -> None:
        self.mark = f"SERVER={uuid.uuid4()}"
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=os.environ | environ | {name: value, "DOCUMENTS": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self.url = ""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        # One client for all requests: each makes a TLS context of its own otherwise, which takes longer than they do.
        self.client = httpx.Client(timeout=PATIENCE)
        self._uploads = ThreadPoolExecutor(1)

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                with self._news:
                    self.log.append(line)
                    self._news.notify_all()

    def wait_logged(self, pattern: str) -> str:
        """What the group of this pattern matches, once a line of the log does."""

        def find() -> re.Match[str] | None:
            return next(filter(None, (re.search(pattern, line) for line in self.log)), None)

        with self._news:
            found = self._news.wait_for(find, PATIENCE)
        assert found, f"not logged: {pattern}; log: {self.log}"
        return found[1]

    def wait_up(self) -> None:
        self.url = self.wait_logged(r"running on (http://[\d.]+:\d+)")
        self.client.base_url = self.url

    def wait_gone(self, seconds: float) -> int:
        """The exit code, once the process and all its descendants have gone; an error after that many seconds."""
        self._reader.join(seconds)
        assert not self._reader.is_alive(), f"processes left: {self.descendants()}; log: {self.log}"
        assert not self.descendants()
        return self.process.wait(seconds)

    def descendants(self) -> list[str]:
        """Command lines of the server and all that it started, wherever they are by now in the tree of processes."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended in between, or is not ours to read
                if self.mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_text().replace("\0", " ")[:100])
        return found

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def post(self, name: str, data: bytes) -> httpx.Response:
        return self.client.post("/documents", files={"file": (name, data)})

    def start_post(self, name: str, data: bytes) -> Future[httpx.Response]:
        """Upload, and return when a worker is at it."""
        upload = self._uploads.submit(self.post, name, data)
        while self.get("/stats").json()["processes"]["running"] == 0:
            assert not upload.done(), upload.result()
        return upload

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE)
        self._uploads.shutdown()
        self.client.close()

    def assert_log_is_clean(self) -> None:
        assert not [line for line in self.log if not line.startswith("INFO:")]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """``start(*command, **environ)`` starts a server, by default uvicorn's own command, and waits until it is up."""
    with contextlib.ExitStack() as servers:

        def start(*command: str, **environ: str) -> Server:
            server = Server(*command, folder=tmp_path, **environ)
            servers.callback(server.stop)
            server.wait_up()
            return server

        yield start


def uvicorn(loop: str, *options: str) -> list[str]:
    return ["-m", "uvicorn", "examples.web_server:app", "--port", "0", "--loop", loop, *options]


def script(loop: str) -> list[str]:
    """The example as a script, where uvicorn chooses the loop: uvloop if it is there."""
    if loop == "uvloop":
        return [str(SCRIPT), "--port", "0"]
    without = "import runpy, sys; sys.modules['uvloop'] = None; sys.argv = sys.argv[1:]; "
    return ["-c", without + "runpy.run_path(sys.argv[0], run_name='__main__')", str(SCRIPT), "--port", "0"]


@pytest.mark.parametrize("command", [uvicorn, script])
@pytest.mark.parametrize("loop", LOOPS)
def test_uploads_are_served_while_a_long_one_is_worked_on(
    start: Start, tmp_path: Path, command: Callable[[str], list[str]], loop: str
) -> None:
    server = start(*command(loop), HYBRIDRT_PROCESSES="2")
    endless = server.start_post("endless.bin", ENDLESS)

    posted = server.post("hamlet.txt", TEXT)
    assert (posted.status_code, posted.headers["location"]) == (201, "/documents/hamlet.txt")
    shown = server.get("/documents/hamlet.txt")
    assert shown.json() == posted.json()
    assert shown.json() == {
        "bytes": len(TEXT),
        "compressed": (tmp_path / "hamlet.txt.xz").stat().st_size,
        "sha256": hashlib.sha256(TEXT).hexdigest(),
        "words": 10,
        "most_frequent": [["to", 2], ["be", 2]]
        + [[word, 1] for word in b"or not that is the question".decode().split()],
    }
    assert {server.get("/ping").text for _ in range(20)} == {"pong"}
    figures = server.get("/stats").json()
    assert (figures["processes"]["running"], figures["processes"]["succeeded"]) == (1, 1)
    assert len(figures["workers"]) == 2
    assert not endless.done()


def test_bad_input_is_refused_and_changes_nothing(start: Start, tmp_path: Path) -> None:
    server = start(*uvicorn("uvloop"))
    url = "/documents"

    def refused(answer: httpx.Response) -> int:
        assert answer.text
        return answer.status_code

    assert refused(server.post("empty.txt", b"")) == 400
    for name in (
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".hidden",
        "a/b",
        "a\\b",
        "a b",
        "é",
        "x" * 101,
        "a\n",
        "a%00",
    ):
        assert refused(server.post(name, TEXT)) == 400, name
    assert refused(server.client.post(url, content=b"no form")) == 400
    assert refused(server.client.post(url, data={"file": "a field, and no file"})) == 400
    assert refused(server.client.post(url, files={"another": ("a.txt", TEXT)})) == 400
    assert (
        refused(server.client.post(url, files=[("file", ("a.txt", TEXT)), ("file", ("b.txt", TEXT))])) == 400
    )
    assert refused(server.client.post(url, content=iter([TEXT]))) == 411
    assert declared_length(server, 17 << 20) == 413
    assert refused(server.get("/documents/unknown.txt")) == 404
    assert refused(server.get("/documents/%2e%2e%2f%2e%2e%2fetc%2fpasswd")) == 404
    for name in ("%2e%2e", "..%5c..%5cboot.ini", ".hidden", "a%00b", "x" * 101):
        assert refused(server.get(f"/documents/{name}")) == 400, name
    assert refused(server.client.get(url)) == 405

    assert not list(tmp_path.iterdir())
    assert server.get("/stats").json()["processes"]["failed"] == 0
    server.assert_log_is_clean()


def declared_length(server: Server, length: int) -> int:
    """The answer to a document that says how long it is, before any of it is sent."""
    with contextlib.closing(http.client.HTTPConnection(server.url.removeprefix("http://"))) as connection:
        connection.putrequest("POST", "/documents")
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        return connection.getresponse().status


@pytest.mark.parametrize(
    ("command", "loop", "stop"),
    [
        (uvicorn, "uvloop", signal.SIGTERM),
        (uvicorn, "asyncio", signal.SIGTERM),
        (uvicorn, "uvloop", signal.SIGINT),
        (uvicorn, "asyncio", signal.SIGINT),
        (script, "uvloop", signal.SIGINT),
        (script, "asyncio", signal.SIGTERM),
    ],
)
def test_asked_to_stop_it_finishes_what_it_is_doing(
    start: Start, tmp_path: Path, command: Callable[[str], list[str]], stop: signal.Signals, loop: str
) -> None:
    server = start(*command(loop), LONGEST="60")
    upload = server.start_post("long.bin", LONG)
    server.process.send_signal(stop)
    assert upload.result(PATIENCE).status_code == 201
    assert server.wait_gone(SHUTDOWN_GRACE) in (0, -stop)
    assert (tmp_path / "long.bin.json").exists()
    server.assert_log_is_clean()


@pytest.mark.parametrize(("loop", "stop"), [("uvloop", signal.SIGTERM), ("asyncio", signal.SIGINT)])
def test_asked_to_stop_it_waits_no_longer_than_a_call_may_take(
    start: Start, tmp_path: Path, stop: signal.Signals, loop: str
) -> None:
    server = start(*uvicorn(loop), LONGEST="0.5")
    upload = server.start_post("endless.bin", ENDLESS)
    server.process.send_signal(stop)
    assert upload.result(PATIENCE).status_code == 503
    assert server.wait_gone(SHUTDOWN_GRACE) in (0, -stop)
    assert not list(tmp_path.iterdir())
    server.assert_log_is_clean()


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_that_gives_up_on_requests_stops_their_work(start: Start, loop: str) -> None:
    server = start(*uvicorn(loop, "--timeout-graceful-shutdown", "1"), LONGEST="60")
    upload = server.start_post("endless.bin", ENDLESS)
    server.process.terminate()
    assert server.wait_gone(SHUTDOWN_GRACE) in (0, -signal.SIGTERM)
    assert upload.exception(PATIENCE) or upload.result().status_code == 500
    # uvicorn reports the requests that it has cancelled as errors; of ours there are none.
    assert not [line for line in server.log if "RuntimeClosed" in line or "never retrieved" in line]


@pytest.mark.skipif(not ON_LINUX, reason="looks for processes in /proc")
@pytest.mark.parametrize("loop", LOOPS)
def test_killed_while_busy_it_leaves_no_process_behind(start: Start, loop: str) -> None:
    server = start(*uvicorn(loop), HYBRIDRT_PROCESSES="2", LONGEST="60")
    upload = server.start_post("endless.bin", ENDLESS)
    assert len(server.descendants()) == 4, "the server, the zygote and two workers"
    server.process.kill()
    assert server.wait_gone(2.0) == -signal.SIGKILL
    assert isinstance(upload.exception(PATIENCE), httpx.TransportError)


# From Python 3.12.1 on asyncio's Server.wait_closed waits for open connections, and so does uvicorn, with any app.
waits_anyway = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="uvicorn on asyncio waits for the request"
)


@pytest.mark.parametrize("loop", ["uvloop", pytest.param("asyncio", marks=waits_anyway)])
def test_ctrl_c_twice_does_not_wait_and_leaves_no_process_behind(start: Start, loop: str) -> None:
    server = start(*uvicorn(loop), LONGEST="60")
    server.start_post("endless.bin", ENDLESS)
    server.process.send_signal(signal.SIGINT)
    server.wait_logged("(Waiting for connections)")  # two signals at once may be one to the system
    server.process.send_signal(signal.SIGINT)
    server.wait_gone(SHUTDOWN_GRACE)
