"""What a worker does with the connections of others: to their place, or here where that cannot be."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import pytest
from twisted.internet.address import IPv4Address

from support.handed_over_case import client_of
from support.sockets import was_reset
from support.watcher import Watcher
from tcpbalance.net.ends import reset_on_close
from tcpbalance.proxy.hand_over import HandedOver
from tcpbalance.workers import inboxes
from tcpbalance.workers.inboxes import Inboxes
from tcpbalance.workers.messages import Message
from tcpbalance.workers.outbox import MAX_HAND_OVER_WAIT
from tcpbalance.workers.worker_hand_over import WorkerHandOver

PLACES = 3
OF_PLACE = [socket.inet_aton(client_of(place, PLACES)) for place in range(PLACES)]


class Process:
    """A worker, as far as it hands connections over."""

    def __init__(self, place: int) -> None:
        self.place = self.column = place
        self.reactor = Watcher()
        self.served: list[bytes] = []
        self.can_serve = True
        self.hand_over = WorkerHandOver(cast(Any, self.reactor), place)

    def send(self, content: Mapping[str, Any], descriptors: Iterable[int] = ()) -> None:
        message = Message(content, tuple(map(os.dup, descriptors)))
        self.hand_over.note(message)
        message.close()

    def serve(self, connection: HandedOver) -> None:
        self.served.append(connection.received)
        connection.sock.close()

    def turn(self) -> None:
        self.reactor.turn()

    def end(self) -> None:
        self.hand_over.leave()
        for outbox in self.hand_over._outboxes:
            outbox.close()
        assert self.reactor.is_idle


class Workers:
    """Some workers, and what their supervisor keeps for them."""

    def __init__(self) -> None:
        self.inboxes = Inboxes(PLACES)
        self.inboxes.open()
        self.clients: list[socket.socket] = []
        self.processes = [self.process(place) for place in range(PLACES)]

    def process(self, place: int) -> Process:
        made = Process(place)
        self.inboxes.greet(made)
        made.hand_over.begin(made.serve, lambda _: made.can_serve)
        return made

    def accepted(self, received: bytes = b"") -> HandedOver:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.clients.append(socket.create_connection(listening.getsockname()))
            sock, peer = listening.accept()
        sock.setblocking(False)
        reset_on_close(sock)
        return HandedOver("web", IPv4Address("TCP", *peer), 1.5, received, sock)

    def close(self) -> None:
        for process in self.processes:
            process.end()
        self.inboxes.close()
        for client in self.clients:
            client.close()


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    made.close()


def fill(workers: Workers, sender: Process, place: int) -> int:
    """Hand connections over until one has to wait; gives how many do not."""
    count = 0
    while not sender.reactor.writers:
        sender.hand_over.hand_over(OF_PLACE[place], workers.accepted(b"%d" % count))
        count += 1
    return count - 1


def test_each_client_has_its_place(workers: Workers) -> None:
    for sender in workers.processes:
        elsewhere = [sender.hand_over.belongs_elsewhere(client) for client in OF_PLACE]
        assert elsewhere == [place != sender.place for place in range(PLACES)]
        for place, client in enumerate(OF_PLACE):
            if place != sender.place:
                sender.hand_over.hand_over(client, workers.accepted(b"%d" % place))
    for process in workers.processes:
        process.turn()
        assert process.served == [b"%d" % process.place] * (PLACES - 1)


def test_many_places_come_in_pieces(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inboxes, "OUTBOXES_A_MESSAGE", 2)
    late = workers.process(0)
    late.hand_over.hand_over(OF_PLACE[2], workers.accepted(b"last"))
    workers.processes[2].turn()
    assert workers.processes[2].served == [b"last"]
    late.end()


def test_before_it_begins_and_after_it_leaves_all_are_its_own(workers: Workers) -> None:
    new = Process(0)
    assert not any(map(new.hand_over.belongs_elsewhere, OF_PLACE))
    workers.inboxes.greet(new)
    assert not any(map(new.hand_over.belongs_elsewhere, OF_PLACE))
    new.hand_over.begin(new.serve)
    assert new.hand_over.belongs_elsewhere(OF_PLACE[1])
    new.hand_over.leave()
    assert not any(map(new.hand_over.belongs_elsewhere, OF_PLACE))
    new.end()


def test_one_that_leaves_serves_what_waits_and_what_it_was_handed(workers: Workers) -> None:
    first, second, _ = workers.processes
    held = fill(workers, first, 1)
    second.hand_over.hand_over(OF_PLACE[0], workers.accepted(b"back"))
    first.hand_over.leave()
    assert first.served == [b"%d" % held, b"back"]
    second.hand_over.leave()
    assert second.served == [b"%d" % number for number in range(held)]
    # What comes then is for the next one.
    workers.processes[2].hand_over.hand_over(OF_PLACE[0], workers.accepted(b"next"))
    first.turn()
    workers.processes.append(workers.process(0))
    workers.processes[-1].turn()
    assert workers.processes[-1].served == [b"next"]


def test_one_that_is_replaced_hands_over_to_its_successor(workers: Workers) -> None:
    first, second, _ = workers.processes
    held = fill(workers, first, 1)
    second.hand_over.hand_over(OF_PLACE[0], workers.accepted(b"on its way"))
    ended = first.hand_over.emptied()
    first.hand_over.is_replaced([workers.accepted(b"unserved")])
    assert all(map(first.hand_over.belongs_elsewhere, OF_PLACE))
    first.hand_over.hand_over(OF_PLACE[0], workers.accepted(b"known late"))
    first.turn()
    assert first.served == []
    successor = workers.process(0)
    workers.processes.append(successor)
    successor.turn()
    assert successor.served == [b"on its way", b"unserved", b"known late"]
    # It does not end before all are on their way.
    assert not ended.called
    while len(second.served) <= held:
        first.turn()
        second.turn()
    assert ended.called


def test_what_a_worker_cannot_serve_goes_back_and_stays_there(workers: Workers) -> None:
    first, second, _ = workers.processes
    first.can_serve = second.can_serve = False
    first.hand_over.hand_over(OF_PLACE[1], workers.accepted(b"its own"))
    second.turn()
    assert second.served == []
    first.turn()
    assert first.served == [b"its own"]


def test_what_comes_from_one_that_is_replaced_does_not_go_back(workers: Workers) -> None:
    first, second, _ = workers.processes
    second.can_serve = False
    first.hand_over.is_replaced([])
    first.hand_over.hand_over(OF_PLACE[1], workers.accepted(b"late"))
    second.turn()
    assert second.served == [b"late"]


def test_a_worker_that_takes_nothing_is_named_in_the_log(workers: Workers, lines: list[str]) -> None:
    first = workers.processes[0]
    fill(workers, first, 2)
    first.reactor.advance(MAX_HAND_OVER_WAIT)
    assert was_reset(workers.clients[-1])
    assert lines == [
        "worker 2 takes no connections: 1 reset that belong to it; is it stopped, or overloaded?"
    ]


def test_without_any_inbox_a_worker_serves_all(workers: Workers) -> None:
    """As when the supervisor is gone, and the other worker, too."""
    first, second, _ = workers.processes
    workers.inboxes.close()
    second.end()
    workers.processes.remove(second)
    first.hand_over.hand_over(OF_PLACE[1], workers.accepted(b"kept"))
    assert first.served == [b"kept"]


def test_what_is_left_at_the_end_is_reset(lines: list[str]) -> None:
    workers = Workers()
    workers.processes[0].hand_over.hand_over(OF_PLACE[1], workers.accepted(b"late"))
    workers.processes[1].hand_over._inbox.close()
    for process in workers.processes:
        process.end()
    workers.inboxes.close()
    (client,) = workers.clients
    assert was_reset(client)
    assert lines == ["1 connections reset that workers had handed over while all ended"]
    client.close()
