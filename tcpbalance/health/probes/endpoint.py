"""The endpoint that a probe connects by: the data path that dials go, in Twisted's form."""

from __future__ import annotations

from functools import partial
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.config.frontends import SocketConfig
from tcpbalance.event import failure_of
from tcpbalance.health.probes.base import Target
from tcpbalance.net.adapted_transport import as_transport
from tcpbalance.net.addresses import proxy_address
from tcpbalance.net.socket_connector import SocketConnector
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.net.tls_attempt import dial_tls
from tcpbalance.wire.proxy_protocol import ProxyVersion, encode_v1, encode_v2_local


def endpoint_for(target: Target) -> IStreamClientEndpoint:
    """Make the endpoint that connects to a backend.

    It goes the way that dials go, so that a check finds the backends that a dial finds. Where the backend
    expects a PROXY header it opens with one, which says that the connection is for no client. It fails
    with `ConnectFailed`; cancelling the Deferred ends the attempt. It does not call the factory's `doStart`.
    """
    return _Endpoint(target)


@implementer(IStreamClientEndpoint)
@define
class _Endpoint:
    """See `endpoint_for`."""

    target: Target

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See `IStreamClientEndpoint`."""
        target = self.target
        options = SocketOptions.of(SocketConfig())
        connector = SocketConnector(target.reactor, options, resolver=target.resolver)
        made: Deferred[IProtocol] = Deferred(lambda _: pending.cancel())
        if target.tls is None:
            factory = _Factory(protocolFactory, made, target.send_proxy_protocol)
            pending = connector.connect(target.address, factory, target.timeout)
        else:
            factory = _Factory(protocolFactory, made, None)
            peer = target.tls.peer(target.address, target.server_name)
            announce = partial(_header, target.send_proxy_protocol)
            pending = dial_tls(connector, target.address, factory, target.timeout, peer, announce)
        return made


class _Factory:
    """Fires the Deferred of an endpoint with what has come of the attempt."""

    def __init__(
        self, factory: IProtocolFactory, made: Deferred[IProtocol], version: ProxyVersion | None
    ) -> None:
        self._factory = factory
        self._made = made
        self._version = version

    def buildProtocol(self, addr: Any) -> IProtocol | None:
        try:
            protocol = self._factory.buildProtocol(addr)
        except Exception as error:
            self._made.errback(failure_of(error))
            return None
        if protocol is None:
            self._made.errback(failure_of(NoProtocol()))
            return None
        return _Stand(protocol, self._made, self._version)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self._made.errback(reason)


class _Stand(Protocol):
    """Stands in for a protocol until it has its transport: only then may the Deferred fire."""

    def __init__(self, protocol: IProtocol, made: Deferred[IProtocol], version: ProxyVersion | None) -> None:
        self._protocol = protocol
        self._made = made
        self._version = version

    def makeConnection(self, transport: Any) -> None:
        as_transport(transport).hand_over(self._protocol)
        if self._version is not None:
            transport.write(_header(self._version, transport))
        try:
            self._protocol.makeConnection(transport)
        except Exception as error:
            transport.abortConnection()
            self._made.errback(failure_of(error))
        else:
            self._made.callback(self._protocol)


def _header(version: ProxyVersion | None, transport: Any) -> bytes:
    """The header of a connection on our own account; version 1 can only give its addresses (section 2.1)."""
    if version is None:
        return b""
    if version == "v2":
        return encode_v2_local()
    return encode_v1(proxy_address(transport.getHost()), proxy_address(transport.getPeer()))
