"""The way of connections between workers: each comes out once, or its loss is logged and its client reset."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address

from support.descriptors import no_descriptor_free
from support.watcher import Watcher
from tcpbalance.net.ends import reset_on_close, unacknowledged
from tcpbalance.proxy.hand_over import HandedOver
from tcpbalance.workers import messages, outbox
from tcpbalance.workers.inbox import TAKE_AGAIN_AFTER, TAKEN_A_TURN, Inbox
from tcpbalance.workers.outbox import (
    MAX_HAND_OVER_WAIT,
    MAX_WAITING_CONNECTIONS,
    SEND_AGAIN_AFTER,
    Outbox,
)


@define(eq=False, slots=False)
class Way:
    """An inbox with one sender, and clients whose connections go there.

    :ivar served: the connections that have come out, by what was read from each before.
    :ivar lost: those that the sender has given up.
    :ivar kept: those that the sender has found no inbox for.
    """

    reactor: Watcher = field(factory=Watcher)
    served: list[bytes] = field(factory=list)
    lost: list[bytes] = field(factory=list)
    kept: list[bytes] = field(factory=list)
    clients: dict[bytes, socket.socket] = field(factory=dict)
    accepted: list[socket.socket] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=1000)
        ours, self.receiving = messages.pair()
        ours.setblocking(False)
        self.receiving.setblocking(False)
        self.sending = ours.dup()
        self.outbox = Outbox(cast(Any, self.reactor), ours, self._lose, self._keep)
        self.inbox = self.new_inbox()

    def new_inbox(self) -> Inbox:
        """What another process of the same place has."""
        return Inbox(cast(Any, self.reactor), self.receiving.dup(), self._serve)

    def _serve(self, connection: HandedOver) -> None:
        self.served.append(connection.received)
        connection.sock.send(b"!")
        self.accepted.append(cast(Any, connection.sock))

    def _lose(self, connection: HandedOver) -> None:
        self.lost.append(connection.received)

    def _keep(self, connection: HandedOver) -> None:
        self.kept.append(connection.received)
        connection.sock.close()

    def connection(self, received: bytes) -> HandedOver:
        """One that has been accepted, and is to go to the inbox."""
        self.clients[received] = socket.create_connection(self.listening.getsockname())
        sock, peer = self.listening.accept()
        reset_on_close(sock)
        sock.setblocking(False)
        return HandedOver("web", IPv4Address("TCP", *peer), 1.5, received, sock)

    def send(self, received: bytes) -> None:
        self.outbox.send(self.connection(received))

    def fill(self) -> int:
        """Send connections until one has to wait; gives how many are in the inbox."""
        count = 0
        while not self.reactor.writers:
            self.send(b"%d" % count)
            count += 1
        return count - 1

    def heard(self, received: bytes) -> bytes | None:
        """What a client has heard; None for a reset."""
        try:
            return self.clients[received].recv(1)
        except ConnectionResetError:
            return None

    def close(self) -> None:
        self.inbox.close()
        self.outbox.close()
        assert self.reactor.is_idle
        for sock in (
            self.listening,
            self.sending,
            self.receiving,
            *self.clients.values(),
            *self.accepted,
        ):
            sock.close()


@pytest.fixture
def way() -> Iterator[Way]:
    made = Way()
    yield made
    made.close()


def test_a_connection_comes_with_what_was_read_from_it(way: Way) -> None:
    way.send(b"PROXY \n\0 header")
    way.clients[b"PROXY \n\0 header"].send(b"later")
    way.reactor.turn()
    assert way.served == [b"PROXY \n\0 header"]
    assert way.accepted[0].recv(9) == b"later"
    assert not os.get_inheritable(way.accepted[0].fileno())
    assert way.heard(b"PROXY \n\0 header") == b"!"


def test_so_many_are_taken_in_one_turn(way: Way) -> None:
    for number in range(TAKEN_A_TURN + 1):
        way.send(b"%d" % number)
    way.reactor.turn()
    assert len(way.served) == TAKEN_A_TURN
    way.reactor.turn()
    assert len(way.served) == TAKEN_A_TURN + 1


def test_the_longest_packet_goes_through(way: Way) -> None:
    longest = bytes(16 + 65535 + 65535)
    way.send(longest)
    way.reactor.turn()
    assert way.served == [longest]


def test_what_does_not_fit_waits_and_comes_in_order(way: Way) -> None:
    held = way.fill()
    assert held > 100
    expected = [b"%d" % number for number in range(held + 1)]
    way.send(b"last")
    while len(way.served) < held + 2:
        way.reactor.turn()
    assert way.served == [*expected, b"last"]
    assert not way.reactor.writers
    assert not way.reactor.getDelayedCalls()


def test_one_that_waits_for_too_long_is_reset(way: Way) -> None:
    held = way.fill()
    way.reactor.advance(MAX_HAND_OVER_WAIT - 1)
    way.send(b"later")
    way.reactor.advance(1)
    first = b"%d" % held
    assert way.lost == [first]
    assert way.heard(first) is None
    way.reactor.advance(MAX_HAND_OVER_WAIT - 1.5)
    assert way.lost == [first]
    way.reactor.advance(0.5)
    assert way.lost == [first, b"later"]
    assert not way.reactor.writers
    # There is space for others once the inbox is read.
    way.reactor.turn()
    way.send(b"new")
    while b"new" not in way.served:
        way.reactor.turn()


def test_one_too_many_is_reset(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_WAITING_CONNECTIONS", 2)
    held = way.fill()
    way.send(b"second")
    way.send(b"third")
    assert way.lost == [b"third"]
    assert way.heard(b"third") is None
    while len(way.served) < held + 2:
        way.reactor.turn()
    assert MAX_WAITING_CONNECTIONS > 2


@pytest.mark.parametrize("number", [errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM])
def test_a_lack_of_the_system_is_waited_for(way: Way, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def lack(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(socket, "send_fds", lack)
        way.send(b"first")
        way.send(b"second")
        way.reactor.advance(SEND_AGAIN_AFTER)
        way.reactor.turn()
        assert (way.served, way.lost, way.kept) == ([], [], [])
        # It is not asked about at each turn.
        assert not way.reactor.writers
    way.reactor.advance(SEND_AGAIN_AFTER)
    way.reactor.turn()
    assert way.served == [b"first", b"second"]


def test_without_an_inbox_the_sender_keeps_them(way: Way) -> None:
    way.inbox.close()
    way.receiving.close()
    way.send(b"first")
    assert way.kept == [b"first"]


def test_those_that_wait_can_be_taken_back(way: Way) -> None:
    held = way.fill()
    way.send(b"last")
    back = way.outbox.take_back()
    assert [connection.received for connection in back] == [b"%d" % held, b"last"]
    assert not way.reactor.writers
    for connection in back:
        connection.sock.close()


def test_what_a_process_has_not_taken_is_for_the_next_one(way: Way) -> None:
    for number in range(TAKEN_A_TURN + 2):
        way.send(b"%d" % number)
    way.reactor.turn()
    way.inbox.close()
    way.reactor.turn()
    assert len(way.served) == TAKEN_A_TURN
    way.inbox = way.new_inbox()
    way.reactor.turn()
    assert way.served == [b"%d" % number for number in range(TAKEN_A_TURN + 2)]


def test_one_that_leaves_takes_what_is_there(way: Way) -> None:
    held = way.fill()
    way.inbox.leave()
    assert len(way.served) == held
    assert unacknowledged(way.sending) == 0
    way.reactor.turn()
    assert len(way.served) == held
    way.inbox = way.new_inbox()
    way.reactor.turn()
    assert len(way.served) == held + 1


def test_without_a_descriptor_they_are_reset_and_it_goes_on_after_a_pause(way: Way, lines: list[str]) -> None:
    for number in range(3):
        way.send(b"%d" % number)
    with no_descriptor_free():
        way.reactor.turn()
    assert [way.heard(b"%d" % number) for number in range(3)] == [None] * 3
    (line,) = lines
    assert line.startswith("no descriptor is left: 3 connections reset that other workers have handed over")
    way.send(b"later")
    way.reactor.turn()
    assert way.served == []
    way.reactor.advance(TAKE_AGAIN_AFTER)
    way.reactor.turn()
    assert way.served == [b"later"]


def test_other_bytes_are_logged_and_their_socket_closed(way: Way, lines: list[str]) -> None:
    ours, theirs = socket.socketpair()
    socket.send_fds(way.sending, [b"nonsense"], [theirs.fileno()])
    theirs.close()
    way.send(b"good")
    way.reactor.turn()
    with ours:
        assert ours.recv(1) == b""
    assert lines == ["what another worker has sent describes no connection: b'nonsense'"]
    assert way.served == [b"good"]


STEPS: dict[str, Callable[[Way, int], object]] = {
    "send": lambda way, number: way.send(b"%d" % number),
    "turn": lambda way, _: way.reactor.turn(),
    "time": lambda way, _: way.reactor.advance(MAX_HAND_OVER_WAIT / 3),
}


def _replace(way: Way) -> None:
    """The process ends, as by a signal, and another one takes its place."""
    way.inbox.close()
    way.inbox = way.new_inbox()


def _lack(way: Way) -> None:
    with no_descriptor_free():
        way.reactor.turn()


STEPS["replace"] = lambda way, _: _replace(way)
STEPS["lack"] = lambda way, _: _lack(way)


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=40), st.booleans())
def test_each_is_served_once_or_reset(steps: list[str], is_full: bool) -> None:
    way = Way()
    sent = way.fill() + 1 if is_full else 0
    for step in steps:
        STEPS[step](way, sent)
        sent += step == "send"
    for _ in range(sent // TAKEN_A_TURN + 2):
        way.reactor.advance(TAKE_AGAIN_AFTER)
        way.reactor.turn()
    assert len(set(way.served)) == len(way.served)
    for name in way.clients:
        assert way.heard(name) == (b"!" if name in way.served else None)
    assert set(way.lost) <= way.clients.keys() - set(way.served)
    way.close()
