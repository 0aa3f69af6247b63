"""Each option is a keyword, else a ``HYBRIDRT_`` variable, else its default; nonsense is refused by name and value."""

from __future__ import annotations

import sys
from dataclasses import FrozenInstanceError, fields
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridrt import Settings
from hybridrt._core import settings as settings_room
from hybridrt._core.budget import cpu_budget

NAMES = [f.name for f in fields(Settings)]


def load(environ: dict[str, str] | None = None, **given: Any) -> Settings:
    return Settings.load(given, environ or {})


def test_the_defaults_are_those_in_the_documentation() -> None:
    settings = load()
    assert settings == Settings()
    assert settings.threads == 40
    assert settings.processes == cpu_budget(shared_by=settings.shared_by).cpus >= 1
    assert settings.shared_by >= 1
    assert settings.worker_threads >= 1
    assert settings.oom_score_adj == 500
    assert settings.worker_memory_limit == 0
    assert settings.preload == ()
    assert settings.learn_preload is True
    assert settings.thread_idle == settings.shutdown_grace == 10.0
    assert settings.interrupt_grace == 0.5
    assert settings.loop_lag == 0.1
    assert settings.loop_blocked_after == 0.5
    assert settings.on_loop_blocked == "warn"


def test_every_option_says_what_it_is() -> None:
    assert [f.name for f in fields(Settings) if not f.metadata["doc"].endswith(".")] == []


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().threads = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("threads", "7", 7),
        ("processes", " 3 ", 3),
        ("thread_idle", "0.25", 0.25),
        ("shutdown_grace", "0", 0.0),
        ("interrupt_grace", "2", 2.0),
        ("loop_lag", "1e-2", 0.01),
        ("loop_blocked_after", "0", 0.0),
        ("on_loop_blocked", " Raise", "raise"),
        ("preload", "json, numpy.linalg ,", ("json", "numpy.linalg")),
        ("preload", "", ()),
        ("learn_preload", "0", False),
        ("learn_preload", " off", False),
        ("learn_preload", "False", False),
        ("learn_preload", "no", False),
        ("learn_preload", "1", True),
        ("learn_preload", "on ", True),
        ("learn_preload", "TRUE", True),
        ("learn_preload", "yes", True),
    ],
)
def test_a_variable_stands_in_for_its_keyword(name: str, text: str, value: object) -> None:
    assert getattr(load({f"HYBRIDRT_{name.upper()}": text}), name) == value


def test_each_option_has_its_variable() -> None:
    for name in NAMES:
        text, value = {
            "preload": ("nine", ("nine",)),
            "worker_memory_limit": ("9GB", 9 * 10**9),
            "learn_preload": ("no", False),
            "on_loop_blocked": ("log", "log"),
            "placement": ("9", "9"),
        }.get(name, ("9", 9))
        assert getattr(load({f"HYBRIDRT_{name.upper()}": text}), name) == value


def test_a_keyword_wins_over_its_variable_and_none_means_not_given() -> None:
    environ = {"HYBRIDRT_THREADS": "7", "HYBRIDRT_PROCESSES": "nonsense"}
    assert load(environ, threads=5, processes=2).threads == 5
    assert load({"HYBRIDRT_THREADS": "7"}, threads=None).threads == 7
    assert load(threads=None).threads == 40


def test_the_environment_is_read_when_the_settings_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRIDRT_THREADS", "11")
    assert Settings.load({}).threads == 11


def test_zero_processes_means_one_for_each_cpu_that_is_ours() -> None:
    assert load(processes=0) == load({"HYBRIDRT_PROCESSES": "0"}) == load()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("proceses", "processes"),
        ("thread", "threads"),
        ("interupt_grace", "interrupt_grace"),
        ("loop_lags", "loop_lag"),
    ],
)
def test_an_unknown_option_is_refused_with_the_one_that_was_meant(name: str, meant: str) -> None:
    with pytest.raises(
        TypeError, match=rf"Runtime has no setting '{name}'; did you mean '{meant}'\? \(there are: "
    ):
        load(**{name: 1})


def test_an_option_like_no_other_is_refused_with_the_list_of_all() -> None:
    with pytest.raises(TypeError) as told:
        load(xyzzy=1)
    assert str(told.value) == f"Runtime has no setting 'xyzzy' (there are: {', '.join(NAMES)})"


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"threads": 0}, ValueError, r"Runtime\(threads=0\) makes no sense: it must be at least 1"),
        ({"threads": -1}, ValueError, r"Runtime\(threads=-1\) makes no sense"),
        ({"processes": -1}, ValueError, r"Runtime\(processes=-1\) makes no sense: it must be at least 0"),
        ({"threads": 1.5}, TypeError, r"Runtime\(threads=\.\.\.\) must be an integer, not float"),
        ({"threads": True}, TypeError, r"must be an integer, not bool"),
        ({"processes": "4"}, TypeError, r"Runtime\(processes=\.\.\.\) must be an integer, not str"),
        ({"shutdown_grace": -0.1}, ValueError, r"shutdown_grace=-0\.1\) makes no sense: .*0 or more"),
        ({"shutdown_grace": float("inf")}, ValueError, r"must be a finite number of seconds"),
        ({"interrupt_grace": float("nan")}, ValueError, r"interrupt_grace=nan\) makes no sense"),
        ({"thread_idle": "10"}, TypeError, r"thread_idle=\.\.\.\) must be a number of seconds, not str"),
        ({"loop_lag": False}, TypeError, r"loop_lag=\.\.\.\) must be a number of seconds, not bool"),
        ({"loop_blocked_after": -1}, ValueError, r"loop_blocked_after=-1\) makes no sense"),
        (
            {"on_loop_blocked": "shout"},
            ValueError,
            r"on_loop_blocked='shout'\) makes no sense: there are 'warn', 'log', 'raise', or pass a function",
        ),
        ({"on_loop_blocked": 1}, TypeError, r"must be a word or a function of a Blockage, not int"),
        ({"learn_preload": 1}, TypeError, r"learn_preload=\.\.\.\) must be True or False, not int"),
        ({"preload": "numpy"}, TypeError, r"preload=\.\.\.\) must be a tuple of module names, not str"),
        ({"preload": {"numpy"}}, TypeError, r"must be a tuple of module names, not set"),
        ({"preload": ("numpy", "no-name")}, ValueError, r"must hold names of modules; 'no-name' is none"),
        ({"preload": ("a..b",)}, ValueError, r"'a\.\.b' is none"),
        ({"preload": ("",)}, ValueError, r"'' is none"),
        ({"preload": (3,)}, ValueError, r"3 is none"),
        ({"oom_score_adj": -1}, ValueError, r"oom_score_adj=-1\) makes no sense: it must be at least 0"),
        (
            {"oom_score_adj": 1001},
            ValueError,
            r"oom_score_adj=1001\) makes no sense: it must be at most 1000",
        ),
        ({"worker_threads": -1}, ValueError, r"worker_threads=-1\) makes no sense"),
        ({"worker_threads": "2"}, TypeError, r"worker_threads=\.\.\.\) must be an integer, not str"),
        ({"shared_by": 1.5}, TypeError, r"shared_by=\.\.\.\) must be an integer, not float"),
        (
            {"worker_memory_limit": 512},
            ValueError,
            r"needs at least 16 MB .* meant in bytes .*write \"512MB\"",
        ),
        ({"worker_memory_limit": "15.9MB"}, ValueError, r"worker_memory_limit=15900000\) makes no sense"),
        (
            {"worker_memory_limit": "much"},
            ValueError,
            r"Runtime\(worker_memory_limit=\.\.\.\): 'much' is no size",
        ),
        ({"worker_memory_limit": 2.5e9}, TypeError, r"must be an integer, not float"),
    ],
)
def test_nonsense_is_refused(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load(**given)


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("HYBRIDRT_THREADS", "many", r"environment variable HYBRIDRT_THREADS='many' is not a valid int"),
        ("HYBRIDRT_THREADS", "", r"HYBRIDRT_THREADS='' is not a valid int"),
        ("HYBRIDRT_LOOP_LAG", "1s", r"HYBRIDRT_LOOP_LAG='1s' is not a valid float"),
        ("HYBRIDRT_SHUTDOWN_GRACE", "nan", r"shutdown_grace=nan\) makes no sense"),
        ("HYBRIDRT_PROCESSES", "-2", r"processes=-2\) makes no sense"),
        ("HYBRIDRT_PRELOAD", "os;sys", r"'os;sys' is none"),
        (
            "HYBRIDRT_WORKER_MEMORY_LIMIT",
            "1 GO",
            r"^environment variable HYBRIDRT_WORKER_MEMORY_LIMIT: '1 GO' is",
        ),
        (
            "HYBRIDRT_WORKER_MEMORY_LIMIT",
            "1MB",
            r"^environment variable HYBRIDRT_WORKER_MEMORY_LIMIT: .*16 MB",
        ),
        ("HYBRIDRT_OOM_SCORE_ADJ", "1001", r"at most 1000"),
        ("HYBRIDRT_LEARN_PRELOAD", "2", r"HYBRIDRT_LEARN_PRELOAD='2' is neither true nor false"),
    ],
)
def test_nonsense_in_the_environment_is_refused(variable: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load({variable: text})


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "threads": st.integers(1, 10**6),
            "processes": st.integers(1, 10**6),
            "shutdown_grace": st.floats(0, 1e9),
            "loop_lag": st.floats(0, 1e9),
            "learn_preload": st.booleans(),
            "preload": st.lists(st.sampled_from(["os", "a.b", "_x1"])).map(tuple),
        },
    )
)
def test_what_makes_sense_says_the_same_as_keyword_and_as_variable(given: dict[str, Any]) -> None:
    def text(value: object) -> str:
        return ",".join(value) if isinstance(value, tuple) else repr(value)

    assert load(**given) == load({f"HYBRIDRT_{name.upper()}": text(value) for name, value in given.items()})


def test_a_nonsense_value_from_the_environment_names_its_variable() -> None:
    with pytest.raises(
        ValueError, match=r"environment variable HYBRIDRT_THREADS: .*threads=0\) makes no sense"
    ):
        Settings.load({}, {"HYBRIDRT_THREADS": "0"})
    with pytest.raises(ValueError, match=r"^Runtime\(processes=-1\)"):
        Settings.load({"processes": -1}, {"HYBRIDRT_THREADS": "3"})


def test_sizes_may_be_written_with_their_unit() -> None:
    assert load(worker_memory_limit="1.5GiB").worker_memory_limit == 3 << 29
    assert load({"HYBRIDRT_WORKER_MEMORY_LIMIT": "512MB"}).worker_memory_limit == 512_000_000
    assert load({"HYBRIDRT_MAX_WORKER_MEMORY": "1GB"}, max_worker_memory="2GB").max_worker_memory == 2 * 10**9


@pytest.mark.parametrize(
    ("given", "processes", "threads"),
    [
        ({}, 12, 1),
        ({"processes": 3}, 3, 4),
        ({"processes": 5}, 5, 2),
        ({"processes": 50}, 50, 1),
        ({"worker_threads": 7}, 12, 7),
        ({"shared_by": 4}, 3, 1),
        ({"shared_by": 4, "processes": 1}, 1, 3),
        ({"shared_by": 50}, 1, 1),
    ],
)
def test_cpus_are_divided_among_processes_and_their_threads(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, int], processes: int, threads: int
) -> None:
    machine = partial(cpu_budget, environ={}, xoption="", read={}.get, count_online=lambda: 12)
    monkeypatch.setattr(settings_room, "cpu_budget", partial(machine, count_affinity=lambda: 12))
    settings = load(**{"shared_by": 1} | given)
    assert (settings.processes, settings.worker_threads) == (processes, threads)


def test_what_the_user_says_of_his_cpus_is_meant_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRIDRT_CPU_COUNT", "6")
    assert load(shared_by=3).processes == 6
    assert load(shared_by=3, processes=2).worker_threads == 3


def test_who_shares_the_machine_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/venv/bin/gunicorn", "-w", "3", "app"])
    assert load().shared_by == 3
    assert load({"HYBRIDRT_SHARED_BY": "2"}).shared_by == 2
    assert load({"HYBRIDRT_SHARED_BY": "2"}, shared_by=1).shared_by == 1
