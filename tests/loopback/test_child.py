"""A process that is watched by its descriptor: its end is reported once, whatever else asks for it."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from support.watcher import Watcher
from tcpbalance.workers.child import Child, describe_end


@contextmanager
def child(status: int | None) -> Iterator[tuple[Child, Watcher, list[int]]]:
    """Fork a process that ends with a status, or waits for a signal."""
    pid = os.fork()
    if not pid:
        if status is None:
            signal.pause()
        os._exit(status or 0)
    reactor, ends = Watcher(), list[int]()
    made = Child(cast(Any, reactor), pid, os.pidfd_open(pid), ends.append)
    try:
        yield made, reactor, ends
    finally:
        made.forget()


def await_end(made: Child) -> None:
    assert select.select([made], [], [], 20)[0]


@pytest.mark.parametrize("status", [0, 3])
def test_its_status_is_reported_once(status: int) -> None:
    with child(status) as (made, reactor, ends):
        assert made in reactor.readers
        await_end(made)
        made.doRead()
        assert ends == [status]
        assert not reactor.readers


def test_a_signal_is_reported_as_a_negative_number() -> None:
    with child(None) as (made, _, ends):
        made.doRead()
        assert ends == []
        made.signal(signal.SIGKILL)
        await_end(made)
        made.doRead()
        assert ends == [-signal.SIGKILL]
    made.signal(signal.SIGTERM)


def test_its_end_is_reported_where_something_else_has_asked_for_its_status() -> None:
    with child(3) as (made, reactor, ends):
        await_end(made)
        os.waitpid(made.pid, 0)
        made.signal(signal.SIGTERM)
        made.doRead()
        assert ends == [0]
        assert not reactor.readers


def test_the_end_of_the_reactor_is_none_of_the_process() -> None:
    with child(0) as (made, reactor, ends):
        made.connectionLost(Failure(ConnectionLost()))
        assert not reactor.readers
        assert ends == []
        os.waitpid(made.pid, 0)
    assert made.logPrefix() == "child"


@pytest.mark.parametrize(
    ("status", "text"),
    [(2, "ended with status 2"), (-9, "was ended by SIGKILL"), (-100, "was ended by signal 100")],
)
def test_an_end_in_words(status: int, text: str) -> None:
    assert describe_end(status) == text
