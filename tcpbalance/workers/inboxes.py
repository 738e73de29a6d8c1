"""The inboxes of all places, kept by the supervisor: what is in one outlives the process that takes it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack, suppress
from socket import socket

from twisted.logger import Logger

from tcpbalance.workers import messages
from tcpbalance.workers.messages import Kept, Message
from tcpbalance.workers.shared_state import ToWorker

OUTBOXES_A_MESSAGE = 200
"""Sending ends that are handed over at once."""


class Inboxes:
    """A ``SharedState``: a worker gets the receiving end of its place's inbox, and the sending ends of all.

    :param places: how many there are.
    """

    _log = Logger()

    words: Collection[str] = ()

    def __init__(self, places: int) -> None:
        self._places = places
        self._sending: list[socket] = []
        self._receiving: list[socket] = []

    def open(self) -> None:
        """Make them.

        :raises OSError: the system has no more descriptors.
        """
        with ExitStack() as undo:
            for _ in range(self._places):
                sending, receiving = messages.pair()
                undo.callback(sending.close)
                undo.callback(receiving.close)
                # Of both ends in all processes: they share them.
                sending.setblocking(False)
                receiving.setblocking(False)
                self._sending.append(sending)
                self._receiving.append(receiving)
            undo.pop_all()

    def greet(self, worker: ToWorker) -> None:
        """See ``SharedState``."""
        worker.send({"inbox": True}, [Kept(self._receiving[worker.place].fileno())])
        for start in range(0, self._places, OUTBOXES_A_MESSAGE):
            piece = self._sending[start : start + OUTBOXES_A_MESSAGE]
            worker.send({"outboxes": start}, [Kept(sending.fileno()) for sending in piece])

    def note(self, worker: ToWorker, message: Message) -> None:
        """See ``SharedState``."""

    def has_ended(self, worker: ToWorker) -> None:
        """See ``SharedState``: what it has not taken is for the process that replaces it."""

    def close(self) -> None:
        """Close all when the workers have ended; connections that are in them are reset."""
        left = sum(map(_count, self._receiving))
        if left:
            self._log.warn("{left} connections reset that workers had handed over while all ended", left=left)
        for sock in (*self._sending, *self._receiving):
            sock.close()
        self._sending, self._receiving = [], []


def _count(receiving: socket) -> int:
    """Count what is in an inbox; its connections are closed by that."""
    count = 0
    with suppress(BlockingIOError):
        while receiving.recv(1):
            count += 1
    return count
