"""Who shares the machine is known from a server's command line or environment, and never guessed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from hybridrt import Runtime
from hybridrt._core.neighbours import ALONE, find_neighbours


def count(command: str = "", orig: str = "", **environ: str) -> int:
    return find_neighbours(environ, command.split(), orig.split(), {}).processes


@pytest.mark.parametrize(
    ("command", "processes"),
    [
        ("uvicorn app:app --workers 4", 4),
        ("/venv/bin/uvicorn --workers=4 app:app", 4),
        ("/venv/lib/python3.11/site-packages/uvicorn/__main__.py app:app --workers 4", 4),
        ("C:\\venv\\Scripts\\uvicorn.exe app:app --workers 4", 4),
        ("uvicorn app:app -w 4", 1),  # it has no such option
        ("uvicorn app:app --workers 4 --reload", 1),
        ("uvicorn app:app --workers 2 --workers 3", 3),
        ("uvicorn app:app --workers", 1),
        ("uvicorn app:app --workers many", 1),
        ("uvicorn app:app --workers 0", 1),
        ("uvicorn app:app --workers-timeout 9", 1),
        ("gunicorn -w 4 app:app", 4),
        ("gunicorn -w4 app:app", 4),
        ("gunicorn --workers 4 --reload app:app", 4),
        ("gunicorn -k uvicorn.workers.UvicornWorker -w=4 app:app", 4),
        ("gunicorn app:app", 1),
        ("gunicorn app:app -- -w 4", 1),
        ("hypercorn -w 4 app:app", 4),
        ("hypercorn --workers 4 app:app", 4),
        ("granian --interface asgi app:app --workers 4", 4),
        ("fastapi run --workers 4 app.py", 4),
        ("fastapi dev app.py --workers 4", 1),
    ],
)
def test_a_server_was_told_on_its_command_line(command: str, processes: int) -> None:
    assert count(command) == processes


@pytest.mark.parametrize(
    "command", ["", "rsync -w 8", "/app/main.py --workers 8", "uvicorn_lookalike --workers 8"]
)
def test_other_programs_are_not_guessed_at(command: str) -> None:
    assert find_neighbours({}, command.split()) == ALONE


def test_a_program_that_changed_its_argv_is_known_by_the_interpreter_s() -> None:
    assert count("other", "python -X dev -W error -m uvicorn app:app --workers 3") == 3
    assert count("", "python -O /venv/bin/gunicorn -w 3 app") == 3
    assert count("", "python -c print() uvicorn --workers 3") == 1
    assert count("", "python") == 1
    assert count("gunicorn -w 2 app", "python /venv/bin/gunicorn -w 3 app") == 2


def test_the_environment_speaks_where_the_command_line_does_not() -> None:
    assert count("uvicorn app", WEB_CONCURRENCY="5") == 5
    assert count("uvicorn app --workers 2", WEB_CONCURRENCY="5") == 2
    assert count("gunicorn app", WEB_CONCURRENCY="5") == 5
    assert count("gunicorn app", WEB_CONCURRENCY="5", GUNICORN_CMD_ARGS="--bind=:80 --workers=3") == 3
    assert count("gunicorn -w 2 app", GUNICORN_CMD_ARGS="-w 3") == 2
    assert count("gunicorn app", GUNICORN_CMD_ARGS="--bad 'quote") == 1
    assert count("granian app", GRANIAN_WORKERS="5") == 5
    assert count("main.py", WEB_CONCURRENCY="5") == 5, "it may call uvicorn.run"
    assert count("main.py", PYTEST_XDIST_WORKER_COUNT="4", WEB_CONCURRENCY="5") == 4


def test_a_server_that_reads_no_such_variable_runs_one_process() -> None:
    assert count("hypercorn app", WEB_CONCURRENCY="5") == 1
    assert count("granian app", WEB_CONCURRENCY="5") == 1


@pytest.mark.parametrize("text", ["", "0", "-2", "two", "2.5", "²"])
def test_a_variable_without_a_number_says_nothing(text: str) -> None:
    assert count("main.py", WEB_CONCURRENCY=text) == 1


def test_uwsgi_says_it_in_a_module() -> None:
    def told(numproc: object) -> int:
        return find_neighbours({}, ["app"], (), {"uwsgi": SimpleNamespace(numproc=numproc)}).processes

    assert (told(4), told(1), told(b"4")) == (4, 1, 1)
    assert find_neighbours({}, ["app"], (), {"uwsgi": object()}).processes == 1


def test_the_reason_is_told() -> None:
    assert find_neighbours({}, ["gunicorn", "-w2"]).because == "gunicorn was started with 2 workers"
    assert find_neighbours({"WEB_CONCURRENCY": "3"}, []).because == "WEB_CONCURRENCY=3"


# for real


def run(script: Path, *arguments: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "WEB_"))}
    return subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, check=True, env=clean
    ).stdout


def budget_of_a_machine(*, cpus: int) -> str:
    """Code that shows a Settings of a machine with so many CPUs."""
    return textwrap.dedent(f"""
        import functools
        from hybridrt import Settings
        from hybridrt._core import settings
        settings.cpu_budget = functools.partial(
            settings.cpu_budget, environ={{}}, xoption="", read={{}}.get,
            count_online=lambda: {cpus}, count_affinity=lambda: {cpus},
        )
        def show(): return f"{{Settings().shared_by}} {{Settings().processes}}"
        """)


def test_a_server_s_forked_workers_divide_the_cpus(tmp_path: Path) -> None:
    server = tmp_path / "gunicorn"
    server.write_text(
        budget_of_a_machine(cpus=12)
        + textwrap.dedent("""
        import multiprocessing
        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(3) as pool:
                print(pool.apply(show))
        """)
    )
    assert run(server, "-w", "3", "app:app") == "3 4\n"
    assert run(server, "app:app") == "1 12\n"


def test_a_server_s_spawned_workers_divide_the_cpus(tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(budget_of_a_machine(cpus=12))
    server = tmp_path / "uvicorn"  # it spawns its workers as this does
    server.write_text(
        textwrap.dedent("""
        import multiprocessing
        from shown import show
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                print(pool.apply(show))
        """)
    )
    assert run(server, "app:app", "--workers", "2") == "2 6\n"


def nested_settings() -> tuple[int, int]:
    from hybridrt import Settings

    settings = Settings.load({})
    return settings.shared_by, settings.worker_threads


async def test_a_runtime_in_a_worker_has_that_worker_s_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYBRIDRT_SHARED_BY", raising=False)
    async with Runtime(processes=3, shared_by=4) as rt:
        assert await rt.to_process(nested_settings) == (12, 1)
        assert await rt.to_process(os.getenv, "HYBRIDRT_SHARED_BY") == "12"
    assert "HYBRIDRT_SHARED_BY" not in os.environ


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [(["--workers", "2"], {}), ([], {"WEB_CONCURRENCY": "2"})],
    ids=["option", "variable"],
)
def test_uvicorn_s_own_workers_know_of_each_other(
    tmp_path: Path, arguments: list[str], variables: dict[str, str]
) -> None:
    (tmp_path / "shown.py").write_text(
        "from hybridrt import Settings\n"
        "print(f'shared by {Settings().shared_by}\\n', end='', flush=True)\n"  # in one piece: two write at once
        "async def app(scope, receive, send): ...\n"
    )
    command = [sys.executable, "-m", "uvicorn", "shown:app", "--port", "0", "--lifespan", "off", *arguments]
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("WEB_", "PYTEST_XDIST"))
    }
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            told = [server.stdout.readline() for _ in range(2)]
        finally:
            server.terminate()
    assert told == ["shared by 2\n", "shared by 2\n"]
