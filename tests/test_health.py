"""Health turns bad when calls are lost often or no worker starts, and good again after a minute or a start."""

from __future__ import annotations

import errno
import os

import pytest

from hybridrt._core.health import WINDOW_SECONDS, CrashRecord, Health


def crashes(count: int, at: float = 1.0) -> CrashRecord:
    record = CrashRecord()
    for _ in range(count):
        record.crashed(at)
    return record


def test_without_crashes_all_is_well() -> None:
    assert CrashRecord().snapshot(5.0, 1000) == Health(True, 0, 0.0, "")


@pytest.mark.parametrize(
    ("count", "ended", "is_ok"),
    [(2, 2, True), (3, 3, False), (3, 29, False), (3, 30, True), (100, 1000, True)],
)
def test_it_is_bad_when_one_call_in_ten_is_lost_and_three_at_least(
    count: int, ended: int, is_ok: bool
) -> None:
    health = crashes(count).snapshot(1.0, ended)
    assert (health.is_ok, health.crashes, health.crash_rate) == (is_ok, count, count / ended)
    assert bool(health.reason) is not is_ok


def test_the_reason_is_in_words() -> None:
    assert crashes(3).snapshot(1.0, 12).reason == (
        "3 calls were lost to the death of their worker within a minute, 25% of all"
    )


def test_calls_of_long_ago_do_not_hide_what_crashes_now() -> None:
    record = crashes(3, at=1000.0)
    for second in range(1000):
        record.mark(float(second), second * 1000)
    health = record.snapshot(1000.0, 999_003)
    assert 0 < health.crash_rate < 3 / 50_000
    for second in range(1000, 1050):
        record.mark(float(second), 999_010)
    assert record.snapshot(1059.0, 999_010).crash_rate == 3 / 10


def test_a_minute_heals() -> None:
    record = crashes(5, at=1.0)
    assert not record.snapshot(0.9 + WINDOW_SECONDS, 5).is_ok
    assert record.snapshot(1.0 + WINDOW_SECONDS, 5) == Health(True, 0, 0.0, "")


def test_workers_that_cannot_be_started_are_told_until_one_is_there() -> None:
    record = CrashRecord()
    record.cannot_start(OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
    health = record.snapshot(1.0, 0)
    assert (health.is_ok, health.reason) == (
        False,
        "no worker process can be started: Resource temporarily unavailable",
    )
    record.can_start()
    assert record.snapshot(1.0, 0).is_ok


def test_memory_is_bounded() -> None:
    assert crashes(5000).snapshot(1.0, 5000).crashes == 1000
