"""The endpoint that a probe connects by: the road that dials go, in Twisted's form."""

from __future__ import annotations

from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.config.models import SocketConfig
from tcpbalance.config.values import Address
from tcpbalance.net.connecting import SocketConnector
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.pool.probes.event import failure_of


def endpoint_for(reactor: Any, address: Address, timeout: float) -> IStreamClientEndpoint:
    """Make the endpoint that connects to a backend; a name is resolved anew at each connect.

    It goes the way that dials go, so that a check finds the backends that a dial finds. It fails with
    `ConnectFailed`; cancelling the Deferred ends the attempt. It does not call the factory's `doStart`.

    :param reactor: IReactorFDSet, IReactorTime and IReactorThreads.
    :param timeout: seconds for connecting.
    """
    return _Endpoint(reactor, address, timeout)


@implementer(IStreamClientEndpoint)
@define
class _Endpoint:
    """See `endpoint_for`."""

    reactor: Any
    address: Address
    timeout: float

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See `IStreamClientEndpoint`."""
        connector = SocketConnector(self.reactor, SocketOptions.of(SocketConfig()))
        made: Deferred[IProtocol] = Deferred(lambda _: pending.cancel())
        pending = connector.connect(self.address, _Factory(protocolFactory, made), self.timeout)
        return made


class _Factory:
    """Tells the Deferred of an endpoint what has come of the attempt."""

    def __init__(self, factory: IProtocolFactory, made: Deferred[IProtocol]) -> None:
        self._factory = factory
        self._made = made

    def buildProtocol(self, addr: Any) -> IProtocol | None:
        try:
            protocol = self._factory.buildProtocol(addr)
        except Exception as error:
            self._made.errback(failure_of(error))
            return None
        if protocol is None:
            self._made.errback(failure_of(NoProtocol()))
            return None
        return _Stand(protocol, self._made)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self._made.errback(reason)


class _Stand(Protocol):
    """Stands in for a protocol until it has its transport: only then may the Deferred fire."""

    def __init__(self, protocol: IProtocol, made: Deferred[IProtocol]) -> None:
        self._protocol = protocol
        self._made = made

    def makeConnection(self, transport: Any) -> None:
        transport.protocol = self._protocol
        try:
            self._protocol.makeConnection(transport)
        except Exception as error:
            transport.abortConnection()
            self._made.errback(failure_of(error))
        else:
            self._made.callback(self._protocol)
