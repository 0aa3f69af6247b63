"""How many processes like this one share the machine, where that is known: a server's workers, a test run's, ours.

Four web workers on eight CPUs, each with a runtime of eight processes, are 32 processes that wait for one another.
A worker of a server is not told how many it has beside it, but the server was: on its command line, which its workers
have as well, or in its environment. Programs that are not known here are not guessed at: ``-w 8`` may mean anything.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Neighbours(NamedTuple):
    """``processes``, this one included, share the machine; ``because`` is the fact that says so, in words."""

    processes: int
    because: str


ALONE = Neighbours(1, "nothing says that others share the machine")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    options: tuple[str, ...]  # that take the number of workers
    command: str | None = None  # the subcommand that serves
    options_variable: str | None = None  # holds options that the command line wins over
    variable: str | None = "WEB_CONCURRENCY"  # holds the number, where no option does
    alone_if: str | None = None  # an option that makes it one process, whatever else is said


_SERVERS = {
    "uvicorn": _Server(options=("--workers",), alone_if="--reload"),
    "gunicorn": _Server(options=("--workers", "-w"), options_variable="GUNICORN_CMD_ARGS"),
    "hypercorn": _Server(options=("--workers", "-w"), variable=None),
    "granian": _Server(options=("--workers",), variable="GRANIAN_WORKERS", alone_if="--reload"),
    "fastapi": _Server(options=("--workers",), command="run", alone_if="--reload"),
}


def find_neighbours(
    environ: Mapping[str, str],
    argv: Sequence[str],
    orig_argv: Sequence[str] = (),
    modules: Mapping[str, object] | None = None,
) -> Neighbours:
    """Who shares the machine with this process: from its server's command line, else from its environment.

    ``argv`` is ``sys.argv`` (a spawned worker has its server's), ``orig_argv`` the interpreter's own, for programs
    that changed the former; ``modules`` is ``sys.modules``, where uWSGI puts one of its own.
    """
    server, arguments = _server_of(argv)
    if server is None:
        server, arguments = _server_of(_program_of(orig_argv))
    if server is not None:
        return _workers_of(server, arguments, environ)
    numproc = getattr((modules or {}).get("uwsgi"), "numproc", None)
    if isinstance(numproc, int) and numproc > 1:
        return Neighbours(numproc, f"uWSGI runs {numproc} processes")
    for variable in ("PYTEST_XDIST_WORKER_COUNT", "WEB_CONCURRENCY"):
        if count := _number(environ.get(variable)):
            return Neighbours(count, f"{variable}={count}")
    return ALONE


def neighbours_here(environ: Mapping[str, str]) -> Neighbours:
    """``find_neighbours`` for this process."""
    return find_neighbours(environ, getattr(sys, "argv", ()), sys.orig_argv, sys.modules)


def _server_of(argv: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """The known server whose command line this is, and its arguments."""
    if not argv:
        return None, ()
    folder, _, name = argv[0].replace("\\", "/").rpartition("/")
    if name == "__main__.py":  # python -m NAME
        name = folder.rpartition("/")[2]
    name = name.removesuffix(".exe")
    server = _SERVERS.get(name)
    if server is None or (server.command is not None and server.command not in argv[1:]):
        return None, ()
    return name, argv[1:]


def _program_of(orig_argv: Sequence[str]) -> Sequence[str]:
    """What the interpreter was told to run: its name, and the arguments."""
    rest = list(orig_argv[1:])
    while rest:
        first = rest.pop(0)
        if first == "-m":
            return rest
        if first in ("-W", "-X", "--check-hash-based-pycs"):
            del rest[:1]
        elif first == "-c":
            return ()
        elif not first.startswith("-"):
            return [first, *rest]
    return ()


def _workers_of(name: str, arguments: Sequence[str], environ: Mapping[str, str]) -> Neighbours:
    server = _SERVERS[name]
    if server.alone_if is not None and server.alone_if in arguments:
        return Neighbours(1, f"{name} {server.alone_if} runs one process")
    if count := _option(arguments, server.options):
        return Neighbours(count, f"{name} was started with {count} workers")
    if server.options_variable is not None:
        try:
            import shlex  # few programs run under a server

            more = shlex.split(environ.get(server.options_variable, ""))
        except ValueError:
            more = []
        if count := _option(more, server.options):
            return Neighbours(count, f"{server.options_variable} has {count} workers")
    if server.variable is not None and (count := _number(environ.get(server.variable))):
        return Neighbours(count, f"{server.variable}={count}")
    return Neighbours(1, f"{name} was not told of more than one worker")


def _option(arguments: Sequence[str], names: tuple[str, ...]) -> int | None:
    """The number that one of these options has: ``--workers 4``, ``--workers=4``, ``-w 4``, ``-w4``; the last wins."""
    found = None
    for at, argument in enumerate(arguments):
        if argument == "--":
            break
        for name in names:
            if argument == name:
                text: str | None = arguments[at + 1] if at + 1 < len(arguments) else None
            elif argument.startswith(f"{name}="):
                text = argument[len(name) + 1 :]
            elif not name.startswith("--") and re.fullmatch(rf"{name}\d+", argument):
                text = argument[len(name) :]
            else:
                continue
            found = _number(text) or found
    return found


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and int(text) > 0 else None
