"""A bell wakes whoever waits at it, also one who comes later, and lets nobody wait longer than it is patient."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from hybridrt._lanes import bell as room
from hybridrt._lanes.bell import Bell, LockBell, SocketBell, new_bell

KINDS: list[Callable[[float], Bell]] = [LockBell] if sys.platform == "win32" else [SocketBell, LockBell]


@pytest.mark.parametrize("kind", KINDS)
def test_one_who_waits_is_woken(kind: Callable[[float], Bell]) -> None:
    bell, heard = kind(30.0), list[bool]()
    thread = threading.Thread(target=lambda: heard.append(bell.wait()))
    thread.start()
    bell.ring()
    thread.join(30)
    assert heard == [True]
    bell.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_ring_waits_for_one_who_comes_later_and_is_heard_once(kind: Callable[[float], Bell]) -> None:
    bell = kind(0.0)
    for _ in range(3):
        bell.ring()
        assert bell.wait()
        assert not bell.wait()
    bell.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [0.0, 1e-9, 0.999999999, 1e12])
def test_any_patience_can_be_had(kind: Callable[[float], Bell], seconds: float) -> None:
    bell = kind(seconds)
    bell.ring()
    assert bell.wait()
    bell.close()


@pytest.mark.skipif(sys.platform == "win32", reason="its sockets are no descriptors")
def test_another_default_for_sockets_changes_nothing() -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(0.0)
    try:
        bell = new_bell(30.0, is_first=True)
    finally:
        socket.setdefaulttimeout(before)
    assert isinstance(bell, SocketBell)
    timer = threading.Timer(0.01, bell.ring)
    timer.start()
    assert bell.wait(), "a socket that does not block would have said False at once"
    timer.join()
    bell.close()


@pytest.mark.skipif(sys.platform == "win32", reason="its sockets are no descriptors")
def test_without_descriptors_there_are_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_many_open_files() -> Any:
        raise OSError(24, os.strerror(24))

    monkeypatch.setattr(room.socket, "socketpair", too_many_open_files)
    assert isinstance(new_bell(1.0, is_first=True), LockBell)


def test_only_the_first_cost_descriptors() -> None:
    assert isinstance(new_bell(1.0, is_first=False), LockBell)
