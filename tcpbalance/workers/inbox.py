"""The inbox of a place: the connections that other workers have handed over come out of it."""

from __future__ import annotations

import os
import socket
import sys
from array import array
from collections import Counter
from collections.abc import Callable
from socket import SocketType
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.proxy.hand_over import HandedOver
from tcpbalance.rate_limited_log import RateLimitedLog
from tcpbalance.workers.handed_over_message import MAX_PACKET, HandedOverMessageError, unpack

TAKEN_A_TURN = 8
"""Connections taken in one turn of the reactor, as a listening socket accepts them."""

TAKEN_AT_THE_END = 1000
"""Connections taken at most when the inbox is left; more than the kernel holds in it."""

SHED_AT_ONCE = 512
"""Connections that are lost in one go for want of descriptors, before the pause."""

TAKE_AGAIN_AFTER = 0.2
"""Seconds that nothing is taken when this process has no descriptor left; the inbox holds what comes."""

_DESCRIPTOR = array("i").itemsize

_ANCILLARY = socket.CMSG_LEN(_DESCRIPTOR)


@implementer(IReadDescriptor)
class Inbox:
    """Takes connections, each of which is this process's alone from then on.

    Where a process ends in the middle, what it has not taken is still there for the next one of its place. A
    connection that it has taken without a descriptor, because it has no more, is lost: nothing else has it.
    Its client sees a reset, as do those that a listening socket turns away for the same reason.

    :param reactor: watches the socket, and times the pauses.
    :param sock: the receiving end, which does not wait; the inbox's from here on.
    :param serve: called with each connection.
    """

    _log = Logger()

    def __init__(self, reactor: Any, sock: socket.socket, serve: Callable[[HandedOver], None]) -> None:
        self._reactor = reactor
        self._socket = sock
        self._serve = serve
        self._buffer = bytearray(MAX_PACKET)
        self._cooldown: IDelayedCall | None = None
        self._closed = False
        self._lost_log = RateLimitedLog(self._write_lost, reactor.seconds, reactor)
        reactor.addReader(self)

    def doRead(self) -> None:
        """The reactor's call: connections have come."""
        for _ in range(TAKEN_A_TURN):
            if self._closed or self._cooldown is not None or not self._take():
                return

    def _take(self) -> bool:
        """Take the next one.

        :returns: whether there was one.
        """
        packet, descriptor = self._receive()
        if packet is None:
            return False
        if descriptor is None:
            self._lose_those_that_wait()
            return True
        sock = SocketType(fileno=descriptor)
        try:
            connection = unpack(packet, sock)
        except HandedOverMessageError as error:
            self._log.error("what another worker has sent {error}", error=str(error))
            sock.close()
            return True
        self._serve(connection)
        return True

    def _receive(self) -> tuple[bytes | None, int | None]:
        """Receive a packet.

        :returns: None where there is none; else the packet with its descriptor, which is None where this
            process has no more.
        """
        try:
            size, ancillary, _, _ = self._socket.recvmsg_into(
                [self._buffer], _ANCILLARY, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
            )
        except OSError:
            return None, None
        if not size:
            # All that could send are gone.
            self._stop_reading()
            return None, None
        packet = bytes(memoryview(self._buffer)[:size])
        if not ancillary:
            return packet, None
        ((_, _, data),) = ancillary
        return packet, int.from_bytes(data, sys.byteorder)

    def _lose_those_that_wait(self) -> None:
        """One has come without its descriptor. Those behind it would wait for longer than their clients do:
        lose them as well, then pause."""
        lost = 1
        for _ in range(SHED_AT_ONCE):
            packet, descriptor = self._receive()
            if packet is None:
                break
            lost += 1
            if descriptor is not None:
                os.close(descriptor)
        self._lost_log.note(None, lost, lost)
        self._stop_reading()
        self._cooldown = self._reactor.callLater(TAKE_AGAIN_AFTER, self._go_on)

    def _write_lost(self, lost: Counter[None], last: int) -> None:
        self._log.warn(
            "no descriptor is left: {lost} connections reset that other workers have handed over; raise "
            "LimitNOFILE or `ulimit -n`",
            lost=lost.total(),
        )

    def _go_on(self) -> None:
        self._cooldown = None
        self._reactor.addReader(self)

    def _stop_reading(self) -> None:
        self._reactor.removeReader(self)

    def leave(self) -> None:
        """Take what is there, and nothing more: what comes is for the next process of this place."""
        for _ in range(TAKEN_AT_THE_END):
            if self._closed or self._cooldown is not None or not self._take():
                break
        self.close()

    def close(self) -> None:
        """Take nothing more."""
        if self._closed:
            return
        self._closed = True
        if self._cooldown is not None:
            self._cooldown.cancel()
        # Other processes have the socket, too: closing it here would not end the watch.
        self._stop_reading()
        self._lost_log.flush()
        self._socket.close()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is being torn down."""
        self.close()

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "inbox"
