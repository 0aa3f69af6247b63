"""The probe tells who keeps the GIL from others, from those that release it and from those that wait."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from helpers import wait_until

from hybridrt._core.gil import is_gil_off
from hybridrt._lanes.probe import Probe, Trial

DATA = os.urandom(1 << 20) * 16


def count(n: int) -> int:
    total = 0
    for i in range(n):
        total += i * i
    return total


@pytest.fixture
def probe() -> Any:
    probe = Probe(threading.get_ident())
    yield probe
    probe.close()


def tried(probe: Probe, fn: Callable[[], Any], subject: object = "it") -> Trial:
    """One trial of ``fn`` in a thread of its own, seen to its end."""
    trials: list[Trial] = []

    def run() -> None:
        trial = probe.begin(subject)
        assert trial is not None
        fn()
        probe.end(trial)
        trials.append(trial)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    wait_until(lambda: probe.has_seen(trials[0]))
    return trials[0]


def share(probe: Probe, fn: Callable[[], Any]) -> float:
    denied = seen = 0.0
    for _ in range(5):
        trial = tried(probe, fn)
        denied += trial.denied
        seen += trial.denied + trial.asleep
    return denied / seen if seen else 0.0  # of one that has no CPU nothing is to be seen


needs_gil = pytest.mark.skipif(is_gil_off(), reason="nothing keeps a GIL from others where there is none")


@needs_gil
def test_pure_python_keeps_the_gil(probe: Probe) -> None:
    assert share(probe, lambda: count(300_000)) > 0.5


@needs_gil
def test_so_does_a_call_of_c_that_does_not_let_go(probe: Probe) -> None:
    numbers = [(i * 7919) % 100_003 for i in range(200_000)]
    assert share(probe, lambda: sorted(numbers)) > 0.5


def test_what_releases_it_does_not(probe: Probe) -> None:
    assert share(probe, lambda: hashlib.sha256(DATA)) < 0.5


def test_a_trial_tells_computing_from_waiting(probe: Probe) -> None:
    computing = tried(probe, lambda: count(300_000))
    assert computing.cpu > computing.waited
    waiting = tried(probe, lambda: time.sleep(0.05))
    assert waiting.waited > waiting.cpu
    assert waiting.wall >= 0.05


def test_trials_of_the_same_are_twins_and_others_are_rivals(probe: Probe) -> None:
    barrier = threading.Barrier(3)
    trials: dict[str, list[Trial | None]] = {"a": [], "b": []}

    def run(subject: str) -> None:
        barrier.wait()
        trial = probe.begin(subject)
        barrier.wait()
        assert trial is not None
        probe.end(trial)
        trials[subject].append(trial)

    for subjects, twins, rivals in ((("a", "a", "a"), True, False), (("b", "a", "a"), None, True)):
        trials["a"].clear()
        threads = [threading.Thread(target=run, args=(subject,)) for subject in subjects]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for trial in trials["a"]:
            assert trial is not None
            assert trial.has_rivals == rivals
            assert trials and (twins is None or trial.has_twins == twins)
        wait_until(lambda: all(probe.has_seen(it) for some in trials.values() for it in some if it))


def test_calls_that_are_in_threads_without_a_trial_are_rivals_too() -> None:
    busy = 1  # the trial itself
    probe = Probe(threading.get_ident(), lambda: busy)
    assert not tried(probe, lambda: None).has_rivals
    busy = 2
    assert tried(probe, lambda: None).has_rivals
    probe.close()


def test_what_the_loop_s_thread_computes_is_a_rival(probe: Probe) -> None:
    trials: list[Trial | None] = []
    done = threading.Event()

    def run() -> None:
        trials.append(probe.begin("it"))
        done.wait()

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: bool(trials))
    count(300_000)
    trial = trials[0]
    assert trial is not None
    done.set()
    thread.join()
    ended = threading.Thread(target=probe.end, args=(trial,))
    ended.start()
    ended.join()
    if hasattr(time, "pthread_getcpuclockid"):
        assert trial.rivals >= trial.loop_cpu > 0.0


def test_there_are_never_more_trials_at_once_than_tell_anything_new(probe: Probe) -> None:
    trials = [probe.begin(n) for n in range(40)]
    begun = [trial for trial in trials if trial is not None]
    assert 1 < len(begun) < 40
    for trial in begun:
        probe.end(trial)
    wait_until(lambda: all(probe.has_seen(trial) for trial in begun))
    again = probe.begin("it")
    assert again is not None
    probe.end(again)


def test_it_has_so_many_looks_and_no_more_for_a_while(probe: Probe) -> None:
    trials = 0
    while (trial := probe.begin(trials)) is not None:
        probe.end(trial)
        wait_until(lambda it=trial: probe.has_seen(it))  # type: ignore[misc]
        probe.looks += 500  # as if it had been a long one
        trials += 1
    assert trials < 20
    probe._credited = (probe._credited[0] - 5.0, probe._credited[1])  # five seconds later
    trial = probe.begin("it")
    assert trial is not None
    probe.end(trial)


def test_without_trials_it_sleeps(probe: Probe) -> None:
    tried(probe, lambda: None)
    wait_until(lambda: probe.is_resting)
    looks = probe.looks
    tried(probe, lambda: None)
    assert probe.looks > looks


def test_closing_ends_its_thread_and_all_trials(probe: Probe) -> None:
    trial = probe.begin("it")
    assert trial is not None
    probe.close()
    assert "hybridrt-probe" not in {thread.name for thread in threading.enumerate()}
    probe.end(trial)
    assert probe.has_seen(trial)
    assert probe.begin("it") is None
    probe.close()


def test_what_is_met_with_while_the_call_has_no_cpu_is_not_its_doing() -> None:
    used = 0.0
    trial = Trial("it", lambda: used)
    trial.began = 10.0
    trial.witness(due=10.1, now=10.2, starved=0.0, nap=0.1)
    assert (trial.looks, trial.denied, trial.asleep) == (0, 0.0, 0.0)
    used = 0.09
    trial.witness(due=10.25, now=10.3, starved=0.0, nap=0.0)
    assert (trial.looks, trial.denied) == (1, pytest.approx(0.05))
    trial.ended, trial.cpu = 10.4, 0.1
    used = 99.0  # the next call of that thread is no matter
    trial.witness(due=10.35, now=10.6, starved=0.0, nap=0.0)
    assert trial.looks == 1


def test_a_starved_look_is_no_evidence_but_what_it_waited_for_besides_is() -> None:
    trial = Trial("it", None)
    trial.began, trial.ended = 10.0, 11.0
    trial.witness(due=10.0, now=10.5, starved=0.5, nap=0.0)
    assert (trial.denied, trial.asleep, trial.looks) == (0.0, 0.0, 0)
    trial.witness(due=10.6, now=10.7, starved=0.0, nap=0.0001)
    assert trial.denied == pytest.approx(0.1)
    trial.witness(due=10.7, now=10.8, starved=0.08, nap=0.0)
    assert trial.denied == pytest.approx(0.12)
    trial.witness(due=10.9, now=12.0, starved=0.0, nap=0.0)  # after its end is no more its doing
    assert trial.denied == pytest.approx(0.22)
    before = trial.denied, trial.asleep, trial.looks
    trial.witness(due=9.0, now=9.5, starved=0.0, nap=0.5)  # nor before its begin
    trial.witness(due=11.5, now=12.0, starved=0.0, nap=1.0)  # it slept until all was over
    trial.witness(due=10.95, now=12.0, starved=0.5, nap=0.0)  # it had no CPU until then
    assert (trial.denied, trial.asleep, trial.looks) == before


def test_a_call_that_waits_or_releases_seems_harmless_while_it_runs_and_one_that_holds_does_not() -> None:
    class Here(Trial):
        used = 0.0

        def __init__(self) -> None:
            super().__init__("it", lambda: self.used)
            self.began = 0.0

    waiting = Here()
    assert waiting.seems_harmless(0.01)
    computing = Here()
    computing.used = 0.009
    assert not computing.seems_harmless(0.01)  # nothing was seen yet
    computing.looks, computing.denied, computing.asleep = 3, 0.001, 0.004
    assert computing.seems_harmless(0.01)
    computing.denied = 0.02
    assert not computing.seems_harmless(0.01)
    assert Trial("it", None).seems_harmless(0.01)
