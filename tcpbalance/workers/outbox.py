"""The way to another place's inbox: connections go there, or wait for space, for a bounded time."""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.proxy.hand_over import HandedOver
from tcpbalance.workers.handed_over_message import pack

MAX_WAITING_CONNECTIONS = 1000
"""Connections that may wait here for space in the inbox; the kernel holds some 280 in it."""

MAX_HAND_OVER_WAIT = 10.0
"""Seconds that a connection may wait here."""

SEND_AGAIN_AFTER = 0.05
"""Seconds until another try, where the kernel does not say when there is space again."""

_FOR_NOW = (errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM)
"""Too many descriptors are on the way to some process of the same user (unix(7)), or no memory is left."""


@implementer(IWriteDescriptor)
class Outbox:
    """Sends connections to one place, in order.

    The inbox is the place's, not its process's: what is sent while the process is being replaced is taken by
    the next one. Once a connection was sent, it is closed here: the process that takes it has it alone.

    :param reactor: watches the socket, and times the waiting.
    :param sock: the sending end of the inbox, which does not wait; the outbox's from here on.
    :param on_lost: called with a connection for which there was no space for too long, before it is reset.
    :param on_broken: called with each connection that can never be sent, as the inbox is gone.
    :param on_empty: called when nothing waits any more.
    """

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        on_lost: Callable[[HandedOver], None],
        on_broken: Callable[[HandedOver], None],
        on_empty: Callable[[], None] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._socket = sock
        self._on_lost = on_lost
        self._on_broken = on_broken
        self._on_empty = on_empty
        self._waiting: deque[tuple[float, HandedOver]] = deque()
        self._writes = False
        self._again: IDelayedCall | None = None
        self._expiry: IDelayedCall | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def send(self, connection: HandedOver) -> None:
        """Send a connection, behind those that wait."""
        if not self._waiting and self._sends(connection):
            return
        if len(self._waiting) >= MAX_WAITING_CONNECTIONS:
            self._lose(connection)
            return
        self._waiting.append((self._reactor.seconds() + MAX_HAND_OVER_WAIT, connection))
        if self._expiry is None:
            self._expiry = self._reactor.callLater(MAX_HAND_OVER_WAIT, self._expire)

    def _sends(self, connection: HandedOver) -> bool:
        """Send a connection, or have it sent later.

        :returns: whether it is dealt with.
        """
        try:
            socket.send_fds(self._socket, [pack(connection)], [connection.sock.fileno()], socket.MSG_NOSIGNAL)
        except BlockingIOError:
            if not self._writes:
                self._writes = True
                self._reactor.addWriter(self)
            return False
        except OSError as error:
            if error.errno in _FOR_NOW:
                self._stop_writing()
                if self._again is None:
                    self._again = self._reactor.callLater(SEND_AGAIN_AFTER, self._send_again)
                return False
            self._on_broken(connection)
            return True
        connection.sock.close()
        return True

    def _lose(self, connection: HandedOver) -> None:
        self._on_lost(connection)
        connection.sock.close()

    def _send_again(self) -> None:
        self._again = None
        self.doWrite()

    def doWrite(self) -> None:
        """The reactor's call: there may be space again."""
        while self._waiting:
            if not self._sends(self._waiting[0][1]):
                return
            self._waiting.popleft()
        self._stop()

    def _expire(self) -> None:
        """Give up those that have waited for too long."""
        self._expiry = None
        now = self._reactor.seconds()
        while self._waiting and self._waiting[0][0] <= now:
            self._lose(self._waiting.popleft()[1])
        if self._waiting:
            self._expiry = self._reactor.callLater(self._waiting[0][0] - now, self._expire)
        else:
            self._stop()

    def _stop(self) -> None:
        """Nothing waits any more."""
        self._stop_writing()
        for call in (self._again, self._expiry):
            if call is not None:
                call.cancel()
        self._again = self._expiry = None
        self._on_empty()

    def _stop_writing(self) -> None:
        if self._writes:
            self._writes = False
            self._reactor.removeWriter(self)

    def take_back(self) -> list[HandedOver]:
        """Give those that wait to the caller, and wait with them no more."""
        waiting = [connection for _, connection in self._waiting]
        self._waiting.clear()
        self._stop()
        return waiting

    def close(self) -> None:
        """Send no more; those that wait are reset."""
        for connection in self.take_back():
            self._lose(connection)
        self._socket.close()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is being torn down."""
        self.close()

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "outbox"
