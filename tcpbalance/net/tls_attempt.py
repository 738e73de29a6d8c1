"""Connects to backends that speak TLS: an attempt is over once the handshake is, and under one deadline."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionClosed, ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.config.addresses import Address
from tcpbalance.errors import Fault
from tcpbalance.net.adapted_transport import as_transport
from tcpbalance.net.connect_errors import ConnectFailed, internal_error, timed_out
from tcpbalance.net.connecting import ConnectionFactory, Connector, Pending
from tcpbalance.net.faults import fault_of_error, fault_of_handshake
from tcpbalance.net.tls.errors import HandshakeFailed, handshake_cause

if TYPE_CHECKING:
    from tcpbalance.net.tls.client import TlsPeer

Preamble = Callable[[Any], bytes]

_log = Logger()

TLS_CAUSE = "TLS: "
"""What the cause of a failed handshake begins with, unlike that of a failed connection."""


def dial_tls(
    connector: Connector,
    address: Address,
    factory: ConnectionFactory,
    timeout: float,
    peer: TlsPeer,
    preamble: Preamble,
) -> Pending:
    """Start an attempt, as ``Connector.connect`` does.

    :param timeout: seconds for the connection and the handshake together.
    :param peer: the backend.
    :param preamble: gives what is sent in the clear before the handshake, a PROXY header or nothing; called
        with the transport.
    """
    attempt = TlsAttempt(connector, address, factory, timeout, peer, preamble)
    attempt.begin()
    return attempt


class TlsAttempt:
    """The factory that a connector reports to; it reports to the factory that waits for the handshake."""

    __slots__ = (
        "_address",
        "_connector",
        "_factory",
        "_handshake",
        "_outcome",
        "_over",
        "_pending",
        "_preamble",
        "_timeout",
        "peer",
        "slot",
    )

    def __init__(
        self,
        connector: Connector,
        address: Address,
        factory: ConnectionFactory,
        timeout: float,
        peer: TlsPeer,
        preamble: Preamble,
    ) -> None:
        self._connector = connector
        self._address = address
        self._factory = factory
        self._timeout = timeout
        self._preamble = preamble
        self._pending: Pending | None = None
        self._handshake: _HandshakeProtocol | None = None
        self._outcome: ConnectFailed | None = None
        self._over = False
        self.peer = peer
        self.slot: int | None = None

    def begin(self) -> None:
        """Connect."""
        self._connector.wheel.watch(self, self._timeout)
        try:
            self._pending = self._connector.connect(self._address, self, self._timeout)
        except BaseException:
            self._end()
            raise

    # What the connector reports

    def buildProtocol(self, addr: Any) -> Protocol:
        """The socket is connected: the handshake comes next."""
        self._pending = None
        self._handshake = _HandshakeProtocol(self, addr, self._preamble)
        return self._handshake

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """It does not."""
        self._end()
        self._factory.clientConnectionFailed(self, reason)

    # What the handshake reports

    def succeeded(self, addr: Any, transport: Any) -> None:
        """The backend is the one that was meant."""
        if self._over:
            return
        try:
            protocol = self._factory.buildProtocol(addr)
        except Exception:
            self.broke_down(transport)
            return
        self._end()
        if protocol is None:
            transport.abortConnection()
            return
        as_transport(transport).hand_over(protocol)
        protocol.makeConnection(transport)

    def failed(self, cause: str, fault: Fault, transport: Any = None) -> None:
        """It is not, or has gone.

        :param transport: what it is connected by, which is closed before that is reported: the backend may be
            given another connection then; None where it is closed by now.
        """
        self._fail(ConnectFailed(cause, fault), transport)

    def _fail(self, outcome: ConnectFailed, transport: Any) -> None:
        if not self._over:
            self._outcome = outcome
        self._end()
        if transport is not None:
            # It reports its end here, now or in another turn.
            transport.abortConnection()
            return
        reported, self._outcome = self._outcome, None
        if reported is not None:
            self._factory.clientConnectionFailed(self, Failure(reported))  # type: ignore[no-untyped-call]

    def broke_down(self, transport: Any) -> None:
        """An exception of ours is under way: log it, and end what it has ended."""
        _log.failure("an exception has ended the TLS handshake with {address}", address=str(self._address))
        self.failed("internal error", Fault.BALANCER, transport)

    # What may end it before

    def check(self, now: float) -> float | None:
        """The wheel's call: the time is over.

        :returns: 0 while there is no connection: the connector, whose time is the same, is about to report
            why.
        """
        if self._handshake is None:
            return 0.0
        self._fail(ConnectFailed(f"{TLS_CAUSE}{timed_out(self._timeout)}"), self._handshake.transport)
        return None

    def on_failure(self, failure: Failure) -> None:
        """See ``wheel.Watched``."""
        pending, handshake = self._pending, self._handshake
        if pending is not None:
            pending.cancel()
        self._fail(internal_error(), None if handshake is None else handshake.transport)

    def cancel(self) -> None:
        """See ``Pending``."""
        handshake, pending = self._handshake, self._pending
        self._outcome = None
        self._end()
        if pending is not None:
            pending.cancel()
        if handshake is not None:
            handshake.transport.abortConnection()

    def _end(self) -> None:
        self._over = True
        self._connector.wheel.forget(self)
        self._pending = self._handshake = None


@implementer(IHandshakeListener)
class _HandshakeProtocol(Protocol):
    """The protocol of a connection until its handshake is over."""

    transport: Any

    def __init__(self, attempt: TlsAttempt, addr: Any, preamble: Preamble) -> None:
        self._attempt = attempt
        self._addr = addr
        self._preamble = preamble

    def connectionMade(self) -> None:
        """Begin the handshake."""
        try:
            transport = as_transport(self.transport)
            transport.write(self._preamble(transport))
            if not transport.full:
                transport.connect_tls(self._attempt.peer)
            elif not transport.cut_short:
                cause = "PROXY header larger than the send buffer"
                self._attempt.failed(cause, Fault.BALANCER, self.transport)
            # Else the write has failed, and connectionLost reports the reset next.
        except Exception:
            self._attempt.broke_down(self.transport)

    def handshakeCompleted(self) -> None:
        """See that it was with the right one."""
        try:
            self._attempt.peer.approve(self.transport.getHandle())
        except HandshakeFailed as error:
            self._attempt.failed(f"{TLS_CAUSE}{error.cause}", fault_of_error(error), self.transport)
        except Exception:
            self._attempt.broke_down(self.transport)
        else:
            self._attempt.succeeded(self._addr, self.transport)

    def readConnectionLost(self) -> None:
        """The backend has finished before it began."""
        self._attempt.failed(f"{TLS_CAUSE}closed", Fault.BACKEND, self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The handshake has failed, or the connection, or something of ours."""
        error: Any = reason.value
        cause = handshake_cause(reason, self.transport)
        if cause is None and not isinstance(error, ConnectionClosed):
            self._attempt.failed("internal error", Fault.BALANCER)
            return
        cause = cause or ("closed" if isinstance(error, ConnectionDone) else "reset")
        self._attempt.failed(f"{TLS_CAUSE}{cause}", fault_of_handshake(error, cause))
