"""What the kernel says about how long connecting took."""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support.waiting import until
from tcpbalance.net.tcp_info import NOTICEABLE, ConnectTime, connect_time

OUR_CLOCK = 3.0
"""Seconds that our own clock says, however late our loop was."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def test_it_is_the_round_trip_and_not_how_late_we_are(stack: ExitStack) -> None:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    client = stack.enter_context(socket.create_connection(listener.getsockname()))
    took = connect_time(client, OUR_CLOCK)
    assert took is not None
    assert 0 < took.seconds < 0.5
    assert took.noticeable == NOTICEABLE


def test_a_full_backlog_that_drops_the_syn_is_seen(stack: ExitStack) -> None:
    """The kernel sends the SYN again a second later, and its round trip is as short as ever then."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    listener.setblocking(False)
    began = time.monotonic()
    # One fills a backlog of 0, which has room for one; the SYN of the next is dropped.
    stack.enter_context(socket.create_connection(listener.getsockname()))
    client = stack.enter_context(socket.socket())
    client.setblocking(False)
    assert client.connect_ex(listener.getsockname()) == errno.EINPROGRESS
    assert not connected(client)
    stack.enter_context(listener.accept()[0])
    until(lambda: connected(client), "the SYN that is sent again")
    by_our_clock = time.monotonic() - began
    assert by_our_clock > 0.9
    assert connect_time(client, by_our_clock) == ConnectTime(by_our_clock)


def connected(client: socket.socket) -> bool:
    return bool(select.select([], [client], [], 0)[1])


def test_a_unix_socket_has_none(stack: ExitStack) -> None:
    ours, theirs = socket.socketpair()
    stack.enter_context(ours)
    stack.enter_context(theirs)
    assert connect_time(ours, OUR_CLOCK) is None
