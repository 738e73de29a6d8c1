"""Connections that a worker hands over to others, and takes from them: all of a client meet in one."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tcpbalance.event import OneTimeEvent
from tcpbalance.proxy.hand_over import HandedOver
from tcpbalance.rate_limited_log import RateLimitedLog
from tcpbalance.workers.inbox import Inbox
from tcpbalance.workers.messages import Message
from tcpbalance.workers.outbox import Outbox
from tcpbalance.workers.owner import owner
from tcpbalance.workers.shared_state import word_of


class WorkerHandOver:
    """The ``HandOver`` of a worker, and a ``WorkerSharedState``.

    :param reactor: watches the sockets.
    :param place: of this worker.
    """

    _log = Logger()

    words: Collection[str] = ("inbox", "outboxes")

    def __init__(self, reactor: Any, place: int) -> None:
        self._reactor = reactor
        self._place = place
        self._receiving: socket.socket | None = None
        self._inbox: Inbox | None = None
        self._outboxes: list[Outbox] = []
        self._serve: Callable[[HandedOver], None] | None = None
        self._can_serve: Callable[[HandedOver], bool] = lambda _: True
        self._places = 0
        self._is_replaced = False
        self._emptied: OneTimeEvent[None] = OneTimeEvent()
        self._waits = False
        self._lost_log = RateLimitedLog(self._write_lost, reactor.seconds, reactor)

    def note(self, message: Message) -> None:
        """See ``WorkerSharedState``: the sockets come before the first client."""
        sockets = [socket.socket(fileno=os.dup(number)) for number in message.descriptors]
        if word_of(message) == "inbox":
            (self._receiving,) = sockets
        else:
            for sock in sockets:
                self._outboxes.append(self._make_outbox(len(self._outboxes), sock))

    def _make_outbox(self, place: int, sock: socket.socket) -> Outbox:
        return Outbox(
            self._reactor,
            sock,
            lambda _: self._lost_log.note(place, None),
            self._keep,
            self._look_at_outboxes,
        )

    def begin(
        self,
        serve: Callable[[HandedOver], None],
        can_serve: Callable[[HandedOver], bool] = lambda _: True,
    ) -> None:
        """Hand connections over, and take those that others have handed over.

        :param serve: called with each connection that is to be served here.
        :param can_serve: gives whether this process can; one that it cannot serve goes back.
        """
        self._serve = serve
        self._can_serve = can_serve
        self._places = len(self._outboxes)
        if self._receiving is not None:
            self._inbox = Inbox(self._reactor, self._receiving, self._take)

    def _take(self, connection: HandedOver) -> None:
        """Serve what another worker has handed over, or give it back: that one goes on with it, whatever
        its client belongs to."""
        back = connection.came_from
        if back is None or back >= len(self._outboxes) or self._can_serve(connection):
            self._keep(connection)
        else:
            self._outboxes[back].send(evolve(connection, came_from=None))

    def belongs_elsewhere(self, client: bytes) -> bool:
        """See ``HandOver``."""
        places = self._places
        return places > 1 and (self._is_replaced or owner(client, places) != self._place)

    def hand_over(self, client: bytes, connection: HandedOver) -> None:
        """See ``HandOver``."""
        # What comes back to a place that has another process now would not come to this one.
        came_from = None if self._is_replaced else self._place
        self._outboxes[owner(client, self._places)].send(evolve(connection, came_from=came_from))

    def _keep(self, connection: HandedOver) -> None:
        """It can go nowhere else."""
        assert self._serve is not None
        self._serve(connection)

    def _write_lost(self, lost: Counter[int], _: None) -> None:
        for place, count in lost.items():
            self._log.warn(
                "worker {place} takes no connections: {count} reset that belong to it; is it stopped, or "
                "overloaded?",
                place=place,
                count=count,
            )

    def is_replaced(self, unserved: Iterable[HandedOver]) -> None:
        """Another process has this place from now on: take nothing more, and hand over to it what comes to be
        known of its clients.

        :param unserved: connections that were handed over to this one, and have waited here.
        """
        self._is_replaced = True
        if self._inbox is not None:
            self._inbox.close()
            self._inbox = None
        for connection in unserved:
            self._outboxes[self._place].send(connection)

    def leave(self) -> None:
        """All workers end: serve here what comes from now on, what could not be handed over yet, and what
        others have handed over so far. Calling it again does nothing."""
        self._places = 0
        for outbox in self._outboxes:
            for connection in outbox.take_back():
                self._keep(connection)
        if self._inbox is not None:
            self._inbox.leave()
            self._inbox = None
        self._lost_log.flush()

    def emptied(self) -> Deferred[None]:
        """Fires when nothing waits here any more, which takes `MAX_HAND_OVER_WAIT` at most."""
        self._waits = True
        self._look_at_outboxes()
        return self._emptied.wait()

    def _look_at_outboxes(self) -> None:
        if self._waits and all(outbox.is_empty for outbox in self._outboxes):
            self._lost_log.flush()
            self._emptied.settle(None)
