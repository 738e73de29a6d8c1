"""Whether a connection has something to do in the next turn, found out without doing it."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.python.failure import Failure

from support.turning_clock import Crank
from tcpbalance.net.data_path import NativeDataPath, TwistedDataPath
from tcpbalance.net.poller import ENDS_A_MESSAGE, ENDS_A_ROUND, Poller

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="needs epoll")


class Connection:
    """A connection that is watched; see ``poller.Handler``.

    :ivar peer: its other end.
    :ivar reported: the events, as they came.
    """

    def __init__(self, poller: Poller) -> None:
        self.ours, self.peer = socket.socketpair()
        self.reported: list[int] = []
        poller.watch(self.ours.fileno(), self.on_events)

    def on_events(self, events: int) -> None:
        self.reported.append(events)

    def on_failure(self, failure: Failure) -> None:
        failure.raiseException()

    def on_teardown(self) -> None:
        self.close()

    def close(self) -> None:
        self.ours.close()
        self.peer.close()


@pytest.fixture
def data_path() -> Iterator[NativeDataPath]:
    path = NativeDataPath(Poller(Crank()))
    path.open()
    yield path
    path.poller.connectionLost(Failure(ConnectionError()))
    path.close()


@pytest.fixture
def connection(data_path: NativeDataPath) -> Connection:
    connection = Connection(data_path.poller)
    data_path.poller.doRead()  # that it can be written to
    connection.reported.clear()
    return connection


def test_what_has_come_waits_until_it_is_reported(data_path: NativeDataPath, connection: Connection) -> None:
    assert data_path.others_wait() is False
    connection.peer.send(b"a")
    assert [data_path.others_wait(), data_path.others_wait()] == [True, True]
    assert connection.reported == []
    data_path.poller.doRead()
    assert len(connection.reported) == 1
    assert data_path.others_wait() is False


def test_a_handler_that_has_work_left_waits(data_path: NativeDataPath, connection: Connection) -> None:
    poller = data_path.poller
    poller.again(connection, lambda: None)
    assert data_path.others_wait() is True
    poller.doRead()
    assert data_path.others_wait() is False


def test_ends_that_are_put_off_wait(data_path: NativeDataPath) -> None:
    count = 10 * (1 + ENDS_A_MESSAGE) * ENDS_A_ROUND
    connections = [Connection(data_path.poller) for _ in range(count)]
    data_path.poller.doRead()
    for connection in connections:
        connection.peer.close()
    data_path.poller.doRead()
    assert data_path.others_wait() is True
    while data_path.others_wait():
        data_path.poller.doRead()
    for connection in connections:
        data_path.poller.forget(connection.ours.fileno())
        connection.close()


def test_where_nothing_is_known(data_path: NativeDataPath) -> None:
    reactor: Any = Crank()
    assert TwistedDataPath(reactor).others_wait() is None
    assert NativeDataPath(Poller(reactor)).others_wait() is False
