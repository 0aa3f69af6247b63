"""Every option of a runtime, in one place: keyword = field = environment variable = row in the documentation."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .budget import cpu_budget
from .neighbours import neighbours_here
from .sizes import in_words, parse_bytes

LEAST_WORKER_MEMORY = 16_000_000
"""A worker lives on 2 MB, but does nothing with it: importing asyncio takes 3 MB, a thread 8."""

REACTIONS = ("warn", "log", "raise")
"""What ``on_loop_blocked`` may be, beside a function."""


def _setting(default: Any, doc: str, *, is_size: bool = False) -> Any:
    return field(default=default, metadata={"doc": doc, "is_size": is_size})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of a ``Runtime``. Each may also be given as ``HYBRIDRT_<NAME>``; a keyword wins over it."""

    threads: int = _setting(40, "Most threads at once. They start when needed and leave when idle.")
    processes: int = _setting(
        0, "Most worker processes at once; 0 means one for each CPU that is really ours."
    )
    cpu_threads: int = _setting(
        0,
        "Most `@cpu_bound` calls at once that `run` and `submit` put in threads of their own where Python has no GIL; "
        "0 means that they go to worker processes there as well.",
    )
    max_queue: int = _setting(
        0,
        "Most calls that may wait in each lane (the threads, the processes); one more is refused at once with "
        "`QueueFull`. 0 means any number.",
    )
    own_workers: int = _setting(
        64,
        "Most workers at once, processes and threads, that belong to one actor or stream each; beside the pools.",
    )
    thread_idle: float = _setting(10.0, "Seconds without work after which a thread leaves.")
    process_idle: float = _setting(60.0, "Seconds without work after which a worker process leaves.")
    max_tasks_per_worker: int = _setting(
        0, "Calls after which a worker process is replaced by a fresh one; 0 means never."
    )
    max_worker_memory: int = _setting(
        0,
        "Bytes of its own above which a worker process is replaced by a fresh one, between two calls; 0 means never.",
        is_size=True,
    )
    shutdown_grace: float = _setting(
        10.0, "Seconds that leaving the runtime waits for accepted work before it stops it."
    )
    interrupt_grace: float = _setting(
        0.5, "Seconds that a cancelled call has to stop after the interrupt, before its worker is killed."
    )
    preload: tuple[str, ...] = _setting(
        (), "Modules imported once in the zygote: every worker then has them at once and shares their memory."
    )
    learn_preload: bool = _setting(
        True,
        "Whether installed modules that calls had to import are imported in the zygote too, for the workers to come, "
        "where that has no effect that could be seen (Linux).",
    )
    nice: int = _setting(
        4,
        "By how much workers, and `cpu_threads`, yield to the event loop where CPUs are scarce: 0 (not at all) to 19.",
    )
    oom_score_adj: int = _setting(
        500,
        "By how much workers are likelier than the event loop's process to be killed where memory runs out: "
        "0 to 1000 (Linux).",
    )
    worker_threads: int = _setting(
        0,
        "Threads that OpenMP, BLAS and the like may use in each worker; 0 means our CPUs divided by `processes`. "
        "They are told in a worker's `os.environ` (OMP_NUM_THREADS and others), where you have not set them yourself.",
    )
    worker_memory_limit: int = _setting(
        0,
        'Most memory of its own that a worker may take, in bytes or as "512MB"; beyond, a call gets MemoryError '
        "(0: no limit; Linux).",
        is_size=True,
    )
    arena_limit: int = _setting(
        0,
        'Most shared memory for large arguments and results, in bytes or as "2GB"; beyond, they go through the sockets '
        "(0: half of the memory that is ours).",
        is_size=True,
    )
    shared_by: int = _setting(
        0,
        "Processes like this one that share the CPUs; 0 means found out: a server's workers, pytest-xdist's, ours.",
    )
    placement: str = _setting(
        "",
        "File with what was learned of functions, to start from; written again when the runtime is left. A function "
        "whose code has changed is learned anew.",
    )
    loop_lag: float = _setting(
        0.1, "Seconds between two measurements of the loop's lag for stats(); 0 turns it off."
    )
    loop_blocked_after: float = _setting(
        0.5,
        "Seconds without a turn of the event loop after which the function that blocks it is named; 0 turns it off.",
    )
    on_loop_blocked: str | Callable[[Any], object] = _setting(  # noqa: RUF009 (as the others; it trips over Callable)
        "warn",
        'What is done then: "warn" (`LoopBlockedWarning`), "log" (logger `hybridrt`), "raise" (leaving the runtime '
        "raises `LoopBlocked`: for tests), or a function that gets the `Blockage`, on the loop.",
    )

    def __post_init__(self) -> None:
        """Refuse nonsense where the user can see it, and fill in what depends on the machine."""
        _require_count("threads", self.threads, least=1)
        _require_count("processes", self.processes, least=0)
        _require_count("cpu_threads", self.cpu_threads, least=0)
        _require_count("max_queue", self.max_queue, least=0)
        _require_count("own_workers", self.own_workers, least=1)
        _require_count("max_tasks_per_worker", self.max_tasks_per_worker, least=0)
        _require_count("max_worker_memory", self.max_worker_memory, least=0)
        for name in ("thread_idle", "process_idle", "shutdown_grace", "interrupt_grace", "loop_lag"):
            _require_seconds(name, getattr(self, name))
        _require_seconds("loop_blocked_after", self.loop_blocked_after)
        _require_reaction(self.on_loop_blocked)
        _require_count("nice", self.nice, least=0)
        if self.nice > 19:
            raise ValueError(f"Runtime(nice={self.nice}) makes no sense: it must be at most 19")
        _require_modules(self.preload)
        object.__setattr__(self, "placement", _path("placement", self.placement))
        if not isinstance(self.learn_preload, bool):
            kind = type(self.learn_preload).__name__
            raise TypeError(f"Runtime(learn_preload=...) must be True or False, not {kind}")
        for name in ("worker_threads", "shared_by", "oom_score_adj", "worker_memory_limit", "arena_limit"):
            _require_count(name, getattr(self, name), least=0)
        _require_oom_score(self.oom_score_adj)
        _require_room_to_live(self.worker_memory_limit)
        self._divide_cpus()

    def _divide_cpus(self) -> None:
        """Fill in what is 0 and means: as many as fit."""
        if not self.shared_by:
            object.__setattr__(self, "shared_by", neighbours_here(os.environ).processes)
        if self.processes and self.worker_threads:
            return
        cpus = cpu_budget(shared_by=self.shared_by).cpus
        if not self.processes:
            object.__setattr__(self, "processes", cpus)
        if not self.worker_threads:
            object.__setattr__(self, "worker_threads", max(1, cpus // self.processes))

    @classmethod
    def load(cls, given: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> Settings:
        """The settings from keywords, then ``HYBRIDRT_<NAME>`` variables, then the defaults.

        Raises TypeError for an unknown keyword, ValueError or TypeError for a value that makes no sense.
        """
        known = {f.name: f for f in fields(cls)}
        for name in given:
            if name not in known:
                from difflib import get_close_matches  # only for this error

                close = get_close_matches(name, known, 1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise TypeError(f"Runtime has no setting {name!r}{hint} (there are: {', '.join(known)})")
        values: dict[str, Any] = {
            name: _parse_size(f"Runtime({name}=...)", value)
            if known[name].metadata["is_size"] and isinstance(value, str)
            else value
            for name, value in given.items()
            if value is not None
        }
        from_environment = []
        for name, f in known.items():
            text = environ.get(variable := f"HYBRIDRT_{name.upper()}")
            if text is not None and name not in values:
                is_size = f.metadata["is_size"]
                values[name] = _parse_size(variable, text) if is_size else _parse(variable, text, f.default)
                from_environment.append(name)
        try:
            return cls(**values)
        except ValueError as exc:
            for name in from_environment:
                if f"Runtime({name}=" in str(exc):
                    raise ValueError(f"environment variable HYBRIDRT_{name.upper()}: {exc}") from None
            raise


_WORDS = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def _parse(variable: str, text: str, default: object) -> object:
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, bool):
        word = text.strip().lower()
        if word not in _WORDS:
            raise ValueError(f"environment variable {variable}={text!r} is neither true nor false")
        return _WORDS[word]
    if isinstance(default, str):
        return text.strip().lower() if default in REACTIONS else text
    parse = int if isinstance(default, int) else float
    try:
        return parse(text)
    except ValueError:
        raise ValueError(
            f"environment variable {variable}={text!r} is not a valid {parse.__name__}"
        ) from None


def _parse_size(where: str, text: str) -> int:
    try:
        return parse_bytes(text)
    except ValueError as exc:
        where = where if where.endswith(")") else f"environment variable {where}"
        raise ValueError(f"{where}: {exc}") from None


def _require_count(name: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"Runtime({name}=...) must be an integer, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"Runtime({name}={value}) makes no sense: it must be at least {least}")


def _require_seconds(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"Runtime({name}=...) must be a number of seconds, not {type(value).__name__}")
    if not 0 <= value < float("inf"):
        raise ValueError(
            f"Runtime({name}={value}) makes no sense: it must be a finite number of seconds, 0 or more"
        )


def _require_reaction(value: object) -> None:
    if callable(value):
        return
    if not isinstance(value, str):
        kind = type(value).__name__
        raise TypeError(
            f"Runtime(on_loop_blocked=...) must be a word or a function of a Blockage, not {kind}"
        )
    if value not in REACTIONS:
        words = ", ".join(repr(word) for word in REACTIONS)
        raise ValueError(
            f"Runtime(on_loop_blocked={value!r}) makes no sense: there are {words}, or pass a function"
        )


def _path(name: str, value: object) -> str:
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str):
        raise TypeError(f"Runtime({name}=...) must be the path of a file, not {type(value).__name__}")
    return path


def _require_oom_score(value: int) -> None:
    if value > 1000:
        raise ValueError(f"Runtime(oom_score_adj={value}) makes no sense: it must be at most 1000")


def _require_room_to_live(value: int) -> None:
    if 0 < value < LEAST_WORKER_MEMORY:
        raise ValueError(
            f"Runtime(worker_memory_limit={value}) makes no sense: a worker needs at least "
            f"{in_words(LEAST_WORKER_MEMORY)} to do anything, and it is meant in bytes "
            '(write "512MB" for megabytes)'
        )


def _require_modules(value: object) -> None:
    if isinstance(value, str) or not isinstance(value, tuple | list):
        raise TypeError(f"Runtime(preload=...) must be a tuple of module names, not {type(value).__name__}")
    for name in value:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"Runtime(preload=...) must hold names of modules; {name!r} is none")
