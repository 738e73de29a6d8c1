"""What is left open is seen."""

from __future__ import annotations

import gc
import socket
import threading
import time

import pytest

from support.descriptors import left_open, open_descriptors, opened_since


def test_an_open_socket_is_reported_until_it_is_closed() -> None:
    before = open_descriptors()
    with socket.socket() as held:
        assert held.fileno() in opened_since(before)
    assert not opened_since(before)


def test_what_a_thread_closes_in_time_is_not_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[float] = []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(time.monotonic()))
    before = open_descriptors()
    held = socket.socket()
    closer = threading.Timer(0.2, held.close)
    closer.start()
    assert left_open(before, 20.0) == {}
    closer.join()
    assert len(collected) == 1


def test_what_is_not_closed_in_time_is_left_open() -> None:
    before = open_descriptors()
    with socket.socket() as held:
        assert list(left_open(before, 0.02)) == [held.fileno()]
